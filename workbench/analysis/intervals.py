"""How sure a number is: bootstrap intervals over blocks of documents, and split-half reliability.

Blocks are resampled, not tokens: tokens of a document route alike, so that intervals over tokens are far too narrow
(Efron and Tibshirani 1993, chapter 8). Blocks survive merging and need no token rows.

Choice of interval: bias-corrected and accelerated (BCa; Efron 1987). The entropy of a resample is lower than that of the data,
as that of the data is lower than the truth, so a percentile interval errs twice to the same side. Where BCa has nothing to go
on (all resamples on one side, or all equal) the percentile interval is given. Measured coverage of both, which
differs little for a single expert's load: docs/significance.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from workbench.analysis.block_counts import BlockCounts, Cancelled, Progress, block_counts, report, site_chunks
from workbench.analysis.statistics import Statistic, top_sets
from workbench.capture import Capture, CaptureError

_NORMAL = NormalDist()


@dataclass(frozen=True)
class Interval:
    """Values with their interval, [S, G], [S, P] or [S, G, E] by the kind of the statistic.

    Attributes:
        value: of the data. low, high: ends of the interval. error: standard deviation over the resamples.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    error: np.ndarray
    level: float
    resamples: int
    seed: int
    method: str


def resample_weights(blocks: int, resamples: int, seed: int) -> np.ndarray:
    """float64 [R, blocks]: how often each block is drawn when as many as there are are drawn with replacement."""
    random = np.random.default_rng(seed)
    return random.multinomial(blocks, np.full(blocks, 1 / blocks), size=resamples).astype(np.float64)


def bootstrap(
    counts: BlockCounts,
    statistic: Statistic,
    *,
    resamples: int = 500,
    level: float = 0.95,
    seed: int = 0,
    method: Literal["bca", "percentile"] = "bca",
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Interval:
    """Interval of a statistic by resampling blocks with replacement; blocks without any token are not drawn.

    Raises:
        CaptureError: if fewer than two blocks hold tokens, or for a level or number of resamples that makes no interval.
        Stopped: if cancelled.
    """
    if not 0 < level < 1 or resamples < 20:
        raise CaptureError(
            f"An interval needs a level between 0 and 1 and at least 20 resamples, not {level} and {resamples}: choose .95 and 500."
        )
    filled = counts.tokens.any(axis=(1, 2))
    blocks = int(filled.sum())
    if blocks < 2:
        raise CaptureError(
            f"An interval needs documents in at least two blocks, but the tokens chosen lie in {blocks}: record more documents."
        )
    count = counts.count[filled].astype(np.float64)
    weights = resample_weights(blocks, resamples, seed)
    leave_one = 1.0 - np.eye(blocks)
    real = counts.chosen.real[:, None, :]
    sites, groups, experts = count.shape[1:]
    parts: list[tuple[np.ndarray, ...]] = []
    for chunk in site_chunks(sites, resamples * groups * experts):
        report(chunk.start, sites, progress, cancelled)
        part = count[:, chunk]
        value = statistic.compute(part.sum(axis=0), real[chunk])
        draws = statistic.compute(np.tensordot(weights, part, axes=1), real[chunk])
        jackknife = statistic.compute(np.tensordot(leave_one, part, axes=1), real[chunk]) if method == "bca" else None
        low, high = interval_ends(value, draws, jackknife, level)
        spread = np.nanstd(np.where(np.isnan(draws).all(axis=0), 0.0, draws), axis=0)
        parts.append((value, low, high, np.where(np.isnan(value), np.nan, spread)))
    report(sites, sites, progress, cancelled)
    value, low, high, error = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Interval(value, low, high, error, level, resamples, seed, method)


def interval_ends(
    value: np.ndarray, draws: np.ndarray, jackknife: np.ndarray | None, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the interval; draws [R, ...], jackknife [Bk, ...] or None for percentile."""
    lower = np.full(value.shape, (1 - level) / 2)
    upper = 1.0 - lower
    if jackknife is not None:
        lower, upper = _bca_levels(value, draws, jackknife, level)
    ordered = np.sort(draws, axis=0)  # NaN last
    number = (~np.isnan(draws)).sum(axis=0)

    def at(part: np.ndarray) -> np.ndarray:
        place = np.clip(part * (number - 1), 0, np.maximum(number - 1, 0))
        below = np.floor(place).astype(np.int64)
        above = np.minimum(below + 1, np.maximum(number - 1, 0))
        left = np.take_along_axis(ordered, below[None], axis=0)[0]
        right = np.take_along_axis(ordered, above[None], axis=0)[0]
        return left + (right - left) * (place - below)

    known = ~np.isnan(value) & (number > 0)
    return np.where(known, at(lower), np.nan), np.where(known, at(upper), np.nan)


def _bca_levels(
    value: np.ndarray, draws: np.ndarray, jackknife: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """The quantiles of the draws that BCa takes (Efron 1987; Efron and Tibshirani 1993, equations 14.10, 14.14, 14.15)."""
    valid = ~np.isnan(draws)
    number = np.maximum(valid.sum(axis=0), 1)
    with np.errstate(invalid="ignore"):
        # Half of the ties, so that a number with few values (IoU) is not taken for biased.
        part = ((draws < value).sum(axis=0) + 0.5 * (draws == value).sum(axis=0)) / number
    known = (part > 0) & (part < 1)
    shift = _quantile_of_normal(np.where(known, part, 0.5))
    gap = np.nanmean(np.where(np.isnan(jackknife).all(axis=0), 0.0, jackknife), axis=0) - np.nan_to_num(jackknife)
    gap = np.where(np.isnan(jackknife), 0.0, gap)
    square = (gap**2).sum(axis=0)
    curve = np.where(square > 0, (gap**3).sum(axis=0) / (6 * np.where(square > 0, square, 1.0) ** 1.5), 0.0)
    ends = []
    for tail in ((1 - level) / 2, 1 - (1 - level) / 2):
        z = shift + _NORMAL.inv_cdf(tail)
        moved = _normal_cdf(shift + z / np.maximum(1 - curve * z, 1e-6))
        ends.append(np.where(known, moved, tail))
    return ends[0], ends[1]


def _normal_cdf(z: np.ndarray) -> np.ndarray:
    flat = np.asarray(z, dtype=np.float64).ravel()
    return np.array([_NORMAL.cdf(x) for x in flat.tolist()]).reshape(np.shape(z))


def _quantile_of_normal(part: np.ndarray) -> np.ndarray:
    known, back = np.unique(part, return_inverse=True)  # few values: a part is a multiple of 1 / (2 R)
    return np.array([_NORMAL.inv_cdf(x) for x in known.tolist()])[back].reshape(part.shape)


@dataclass(frozen=True)
class SplitHalf:
    """Whether a group agrees with itself: the same group in two halves of its blocks, [S, G], means over random splits.

    Attributes:
        iou: of the top sets of the two halves; iou_low, iou_high: 2.5 and 97.5 % of the splits.
        rank: Spearman correlation of the experts' load in the two halves.
        rank_full: what it would be for halves as long as the whole, 2 r / (1 + r) (Spearman 1910, Brown 1910).
        blocks: blocks of the group that hold tokens; NaN above where fewer than 2. few: fewer than 4.
    """

    iou: np.ndarray
    iou_low: np.ndarray
    iou_high: np.ndarray
    rank: np.ndarray
    rank_full: np.ndarray
    blocks: np.ndarray
    few: np.ndarray
    splits: int
    seed: int


def split_half(
    capture: Capture,
    sites: str | Sequence[str] | None = None,
    groups: str | Sequence[str] | None = None,
    phase: str | None = None,
    *,
    q: float = 0.25,
    splits: int = 100,
    seed: int = 0,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> SplitHalf:
    """Split-half reliability over random halves of each group's own blocks (with an odd number, halves differ by one)."""
    counts = block_counts(capture, sites, groups, phase)
    filled = counts.tokens > 0  # [Bk, S, G]
    key = np.random.default_rng(seed).random((splits, len(filled)))
    number = filled.sum(axis=0)
    out = {name: np.full(number.shape, np.nan) for name in ("iou", "low", "high", "rank")}
    real = counts.chosen.real
    for site in range(number.shape[0]):
        report(site, number.shape[0], progress, cancelled)
        for group in range(number.shape[1]):
            blocks = int(number[site, group])
            if blocks < 2:
                continue
            rank = key[:, filled[:, site, group]].argsort(axis=1).argsort(axis=1)
            part = counts.count[filled[:, site, group], site, group].astype(np.float64)[:, real[site]]
            one = (rank < blocks // 2).astype(np.float64) @ part
            two = part.sum(axis=0) - one
            everything = np.ones(part.shape[1], dtype=bool)
            a, b = top_sets(one, q, everything), top_sets(two, q, everything)
            agree = (a & b).sum(axis=1) / np.maximum((a | b).sum(axis=1), 1)
            out["iou"][site, group] = agree.mean()
            out["low"][site, group], out["high"][site, group] = np.quantile(agree, (0.025, 0.975))
            out["rank"][site, group] = _correlation(average_ranks(one), average_ranks(two)).mean()
    report(number.shape[0], number.shape[0], progress, cancelled)
    full = np.where(out["rank"] > -1, 2 * out["rank"] / (1 + np.where(out["rank"] > -1, out["rank"], 0.0)), np.nan)
    return SplitHalf(out["iou"], out["low"], out["high"], out["rank"], full, number, number < 4, splits, seed)


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 over the last axis, equal values sharing the mean of theirs. [..., E] -> float64 [..., E]."""
    order = np.argsort(values, axis=-1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=-1)
    place = np.broadcast_to(np.arange(values.shape[-1]), values.shape)
    new = np.concatenate([np.ones_like(ordered[..., :1], dtype=bool), np.diff(ordered, axis=-1) != 0], axis=-1)
    last = np.concatenate([new[..., 1:], np.ones_like(new[..., :1])], axis=-1)
    first = np.maximum.accumulate(np.where(new, place, 0), axis=-1)
    end = np.minimum.accumulate(np.where(last, place, values.shape[-1])[..., ::-1], axis=-1)[..., ::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + end) / 2 + 1, axis=-1)
    return ranks


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a = a - a.mean(axis=-1, keepdims=True)
    b = b - b.mean(axis=-1, keepdims=True)
    scale = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    return np.where(scale > 0, (a * b).sum(axis=-1) / np.where(scale > 0, scale, 1.0), np.nan)
