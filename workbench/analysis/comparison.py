"""What a comparison of captures gives: differences from the first one, cell by cell, with interval and p."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.analysis.align import Lineage
from workbench.analysis.load import token_share
from workbench.analysis.statistics import Kind
from workbench.analysis.tables import HeatmapTable
from workbench.analysis.verdict import SIGNIFICANT
from workbench.capture import CaptureError, Group, Site

# How a sentence names a measure, and what it has a number of.
WORDS = {"IoU": "the overlap (IoU)", "Jensen-Shannon": "the Jensen-Shannon divergence"}
EACH: dict[Kind, str] = {
    "group": "for each group at each layer",
    "pair": "for each pair of groups at each layer",
    "expert": "for each expert of each layer and each group",
}


@dataclass(frozen=True)
class ComparisonTable:
    """Differences of C captures from the first one.

    The arrays have the shape of the measure's kind: "group" [S, G], "pair" [S, P], "expert" [S, G, E] (for "sorted load" the
    last axis is the rank, the busiest expert first).

    Attributes:
        base, names: name of the first capture and of the C others.
        value: of the first capture; others: [C, ...]. difference, low, high: [C, ...], other minus first. p, p_adjusted: [C, ...], two-sided, before and after the correction over cells.
        count: int64 [1 + C, S, G, E], choices (in order of load for "sorted load"). n: int64 [1 + C, S, G] tokens. few, few_blocks: bool [C, S, G], too little in one of the two.
        paired: for each other capture, whether it read the same documents.
    """

    measure: str
    kind: Kind
    unit: str
    base: str
    names: tuple[str, ...]
    lineage: Lineage
    paired: tuple[bool, ...]
    sites: tuple[Site, ...]
    groups: tuple[Group, ...]
    phase: str | None
    first: np.ndarray
    second: np.ndarray
    value: np.ndarray
    others: np.ndarray
    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    p_adjusted: np.ndarray
    count: np.ndarray
    n: np.ndarray
    few: np.ndarray
    few_blocks: np.ndarray
    exists: np.ndarray
    strand: np.ndarray
    all_groups: tuple[Group, ...]
    level: float
    resamples: int
    seed: int
    caption: str

    @property
    def cell_few(self) -> np.ndarray:
        """bool in the shape of the differences."""
        return by_cell(self.few, self.kind, self.difference.shape, self.first, self.second, np.logical_or)

    @property
    def significant(self) -> np.ndarray:
        """bool: corrected p at or below .05 with enough tokens on both sides."""
        with np.errstate(invalid="ignore"):
            return (self.p_adjusted <= SIGNIFICANT) & ~self.cell_few

    def label(self, cell: int) -> str:
        """Name of a cell: the group, or the two groups of a pair."""
        names = [group.name for group in self.groups]
        return f"{names[self.first[cell]]} and {names[self.second[cell]]}" if self.kind == "pair" else names[cell]

    def summary(self, capture: int = 0) -> str:
        """One sentence: how many numbers of a capture differ from the first's beyond noise, and what that supports."""
        tested = np.isfinite(self.p_adjusted[capture]) & ~self.cell_few[capture]
        found = tested & self.significant[capture]
        here, there = self.names[capture], self.base
        what = f"{int(tested.sum()):,} numbers of {WORDS.get(self.measure, self.measure)}, one {EACH[self.kind]}"
        if not tested.any():
            return f"Nothing can be said about {here} against {there}: every number comes from too few tokens."
        if not found.any():
            return (
                f"{here} cannot be told from {there}: of {what}, none differs by more than the documents' own noise; that does not prove that "
                "they are the same."
            )
        gap = self.difference[capture]
        up, down = int((found & (gap > 0)).sum()), int((found & (gap < 0)).sum())
        said = f"{here} differs from {there} beyond noise in {up + down:,} of {what} ({up:,} higher, {down:,} lower): "
        if self.paired[capture]:
            return said + "the two route the same documents differently; which of them is better is not shown by this."
        return said + "this supports a difference of models, input or both, since they did not read the same documents."

    def frame(self) -> pd.DataFrame:
        """A row for every capture and cell, experts that do not exist left out."""
        there = np.ones(self.difference.shape, dtype=bool)
        if self.kind == "expert":
            there = np.broadcast_to(self.exists[None, :, None, :], there.shape)
        index = np.nonzero(there)
        names = np.array([group.name for group in self.groups], dtype=object)
        columns: dict[str, object] = {
            "capture": np.array(self.names, dtype=object)[index[0]],
            "against": self.base,
            "measure": self.measure,
            "phase": self.phase or "all",
            "site": np.array([site.id for site in self.sites], dtype=object)[index[1]],
            "layer": np.array([site.layer for site in self.sites])[index[1]],
        }
        if self.kind == "pair":
            columns |= {"group_a": names[self.first][index[2]], "group_b": names[self.second][index[2]]}
        else:
            columns["group"] = names[index[2]]
            columns["n_tokens"] = self.n[1:][index[:3]]
            columns["n_tokens_against"] = self.n[0][index[1:3]]
        if self.kind == "expert":
            columns["rank" if self.measure == "sorted load" else "expert"] = index[3]
        columns |= {
            "value": self.others[index],
            "value_against": self.value[index[1:]],
            **{name: getattr(self, name)[index] for name in ("difference", "low", "high", "p", "p_adjusted")},
            "few_tokens": self.cell_few[index],
            "more_than_noise": self.significant[index],
        }
        return pd.DataFrame(columns)


def by_cell(
    values: np.ndarray, kind: Kind, shape: tuple[int, ...], first: np.ndarray, second: np.ndarray, join: np.ufunc
) -> np.ndarray:
    """Something told of groups, [..., S, G], for every cell of a statistic: of a pair the two groups' joined."""
    if kind == "pair":
        return join(values[..., first], values[..., second])
    return np.broadcast_to(values[..., None], shape) if kind == "expert" else values


def as_heatmap(table: ComparisonTable, capture: int, group: int) -> HeatmapTable:
    """One group's differences as a heat map of sites and experts (or ranks).

    Raises:
        CaptureError: for a measure that has no number an expert.
    """
    if table.kind != "expert":
        raise CaptureError(f"{table.measure} has no number an expert: draw it as lines over layers.")
    shape = table.exists.shape
    return HeatmapTable(
        measure="difference",
        unit=f"log2 of load, {table.names[capture]} minus {table.base}",
        centre=0.0,
        sites=table.sites,
        group=table.groups[group].name,
        phase=table.phase,
        values=table.difference[capture, :, group],
        count=table.count[capture + 1, :, group],
        share=token_share(table.count[capture + 1, :, group], table.n[capture + 1, :, group], table.exists),
        n=table.n[[0, capture + 1], :, group].min(axis=0),
        few=table.few[capture, :, group],
        exists=table.exists,
        identity=np.zeros(shape, dtype=bool),
        caption=table.caption,
    )
