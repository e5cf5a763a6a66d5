"""Figures with their null, and the measures over token rows, as parts of a set of figures (`workbench.export`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from workbench.capture import Capture
from workbench.capture.errors import WorkbenchError
from workbench.export import Part

if TYPE_CHECKING:
    from workbench.analysis.significance import NullName, SignificanceTable

NULL_TITLES = {
    "load-null": "Load beside its null",
    "overlap-null": "Overlap beside its null, and each group with itself",
    "balance-null": "Balance beside its null",
    "specialisation-null": "Specialisation beyond its null",
    "coactivation-null": "Co-activation beyond what loads alone make",
    "iou-curve": "Overlap over all sizes of the set",
    "repetition": "Repetition at the next token",
    "vocabulary": "Experts bound to words",
    "affinity": "Expert of the next layer",
    "concentration": "Gate weight of the strongest expert",
    "first-choice": "First choice against all choices",
}
NULL_NAMES = tuple(NULL_TITLES)


def null_parts(
    capture: Capture,
    sites: Sequence[str] | None,
    groups: Sequence[str] | None,
    null: NullName,
    untrained: Sequence[Capture] = (),
) -> list[Part]:
    """Every figure of `NULL_NAMES`; one that the capture cannot give says why in its caption.

    Args:
        sites, groups: as in `workbench.export.parts`. null: for the first four. untrained: captures for that null.
    """
    made = []
    for name, build in _BUILD.items():
        try:
            draw, frame, caption = build(capture, sites, groups, null, untrained)
            made.append(Part(name, NULL_TITLES[name], draw, frame, caption))
        except WorkbenchError as fault:
            made.append(Part(name, NULL_TITLES[name], None, None, str(fault)))
    return made


Built = tuple[Callable[[], Any], pd.DataFrame, str]


def _table(
    capture: Capture, name: str, sites: Any, groups: Any, null: NullName, untrained: Sequence[Capture]
) -> SignificanceTable:
    from workbench.analysis.significance import significance_table

    return significance_table(capture, name, sites, groups, null=null, untrained=untrained)


def _key(capture: Capture, sites: Sequence[str] | None) -> Sequence[str]:
    from workbench.analysis.select import key_sites
    from workbench.export import panel_sites

    return panel_sites(sites) or key_sites(capture)


def _load(capture: Capture, sites: Any, groups: Any, null: NullName, untrained: Sequence[Capture]) -> Built:
    from workbench.analysis.load import utilisation_table
    from workbench.figures import marks, paper

    table = utilisation_table(capture, _key(capture, sites), groups)
    found = _table(capture, "utilisation", _key(capture, sites), groups, null, untrained)
    caption = f"{found.summary()} {table.caption} Grey band: the null; thin bars: intervals."
    return lambda: paper.utilisation(table, marks=marks.of_utilisation(found, table)), found.frame(), caption


def _overlap(capture: Capture, sites: Any, groups: Any, null: NullName, untrained: Sequence[Capture]) -> Built:
    from workbench.analysis.intervals import split_half
    from workbench.analysis.overlap import overlap_table
    from workbench.figures import marks, paper

    where = _key(capture, sites)
    table = overlap_table(capture, where, groups)
    found, halves = _table(capture, "IoU", where, groups, null, untrained), split_half(capture, where, groups)
    over = marks.of_overlap(found, halves, len(table.groups))
    caption = f"{found.summary()} {table.caption} ▲ more, ▼ less than the null gives; diagonal: a group with itself in two halves of its documents."
    return lambda: paper.overlap(table, marks=over), found.frame(), caption


def _balance(capture: Capture, sites: Any, groups: Any, null: NullName, untrained: Sequence[Capture]) -> Built:
    from workbench.figures import paper_measures

    found = _table(capture, "corrected entropy", sites, groups, null, untrained)
    return lambda: paper_measures.bands(found), found.frame(), f"{found.summary()} {found.caption}"


def _specialisation(capture: Capture, sites: Any, groups: Any, null: NullName, untrained: Sequence[Capture]) -> Built:
    from workbench.analysis.specialisation import specialisation_table
    from workbench.figures import marks, paper

    found = _table(capture, "specialisation", sites, groups, null, untrained)
    names = [group.name for group in found.groups]
    tables = [
        specialisation_table(capture, name, sites, against=[other for other in names if other != name])
        for name in names
    ]
    over = [marks.of_heatmap(found, table) for table in tables]
    caption = f"{found.summary()} {paper.panels_caption(tables)} Pale: within the null."
    return lambda: paper.specialisation(tables, marks=over), found.frame(), caption


def _coactivation(capture: Capture, sites: Any, groups: Any, null: NullName, untrained: Sequence[Capture]) -> Built:
    from workbench.analysis.coactivation import coactivation_table
    from workbench.analysis.pair_null import pair_band
    from workbench.figures import marks, paper

    site = _middle(capture, sites)
    table, found = coactivation_table(capture, site), pair_band(capture, site)
    return (
        lambda: paper.coactivation(table, marks=marks.of_pairs(found)),
        found.frame(),
        f"{found.summary()} {table.caption}",
    )


def _middle(capture: Capture, sites: Sequence[str] | None) -> str:
    where = _key(capture, sites)
    return where[(len(where) - 1) // 2]  # not the last one, so that a layer comes after it


def _curve(capture: Capture, sites: Any, groups: Any, null: NullName, untrained: Sequence[Capture]) -> Built:
    from workbench.analysis.iou_curve import iou_curve_table
    from workbench.figures import paper_measures

    table = iou_curve_table(capture, _middle(capture, sites), groups)
    return lambda: paper_measures.iou_curve(table), table.frame(), table.caption


def _lines(table: Any, name: str) -> Built:
    from workbench.figures import lines, paper_lines

    return lambda: paper_lines.site_lines(getattr(lines, name)(table)), table.frame(), table.caption


def _repetition(capture: Capture, sites: Any, groups: Any, *_: Any) -> Built:
    from workbench.analysis.repetition import repetition_table

    return _lines(repetition_table(capture, sites, groups), "of_repetition")


def _vocabulary(capture: Capture, sites: Any, *_: Any) -> Built:
    from workbench.analysis.vocabulary import vocabulary_table

    return _lines(vocabulary_table(capture, sites), "of_vocabulary")


def _concentration(capture: Capture, sites: Any, groups: Any, *_: Any) -> Built:
    from workbench.analysis.concentration import concentration_table

    return _lines(concentration_table(capture, sites, groups), "of_concentration")


def _affinity(capture: Capture, sites: Any, *_: Any) -> Built:
    from workbench.analysis.affinity import affinity_table
    from workbench.figures import paper_measures

    table = affinity_table(capture, _middle(capture, sites))
    return lambda: paper_measures.affinity(table), table.frame(), table.caption


def _ranks(capture: Capture, sites: Any, groups: Any, *_: Any) -> Built:
    from workbench.analysis.concentration import rank_table
    from workbench.figures import paper_measures

    table = rank_table(capture, _middle(capture, sites), groups)
    return lambda: paper_measures.ranks(table), table.frame(), table.caption


_BUILD: dict[str, Callable[..., Built]] = {
    "load-null": _load,
    "overlap-null": _overlap,
    "balance-null": _balance,
    "specialisation-null": _specialisation,
    "coactivation-null": _coactivation,
    "iou-curve": _curve,
    "repetition": _repetition,
    "vocabulary": _vocabulary,
    "affinity": _affinity,
    "concentration": _concentration,
    "first-choice": _ranks,
}
