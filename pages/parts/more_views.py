"""Further measures of one capture, each with its level of chance: from the choices to a table, figures and an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pages.parts.computed import computed
from pages.parts.words import plain
from workbench import session
from workbench.analysis.select import key_sites
from workbench.analysis.words import site_title
from workbench.capture import Capture

ROWS = 60  # numbers' work of a token row at a site, for `computed`


@dataclass(frozen=True)
class More:
    """One measure.

    Attributes:
        label: its name in the list. asks: the question that it answers.
        make: (capture, choices) -> table. work: (capture, choices) -> numbers of work.
        figure, paper: (table, choices, capture) -> figure for page and paper.
        answer: table -> one sentence. uses: the controls that change it. onward: its layer has another after it.
    """

    label: str
    asks: str
    make: Callable[[Capture, Mapping[str, Any]], Any]
    work: Callable[[Capture, Mapping[str, Any]], float]
    figure: Callable[[Any, Mapping[str, Any], Capture], Any]
    paper: Callable[[Any, Mapping[str, Any], Capture], Any]
    answer: Callable[[Any], str]
    uses: frozenset[str]
    onward: bool = False


def table_of(place: session.Place, capture: Capture, slug: str, chosen: Mapping[str, Any]) -> Any:
    """The table of a measure, or None while a job is at it."""
    more = MORE[slug]
    used = tuple((name, str(chosen[name])) for name in sorted(more.uses | {"site", "sites"}))
    return computed(
        ("more", slug, place.id, place.stamp, used),
        more.label,
        more.work(capture, chosen),
        lambda *_: more.make(capture, chosen),
    )


def _rows(capture: Capture) -> int:
    return max((sampling.kept for sampling in capture.manifest.sampling.values()), default=0)


def _all_sites(capture: Capture, chosen: Mapping[str, Any]) -> Any:
    return chosen["sites"] or None


def _by_rows(capture: Capture, chosen: Mapping[str, Any]) -> float:
    return float(ROWS * _rows(capture) * len(chosen["sites"] or capture.sites))


def _one_site(capture: Capture, chosen: Mapping[str, Any], onward: bool = False) -> str:
    from pages.parts.views import site_for_one

    return site_for_one(capture, chosen, onward)


# ---------------------------------------------------------------------------------------------- tables
def _curve(capture: Capture, chosen: Mapping[str, Any]) -> Any:
    from workbench.analysis.iou_curve import iou_curve_table

    return iou_curve_table(
        capture, _one_site(capture, chosen), phase=None if chosen["phase"] == "all" else chosen["phase"]
    )


def _repetition(capture: Capture, chosen: Mapping[str, Any]) -> Any:
    from workbench.analysis.repetition import repetition_table

    return repetition_table(capture, _all_sites(capture, chosen))


def _vocabulary(capture: Capture, chosen: Mapping[str, Any]) -> Any:
    from workbench.analysis.vocabulary import vocabulary_table

    return vocabulary_table(capture, _all_sites(capture, chosen), chosen["by"])


def _concentration(capture: Capture, chosen: Mapping[str, Any]) -> Any:
    from workbench.analysis.concentration import concentration_table

    return concentration_table(capture, _all_sites(capture, chosen))


def _ranks(capture: Capture, chosen: Mapping[str, Any]) -> Any:
    from workbench.analysis.concentration import rank_table

    return rank_table(capture, _one_site(capture, chosen))


def _affinity(capture: Capture, chosen: Mapping[str, Any]) -> Any:
    from workbench.analysis.affinity import affinity_table

    return affinity_table(capture, _one_site(capture, chosen, onward=True))


def _frequency(capture: Capture, chosen: Mapping[str, Any]) -> Any:
    from workbench.analysis.frequency import frequency_table

    return frequency_table(capture, chosen["sites"] or key_sites(capture), draws=100)


# ---------------------------------------------------------------------------------------------- figures
def _lines(name: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Figures for page and paper of a table that is drawn as lines over sites by `figures.lines.of_NAME`."""

    def page(table: Any, chosen: Mapping[str, Any], capture: Capture) -> Any:
        from workbench.figures import lines
        from workbench.figures.interactive_lines import site_lines

        return site_lines(getattr(lines, name)(table))

    def paper(table: Any, chosen: Mapping[str, Any], capture: Capture) -> Any:
        from workbench.figures import lines
        from workbench.figures.paper_lines import site_lines

        return site_lines(getattr(lines, name)(table))

    return page, paper


def _drawn(name: str, *, pairs: bool = False) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Figures for page and paper by `interactive_measures.NAME`; pairs: only those of the chosen group."""

    def draw(module: Any, table: Any, chosen: Mapping[str, Any], capture: Capture) -> Any:
        make = getattr(module, name)
        return make(table, table.pairs_with(capture.groups[chosen["group"]])) if pairs else make(table)

    def page(table: Any, chosen: Mapping[str, Any], capture: Capture) -> Any:
        from workbench.figures import interactive_measures

        return draw(interactive_measures, table, chosen, capture)

    def paper(table: Any, chosen: Mapping[str, Any], capture: Capture) -> Any:
        from workbench.figures import paper_measures

        return draw(paper_measures, table, chosen, capture)

    return page, paper


# ---------------------------------------------------------------------------------------------- answers
def _say_curve(table: Any) -> str:
    return table.summary()


def _largest(value: np.ndarray, few: np.ndarray) -> tuple[int, ...] | None:
    readable = np.where(few, np.nan, value)
    if not np.isfinite(readable).any():
        return None
    return tuple(int(at) for at in np.unravel_index(np.nanargmax(readable), readable.shape))


NOTHING = "Too few tokens to say: every number is grey."


def _say_repetition(table: Any) -> str:
    at = _largest(table.first / np.where(table.first_chance > 0, table.first_chance, np.nan), table.few)
    if at is None:
        return NOTHING
    return (
        f"Neighbours go to the same expert most beyond chance at {site_title(table.sites[at[0]])} for **{plain(table.groups[at[1]].name, 60)}**: {table.first[at]:.0%} of "
        f"pairs of tokens, where unrelated tokens of the same load give {table.first_chance[at]:.0%}."
    )


def _say_vocabulary(table: Any) -> str:
    at = _largest(table.value, table.few)
    if at is None:
        return NOTHING
    return (
        f"Experts are bound to words most at {site_title(table.sites[at[0]])}: on average one expert takes {table.value[at]:.0%} of a token id's occurrences, "
        f"where shuffled ids give {table.chance[at]:.0%} ({int(table.ids[at]):,} ids)."
    )


def _say_concentration(table: Any) -> str:
    at = _largest(table.first_share, table.few)
    if at is None:
        return NOTHING
    return (
        f"The strongest expert has most of a token's gate weight at {site_title(table.sites[at[0]])} for **{plain(table.groups[at[1]].name, 60)}**: {table.first_share[at]:.0%} "
        f"on average, where equal weights give {1 / table.sites[at[0]].top_k:.0%}."
    )


def _say_ranks(table: Any) -> str:
    at = _largest(1 - table.iou, table.few)
    if at is None:
        return NOTHING
    return (
        f"First choices and all {table.site.top_k} choices name the same busiest experts least for **{plain(table.groups[at[0]].name, 60)}**: IoU {table.iou[at]:.2f} of the top "
        f"{table.q:.0%}."
    )


def _say_affinity(table: Any) -> str:
    at = _largest(table.lift, table.few)
    if at is None:
        return "Too few tokens to say: no pair of experts has enough of them."
    return (
        f"A token of expert **{at[0]}** at {site_title(table.site)} goes to expert **{at[1]}** at {site_title(table.after)}, {table.lift[at]:.1f} times as often as if the layers were "
        f"unrelated; one layer tells {table.information:.2f} bits about the next ({table.information_null:.2f} where tokens are shuffled)."
    )


# The names stand in selection.MORE too, in this order: an address is read without loading any of this.
MORE = {
    "iou-curve": More(
        "Overlap over all sizes of the set", "Does the overlap hang on one threshold?", _curve,
        lambda capture, chosen: 15.0 * _rows(capture) * len(capture.groups) ** 2, *_drawn("iou_curve", pairs=True), _say_curve,
        frozenset({"site", "group", "phase"}),
    ),
    "repetition": More(
        "Repetition at the next token", "Do neighbouring tokens go to the same expert?", _repetition, _by_rows, *_lines("of_repetition"),
        _say_repetition, frozenset({"sites"}),
    ),
    "vocabulary": More(
        "Bound to words", "Does an expert belong to a word?", _vocabulary, _by_rows, *_lines("of_vocabulary"), _say_vocabulary,
        frozenset({"sites", "by"}),
    ),
    "same-words": More(
        "Groups within the same words", "Do groups differ beyond the words they use?", _frequency,
        lambda capture, chosen: 100.0 * _rows(capture) * 3 * len(capture.groups) ** 2, *_lines("of_frequency"),
        lambda table: plain(table.summary(), limit=600), frozenset({"sites"}),
    ),
    "affinity": More(
        "Next layer", "Which expert does a token take next?", _affinity, lambda capture, chosen: 25.0 * _rows(capture) * 10, *_drawn("affinity"),
        _say_affinity, frozenset({"site"}), onward=True,
    ),
    "concentration": More(
        "Gate weight of the strongest", "How is a token's gate weight spread?", _concentration, _by_rows, *_lines("of_concentration"),
        _say_concentration, frozenset({"sites"}),
    ),
    "first-choice": More(
        "First choice against all", "Do first choices tell the same story?", _ranks, lambda capture, chosen: float(ROWS * _rows(capture)), *_drawn("ranks"),
        _say_ranks, frozenset({"site"}),
    ),
}  # fmt: skip
