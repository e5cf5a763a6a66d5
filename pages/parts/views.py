"""The views of routing: from the choices to a table, a figure with or without its null, an answer, and what one can download."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pages.parts import answers
from pages.parts.nulls import Null
from pages.parts.selection import ALL_PHASES, VIEWS
from workbench.analysis.coactivation import coactivation_table
from workbench.analysis.load import balance_table, heatmap_table, utilisation_table
from workbench.analysis.overlap import overlap_table
from workbench.analysis.select import all_sites
from workbench.analysis.specialisation import specialisation_table
from workbench.capture import Capture
from workbench.figures import interactive, marks

Cell = tuple[str, int]  # site id, expert


@dataclass(frozen=True)
class View:
    """One view.

    Attributes:
        slug: its name in addresses and files.
        label: its name on the tab.
        table: (capture, choices) -> table; raises CaptureError with a sentence where the capture cannot give it.
        figure: (table, chosen cell, null) -> Plotly figure. paper: (table, null) -> the same for paper.
        answer: table -> one sentence.
        cells: whether a click chooses an expert of a site.
        uses: the controls that change it.
    """

    slug: str
    label: str
    table: Callable[[Capture, Mapping[str, Any]], Any]
    figure: Callable[[Any, Cell | None, Null | None], Any]
    paper: Callable[[Any, Null | None], Any]
    answer: Callable[[Any], str]
    cells: bool
    uses: frozenset[str]


def phase_of(chosen: Mapping[str, Any]) -> str | None:
    """The chosen phase, None for all."""
    return None if chosen["phase"] == ALL_PHASES else chosen["phase"]


def sites_of(chosen: Mapping[str, Any]) -> Sequence[str] | None:
    """The chosen sites, None for the view's own choice."""
    return chosen["sites"] or None


def group_of(capture: Capture, chosen: Mapping[str, Any]) -> str:
    """Name of the chosen group."""
    return capture.groups[chosen["group"]]


def sites_for_one(capture: Capture, onward: bool = False) -> tuple[str, ...]:
    """Sites of which one can be shown; onward: those with another after them, where there are any."""
    if not onward:
        return all_sites(capture)
    from workbench.analysis.affinity import next_site

    return tuple(site for site in all_sites(capture) if next_site(capture, site) is not None) or all_sites(capture)


def site_for_one(capture: Capture, chosen: Mapping[str, Any], onward: bool = False) -> str:
    """The one site of a view: that of the chosen cell, else the first one chosen, else the middle one; where it has none after it
    and the view needs one, the site before it."""
    found = _wanted(capture, chosen)
    allowed = sites_for_one(capture, onward)
    if found in allowed:
        return found
    order = all_sites(capture)
    return max(
        (site for site in allowed if order.index(site) < order.index(found)), key=order.index, default=allowed[0]
    )


def _wanted(capture: Capture, chosen: Mapping[str, Any]) -> str:
    if chosen["site"] is not None:
        return str(chosen["site"])
    if chosen["sites"]:
        return str(chosen["sites"][0])
    return capture.sites[len(capture.sites) // 2].id


def _heatmap(capture: Capture, chosen: Mapping[str, Any]) -> Any:
    return heatmap_table(capture, group_of(capture, chosen), sites_of(chosen), phase_of(chosen), chosen["measure"])


def _utilisation(capture: Capture, chosen: Mapping[str, Any]) -> Any:
    return utilisation_table(capture, sites_of(chosen), phase=phase_of(chosen))


def _overlap(capture: Capture, chosen: Mapping[str, Any]) -> Any:
    return overlap_table(capture, sites_of(chosen), q=chosen["q"] / 100, phase=phase_of(chosen))


def _balance(capture: Capture, chosen: Mapping[str, Any]) -> Any:
    return balance_table(capture, sites_of(chosen), measure=chosen["balance"], phase=phase_of(chosen))


def _coactivation(capture: Capture, chosen: Mapping[str, Any]) -> Any:
    return coactivation_table(capture, site_for_one(capture, chosen), chosen["pairs"])


def _specialisation(capture: Capture, chosen: Mapping[str, Any]) -> Any:
    return specialisation_table(capture, group_of(capture, chosen), sites_of(chosen), phase=phase_of(chosen))


def _cells_figure(table: Any, cell: Cell | None, null: Null | None) -> Any:
    over = None if null is None else marks.of_heatmap(null.table, table)  # type: ignore[arg-type]
    return interactive.heatmap(table, selected=cell, height=heatmap_height(len(table.sites)), marks=over)


def _cells_paper(table: Any, null: Null | None) -> Any:
    from workbench.figures import paper

    return paper.heatmap(table, marks=None if null is None else marks.of_heatmap(null.table, table))  # type: ignore[arg-type]


def _over(slug: str, table: Any, null: Null | None) -> Any:
    """The marks of a null for a figure that shows all groups, or None."""
    if null is None:
        return None
    found: Any = null.table
    if slug == "utilisation":
        return marks.of_utilisation(found, table)
    if slug == "overlap":
        return marks.of_overlap(found, null.halves, len(table.groups))
    return marks.of_pairs(found)


def _page(slug: str) -> Callable[[Any, Cell | None, Null | None], Any]:
    return lambda table, cell, null: getattr(interactive, slug)(table, marks=_over(slug, table, null))


def _print(slug: str) -> Callable[[Any, Null | None], Any]:
    def draw(table: Any, null: Null | None) -> Any:
        from workbench.figures import paper

        return getattr(paper, slug)(table, marks=_over(slug, table, null))

    return draw


def _balance_figure(table: Any, cell: Cell | None, null: Null | None) -> Any:
    if null is None:
        return interactive.balance(table)
    from workbench.figures import interactive_measures

    return interactive_measures.bands(null.table)  # type: ignore[arg-type]


def _balance_paper(table: Any, null: Null | None) -> Any:
    from workbench.figures import paper, paper_measures

    return paper.balance(table) if null is None else paper_measures.bands(null.table)  # type: ignore[arg-type]


def heatmap_height(sites: int) -> int:
    """Pixels: tall enough to click at and to stand beside the tokens, at most what a screen shows."""
    return min(max(170 + 12 * sites, 460), 740)


ALL = (
    View("heatmap", VIEWS["heatmap"], _heatmap, _cells_figure, _cells_paper,
         answers.heatmap, True, frozenset({"group", "sites", "measure", "phase", "null"})),
    View("utilisation", VIEWS["utilisation"], _utilisation, _page("utilisation"), _print("utilisation"),
         answers.utilisation, False, frozenset({"sites", "phase", "null"})),
    View("overlap", VIEWS["overlap"], _overlap, _page("overlap"), _print("overlap"),
         answers.overlap, False, frozenset({"sites", "phase", "q", "null"})),
    View("balance", VIEWS["balance"], _balance, _balance_figure, _balance_paper,
         answers.balance, False, frozenset({"sites", "phase", "balance", "null"})),
    View("coactivation", VIEWS["coactivation"], _coactivation, _page("coactivation"), _print("coactivation"),
         answers.coactivation, False, frozenset({"site", "pairs", "null"})),
    View("specialisation", VIEWS["specialisation"], _specialisation, _cells_figure, _cells_paper,
         answers.heatmap, True, frozenset({"group", "sites", "phase", "null"})),
)  # fmt: skip


def by_label(label: str) -> View:
    """The view of a tab."""
    return next(view for view in ALL if view.label == label)
