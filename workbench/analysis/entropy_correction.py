"""Entropy of a load corrected for small counts: few tokens look less even than they are.

Three corrections, compared on known distributions in tests/analysis/test_entropy_correction.py and docs/significance.md. All in
nats, over the last axis of counts. A token's k choices differ from one another, so that the counts spread less than k n single
draws would: `top_k` takes that into account where a correction knows how.
"""

from __future__ import annotations

import math

import numpy as np

from workbench.analysis.load import entropy


def miller_madow(count: np.ndarray, mask: np.ndarray | None = None, top_k: int = 1) -> np.ndarray:
    """H + (m - k) / (2 n), with m experts seen and n choices (Miller 1955 for k = 1). [..., E] -> [...].

    For k > 1 (ours): an expert with share p is chosen by a part k p of N = n / k tokens, so its count varies by n p (1 - k p), and
    the first-order bias of H, -1/2 sum var(p_i) / p_i, is -(E - k) / (2 n) instead of -(E - 1) / (2 n).
    """
    inside = _inside(count, mask)
    n = inside.sum(axis=-1)
    seen = (inside > 0).sum(axis=-1)
    return entropy(count, mask) + np.maximum(seen - top_k, 0) / (2 * np.maximum(n, 1))


def chao_shen(count: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """-sum C p ln(C p) / (1 - (1 - C p)^n), with coverage C = 1 - (experts seen once) / n (Chao and Shen 2003, equation 7)."""
    inside = _inside(count, mask)
    n = inside.sum(axis=-1, keepdims=True)
    once = (inside == 1).sum(axis=-1, keepdims=True)
    once = np.where(once == n, np.maximum(n - 1, 0), once)  # all seen once: coverage would be 0
    share = inside / np.maximum(n, 1) * (1 - once / np.maximum(n, 1))
    used = share > 0
    safe = np.where(used, share, 0.5)
    term = safe * np.log(safe) / -np.expm1(np.maximum(n, 1) * np.log1p(-np.minimum(safe, 1 - 1e-15)))
    return np.where(n[..., 0] > 0, -np.where(used, term, 0.0).sum(axis=-1), np.nan)


def grassberger(count: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """ln n - (1/n) sum c G(c), with G(c) = psi(c) + (-1)^c / 2 [psi((c + 1) / 2) - psi(c / 2)] (Grassberger 2003, equations 27, 30).

    Counts are whole numbers. G by its recurrence: G(1) = -gamma - ln 2, G(2) = 2 - gamma - ln 2, G(c + 2) = G(c) + 2 / c for
    odd c, and G(even c + 1) = G(even c).
    """
    inside = np.rint(_inside(count, mask)).astype(np.int64)
    n = inside.sum(axis=-1)
    table = _grassberger_table(int(inside.max(initial=0)))
    total = (inside * table[inside]).sum(axis=-1)
    return np.where(n > 0, np.log(np.maximum(n, 1)) - total / np.maximum(n, 1), np.nan)


def _grassberger_table(highest: int) -> np.ndarray:
    """G(0), ..., G(highest); G(0) is never used and 0."""
    start = -np.euler_gamma - math.log(2)
    table = np.zeros(highest + 2)
    odd = np.arange(1, highest + 2, 2)
    # G(2 m) = G(2 m + 1) = -gamma - ln 2 + 2 (1 + 1/3 + ... + 1/(2 m - 1))
    sums = start + 2 * np.concatenate([[0.0], np.cumsum(1 / odd)])
    at = np.arange(1, highest + 2)
    table[1:] = sums[at // 2]
    return table


def normalised(value: np.ndarray, experts: np.ndarray | int) -> np.ndarray:
    """A corrected entropy over ln E, at most 1 (a correction can go beyond); NaN for a single expert."""
    experts = np.asarray(experts)
    return np.where(experts > 1, np.minimum(value / np.log(np.maximum(experts, 2)), 1.0), np.nan)


def _inside(count: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    count = np.asarray(count, dtype=np.float64)
    return count if mask is None else np.where(mask, count, 0.0)
