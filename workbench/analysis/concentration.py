"""How a token's gate weight spreads over its choices, and whether first choices and all k choices tell the same story."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.analysis.load import normalised_entropy
from workbench.analysis.overlap import iou, top_experts
from workbench.analysis.select import _names, few_tokens, groups_with_tokens, strand_numbers
from workbench.analysis.tables import site_group_frame
from workbench.analysis.token_rows import chosen_sites, need_rows, read_choices, read_rows
from workbench.analysis.words import site_title, tokens_phrase
from workbench.capture import Capture, Group, Site


@dataclass(frozen=True)
class ConcentrationTable:
    """Spread of the gate weights of a token over its k choices, arrays [S, G] unless said.

    Attributes:
        first_share: mean part of a token's gate weight that its first choice has, 1 / k (even) to 1.
        entropy: mean entropy of the weights over ln k, 1 = even; NaN for k = 1.
        effective: mean of exp(entropy): how many equal choices would spread it as far.
        quartiles: float64 [S, G, 3], 25, 50 and 75 % of the first share over tokens.
        n: int64 tokens. few: bool, too few of them. strand: int64 [S].
    """

    sites: tuple[Site, ...]
    groups: tuple[Group, ...]
    first_share: np.ndarray
    entropy: np.ndarray
    effective: np.ndarray
    quartiles: np.ndarray
    n: np.ndarray
    few: np.ndarray
    strand: np.ndarray
    all_groups: tuple[Group, ...]
    caption: str

    def frame(self) -> pd.DataFrame:
        """A row for every site and group."""
        quartiles = {f"first_share_{name}": self.quartiles[..., at] for at, name in enumerate(("q25", "median", "q75"))}
        columns = {
            "first_share": self.first_share,
            "normalised_entropy": self.entropy,
            "effective_choices": self.effective,
            **quartiles,
            "n_tokens": self.n,
            "few_tokens": self.few,
        }
        return site_group_frame(self.sites, self.groups, columns)


def weight_entropy(weights: np.ndarray) -> np.ndarray:
    """Entropy in nats of each token's weights divided by their sum, [N, K] -> [N]; NaN where the sum is 0."""
    total = weights.sum(axis=1, keepdims=True, dtype=np.float64)
    part = np.where(total > 0, weights / np.where(total > 0, total, 1.0), 0.0)
    value = -(part * np.log(np.where(part > 0, part, 1.0))).sum(axis=1)
    return np.where(total[:, 0] > 0, value, np.nan)


def concentration_table(
    capture: Capture, sites: str | Sequence[str] | None = None, groups: str | Sequence[str] | None = None
) -> ConcentrationTable:
    """Concentration of gate weights; a negative weight (no known model has one) counts as 0.

    Raises:
        CaptureError: without token rows, or for an unknown site or group.
    """
    need_rows(capture, "Concentration of gate weights")
    places = chosen_sites(capture, sites)
    names = _names(groups, "group", groups_with_tokens(capture))
    numbers = [capture.group_index(name) for name in names]
    shape = (len(places), len(names))
    first, spread, effective = (np.full(shape, np.nan) for _ in range(3))
    quartiles = np.full((*shape, 3), np.nan)
    n = np.zeros(shape, dtype=np.int64)
    rows = {stack: read_rows(capture, stack) for stack in dict.fromkeys(site.stack for site in places)}
    for s, site in enumerate(places):
        _, given = read_choices(capture, rows[site.stack], site, weights=True)
        weights = np.maximum(np.zeros(0) if given is None else given, 0.0)
        entropy = weight_entropy(weights)
        total = weights.sum(axis=1)
        for g, number in enumerate(numbers):
            at = (rows[site.stack].group == number) & (total > 0)
            n[s, g] = at.sum()
            if not at.any():
                continue
            share = weights[at].max(axis=1) / total[at]
            first[s, g], effective[s, g] = share.mean(), np.exp(entropy[at]).mean()
            quartiles[s, g] = np.quantile(share, (0.25, 0.5, 0.75))
            if site.top_k > 1:
                spread[s, g] = entropy[at].mean() / np.log(site.top_k)
    return ConcentrationTable(
        sites=places,
        groups=tuple(capture.manifest.groups[number] for number in numbers),
        first_share=first,
        entropy=spread,
        effective=effective,
        quartiles=quartiles,
        n=n,
        few=few_tokens(n, places),
        strand=strand_numbers(places),
        all_groups=capture.manifest.groups,
        caption=(
            f"Part of a token's gate weight that its strongest expert has, {tokens_phrase(n)}; a small weight "
            "does not prove a small effect, since the expert's output can be large."
        ),
    )


@dataclass(frozen=True)
class RankTable:
    """First choices against all k choices at one site.

    Attributes:
        count: int64 [G, K, E], tokens whose r-th choice is the expert.
        share_first, share_any: float64 [G, E], part of the tokens that have it first, or among their k.
        entropy_first, entropy_any: float64 [G], normalised entropy of both loads.
        iou: float64 [G], IoU of the top q of first choices and of all choices.
        n: int64 [G] tokens. few: bool [G], too few of them.
    """

    site: Site
    groups: tuple[Group, ...]
    count: np.ndarray
    share_first: np.ndarray
    share_any: np.ndarray
    entropy_first: np.ndarray
    entropy_any: np.ndarray
    iou: np.ndarray
    n: np.ndarray
    few: np.ndarray
    q: float
    all_groups: tuple[Group, ...]
    caption: str

    def frame(self) -> pd.DataFrame:
        """A row for every group, rank and expert."""
        group, rank, expert = (index.ravel() for index in np.indices(self.count.shape))
        return pd.DataFrame(
            {
                "site": self.site.id,
                "group": np.array([where.name for where in self.groups], dtype=object)[group],
                "rank": rank + 1,
                "expert": expert,
                "count": self.count.ravel(),
                "share_of_tokens": self.count.ravel() / np.maximum(self.n[group], 1),
                "n_tokens": self.n[group],
                "few_tokens": self.few[group],
            }
        )


def rank_table(capture: Capture, site: str, groups: str | Sequence[str] | None = None, *, q: float = 0.25) -> RankTable:
    """Counts by rank of choice at one site (rank 1: the largest gate weight).

    Raises:
        CaptureError: without token rows, or for an unknown site or group.
    """
    need_rows(capture, "The rank of a choice")
    where = capture.site(site)
    names = _names(groups, "group", groups_with_tokens(capture))
    numbers = [capture.group_index(name) for name in names]
    rows = read_rows(capture, where.stack)
    ids, _ = read_choices(capture, rows, where)
    width = ids.shape[1]
    count = np.zeros((len(names), width, where.experts), dtype=np.int64)
    n = np.zeros(len(names), dtype=np.int64)
    for g, number in enumerate(numbers):
        part = ids[(rows.group == number) & (ids >= 0).any(axis=1)]
        n[g] = len(part)
        for rank in range(width):
            chosen = part[:, rank]
            count[g, rank] = np.bincount(chosen[chosen >= 0], minlength=where.experts)
    tokens = np.maximum(n, 1)[:, None]
    everything = count.sum(axis=1)
    return RankTable(
        site=where,
        groups=tuple(capture.manifest.groups[number] for number in numbers),
        count=count,
        share_first=np.where(n[:, None] > 0, count[:, 0] / tokens, np.nan),
        share_any=np.where(n[:, None] > 0, everything / tokens, np.nan),
        entropy_first=normalised_entropy(count[:, 0]),
        entropy_any=normalised_entropy(everything),
        iou=iou(top_experts(count[:, 0], q), top_experts(everything, q)),
        n=n,
        few=few_tokens(n[None], [where])[0],
        q=q,
        all_groups=capture.manifest.groups,
        caption=(
            f"Share of tokens that choose each expert first, and among all {where.top_k}, at {site_title(where)}, {tokens_phrase(n)}"
            "; neither says how much the expert's output matters."
        ),
    )
