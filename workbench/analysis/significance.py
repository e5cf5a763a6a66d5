"""A number with its interval and its null, for every cell of a figure, and one sentence that says what the picture supports.

table = significance_table(capture, "normalised entropy", null="labels")
table.value, table.low, table.high          # interval over blocks of documents
table.null.low, table.null.high, table.p    # what it would be if groups did not matter
table.sentence(site=3, cell=0)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from workbench.analysis.block_counts import Cancelled, Progress, block_counts
from workbench.analysis.intervals import Interval, bootstrap
from workbench.analysis.nulls import NullBand, fixed_load_null, label_null
from workbench.analysis.overlap import chance_iou
from workbench.analysis.pvalues import benjamini_hochberg
from workbench.analysis.select import MIN_EXPECTED, strand_numbers
from workbench.analysis.statistics import Kind, pairs_of, statistic, top_sets
from workbench.analysis.untrained import untrained_null
from workbench.analysis.verdict import NULL_WORDS, SIGNIFICANT, summary, verdict
from workbench.analysis.words import groups_phrase, phase_phrase, site_title, sites_phrase
from workbench.capture import Capture, CaptureError, Group, Site

NullName = Literal["fixed load", "labels", "untrained"]
NULLS: tuple[NullName, ...] = ("labels", "untrained", "fixed load")


@dataclass(frozen=True)
class SignificanceTable:
    """A statistic at every site with interval and null.

    The arrays have the shape of the statistic's kind: "group" [S, G], "pair" [S, P], "expert" [S, G, E].

    Attributes:
        first, second: int64 [P], the groups of each pair (empty unless "pair").
        value, low, high: number and interval, of `level`, over blocks of documents.
        null: the band of the null, or None.
        p_adjusted: two-sided p of the null, corrected over all cells of the table (Benjamini-Hochberg); NaN without a null.
        chance: for IoU, the expected IoU of two random sets of the same sizes, else NaN; even: value of an even load, else NaN.
        n: int64 [S, G] tokens; blocks: float64 [S, G], effective blocks; few, few_blocks: bool [S, G].
        strand: int64 [S], sites of one stack and part.
    """

    name: str
    kind: Kind
    unit: str
    sites: tuple[Site, ...]
    groups: tuple[Group, ...]
    phase: str | None
    first: np.ndarray
    second: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    level: float
    resamples: int
    null: NullBand | None
    p_adjusted: np.ndarray
    chance: np.ndarray
    n: np.ndarray
    blocks: np.ndarray
    few: np.ndarray
    few_blocks: np.ndarray
    exists: np.ndarray
    strand: np.ndarray
    all_groups: tuple[Group, ...]
    seed: int
    caption: str

    @property
    def significant(self) -> np.ndarray:
        """bool, corrected p at or below .05 in a cell with enough tokens; False without a null."""
        with np.errstate(invalid="ignore"):
            return (self.p_adjusted <= SIGNIFICANT) & ~self.cell_few

    @property
    def cell_few(self) -> np.ndarray:
        """bool in the shape of the values: too few tokens in the group, or in one of the two."""
        return self._by_cell(self.few)

    def _by_cell(self, flags: np.ndarray) -> np.ndarray:
        if self.kind == "pair":
            return flags[:, self.first] | flags[:, self.second]
        return np.broadcast_to(flags[..., None], self.value.shape) if self.kind == "expert" else flags

    def label(self, cell: int) -> str:
        """Name of a cell: the group, or the two groups of a pair."""
        names = [group.name for group in self.groups]
        return f"{names[self.first[cell]]} and {names[self.second[cell]]}" if self.kind == "pair" else names[cell]

    def sentence(self, site: int, cell: int, expert: int | None = None) -> str:
        """What this cell supports and what not, in plain words (see `verdict`)."""
        at: tuple[int, ...] = (site, cell) if expert is None else (site, cell, expert)
        if (self.kind == "expert") != (expert is not None):
            raise CaptureError(
                f"A cell of '{self.name}' is named by site and {'group and expert' if self.kind == 'expert' else 'number'}."
            )
        tokens = (
            self.n[site, [self.first[cell], self.second[cell]]].min() if self.kind == "pair" else self.n[site, cell]
        )
        where = f"{self.name} of {self.label(cell)} at {site_title(self.sites[site])}" + (
            "" if expert is None else f", expert {expert}"
        )
        null = self.null
        return verdict(
            where,
            float(self.value[at]),
            (float(self.low[at]), float(self.high[at])),
            int(tokens),
            level=self.level,
            null=None if null is None else (null.name, float(null.mean[at]), float(null.low[at]), float(null.high[at])),
            observed=None if null is None else float(null.observed[at]),
            p=None if null is None else float(self.p_adjusted[at]),
            chance=float(self.chance[at]) if self.chance.size else None,
            few=bool(self.cell_few[at]),
            few_blocks=bool(self._by_cell(self.few_blocks)[at]),
        )

    def summary(self, cells: Sequence[int] | None = None) -> str:
        """One sentence on all cells (or those of some groups or pairs): how many the null cannot give, what that supports."""
        shown = np.zeros(self.value.shape, dtype=bool)
        shown[:, slice(None) if cells is None else list(cells)] = True
        tested = shown & ~self.cell_few & np.isfinite(self.p_adjusted)
        return summary(
            self.name,
            self.kind,
            None if self.null is None else self.null.name,
            int(tested.sum()),
            int((tested & self.significant).sum()),
        )

    def frame(self) -> pd.DataFrame:
        """A row a cell, experts that do not exist left out."""
        there = np.ones(self.value.shape, dtype=bool)
        if self.kind == "expert":
            there = np.broadcast_to(self.exists[:, None, :], self.value.shape)
        index = np.nonzero(there)
        names = np.array([group.name for group in self.groups], dtype=object)
        columns: dict[str, object] = {
            "site": np.array([site.id for site in self.sites], dtype=object)[index[0]],
            "layer": np.array([site.layer for site in self.sites])[index[0]],
        }
        if self.kind == "pair":
            columns |= {"group_a": names[self.first][index[1]], "group_b": names[self.second][index[1]]}
            columns |= {"n_tokens_a": self.n[:, self.first][index], "n_tokens_b": self.n[:, self.second][index]}
        else:
            columns |= {
                "group": names[index[1]],
                "n_tokens": self.n[index[0], index[1]],
                "effective_blocks": self.blocks[index[0], index[1]],
            }
        if self.kind == "expert":
            columns["expert"] = index[2]
        columns |= {"phase": self.phase or "all", "measure": self.name, "value": self.value[index]}
        columns |= {"low": self.low[index], "high": self.high[index], "level": self.level}
        if self.chance.size and not np.isnan(self.chance).all():
            columns["chance"] = self.chance[index]
        if self.null is not None:
            null = self.null
            columns |= {"null": null.name, "compared": null.observed[index], "null_mean": null.mean[index]}
            columns |= {"null_low": null.low[index], "null_high": null.high[index]}
            columns |= {
                "p_low": null.p_low[index],
                "p_high": null.p_high[index],
                "p": null.p[index],
                "p_adjusted": self.p_adjusted[index],
            }
        columns |= {"few_tokens": self.cell_few[index], "few_blocks": self._by_cell(self.few_blocks)[index]}
        return pd.DataFrame(columns)


def significance_table(
    capture: Capture,
    name: str = "normalised entropy",
    sites: str | Sequence[str] | None = None,
    groups: str | Sequence[str] | None = None,
    phase: str | None = None,
    *,
    q: float = 0.25,
    null: NullName | None = "labels",
    untrained: Capture | Sequence[Capture] | None = None,
    rows: bool | None = None,
    resamples: int = 500,
    draws: int = 500,
    level: float = 0.95,
    seed: int = 0,
    min_expected: float = MIN_EXPECTED,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> SignificanceTable:
    """A statistic with its interval over blocks and its null.

    Args:
        name: a balance measure, "IoU", "Jensen-Shannon", "utilisation" or "specialisation".
        q: part of the experts in a top set (IoU only).
        null: "labels" (the default: the fixed-load null takes tokens for independent and rejects too often where documents
            differ), "fixed load", "untrained" or None (see analysis.nulls and analysis.untrained).
        untrained: capture or captures of the untrained model, for that null.
        rows: for "labels": token rows (True), blocks (False), rows where there are some (None).
        resamples, draws: of the interval and of the null.
        progress: called with (done, total) of the part at work; the interval is done first, then the null.

    Raises:
        CaptureError: for an unknown name or choice, captures that do not line up, or too few blocks or groups.
        Stopped: if cancelled.
    """
    how = statistic(name, q)
    if null is not None and null not in NULLS:
        raise CaptureError(f"The nulls are {', '.join(NULLS)}, not '{null}': choose one of them, or none.")
    counts = block_counts(capture, sites, groups, phase, min_expected)
    if len(counts.chosen.groups) < 2 and (how.kind == "pair" or name == "specialisation"):
        raise CaptureError(f"{name} compares groups, but only one has tokens or was chosen: choose a second group.")
    steer: dict[str, Any] = {"seed": seed, "progress": progress, "cancelled": cancelled}
    interval: Interval = bootstrap(counts, how, resamples=resamples, level=level, **steer)
    band: NullBand | None = None
    if null == "fixed load":
        band = fixed_load_null(counts, how, draws=draws, **steer)
    elif null == "labels":
        band = label_null(capture, counts, how, draws=draws, rows=rows, **steer)
    elif null == "untrained":
        band = untrained_null(
            capture, untrained if untrained is not None else (), counts, how, resamples=resamples, **steer
        )
    chosen = counts.chosen
    first, second = (
        pairs_of(len(chosen.groups)) if how.kind == "pair" else (np.zeros(0, np.int64), np.zeros(0, np.int64))
    )
    missing = np.full(interval.value.shape, np.nan)
    said = ""
    if band is not None:
        said = f"; band: what it would be if {NULL_WORDS[band.name]} ({band.draws} draws over {band.units}), "
        said += f"p corrected for {int(np.isfinite(band.p).sum())} cells"
    return SignificanceTable(
        name=name,
        kind=how.kind,
        unit=how.unit,
        sites=chosen.sites,
        groups=chosen.groups,
        phase=phase,
        first=first,
        second=second,
        value=interval.value,
        low=interval.low,
        high=interval.high,
        level=level,
        resamples=resamples,
        null=band,
        p_adjusted=missing if band is None else benjamini_hochberg(band.p),
        chance=_chance(chosen.real_count, chosen.real, q) if name == "IoU" else missing,
        n=chosen.tokens,
        blocks=counts.effective_blocks,
        few=chosen.few,
        few_blocks=counts.few_blocks,
        exists=chosen.exists,
        strand=strand_numbers(chosen.sites),
        all_groups=chosen.all_groups,
        seed=seed,
        caption=(
            f"{name[0].upper()}{name[1:]} {sites_phrase(chosen.sites)} with its {level:.0%} interval over blocks of documents ({resamples} "
            f"resamples); {groups_phrase(chosen.names, chosen.tokens)}{phase_phrase(phase)}{said}; a difference that "
            "is not chance does not "
            "prove that the experts matter to the group."
        ),
    )


def _chance(count: np.ndarray, real: np.ndarray, q: float) -> np.ndarray:
    """Exact chance IoU of every pair, [S, P]."""
    size = top_sets(count, q, real[:, None, :]).sum(axis=-1)
    first, second = pairs_of(count.shape[1])
    experts = real.sum(axis=-1)
    return np.array(
        [
            [chance_iou(int(e), int(row[a]), int(row[b])) for a, b in zip(first, second, strict=True)]
            for e, row in zip(experts, size, strict=True)
        ]
    ).reshape(len(size), len(first))
