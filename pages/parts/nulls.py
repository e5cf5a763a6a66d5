"""The null of a view: what its numbers would be if groups did not matter, drawn over its figure when the switch is on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.parts.computed import computed
from pages.parts.words import plain
from workbench import session
from workbench.analysis.align import UNTRAINED_FLAG
from workbench.capture import Capture, CaptureError

if TYPE_CHECKING:
    from workbench.analysis.intervals import SplitHalf
    from workbench.analysis.pair_null import PairBand
    from workbench.analysis.significance import SignificanceTable

OFF = "off"
NULLS = {"labels": "labels", "untrained": "untrained", "fixed-load": "fixed load"}  # in the address -> in the analysis
NULL_WORDS = {
    OFF: "Off",
    "labels": "Labels exchanged",
    "untrained": "Untrained weights",
    "fixed-load": "Same load for all groups",
}
STATISTIC = {
    "heatmap": "utilisation",
    "utilisation": "utilisation",
    "overlap": "IoU",
    "specialisation": "specialisation",
}
DRAWS = 500
ROWS_WORK = 15  # numbers' work of a token row in one exchange of labels, measured on the shipped capture


@dataclass(frozen=True)
class Null:
    """What a null brings to a view.

    Attributes:
        table: the statistic with interval and null, or the band of pairs of experts.
        halves: agreement of each group with itself, for the overlap.
        sentence: what the picture supports and what not. note: how to read the marks, for the caption.
    """

    table: SignificanceTable | PairBand
    halves: SplitHalf | None
    sentence: str
    note: str


def null_of(place: session.Place, capture: Capture, slug: str, chosen: Mapping[str, Any], table: Any) -> Null | None:
    """The null of a view, or None where the switch is off or a job is at it (which is then said).

    Raises:
        CaptureError: where this capture has no such null, with the reason.
    """
    if chosen["null"] == OFF:
        return None
    if slug == "coactivation":
        return _pairs(place, capture, table)
    name = chosen["balance"] if slug == "balance" else STATISTIC[slug]
    null = NULLS[chosen["null"]]
    sites = [site.id for site in table.sites]
    groups = [group.name for group in table.groups] if hasattr(table, "groups") else None
    q, phase = chosen["q"] / 100, None if chosen["phase"] == "all" else chosen["phase"]
    fresh = untrained_of(place, capture) if null == "untrained" else []
    if null == "untrained" and not fresh:
        raise CaptureError(
            "This null needs a capture of the same model with untrained weights on the same input, and none is at hand: record it with the button "
            "below, or with `workbench capture --untrained`."
        )

    def work(progress: Any, cancelled: Any) -> Any:
        from workbench.analysis.significance import significance_table

        return significance_table(
            capture, name, sites, groups, phase, q=q, null=null, untrained=[session.open_capture(one) for one in fresh],  # type: ignore[arg-type]
            resamples=DRAWS, draws=DRAWS, progress=progress, cancelled=cancelled,
        )  # fmt: skip

    key = (
        place.id,
        place.stamp,
        name,
        null,
        tuple(sites),
        tuple(groups or ()),
        phase,
        q,
        tuple((one.id, one.stamp) for one in fresh),
    )
    found = computed(("null", *key), f"Null of {name}", _numbers(capture, table, name, null), work)
    if found is None:
        _waiting()
        return None
    halves = None
    if slug == "overlap":
        from workbench.analysis.intervals import split_half

        halves = computed(("halves", *key), "Halves", 0, lambda *_: split_half(capture, sites, groups, phase, q=q))
    cells = None
    if slug in ("heatmap", "specialisation"):
        names = [group.name for group in found.groups]
        cells = [names.index(table.group)] if table.group in names else None
    return Null(found, halves, found.summary(cells), _note(slug, found))


def untrained_of(place: session.Place, capture: Capture) -> list[session.Place]:
    """Captures at hand of the untrained model: flagged so, of the same model, sites and groups."""
    found = []
    for other in session.places():
        manifest = other.manifest
        if manifest is None or other.id == place.id or not any(flag.kind == UNTRAINED_FLAG for flag in manifest.flags):
            continue
        same = {site.id for site in capture.sites} <= {site.id for site in manifest.sites}
        if (
            same
            and manifest.model.id == capture.manifest.model.id
            and set(capture.groups) <= {group.name for group in manifest.groups}
        ):
            found.append(other)
    return found


def _pairs(place: session.Place, capture: Capture, table: Any) -> Null | None:
    def work(progress: Any, cancelled: Any) -> Any:
        from workbench.analysis.pair_null import pair_band

        return pair_band(capture, table.site.id, resamples=DRAWS, progress=progress, cancelled=cancelled)

    numbers = DRAWS * table.site.experts**2 * 4
    found = computed(("pairs", place.id, place.stamp, table.site.id), "Null of co-activation", numbers, work)
    if found is None:
        _waiting()
        return None
    return Null(
        found,
        None,
        found.summary(),
        "pale: pairs that go together as their loads alone make them (500 resamples of documents)",
    )


def _numbers(capture: Capture, table: Any, name: str, null: str) -> float:
    """How much work a null is, in numbers drawn."""
    sites, groups = len(table.sites), len(capture.groups)
    widest = max(site.experts for site in table.sites)
    work = 2.0 * DRAWS * sites * groups * widest
    if null == "labels" and capture.has("tokens"):
        kept = max((sampling.kept for sampling in capture.manifest.sampling.values()), default=0)
        contrasts = groups * (groups - 1) / 2 if name == "IoU" else groups
        work += ROWS_WORK * sites * contrasts * kept
    return work


def _note(slug: str, found: SignificanceTable) -> str:
    band = found.null
    how = (
        f"{band.draws} draws over {band.units}, p corrected for {int((~found.cell_few).sum()):,} cells"
        if band is not None
        else ""
    )
    return {
        "heatmap": f"pale: within the null of the load ({how})",
        "specialisation": f"pale: within the null ({how})",
        "utilisation": f"grey band: the null ({how}); pale bars lie inside it; thin bars: 95% intervals over blocks of documents",
        "overlap": f"▲ more, ▼ less than the null gives ({how}); on the diagonal, in italics, a group with itself in two halves of its documents",
        "balance": f"pale band: the null ({how}); ring: beyond it",
    }[slug]


def _waiting() -> None:
    st.info(
        "The null is being computed; how far it is stands in the list of jobs on the left, and its marks come by themselves."
    )


def say(null: Null) -> None:
    """The sentence above the figure."""
    st.markdown(f":material/balance: {plain(null.sentence, limit=800)}")
