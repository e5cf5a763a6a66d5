"""Could two captures of one lineage have changed places? p-values by exchanging their blocks of documents.

If what told the captures apart were noise, each block of documents could as well stand in the other capture. So blocks change places
at random, everything is counted again, and p is how often a difference as large comes out (Fisher 1935; Good 2005, chapter 3).
Measures that noise makes larger, such as the Jensen-Shannon divergence, keep that noise in every draw, which a bootstrap doubles.

same documents    a coin decides for each block whether the two captures change places in it
other documents   both are brought to as many blocks (neighbours joined) and as many choices a group (thinned), so that neither is the
                  noisier one by size; then all blocks are dealt out anew. Equal halves keep the test right where the variances differ
                  (Romano 1990)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, log_ndtr

# Below this many draws beyond the observed number, its rank says little, and the normal tail goes on from there; ours.
TAIL = 10


@dataclass(frozen=True)
class Exchange:
    """Blocks of two captures that can change places.

    Attributes:
        pool: float64 [2 n, S, G, E], choices by block: n of the first capture, then n of the second.
        first: float64 [R, 2 n], 1 where a block stands in the first capture in a draw; the others stand in the second.
        floor: float64 [S, G], the smallest p that so many blocks can give.
    """

    pool: np.ndarray
    first: np.ndarray
    floor: np.ndarray

    def sums(self, sites: slice) -> tuple[np.ndarray, np.ndarray]:
        """Counts of both captures, as they are (row 0) and in every draw: two of [1 + R, S', G, E]."""
        pool = self.pool[:, sites]
        half = len(pool) // 2
        now = np.repeat([1.0, 0.0], half)[None]
        one = np.tensordot(np.concatenate([now, self.first]), pool, axes=1)
        return one, pool.sum(axis=0) - one


def exchange(one: np.ndarray, two: np.ndarray, paired: bool, draws: int, seed: int) -> Exchange:
    """Blocks brought to one size, and how they change places.

    Args:
        one, two: int64 [Bk, S, G, E] choices by block that holds a token; paired: the same blocks in both.
    """
    random = np.random.default_rng(seed)
    number = min(len(one), len(two))
    sides = [_joined(side, number) for side in (one, two)]
    total = [side.sum(axis=(0, 3)) for side in sides]  # [S, G]
    common = np.minimum(*total)
    sides = [_thinned(side, common / np.maximum(all_of, 1), random) for side, all_of in zip(sides, total, strict=True)]
    if paired:
        stay = random.integers(0, 2, size=(draws, number)).astype(np.float64)
        first = np.concatenate([stay, 1.0 - stay], axis=1)
    else:
        first = random.permuted(np.tile(np.repeat([1.0, 0.0], number), (draws, 1)), axis=1)
    filled = [side.any(axis=-1) for side in sides]
    if paired:
        floor = 2.0 * 0.5 ** (filled[0] | filled[1]).sum(axis=0)
    else:
        ours, theirs = (side.sum(axis=0).astype(np.float64) for side in filled)
        ways = gammaln(ours + theirs + 1) - gammaln(ours + 1) - gammaln(theirs + 1)
        floor = 2.0 * np.exp(-ways)
    pool = np.concatenate(sides).astype(np.float64)
    return Exchange(pool=pool, first=first, floor=np.minimum(floor, 1.0))


def _joined(side: np.ndarray, number: int) -> np.ndarray:
    """Blocks joined to `number` of them: block i goes to i modulo the number."""
    if len(side) == number:
        return side
    joined = np.zeros((number, *side.shape[1:]), dtype=side.dtype)
    np.add.at(joined, np.arange(len(side)) % number, side)
    return joined


def _thinned(side: np.ndarray, part: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Each choice kept with the probability `part` [S, G]; all where it is 1."""
    if (part >= 1).all():
        return side
    return random.binomial(side, np.minimum(part, 1.0)[None, :, :, None])


def exchange_pvalues(
    observed: np.ndarray, draws: np.ndarray, floor: np.ndarray, *, ties: np.random.Generator | None = None
) -> np.ndarray:
    """Two-sided p that a difference is 0: how often draws are as far from 0.

    (r + 1) / (R + 1) of r draws that reach it. Where fewer than `TAIL` do, the rank is followed by the tail of a normal distribution
    with the draws' own standard deviation, scaled to meet the rank of the last draw but `TAIL`: thousands of cells ask for smaller p than
    hundreds of draws have ranks, and sums over blocks have lighter tails than the normal. Never below `floor`.

    Args:
        observed, floor: [...]. draws: [R, ...], NaN where there is no number.
        ties: with a generator, draws equal to the observed number count as beyond it or not at random (uniform for a number with
            few values, such as IoU); without, all count, which is conservative.
    """
    size, mine = np.abs(draws), np.abs(observed)
    valid = np.isfinite(size)
    number = valid.sum(axis=0)
    size = np.where(valid, size, -1.0)
    near = 1e-9 * np.maximum(mine, 1e-3)  # the same number, added up in another order
    with np.errstate(invalid="ignore"):
        beyond = (size > mine + near).sum(axis=0)
        equal = (size >= mine - near).sum(axis=0) - beyond
    reached = beyond + (equal if ties is None else ties.integers(0, equal, endpoint=True))
    p = (reached + 1) / (number + 1)
    if len(draws) > TAIL:
        last = np.partition(size, len(draws) - TAIL, axis=0)[len(draws) - TAIL]
        spread = np.sqrt((np.where(valid, size, 0.0) ** 2).sum(axis=0) / np.maximum(number, 1))
        scale = np.where(spread > 0, spread, 1.0)
        with np.errstate(invalid="ignore"):
            ratio = np.exp(log_ndtr(-mine / scale) - log_ndtr(-np.maximum(last, 0.0) / scale))
            far = (reached < TAIL) & (mine > last + near) & (number > TAIL)
        p = np.where(far, (TAIL + 1) / (number + 1) * ratio, p)
    known = np.isfinite(observed) & (number > 0)
    return np.where(known, np.clip(p, floor, 1.0), np.nan)
