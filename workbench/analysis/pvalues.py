"""p-values from draws, and their correction over many cells."""

from __future__ import annotations

import numpy as np


def draw_pvalues(
    observed: np.ndarray, draws: np.ndarray, *, ties: np.random.Generator | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How rare the observed number is among draws of a null: (low, high, two-sided), each [...].

    low = (r + 1) / (R + 1) with r draws not above the observed number (Phipson and Smyth 2010: never 0); high likewise; the
    two-sided value is twice the smaller one, at most 1. Draws that are NaN do not count.

    Args:
        observed: [...]. draws: [R, ...].
        ties: with a generator, draws equal to the observed number count as above or below at random, which makes p uniform
            for a number with few values such as IoU; without, they count as both, which is conservative.
    """
    valid = ~np.isnan(draws)
    number = valid.sum(axis=0)
    with np.errstate(invalid="ignore"):
        below = ((draws < observed) & valid).sum(axis=0)
        equal = ((draws == observed) & valid).sum(axis=0)
    if ties is None:
        low, high = below + equal + 1, number - below + 1
    else:
        mine = ties.integers(0, equal, endpoint=True)
        low, high = below + mine + 1, number - below - mine + 1
    known = (number > 0) & ~np.isnan(observed)
    p_low = np.where(known, low / (number + 1), np.nan)
    p_high = np.where(known, high / (number + 1), np.nan)
    return p_low, p_high, np.minimum(1.0, 2 * np.minimum(p_low, p_high))


def sign_pvalues(draws: np.ndarray) -> np.ndarray:
    """Two-sided p that a resampled difference is 0: how rarely its draws change sign, (r + 1) / (R + 1). [R, ...] -> [...].

    NaN draws do not count; NaN where there is none.
    """
    number = (~np.isnan(draws)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        low = ((draws >= 0).sum(axis=0) + 1) / (number + 1)
        high = ((draws <= 0).sum(axis=0) + 1) / (number + 1)
    return np.where(number > 0, np.minimum(1.0, 2 * np.minimum(low, high)), np.nan)


def error_pvalues(value: np.ndarray, error: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Two-sided p that a number is 0, by Student's t of the number over its bootstrap error; NaN where there is no number.

    Draws alone give no p below 2 / (R + 1), too large for a correction over thousands of cells.

    Args:
        value, error: [...], error a standard deviation over resamples. freedom: degrees of freedom, at least 1.
    """
    from scipy.special import stdtr

    known = np.isfinite(value) & np.isfinite(error)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error > 0, np.abs(value) / np.where(error > 0, error, 1.0), np.where(value == 0, 0.0, np.inf))
    p = 2 * stdtr(np.maximum(freedom, 1.0), -np.where(known, t, 0.0))
    return np.where(known, np.minimum(p, 1.0), np.nan)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """p-values adjusted so that cells below a level hold at most that share of false finds (Benjamini and Hochberg 1995).

    Over all cells of the array together, NaN left out. [...] -> [...].
    """
    flat = np.asarray(p, dtype=np.float64).ravel()
    adjusted = np.full(flat.shape, np.nan)
    at = np.flatnonzero(~np.isnan(flat))
    if at.size:
        order = at[np.argsort(-flat[at], kind="stable")]  # largest first
        rank = np.arange(at.size, 0, -1)
        adjusted[order] = np.minimum(1.0, np.minimum.accumulate(flat[order] * at.size / rank))
    return adjusted.reshape(np.shape(p))
