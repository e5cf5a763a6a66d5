"""The numbers that intervals and nulls are made for, each a function of count[..., S, G, E].

A statistic has a number for each group ("group": normalised entropy and the other balance measures), for each pair of groups
("pair": IoU, Jensen-Shannon divergence) or for each expert of each group ("expert": utilisation, specialisation).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from workbench.analysis.load import BALANCE_MEASURES, load_share, utilisation
from workbench.analysis.specialisation import log2_specialisation
from workbench.capture import CaptureError

Kind = Literal["group", "pair", "expert"]


@dataclass(frozen=True)
class Statistic:
    """One statistic.

    Attributes:
        kind: "group" -> [..., S, G], "pair" -> [..., S, P] in the order of `pairs_of(G)`, "expert" -> [..., S, G, E].
        compute: (count [..., S, G, E], mask bool [S, 1, E]) -> the numbers; NaN where there is none.
    """

    name: str
    kind: Kind
    unit: str
    compute: Callable[[np.ndarray, np.ndarray], np.ndarray]


def statistic(name: str, q: float = 0.25) -> Statistic:
    """The statistic of this name: a balance measure, "IoU", "Jensen-Shannon", "utilisation" or "specialisation".

    Args:
        q: part of the experts in a top set, for "IoU".

    Raises:
        CaptureError: for another name, or q outside (0, 1].
    """
    if name in BALANCE_MEASURES:
        measure = BALANCE_MEASURES[name]
        return Statistic(name, "group", measure.unit, lambda count, mask: measure.compute(count, mask))
    if name == "IoU":
        if not 0 < q <= 1:
            raise CaptureError(
                f"The part of the experts q must lie above 0 and not above 1, but is {q}: choose for example 0.25."
            )
        return Statistic(name, "pair", "intersection over union, 0 to 1", lambda count, mask: pair_iou(count, q, mask))
    others: dict[str, Statistic] = {
        "Jensen-Shannon": Statistic("Jensen-Shannon", "pair", "bits, 0 (same) to 1", pair_divergence),
        "utilisation": Statistic("utilisation", "expert", "load / even load", utilisation),
        "specialisation": Statistic("specialisation", "expert", "log2 of share / share of the others", against_others),
    }
    if name not in others:
        known = ", ".join([*BALANCE_MEASURES, "IoU", *others])
        raise CaptureError(f"Intervals and nulls are made for {known}, not for '{name}': choose one of them.")
    return others[name]


def pairs_of(groups: int) -> tuple[np.ndarray, np.ndarray]:
    """First and second group of every pair, each pair once."""
    first, second = np.triu_indices(groups, k=1)
    return first, second


def top_sets(count: np.ndarray, q: float, mask: np.ndarray) -> np.ndarray:
    """`analysis.overlap.top_experts` by partition instead of sorting: the same sets (a test holds it), several times faster.

    A count and an id make one number, count E + (E - 1 - id), so that no two are equal and the tie rule is in the order.
    """
    count = np.asarray(count, dtype=np.float64)
    experts = count.shape[-1]
    used = np.where(mask, count, 0.0)
    key = used * experts + np.arange(experts)[::-1]
    inside = np.broadcast_to(mask, count.shape).sum(axis=-1)
    wanted = np.minimum(inside, np.maximum(1, np.floor(q * inside + 0.5))).astype(np.int64)
    top = np.zeros(count.shape, dtype=bool)
    for size in np.unique(wanted):
        if size == 0:
            continue
        rows = wanted == size
        part = key[rows]
        threshold = np.partition(part, experts - size, axis=-1)[..., experts - size]
        top[rows] = part >= threshold[..., None]
    return top & (used > 0)


def pair_iou(count: np.ndarray, q: float, mask: np.ndarray) -> np.ndarray:
    """IoU of the top sets of every pair of groups, [..., S, G, E] -> [..., S, P]; NaN where a set is empty."""
    top = top_sets(count, q, mask).astype(np.float32)
    both = top @ np.swapaxes(top, -1, -2)  # whole numbers, exact in float32
    size = top.sum(axis=-1)
    first, second = pairs_of(count.shape[-2])
    shared = both[..., first, second].astype(np.float64)
    either = size[..., first] + size[..., second] - shared
    empty = (size[..., first] == 0) | (size[..., second] == 0)
    return np.where(empty, np.nan, shared / np.maximum(either, 1))


def pair_divergence(count: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence of the load shares of every pair of groups in bits (Lin 1991), [..., S, P]."""
    share = np.nan_to_num(load_share(count, mask))
    empty = share.sum(axis=-1) == 0
    own = _entropy_bits(share)
    first, second = pairs_of(count.shape[-2])
    values = np.empty((*share.shape[:-2], len(first)))
    for index, (a, b) in enumerate(zip(first, second, strict=True)):
        mixed = _entropy_bits((share[..., a, :] + share[..., b, :]) / 2)
        gap = np.maximum(mixed - (own[..., a] + own[..., b]) / 2, 0.0)
        values[..., index] = np.where(empty[..., a] | empty[..., b], np.nan, gap)
    return values


def _entropy_bits(share: np.ndarray) -> np.ndarray:
    return -(share * np.log2(np.where(share > 0, share, 1.0))).sum(axis=-1)


def against_others(count: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """log2 specialisation of each group against the other given groups pooled, [..., S, G, E]."""
    return log2_specialisation(count, count.sum(axis=-2, keepdims=True) - count, mask)
