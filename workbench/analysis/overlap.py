"""Whether two groups use the same experts: intersection over union (IoU) of their top sets, and what chance would give.

Choices made here (the ERNIE 5.0 report, section 6.4.1, says only "top 25 % most frequently activated experts"):
- The set has m = max(1, floor(q E + 1/2)) experts, E without identity experts.
- Ties: the higher count first, then the lower expert id.
- An expert that was never chosen is in no top set, so a group that used fewer than m experts has a smaller set. Filled up
  by id, two groups with few tokens would seem to share the lowest ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import comb, floor

import numpy as np

from workbench.analysis.select import MIN_EXPECTED, key_sites, select
from workbench.analysis.tables import OverlapTable
from workbench.analysis.words import few_phrase, groups_phrase, phase_phrase, sites_phrase
from workbench.capture import Capture, CaptureError


def set_size(experts: int, q: float) -> int:
    """Experts in a top set: q times the experts, rounded half up, at least 1 and at most all."""
    return min(experts, max(1, floor(q * experts + 0.5)))


def top_experts(count: np.ndarray, q: float = 0.25, mask: np.ndarray | None = None) -> np.ndarray:
    """The most often chosen part of the experts, over the last axis.

    Args:
        count: [..., E] choices.
        q: part of the experts inside the mask, 0 < q <= 1.
        mask: bool, broadcastable to `count`; False leaves an expert out (padding, identity experts).

    Returns:
        bool [..., E]; never an expert with count 0.

    Raises:
        CaptureError: if q is not in (0, 1].
    """
    if not 0 < q <= 1:
        raise CaptureError(
            f"The part of the experts q must lie above 0 and not above 1, but is {q}: choose for example 0.25."
        )
    count = np.asarray(count)
    inside = np.ones(count.shape, dtype=bool) if mask is None else np.broadcast_to(mask, count.shape)
    used = np.where(inside, count, 0)
    order = np.argsort(-used, axis=-1, kind="stable")  # stable: among equal counts the lower id comes first
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(count.shape[-1]), count.shape), axis=-1)
    experts = inside.sum(axis=-1)
    wanted = np.minimum(experts, np.maximum(1, np.floor(q * experts + 0.5))).astype(np.int64)
    return (rank < wanted[..., None]) & (used > 0)


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """|A and B| / |A or B| of two sets given as bool [..., E]; NaN if one of them is empty (Jaccard 1912)."""
    both = (first & second).sum(axis=-1)
    either = (first | second).sum(axis=-1)
    empty = ~(first.any(axis=-1) & second.any(axis=-1))
    return np.where(empty, np.nan, both / np.maximum(either, 1))


@lru_cache(maxsize=4096)
def chance_iou(experts: int, size: int, other_size: int | None = None) -> float:
    """Expected IoU of two independent, uniformly random sets of experts, exactly.

    With sizes a and b of E experts the intersection i is hypergeometric, P(i) = C(a, i) C(E - a, b - i) / C(E, b), and
    E[IoU] = sum_i P(i) i / (a + b - i). Not q / (2 - q), which puts the expected intersection into the ratio and is only
    the limit of many experts (ours; checked against a full enumeration in the tests).

    Args:
        experts: E. size: a. other_size: b, default a.

    Returns:
        0 to 1; NaN if a set is empty.

    Raises:
        CaptureError: if a set is larger than E.
    """
    other = size if other_size is None else other_size
    if not (0 <= size <= experts and 0 <= other <= experts):
        raise CaptureError(
            f"Sets of {size} and {other} experts were asked for, but there are {experts}: choose smaller sets."
        )
    if size == 0 or other == 0:
        return float("nan")
    total = comb(experts, other)
    # Whole numbers as long as possible: the binomials of 256 experts overflow a float.
    return sum(
        comb(size, both) * comb(experts - size, other - both) / total * (both / (size + other - both))
        for both in range(max(1, size + other - experts), min(size, other) + 1)
    )


def overlap_table(
    capture: Capture,
    sites: str | Sequence[str] | None = None,
    groups: str | Sequence[str] | None = None,
    q: float = 0.25,
    phase: str | None = None,
    *,
    min_expected: float = MIN_EXPECTED,
) -> OverlapTable:
    """IoU of the top sets of every pair of groups; without `sites` at the first, middle and last site.

    Figure 9 of the ERNIE 5.0 report (section 6.4.1), with the chance level that the report does not give.

    Raises:
        CaptureError: for an unknown site, group or phase, a q outside (0, 1], or fewer than two groups.
    """
    chosen = select(capture, key_sites(capture) if sites is None else sites, groups, phase, min_expected)
    if len(chosen.groups) < 2:
        raise CaptureError(
            f"Overlap compares two groups, but only '{chosen.names[0]}' has tokens or was chosen: choose a second group, "
            "or record the capture with --group-by."
        )
    top = top_experts(chosen.count, q, chosen.real[:, None, :])
    size = top.sum(axis=-1)
    values = iou(top[:, :, None, :], top[:, None, :, :])
    experts = chosen.real.sum(axis=-1)
    chance = np.array(
        [[[chance_iou(int(e), int(a), int(b)) for b in row] for a in row] for e, row in zip(experts, size, strict=True)]
    )
    diagonal = np.arange(len(chosen.groups))
    values[:, diagonal, diagonal] = np.nan
    chance[:, diagonal, diagonal] = np.nan
    wanted = np.array([set_size(int(e), q) for e in experts])
    even = np.array([chance_iou(int(e), int(m)) for e, m in zip(experts, wanted, strict=True)])
    levels = sorted({f"{level:.2f}" for level in even})
    return OverlapTable(
        q=q,
        sites=chosen.sites,
        groups=chosen.groups,
        phase=phase,
        wanted=wanted,
        size=size,
        iou=values,
        chance=chance,
        even_chance=even,
        top=top,
        n=chosen.tokens,
        few=chosen.few,
        all_groups=chosen.all_groups,
        caption=(
            f"Intersection over union of the {q:.0%} most often chosen experts of two groups {sites_phrase(chosen.sites)}; "
            f"{groups_phrase(chosen.names, chosen.tokens)}{phase_phrase(phase)}; two random sets give {' or '.join(levels)}"
            f"{few_phrase(chosen.few, min_expected)}; shared experts do not prove shared computation."
        ),
    )
