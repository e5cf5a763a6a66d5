"""IoU of two groups' top sets over all sizes of the set, so that nothing hangs on one threshold.

Beside it the exact chance level of every size and the band of a null. One number sums it up: the area under the
curve (mean IoU over the sizes 1 to E - 1; at E both sets hold everything).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from workbench.analysis.block_counts import Cancelled, Progress, block_counts
from workbench.analysis.nulls import fixed_load_null, label_null
from workbench.analysis.overlap import chance_iou
from workbench.analysis.pvalues import benjamini_hochberg
from workbench.analysis.select import MIN_EXPECTED, select
from workbench.analysis.statistics import Statistic, pairs_of
from workbench.analysis.verdict import SIGNIFICANT
from workbench.analysis.words import few_phrase, groups_phrase, phase_phrase, site_title
from workbench.capture import Capture, CaptureError, Group, Site


@dataclass(frozen=True)
class IouCurveTable:
    """IoU by size of the top set, at one site.

    Attributes:
        size: int64 [M], experts in a top set, 1 to E (fewer where fewer were used at all); q = size / E.
        iou, chance, null_mean, null_low, null_high: float64 [P, M].
        area, area_chance, area_null, p_low, p_high: float64 [P]; p that the area is as low (high) under the null. null_words: what the null does.
        first, second: int64 [P], groups of each pair. n: int64 [G]. few: bool [G].
    """

    site: Site
    groups: tuple[Group, ...]
    phase: str | None
    size: np.ndarray
    first: np.ndarray
    second: np.ndarray
    iou: np.ndarray
    chance: np.ndarray
    null_mean: np.ndarray
    null_low: np.ndarray
    null_high: np.ndarray
    area: np.ndarray
    area_chance: np.ndarray
    area_null: np.ndarray
    p_low: np.ndarray
    p_high: np.ndarray
    n: np.ndarray
    few: np.ndarray
    draws: int
    null_words: str
    all_groups: tuple[Group, ...]
    caption: str

    @property
    def p_adjusted(self) -> np.ndarray:
        """float64 [P]: two-sided p of the area, corrected over pairs (Benjamini-Hochberg); NaN where a group has few tokens."""
        few = self.few[self.first] | self.few[self.second]
        both = np.minimum(1.0, 2 * np.minimum(self.p_low, self.p_high))
        return benjamini_hochberg(np.where(few, np.nan, both))

    def summary(self) -> str:
        """One sentence: how many pairs of groups overlap as exchanged labels would not, and what that supports."""
        tested = np.isfinite(self.p_adjusted)
        if not tested.any():
            return "Too few tokens to say whether groups share experts."
        found = tested & (np.nan_to_num(self.p_adjusted, nan=1.0) <= SIGNIFICANT)
        fewer = int((found & (self.area < self.area_null)).sum())
        more = int(found.sum()) - fewer
        return (
            f"At {site_title(self.site)}, {fewer + more} of {int(tested.sum())} pairs of groups overlap otherwise than {self.null_words} gives, over all sizes of the "
            f"set together ({fewer} less, {more} more; corrected p at most {SIGNIFICANT:g}); shared experts do not prove shared computation."
        )

    def pairs_with(self, group: str) -> list[int]:
        """Places of the pairs that hold a group."""
        names = [one.name for one in self.groups]
        return [
            at
            for at, pair in enumerate(zip(self.first, self.second, strict=True))
            if group in (names[pair[0]], names[pair[1]])
        ]

    def frame(self) -> pd.DataFrame:
        """A row for every pair and size."""
        pair, at = (index.ravel() for index in np.indices(self.iou.shape))
        names = np.array([group.name for group in self.groups], dtype=object)
        return pd.DataFrame(
            {
                "site": self.site.id,
                "group_a": names[self.first[pair]],
                "group_b": names[self.second[pair]],
                "phase": self.phase or "all",
                "experts_in_set": self.size[at],
                "q": self.size[at] / len(self.size),
                "iou": self.iou[pair, at],
                "chance": self.chance[pair, at],
                "null_mean": self.null_mean[pair, at],
                "null_low": self.null_low[pair, at],
                "null_high": self.null_high[pair, at],
                "n_tokens_a": self.n[self.first[pair]],
                "n_tokens_b": self.n[self.second[pair]],
                "few_tokens": self.few[self.first[pair]] | self.few[self.second[pair]],
            }
        )


def iou_curve(count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """IoU for every size of the top sets: counts [..., G, E] -> (IoU [..., P, E], sizes [..., G, E]).

    Ranks as `analysis.overlap`: the higher count, then the lower id; an expert that was never chosen is in no set. An expert is in
    both sets of size m if the worse of its two ranks is below m, so one running sum gives all sizes.
    """
    experts = count.shape[-1]
    order = np.argsort(-count, axis=-1, kind="stable")
    rank = np.empty(count.shape, dtype=np.int64)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(experts), count.shape), axis=-1)
    rank = np.where(count > 0, rank, experts)
    used = (count > 0).sum(axis=-1)
    size = np.minimum(np.arange(1, experts + 1), used[..., None])
    first, second = pairs_of(count.shape[-2])
    worse = np.maximum(rank[..., first, :], rank[..., second, :])
    flat = worse.reshape(-1, experts)
    found = np.bincount(
        (flat + np.arange(len(flat))[:, None] * (experts + 1)).ravel(), minlength=len(flat) * (experts + 1)
    )
    both = found.reshape(len(flat), experts + 1)[:, :experts].cumsum(axis=-1).reshape(worse.shape)
    either = size[..., first, :] + size[..., second, :] - both
    empty = (used[..., first] == 0) | (used[..., second] == 0)
    return np.where(empty[..., None], np.nan, both / np.maximum(either, 1)), size


def iou_curve_table(
    capture: Capture,
    site: str,
    groups: str | Sequence[str] | None = None,
    phase: str | None = None,
    *,
    null: Literal["labels", "fixed load"] = "labels",
    draws: int = 1000,
    seed: int = 0,
    min_expected: float = MIN_EXPECTED,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> IouCurveTable:
    """IoU over all q of every pair of groups at one site, with chance and the band of a null (see analysis.nulls).

    Raises:
        CaptureError: for an unknown site, group or phase, or fewer than two groups.
        Stopped: if cancelled.
    """
    chosen = select(capture, site, groups, phase, min_expected)
    if len(chosen.groups) < 2:
        raise CaptureError("Overlap compares two groups, but only one has tokens or was chosen: choose a second group.")
    count = chosen.count[0][:, chosen.real[0]]
    experts = count.shape[-1]
    values, size = iou_curve(count)
    first, second = pairs_of(len(chosen.groups))
    chance = np.array(
        [
            [chance_iou(experts, int(a), int(b)) for a, b in zip(size[i], size[j], strict=True)]
            for i, j in zip(first, second, strict=True)
        ]
    )
    last = max(1, experts - 1)

    def curve_and_area(counts: np.ndarray, mask: np.ndarray) -> np.ndarray:
        got = iou_curve(counts[..., :experts])[0]
        return np.concatenate([got, got[..., :last].mean(axis=-1, keepdims=True)], axis=-1)

    how = Statistic("IoU curve", "pair", "IoU", curve_and_area)
    steer: dict[str, Any] = {"draws": draws, "seed": seed, "progress": progress, "cancelled": cancelled}
    blocks = block_counts(capture, site, groups, phase, min_expected)
    band = label_null(capture, blocks, how, **steer) if null == "labels" else fixed_load_null(blocks, how, **steer)
    words = "exchanging the labels of groups" if null == "labels" else "drawing both groups from the site's own load"
    return IouCurveTable(
        site=chosen.sites[0],
        groups=chosen.groups,
        phase=phase,
        size=np.arange(1, experts + 1),
        first=first,
        second=second,
        iou=values,
        chance=chance,
        null_mean=band.mean[0, :, :experts],
        null_low=band.low[0, :, :experts],
        null_high=band.high[0, :, :experts],
        area=values[..., :last].mean(axis=-1),
        area_chance=chance[..., :last].mean(axis=-1),
        area_null=band.mean[0, :, -1],
        p_low=band.p_low[0, :, -1],
        p_high=band.p_high[0, :, -1],
        n=chosen.tokens[0],
        few=chosen.few[0],
        draws=draws,
        null_words=words,
        all_groups=chosen.all_groups,
        caption=(
            f"Intersection over union of two groups' most used experts by size of the set at {site_title(chosen.sites[0])}; "
            f"{groups_phrase(chosen.names, chosen.tokens)}{phase_phrase(phase)}; dotted: two random sets; band: what {words} gives "
            f"({draws} draws){few_phrase(chosen.few, min_expected)}; shared experts do not prove shared computation."
        ),
    )
