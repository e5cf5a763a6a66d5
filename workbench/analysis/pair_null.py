"""Which pairs of experts go together more, or less, than their loads alone make them: co-activation beside its null.

The null is quasi-independence (Goodman 1968): pairs of different experts with the same row sums as the data and otherwise
unrelated, e_ij = a_i a_j. It holds both what a heavy load brings and that a token's choices are distinct. Noise comes from
resampling blocks of documents, so it needs token rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.analysis.affinity import joint_counts
from workbench.analysis.block_counts import MIN_BLOCKS, Cancelled, Progress, effective_number, report
from workbench.analysis.coactivation import coactivation_table
from workbench.analysis.intervals import resample_weights
from workbench.analysis.pvalues import benjamini_hochberg, error_pvalues
from workbench.analysis.token_rows import document_blocks, need_rows, read_choices, read_rows
from workbench.analysis.verdict import SIGNIFICANT
from workbench.capture import Capture, CaptureError, Site

_ROUNDS = 60  # of the fit; three experts of unlike load converge slowest, to 1e-5 of a row sum
_PSEUDO = 0.5  # tokens added to both sides of a ratio, so that a pair never seen has a finite one


@dataclass(frozen=True)
class PairBand:
    """Co-activation of one site against quasi-independence, arrays [E, E], the diagonal NaN.

    Attributes:
        expected: tokens of each pair if only loads mattered.
        ratio, low, high: log2 of tokens over expected, with its 95 % interval over blocks of documents.
        p_adjusted: two-sided p that the ratio is 0, corrected over all pairs. few: bool, too few tokens.
        blocks: effective blocks of documents.
    """

    site: Site
    expected: np.ndarray
    ratio: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_adjusted: np.ndarray
    few: np.ndarray
    n: int
    blocks: float
    resamples: int

    @property
    def significant(self) -> np.ndarray:
        """bool [E, E]."""
        with np.errstate(invalid="ignore"):
            return (self.p_adjusted <= SIGNIFICANT) & ~self.few

    def summary(self) -> str:
        """One sentence on all pairs."""
        upper = np.triu(np.ones(self.few.shape, dtype=bool), k=1) & ~self.few & np.isfinite(self.p_adjusted)
        found = upper & self.significant
        more, less = int((found & (self.ratio > 0)).sum()), int((found & (self.ratio < 0)).sum())
        blocks = (
            "" if self.blocks >= MIN_BLOCKS else "; the documents lie in few blocks, so too many pairs may be marked"
        )
        return (
            f"Of {int(upper.sum()):,} pairs with enough tokens, {more:,} go together more and {less:,} less than their loads alone "
            f"would make them (corrected p ≤ {SIGNIFICANT:g}){blocks}; what goes together in the input goes together here too."
        )

    def frame(self) -> pd.DataFrame:
        """A row for every pair, each once."""
        first, second = np.triu_indices(len(self.ratio), k=1)
        columns = {
            name: getattr(self, name)[first, second] for name in ("expected", "ratio", "low", "high", "p_adjusted")
        }
        return pd.DataFrame(
            {
                "site": self.site.id,
                "expert_a": first,
                "expert_b": second,
                **columns,
                "few_tokens": self.few[first, second],
            }
        )


def quasi_independence(row: np.ndarray) -> np.ndarray:
    """a [..., E] with sum_{j != i} a_i a_j = row_i, by fixed-point iteration (Goodman 1968)."""
    total = row.sum(axis=-1, keepdims=True)
    a = np.where(total > 0, row / np.sqrt(np.where(total > 0, total, 1.0)), 0.0)
    for _ in range(_ROUNDS):
        others = a.sum(axis=-1, keepdims=True) - a
        a = np.sqrt(a * np.where(others > 0, row / np.where(others > 0, others, 1.0), 0.0))
    return a


def pair_band(
    capture: Capture,
    site: str,
    *,
    resamples: int = 500,
    seed: int = 0,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> PairBand:
    """The null of a site's co-activation.

    Raises:
        CaptureError: without token rows, for a site whose tokens choose one expert, or where documents lie in one block.
        Stopped: if cancelled.
    """
    need_rows(capture, "The null of co-activation")
    few = coactivation_table(capture, site, "lift").few
    where = capture.site(site)
    rows = read_rows(capture, where.stack)
    ids = read_choices(capture, rows, where)[0]
    kept = (rows.group >= 0) & (ids >= 0).any(axis=1)
    block, ids = document_blocks(capture, rows)[kept], ids[kept]
    filled = np.unique(block)
    if filled.size < 2:
        raise CaptureError(
            f"An interval needs documents in at least two blocks, but the tokens chosen lie in {filled.size}: record more documents."
        )
    experts = where.experts
    off = ~np.eye(experts, dtype=bool)
    pairs = np.stack([joint_counts(ids[block == one], ids[block == one], experts, experts) * off for one in filled])
    sums = pairs.sum(axis=2).astype(np.float64)  # [Bk, E]
    weights = resample_weights(len(filled), resamples, seed)
    drawn = quasi_independence(weights @ sums)  # [R, E]
    own = quasi_independence(sums.sum(axis=0))
    total = pairs.sum(axis=0)
    expected = np.outer(own, own)
    shape = (experts, experts)
    low, high, error = (np.full(shape, np.nan) for _ in range(3))
    for i in range(experts):
        report(i, experts, progress, cancelled)
        part = weights @ pairs[:, i].astype(np.float64)  # [R, E]
        drawn_ratio = np.log2((part + _PSEUDO) / (drawn[:, i : i + 1] * drawn + _PSEUDO))
        low[i], high[i] = np.quantile(drawn_ratio, (0.025, 0.975), axis=0)
        error[i] = drawn_ratio.std(axis=0, ddof=1)
    report(experts, experts, progress, cancelled)
    blocks = float(effective_number(np.bincount(block)))
    ratio = np.log2((total + _PSEUDO) / (expected + _PSEUDO))
    p = error_pvalues(ratio, error, np.full(shape, blocks - 1))
    diagonal = np.where(off, 0.0, np.nan)
    upper = np.triu_indices(experts, k=1)
    adjusted = np.full(shape, np.nan)
    adjusted[upper] = benjamini_hochberg(np.where(few[upper], np.nan, p[upper]))
    adjusted.T[upper] = adjusted[upper]
    return PairBand(
        site=where,
        expected=expected + diagonal,
        ratio=ratio + diagonal,
        low=low + diagonal,
        high=high + diagonal,
        p_adjusted=adjusted,
        few=few,
        n=len(ids),
        blocks=blocks,
        resamples=resamples,
    )
