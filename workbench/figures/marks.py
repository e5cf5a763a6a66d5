"""What a null or a comparison draws over a figure: pale cells, arrows, bands, and the words of the hover; for page and paper.

veil      cells that cannot be told from the null (or from noise) are drawn pale
arrows    ▲ above, ▼ below what the null gives
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench.analysis.statistics import pairs_of

if TYPE_CHECKING:
    from workbench.analysis.comparison import ComparisonTable
    from workbench.analysis.intervals import SplitHalf
    from workbench.analysis.pair_null import PairBand
    from workbench.analysis.significance import SignificanceTable
    from workbench.analysis.tables import HeatmapTable, UtilisationTable

ABOVE, BELOW = "▲", "▼"
VEIL = "#F4F4F4"  # nearly the middle of the diverging scale: a pale cell reads as "nothing special"
VEIL_STRENGTH = 0.82


@dataclass(frozen=True)
class CellMarks:
    """Over cells [S, E] or [E, E]: veil bool, notes words for the hover, label of what is pale."""

    veil: np.ndarray
    notes: np.ndarray
    label: str


@dataclass(frozen=True)
class OverlapMarks:
    """Over pairs of groups [S, G, G]: sign -1, 0 or 1, notes; itself float64 [S, G], IoU of a group's two halves, or None."""

    sign: np.ndarray
    notes: np.ndarray
    itself: np.ndarray | None


@dataclass(frozen=True)
class ShareMarks:
    """In shares of tokens, [S, G, E]: interval and band of the null; sure bool, beyond the null."""

    low: np.ndarray
    high: np.ndarray
    null_low: np.ndarray
    null_high: np.ndarray
    sure: np.ndarray


def of_heatmap(marks: SignificanceTable, table: HeatmapTable) -> CellMarks | None:
    """Marks of the group that a heat map shows; None where it shows another one, or several pooled."""
    names = [group.name for group in marks.groups]
    if table.group not in names or marks.null is None or marks.sites != table.sites:
        return None
    at = names.index(table.group)
    null = marks.null
    notes = _notes(marks.low[:, at], marks.high[:, at], null.low[:, at], null.high[:, at], marks.p_adjusted[:, at])
    unsure = ~marks.significant[:, at] & table.exists & ~table.few[:, None]
    return CellMarks(unsure, notes, "within the null")


def of_comparison(table: ComparisonTable, capture: int, group: int) -> CellMarks:
    """Marks of one group's differences: pale is within noise."""
    low, high, p = (values[capture, :, group] for values in (table.low, table.high, table.p_adjusted))
    return CellMarks(
        ~table.significant[capture, :, group] & table.exists, _notes(low, high, None, None, p), "within noise"
    )


def of_pairs(band: PairBand) -> CellMarks:
    """Marks of a co-activation square: pale pairs go together as their loads make them."""
    off = ~np.eye(len(band.few), dtype=bool)
    notes = _notes(band.low, band.high, None, None, band.p_adjusted, "log2 of tokens over those that loads alone give")
    return CellMarks(~band.significant & off & ~band.few, notes, "as loads alone make it")


def of_overlap(marks: SignificanceTable | None, halves: SplitHalf | None, groups: int) -> OverlapMarks | None:
    """Marks of every pair, and the agreement of each group with itself."""
    if marks is None or marks.null is None:
        return None
    first, second = pairs_of(groups)
    sites = len(marks.sites)
    sign, notes = np.zeros((sites, groups, groups), dtype=np.int64), np.full((sites, groups, groups), "", dtype=object)
    null = marks.null
    side = np.where(null.observed < null.mean, -1, 1) * marks.significant
    words = _notes(marks.low, marks.high, null.low, null.high, marks.p_adjusted)
    for a, b in ((first, second), (second, first)):
        sign[:, a, b], notes[:, a, b] = side, words
    return OverlapMarks(sign, notes, None if halves is None else halves.iou)


def of_utilisation(marks: SignificanceTable, table: UtilisationTable) -> ShareMarks | None:
    """The statistic "utilisation" in shares of tokens: u C / (n E), with C choices of experts with weights."""
    if marks.null is None or marks.sites != table.sites or marks.groups != table.groups:
        return None
    real = table.exists & ~table.identity
    choices = np.where(real[:, None, :], table.count, 0).sum(axis=2)
    factor = (choices / np.maximum(table.n, 1) / np.maximum(real.sum(axis=1), 1)[:, None])[..., None]
    null = marks.null
    return ShareMarks(marks.low * factor, marks.high * factor, null.low * factor, null.high * factor, marks.significant)


def arrow(sign: int) -> str:
    """▲, ▼ or nothing."""
    return ABOVE if sign > 0 else BELOW if sign < 0 else ""


def _notes(
    low: np.ndarray,
    high: np.ndarray,
    null_low: np.ndarray | None,
    null_high: np.ndarray | None,
    p: np.ndarray,
    what: str = "interval",
) -> np.ndarray:
    """Words of the hover for every cell, [...] of str."""
    out = np.full(low.shape, "", dtype=object)
    for at in np.ndindex(low.shape):
        if np.isnan(low[at]):
            continue
        said = f"<br>{what} {low[at]:.2f} to {high[at]:.2f}"
        if null_low is not None and null_high is not None and not np.isnan(null_low[at]):
            said += f"; null {null_low[at]:.2f} to {null_high[at]:.2f}"
        if not np.isnan(p[at]):
            said += f"; p {'below .001' if p[at] < 0.001 else f'{p[at]:.3f}'}"
        out[at] = said
    return out
