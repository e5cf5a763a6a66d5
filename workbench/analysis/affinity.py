"""Next-layer affinity: which expert a token takes next, given the one it takes here (ExFlow, 2401.08383, section 4).

Over all k x k pairs of a token's choices at two following sites; OLMoE's script (2409.02060) pairs rank with rank only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.analysis.select import MIN_EXPECTED, all_sites, strand
from workbench.analysis.token_rows import need_rows, read_choices, read_rows
from workbench.analysis.words import site_title
from workbench.capture import Capture, CaptureError, Site


@dataclass(frozen=True)
class AffinityTable:
    """Experts of one site against those of the next, arrays [E, E'].

    Attributes:
        pairs: int64, tokens that choose the row's expert here and the column's at the next site.
        conditional: part of the row's tokens that choose the column's expert next; NaN where the row has none.
        lift: pairs over those expected if the two choices were unrelated, 1 = no affinity. few: bool, fewer than 5 expected.
        information: mutual information of the two choices in bits, over the k k' pairs of each token; information_null: its mean
            when tokens are shuffled, which is the bias of few tokens: read only what lies above it. p: that it is as high by chance.
        n: tokens that reached both sites.
    """

    site: Site
    after: Site
    group: str | None
    pairs: np.ndarray
    conditional: np.ndarray
    lift: np.ndarray
    few: np.ndarray
    information: float
    information_null: float
    p: float
    n: int
    caption: str

    def frame(self) -> pd.DataFrame:
        """A row for every pair of experts."""
        here, after = (index.ravel() for index in np.indices(self.pairs.shape))
        return pd.DataFrame(
            {
                "site": self.site.id,
                "next_site": self.after.id,
                "group": self.group or "all",
                "expert": here,
                "next_expert": after,
                "tokens_with_both": self.pairs.ravel(),
                "conditional": self.conditional.ravel(),
                "lift": self.lift.ravel(),
                "few_tokens": self.few.ravel(),
                "n_tokens": self.n,
            }
        )


def joint_counts(here: np.ndarray, after: np.ndarray, experts: int, experts_after: int) -> np.ndarray:
    """int64 [E, E']: tokens that chose both; experts [N, K] and [N, K'], -1 for none."""
    cell = here[:, :, None] * experts_after + after[:, None, :]
    kept = (here >= 0)[:, :, None] & (after >= 0)[:, None, :]
    return np.bincount(cell[kept], minlength=experts * experts_after).reshape(experts, experts_after)


def mutual_information(pairs: np.ndarray) -> float:
    """sum p_ij log2 [p_ij / (p_i p_j)] of a table of counts, in bits (plug-in: biased up by about (E - 1)(E' - 1) / (2 n ln 2))."""
    total = pairs.sum()
    if not total:
        return float("nan")
    p = pairs / total
    product = np.outer(p.sum(axis=1), p.sum(axis=0))
    used = p > 0
    return float((p[used] * np.log2(p[used] / product[used])).sum())


def next_site(capture: Capture, site: str) -> str | None:
    """The site after one in its stack and part, None after the last."""
    here = strand(capture.site(site))
    same = [other for other in all_sites(capture) if strand(capture.site(other)) == here]
    return next(iter(same[same.index(site) + 1 :]), None)


def affinity_table(
    capture: Capture,
    site: str,
    after: str | None = None,
    group: str | None = None,
    *,
    shuffles: int = 20,
    seed: int = 0,
) -> AffinityTable:
    """Affinity of a site's experts to those of the next site of its stack and part, or of `after`.

    Raises:
        CaptureError: without token rows, for an unknown site or group, or if there is no next site on the same tokens.
    """
    need_rows(capture, "Affinity to the next layer")
    here = capture.site(site)
    if after is None:
        after = next_site(capture, site)
        if after is None:
            raise CaptureError(
                f"Site {site} is the last of its stack, so no layer comes after it: choose an earlier one."
            )
    then = capture.site(after)
    if then.stack != here.stack:
        raise CaptureError(
            f"Sites {site} and {after} work on different tokens ({here.stack}, {then.stack}): choose two of one stack."
        )
    rows = read_rows(capture, here.stack)
    left, right = read_choices(capture, rows, here)[0], read_choices(capture, rows, then)[0]
    at = (left >= 0).any(axis=1) & (right >= 0).any(axis=1)
    if group is not None:
        at &= rows.group == capture.group_index(group)
    left, right = left[at], right[at]
    n = int(at.sum())
    pairs = joint_counts(left, right, here.experts, then.experts)
    own = np.bincount(left[left >= 0], minlength=here.experts).astype(np.float64)
    next_own = np.bincount(right[right >= 0], minlength=then.experts).astype(np.float64)
    expected = np.outer(own, next_own) / max(n, 1)
    random = np.random.default_rng(seed)
    null = [
        mutual_information(joint_counts(left, right[random.permutation(n)], here.experts, then.experts))
        for _ in range(shuffles)
    ]
    information = mutual_information(pairs)
    whom = "" if group is None else f" of group {group}"
    return AffinityTable(
        site=here,
        after=then,
        group=group,
        pairs=pairs,
        conditional=np.where(own[:, None] > 0, pairs / np.where(own > 0, own, 1.0)[:, None], np.nan),
        lift=np.where(expected > 0, pairs / np.where(expected > 0, expected, 1.0), np.nan),
        few=expected < MIN_EXPECTED,
        information=information,
        information_null=float(np.mean(null)),
        p=float((sum(value >= information for value in null) + 1) / (len(null) + 1)) if n else float("nan"),
        n=n,
        caption=(
            f"How many times more often a token{whom} that chooses an expert at {site_title(here)} chooses each expert at "
            f"{site_title(then)} than if the two were unrelated, "
            f"n = {n:,} tokens; mutual information {information:.3f} bits, {np.mean(null):.3f} when tokens are "
            "shuffled; tokens that are alike "
            "route alike in both layers, so this does not prove that one expert feeds the other."
        ),
    )
