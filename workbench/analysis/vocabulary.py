"""Vocabulary specialisation: how much an expert belongs to a token id (OLMoE, 2409.02060, section 5.4, equation 8).

N_xi / N_x: part of the tokens with id x for which expert i is among the chosen ones; x is the input id, the id that follows, or
the id that the model predicts. As there, ids seen fewer than 10 times are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from workbench.analysis.select import few_tokens, strand_numbers
from workbench.analysis.token_rows import Rows, chosen_sites, need_rows, read_choices, read_column, read_rows
from workbench.analysis.words import tokens_phrase
from workbench.capture import Capture, CaptureError, Site

By = Literal["input", "next", "predicted"]
MIN_SEEN = 10


@dataclass(frozen=True)
class VocabularyTable:
    """Vocabulary specialisation by site.

    Attributes:
        by: "input", "next" or "predicted".
        value: float64 [S], mean over token ids of the highest share that one expert has of the id's tokens, 0 to 1.
        chance: float64 [S], the same when ids are shuffled over tokens: the highest of many shares is high by chance already.
        ids: int64 [S], token ids that were counted. n: int64 [S], tokens of these ids. few: bool [S], too few of them.
        group: the one group whose tokens were counted, or None for all. strand: int64 [S].
        top: a row for each site and of its most bound (token id, expert): site, token_id, expert, share, n_tokens.
    """

    by: By
    sites: tuple[Site, ...]
    value: np.ndarray
    chance: np.ndarray
    ids: np.ndarray
    n: np.ndarray
    few: np.ndarray
    group: str | None
    strand: np.ndarray
    top: pd.DataFrame
    caption: str

    def frame(self) -> pd.DataFrame:
        """A row a site."""
        return pd.DataFrame(
            {
                "site": [site.id for site in self.sites],
                "layer": [site.layer for site in self.sites],
                "by": self.by,
                "value": self.value,
                "chance": self.chance,
                "token_ids": self.ids,
                "n_tokens": self.n,
                "few_tokens": self.few,
            }
        )


def id_shares(ids: np.ndarray, token: np.ndarray, experts: int) -> tuple[np.ndarray, np.ndarray]:
    """N_xi / N_x [V, E] and N_x [V] for token numbers 0 to V - 1; experts [N, K], -1 for none."""
    number = int(token.max(initial=-1)) + 1
    kept = ids >= 0
    cell = token[:, None] * experts + np.where(kept, ids, 0)
    count = np.bincount(cell[kept], minlength=number * experts).reshape(number, experts)
    n = np.bincount(token, minlength=number)
    return count / np.maximum(n, 1)[:, None], n


def vocabulary_table(
    capture: Capture,
    sites: str | Sequence[str] | None = None,
    by: By = "input",
    group: str | None = None,
    *,
    min_seen: int = MIN_SEEN,
    most: int = 20,
    shuffles: int = 5,
    seed: int = 0,
) -> VocabularyTable:
    """Vocabulary specialisation of sites.

    Args:
        by: the id that a token is sorted by: its own, the one that follows it, or the model's prediction (needs the
            column predicted_id, which is recorded on request).
        group: tokens of one group only. min_seen: tokens of an id for it to count. most: rows of `top` a site.

    Raises:
        CaptureError: without token rows or the ids asked for, or for an unknown site, group or `by`.
    """
    need_rows(capture, "Vocabulary specialisation")
    if by not in ("input", "next", "predicted"):
        raise CaptureError(f"Tokens are sorted by input, next or predicted id, not by '{by}': choose one of them.")
    places = chosen_sites(capture, sites)
    rows = {stack: read_rows(capture, stack) for stack in dict.fromkeys(site.stack for site in places)}
    tokens = {stack: _sorted_by(capture, labels, by) for stack, labels in rows.items()}
    random = np.random.default_rng(seed)
    value, chance = np.full(len(places), np.nan), np.full(len(places), np.nan)
    ids_seen, n = np.zeros(len(places), dtype=np.int64), np.zeros(len(places), dtype=np.int64)
    tops: list[pd.DataFrame] = []
    for s, site in enumerate(places):
        ids, _ = read_choices(capture, rows[site.stack], site)
        at = (tokens[site.stack] >= 0) & (ids >= 0).any(axis=1)
        if group is not None:
            at &= rows[site.stack].group == capture.group_index(group)
        known, code, seen = np.unique(tokens[site.stack][at], return_inverse=True, return_counts=True)
        often = seen >= min_seen
        keep = often[code]
        number, part = (np.cumsum(often) - 1)[code[keep]], ids[at][keep]
        ids_seen[s], n[s] = often.sum(), keep.sum()
        if not often.any():
            continue
        share, counts = id_shares(part, number, site.experts)
        value[s] = share.max(axis=1).mean()
        shuffled = [
            id_shares(part, random.permutation(number), site.experts)[0].max(axis=1).mean() for _ in range(shuffles)
        ]
        chance[s] = np.mean(shuffled)
        best = np.argsort(-share, axis=None, kind="stable")[:most]
        token, expert = np.unravel_index(best, share.shape)
        tops.append(
            pd.DataFrame(
                {
                    "site": site.id,
                    "token_id": known[often][token],
                    "expert": expert,
                    "share": share[token, expert],
                    "n_tokens": counts[token],
                }
            )
        )
    says = {"input": "input token", "next": "following token", "predicted": "predicted token"}[by]
    return VocabularyTable(
        by=by,
        sites=places,
        value=value,
        chance=chance,
        ids=ids_seen,
        n=n,
        few=few_tokens(n, places),
        group=group,
        strand=strand_numbers(places),
        top=pd.concat(tops, ignore_index=True)
        if tops
        else pd.DataFrame(columns=["site", "token_id", "expert", "share", "n_tokens"]),
        caption=(
            f"Highest share that one expert has of an id's occurrences as {says}, mean over {int(ids_seen.max(initial=0)):,} ids seen at "
            f"least {min_seen} times, {tokens_phrase(n)}; dotted: ids shuffled over tokens; a bound "
            "expert does not prove that it holds what the word means."
        ),
    )


def _sorted_by(capture: Capture, rows: Rows, by: By) -> np.ndarray:
    """The id that each row is sorted by, -1 for none."""
    if by == "predicted":
        return read_column(capture, rows, "predicted_id")
    own = read_column(capture, rows, "token_id")
    if by == "input":
        return own
    follows = (np.diff(rows.document) == 0) & (np.diff(rows.position) == 1)
    return np.append(np.where(follows, own[1:], -1), -1)
