"""Token-frequency control: do two groups route the *same* token ids differently?

Two groups of text differ in their experts already because they differ in their words. Here every token id that both hold weighs
the same in both, so that what is left is not a matter of which ids are frequent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.analysis.block_counts import Cancelled, Progress, report
from workbench.analysis.pvalues import benjamini_hochberg, draw_pvalues
from workbench.analysis.select import _names, few_tokens, groups_with_tokens, strand_numbers
from workbench.analysis.statistics import pair_divergence, pair_iou, pairs_of
from workbench.analysis.token_rows import chosen_sites, need_rows, read_choices, read_column, read_rows
from workbench.analysis.verdict import SIGNIFICANT
from workbench.capture import Capture, CaptureError, Site


@dataclass(frozen=True)
class FrequencyTable:
    """Overlap and divergence of every pair of groups, as it is and within token id; arrays [S, P].

    Attributes:
        iou_raw, iou_within: IoU of the top sets over all tokens, and over shared ids with equal weights.
        divergence_raw, divergence_within: Jensen-Shannon divergence in bits, likewise.
        null_mean, null_low, null_high: of `divergence_within` when labels are exchanged among the tokens of each id (divergence of few
            tokens is biased up: read it against this, not against 0). p: that it is as high by chance.
        shared_ids: ids in both groups with enough tokens. tokens_a, tokens_b: tokens of these ids. covered: part of the smaller
            group's tokens that they make up. few: bool, too few tokens of shared ids. strand: int64 [S].
    """

    sites: tuple[Site, ...]
    groups: tuple[str, ...]
    first: np.ndarray
    second: np.ndarray
    iou_raw: np.ndarray
    iou_within: np.ndarray
    divergence_raw: np.ndarray
    divergence_within: np.ndarray
    null_mean: np.ndarray
    null_low: np.ndarray
    null_high: np.ndarray
    p: np.ndarray
    shared_ids: np.ndarray
    tokens_a: np.ndarray
    tokens_b: np.ndarray
    covered: np.ndarray
    few: np.ndarray
    strand: np.ndarray
    draws: int
    caption: str

    @property
    def significant(self) -> np.ndarray:
        """bool [S, P]: more than labels exchanged inside each id give, corrected over all cells, with enough tokens."""
        with np.errstate(invalid="ignore"):
            return (benjamini_hochberg(self.p) <= SIGNIFICANT) & ~self.few

    def summary(self) -> str:
        """One sentence: how many pairs still differ within token id."""
        tested = np.isfinite(self.p) & ~self.few
        return (
            f"{int((tested & self.significant).sum()):,} of {int(tested.sum()):,} pairs of groups at a site route the same token ids differently "
            f"(corrected p ≤ {SIGNIFICANT:g}), so their words alone do not explain it there; the words around them still can."
        )

    def frame(self) -> pd.DataFrame:
        """A row for every site and pair."""
        site, pair = (index.ravel() for index in np.indices(self.iou_raw.shape))
        names = np.array(self.groups, dtype=object)
        columns = (
            "iou_raw",
            "iou_within",
            "divergence_raw",
            "divergence_within",
            "null_mean",
            "null_low",
            "null_high",
            "p",
        )
        return pd.DataFrame(
            {
                "site": np.array([where.id for where in self.sites], dtype=object)[site],
                "group_a": names[self.first[pair]],
                "group_b": names[self.second[pair]],
                **{name: getattr(self, name)[site, pair] for name in columns},
                **{name: getattr(self, name)[site, pair] for name in ("shared_ids", "tokens_a", "tokens_b", "covered")},
                "few_tokens": self.few[site, pair],
            }
        )


def within_id_shares(ids: np.ndarray, token: np.ndarray, label: np.ndarray, experts: int) -> np.ndarray:
    """Expert use of two groups in which every token id has the same weight, float64 [2, E].

    share_g = sum_x w_x c_gx / n_gx, with c_gx the choices by group g's n_gx tokens of id x, and w_x = min(n_ax, n_bx) / sum: the
    weight that both groups can afford (ours).

    Args:
        ids: [N, K] experts, -1 for none. token: [N] number of the shared id, from 0. label: [N] 0 or 1.
    """
    n = np.zeros((2, int(token.max(initial=-1)) + 1))
    np.add.at(n, (label, token), 1)
    weight = n.min(axis=0)
    each = weight[token] / np.maximum(n[label, token], 1)
    kept = ids >= 0
    cell = np.where(kept, ids, 0) + experts * label[:, None]
    share = np.bincount(cell[kept], weights=np.broadcast_to(each[:, None], ids.shape)[kept], minlength=2 * experts)
    return share.reshape(2, experts)


def frequency_table(
    capture: Capture,
    sites: str | Sequence[str] | None = None,
    groups: str | Sequence[str] | None = None,
    *,
    q: float = 0.25,
    min_tokens: int = 3,
    draws: int = 200,
    seed: int = 0,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> FrequencyTable:
    """Compare every pair of groups within token id.

    Args:
        min_tokens: tokens of an id that each group must have for the id to count.
        draws: exchanges of labels among the tokens of each id (single tokens, so documents are taken for independent).

    Raises:
        CaptureError: without token rows or token ids, or for fewer than two groups.
        Stopped: if cancelled.
    """
    need_rows(capture, "Expert use within token id")
    places = chosen_sites(capture, sites)
    names = _names(groups, "group", groups_with_tokens(capture))
    numbers = [capture.group_index(name) for name in names]
    if len(names) < 2:
        raise CaptureError(
            "Within token id two groups are compared, but only one has tokens or was chosen: choose a second group."
        )
    first, second = pairs_of(len(names))
    shape = (len(places), len(first))
    columns = (
        "iou_raw",
        "iou_within",
        "divergence_raw",
        "divergence_within",
        "null_mean",
        "null_low",
        "null_high",
        "p",
        "covered",
    )
    out = {name: np.full(shape, np.nan) for name in columns}
    whole = {name: np.zeros(shape, dtype=np.int64) for name in ("shared_ids", "tokens_a", "tokens_b")}
    random = np.random.default_rng(seed)
    rows = {stack: read_rows(capture, stack) for stack in dict.fromkeys(site.stack for site in places)}
    tokens = {stack: read_column(capture, labels, "token_id") for stack, labels in rows.items()}
    for s, site in enumerate(places):
        ids, _ = read_choices(capture, rows[site.stack], site)
        real = site.experts - site.identity_experts
        ids = np.where(ids < real, ids, -1)
        reached = (ids >= 0).any(axis=1)
        mask = np.ones((1, 1, real), dtype=bool)
        for pair, (a, b) in enumerate(zip(first, second, strict=True)):
            report(s * shape[1] + pair, shape[0] * shape[1], progress, cancelled)
            group, token = rows[site.stack].group, tokens[site.stack]
            mine = reached & ((group == numbers[a]) | (group == numbers[b]))
            label = (group[mine] == numbers[b]).astype(np.int64)
            if not (label == 0).any() or not (label == 1).any():
                continue
            raw = _counts(ids[mine], label, real)
            out["iou_raw"][s, pair] = pair_iou(raw[None], q, mask)[0, 0]
            out["divergence_raw"][s, pair] = pair_divergence(raw[None], mask)[0, 0]
            known, code = np.unique(token[mine], return_inverse=True)
            n = np.zeros((2, len(known)))
            np.add.at(n, (label, code), 1)
            shared = (n.min(axis=0) >= min_tokens) & (known >= 0)
            keep = shared[code]
            whole["shared_ids"][s, pair] = shared.sum()
            whole["tokens_a"][s, pair], whole["tokens_b"][s, pair] = n[0, shared].sum(), n[1, shared].sum()
            smaller = int(n.sum(axis=1).argmin())
            out["covered"][s, pair] = n[smaller, shared].sum() / n[smaller].sum()
            if not shared.any():
                continue
            part, at, own = ids[mine][keep], (np.cumsum(shared) - 1)[code[keep]], label[keep]
            profile = within_id_shares(part, at, own, real)
            out["iou_within"][s, pair] = pair_iou(profile[None], q, mask)[0, 0]
            observed = pair_divergence(profile[None], mask)[0, 0]
            order = np.argsort(at, kind="stable")
            part, at, own = part[order], at[order], own[order]
            null = np.empty(draws)
            for draw in range(draws):
                mixed = own[np.lexsort((random.random(len(at)), at))]  # a random order inside each id
                null[draw] = pair_divergence(within_id_shares(part, at, mixed, real)[None], mask)[0, 0]
            out["divergence_within"][s, pair] = observed
            out["null_mean"][s, pair] = null.mean()
            out["null_low"][s, pair], out["null_high"][s, pair] = np.quantile(null, (0.025, 0.975))
            out["p"][s, pair] = draw_pvalues(np.array(observed), null)[1]
    report(shape[0] * shape[1], shape[0] * shape[1], progress, cancelled)
    ids_words = f"up to {int(whole['shared_ids'].max(initial=0)):,} shared ids"
    return FrequencyTable(
        sites=places,
        groups=names,
        first=first,
        second=second,
        draws=draws,
        few=few_tokens(np.minimum(whole["tokens_a"], whole["tokens_b"]), places),
        strand=strand_numbers(places),
        caption=(
            f"Overlap and divergence of two groups' expert use, as it is and within token id ({ids_words} with at "
            f"least {min_tokens} tokens in both "
            f"groups, n = {int(whole['tokens_a'].max(initial=0)):,} and {int(whole['tokens_b'].max(initial=0)):,} "
            "tokens at most); what is left within token "
            "id can still come from the neighbouring words."
        ),
        **out,
        **whole,
    )


def _counts(ids: np.ndarray, label: np.ndarray, experts: int) -> np.ndarray:
    kept = ids >= 0
    cell = np.where(kept, ids, 0) + experts * label[:, None]
    return np.bincount(cell[kept], minlength=2 * experts).reshape(2, experts).astype(np.float64)
