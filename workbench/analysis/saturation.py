"""Router saturation: how many of a token's experts are already those that a later checkpoint chooses for it.

OLMoE (2409.02060, section 5.1, equation 5): Sat(t) = 1/N sum_n |E_n(t) and E_n(T)| / k over the same N tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.analysis.intervals import resample_weights
from workbench.analysis.select import _names, few_tokens, groups_with_tokens, strand_numbers
from workbench.analysis.tables import site_group_frame
from workbench.analysis.token_rows import (
    Rows,
    chosen_sites,
    document_blocks,
    need_rows,
    read_choices,
    read_column,
    read_rows,
)
from workbench.analysis.words import site_title, tokens_phrase
from workbench.capture import Capture, CaptureError, Group, Site


@dataclass(frozen=True)
class SaturationTable:
    """Saturation of each checkpoint against the last, arrays [C, S, G].

    Attributes:
        names: of the C captures compared with `last`.
        value, low, high: share of equal experts, 0 to 1, with its 95 % interval over blocks of documents.
        chance: the share if the two choices of a token had nothing to do with each other, from both loads.
        n: int64 [C, S, G] tokens compared. few: bool [C, S, G], too few of them. strand: int64 [S].
    """

    names: tuple[str, ...]
    last: str
    sites: tuple[Site, ...]
    groups: tuple[Group, ...]
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    chance: np.ndarray
    n: np.ndarray
    few: np.ndarray
    strand: np.ndarray
    all_groups: tuple[Group, ...]
    caption: str

    def frame(self) -> pd.DataFrame:
        """A row for every capture, site and group."""
        parts = []
        for at, name in enumerate(self.names):
            columns = {column: getattr(self, column)[at] for column in ("value", "low", "high", "chance")}
            columns |= {"n_tokens": self.n[at], "few_tokens": self.few[at]}
            parts.append(site_group_frame(self.sites, self.groups, columns, {"capture": name, "against": self.last}))
        return pd.concat(parts, ignore_index=True)

    def summary(self, capture: int = 0) -> str:
        """One sentence: how much of the later routing is there already, and where least."""
        value = np.where(self.few[capture], np.nan, self.value[capture])
        if not np.isfinite(value).any():
            return f"Nothing can be said of {self.names[capture]}: every cell has too few tokens."
        site, group = np.unravel_index(np.nanargmin(value), value.shape)
        return (
            f"On average {np.nanmean(value):.0%} of a token's experts in {self.last} are chosen by {self.names[capture]} already, where "
            f"unrelated choices of the same loads would share {np.nanmean(self.chance[capture]):.0%}; fewest at {site_title(self.sites[site])} for "
            f"{self.groups[group].name} ({value[site, group]:.0%}); equal experts do not prove that they compute the same."
        )


def shared_share(first: np.ndarray, second: np.ndarray, top_k: int) -> np.ndarray:
    """|A and B| / k for each token; experts [N, K] and [N, K'], -1 for none. -> float64 [N]."""
    equal = (first[:, :, None] == second[:, None, :]) & (first >= 0)[:, :, None]
    return equal.any(axis=2).sum(axis=1) / top_k


def saturation_table(
    captures: Sequence[Capture],
    last: Capture,
    sites: str | Sequence[str] | None = None,
    groups: str | Sequence[str] | None = None,
    *,
    names: Sequence[str] | None = None,
    last_name: str | None = None,
    resamples: int = 500,
    seed: int = 0,
) -> SaturationTable:
    """Saturation of captures of the same tokens against the last one.

    Args:
        captures: of earlier checkpoints. names, last_name: for them and the last one, default their own.

    Raises:
        CaptureError: without token rows, or if sites, documents or token ids of two captures differ.
    """
    for capture in (*captures, last):
        need_rows(capture, "Router saturation")
    places = chosen_sites(last, sites)
    chosen = _names(groups, "group", groups_with_tokens(last))
    numbers = [last.group_index(name) for name in chosen]
    shape = (len(captures), len(places), len(chosen))
    value, low, high, chance = (np.full(shape, np.nan) for _ in range(4))
    n = np.zeros(shape, dtype=np.int64)
    rows = {stack: read_rows(last, stack) for stack in dict.fromkeys(site.stack for site in places)}
    for c, capture in enumerate(captures):
        matched = {stack: _match(capture, last, rows[stack]) for stack in rows}
        for s, site in enumerate(places):
            twin = capture.site(site.id)
            if (twin.experts, twin.top_k) != (site.experts, site.top_k):
                raise CaptureError(
                    f"Site {site.id} has {site.experts} experts, top-{site.top_k}, in one capture and {twin.experts}, top-{twin.top_k}, in "
                    "another: compare checkpoints of one model."
                )
            other_rows, mine, theirs = matched[site.stack]
            later = read_choices(last, rows[site.stack], site)[0][mine]
            earlier = read_choices(capture, other_rows, twin)[0][theirs]
            block = document_blocks(last, rows[site.stack])[mine]
            both = (later >= 0).any(axis=1) & (earlier >= 0).any(axis=1)
            share = shared_share(earlier, later, site.top_k)
            for g, number in enumerate(numbers):
                at = both & (rows[site.stack].group[mine] == number)
                n[c, s, g] = at.sum()
                if not at.any():
                    continue
                value[c, s, g] = share[at].mean()
                chance[c, s, g] = _chance(earlier[at], later[at], site)
                sums = np.bincount(block[at], weights=share[at], minlength=last.manifest.blocks)
                sizes = np.bincount(block[at], minlength=last.manifest.blocks)
                filled = sizes > 0
                if filled.sum() > 1:
                    weights = resample_weights(int(filled.sum()), resamples, seed)
                    drawn = (weights @ sums[filled]) / (weights @ sizes[filled])
                    low[c, s, g], high[c, s, g] = np.quantile(drawn, (0.025, 0.975))
    return SaturationTable(
        names=tuple(names) if names is not None else tuple(capture.name for capture in captures),
        last=last_name or last.name,
        sites=places,
        groups=tuple(last.manifest.groups[number] for number in numbers),
        value=value,
        low=low,
        high=high,
        chance=chance,
        n=n,
        few=np.stack([few_tokens(one, places) for one in n]) if len(n) else n.astype(bool),
        strand=strand_numbers(places),
        all_groups=last.manifest.groups,
        caption=(
            f"Share of a token's experts that '{last_name or last.name}' chooses for it too, {tokens_phrase(n)}, with "
            "95% intervals over blocks of documents; dotted: what unrelated choices of the same loads would share; "
            "equal experts do not prove "
            "that they compute the same in both checkpoints."
        ),
    )


def _chance(first: np.ndarray, second: np.ndarray, site: Site) -> float:
    """sum_i a_i b_i / k, with a_i and b_i the parts of the tokens that choose expert i in each capture."""
    a, b = (np.bincount(ids[ids >= 0], minlength=site.experts) / len(ids) for ids in (first, second))
    return float((a * b).sum() / site.top_k)


def _match(capture: Capture, last: Capture, rows: Rows) -> tuple[Rows, np.ndarray, np.ndarray]:
    """The other capture's rows, and the places in both of the tokens that both kept (same document and position)."""
    other = read_rows(capture, rows.stack)
    number = {name: index for index, name in enumerate(rows.names)}
    code = np.array([number.get(name, -1) for name in other.names], dtype=np.int64)[other.document]
    span = int(max(rows.position.max(initial=0), other.position.max(initial=0))) + 2
    mine, theirs = rows.document * span + rows.position, code * span + other.position
    keys, at_mine, at_theirs = np.intersect1d(mine, np.where(code >= 0, theirs, -1), return_indices=True)
    good = keys >= 0
    at_mine, at_theirs = at_mine[good], at_theirs[good]
    if not at_mine.size:
        raise CaptureError(
            f"'{capture.name}' and '{last.name}' have no token in common (document and position): record both on the same input."
        )
    try:
        same = read_column(last, rows, "token_id")[at_mine] == read_column(capture, other, "token_id")[at_theirs]
    except CaptureError:
        return other, at_mine, at_theirs  # shared without text: documents and positions are what there is
    if not same.all():
        raise CaptureError(
            f"{int((~same).sum()):,} of {len(same):,} tokens of '{capture.name}' and '{last.name}' differ at the "
            "same place: record both with the "
            "same tokenizer and input."
        )
    return other, at_mine, at_theirs
