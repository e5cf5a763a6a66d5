"""Whether neighbouring tokens go to the same experts (Mixtral, 2401.04088, section 5, Table 5), beside the level of chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.analysis.saturation import shared_share
from workbench.analysis.select import MIN_EXPECTED, _names, groups_with_tokens, strand_numbers
from workbench.analysis.tables import site_group_frame
from workbench.analysis.token_rows import chosen_sites, need_rows, read_choices, read_rows
from workbench.analysis.words import tokens_phrase
from workbench.capture import Capture, Group, Site

CHANCE_PAIRS = 200_000  # random pairs of tokens behind `any_chance`: a standard error of at most .0011


@dataclass(frozen=True)
class RepetitionTable:
    """Repetition at consecutive tokens of a document, arrays [S, G].

    Attributes:
        first: part of the pairs whose first choices are equal; first_chance: sum_i l_i r_i, with the first-choice loads of the
            left and right tokens (exact for unrelated tokens).
        shared: mean part of the k experts that the two tokens share; shared_chance: sum_i l_i r_i / k, exact likewise.
        any: part of the pairs that share at least one expert; any_chance: that of random pairs of the group's tokens (seeded).
        n: int64 pairs. few: bool, fewer than 5 pairs an expert. strand: int64 [S].
    """

    sites: tuple[Site, ...]
    groups: tuple[Group, ...]
    first: np.ndarray
    first_chance: np.ndarray
    shared: np.ndarray
    shared_chance: np.ndarray
    any: np.ndarray
    any_chance: np.ndarray
    n: np.ndarray
    few: np.ndarray
    strand: np.ndarray
    all_groups: tuple[Group, ...]
    caption: str

    def frame(self) -> pd.DataFrame:
        """A row for every site and group."""
        names = ("first", "first_chance", "shared", "shared_chance", "any", "any_chance")
        columns = {name: getattr(self, name) for name in names} | {"n_pairs": self.n, "few_tokens": self.few}
        return site_group_frame(self.sites, self.groups, columns)


def repetition_table(
    capture: Capture,
    sites: str | Sequence[str] | None = None,
    groups: str | Sequence[str] | None = None,
    *,
    seed: int = 0,
) -> RepetitionTable:
    """Repetition of experts at consecutive positions of a document, both tokens of one group.

    Raises:
        CaptureError: without token rows, or for an unknown site or group.
    """
    need_rows(capture, "Repetition at consecutive tokens")
    places = chosen_sites(capture, sites)
    names = _names(groups, "group", groups_with_tokens(capture))
    numbers = [capture.group_index(name) for name in names]
    shape = (len(places), len(names))
    out = {
        name: np.full(shape, np.nan)
        for name in ("first", "first_chance", "shared", "shared_chance", "any", "any_chance")
    }
    n = np.zeros(shape, dtype=np.int64)
    rows = {stack: read_rows(capture, stack) for stack in dict.fromkeys(site.stack for site in places)}
    random = np.random.default_rng(seed)
    for s, site in enumerate(places):
        labels = rows[site.stack]
        ids, _ = read_choices(capture, labels, site)
        reached = np.asarray((ids >= 0).any(axis=1))
        next_one: np.ndarray = (
            (np.diff(labels.document) == 0) & (np.diff(labels.position) == 1) & reached[:-1] & reached[1:]
        )
        for g, number in enumerate(numbers):
            at = np.flatnonzero(next_one & np.equal(labels.group[:-1], number) & np.equal(labels.group[1:], number))
            n[s, g] = at.size
            if not at.size:
                continue
            left, right = ids[at], ids[at + 1]
            firsts = _first(left), _first(right)
            share = shared_share(left, right, site.top_k)
            out["first"][s, g] = (firsts[0] == firsts[1]).mean()
            out["shared"][s, g], out["any"][s, g] = share.mean(), (share > 0).mean()
            loads = [np.bincount(one, minlength=site.experts) / at.size for one in firsts]
            out["first_chance"][s, g] = loads[0] @ loads[1]
            loads = [np.bincount(one[one >= 0], minlength=site.experts) / at.size for one in (left, right)]
            out["shared_chance"][s, g] = loads[0] @ loads[1] / site.top_k
            drawn = random.integers(0, at.size, size=(2, CHANCE_PAIRS))
            out["any_chance"][s, g] = (shared_share(left[drawn[0]], right[drawn[1]], site.top_k) > 0).mean()
    few = n < MIN_EXPECTED * np.array([[site.experts] for site in places])
    return RepetitionTable(
        sites=places,
        groups=tuple(capture.manifest.groups[number] for number in numbers),
        n=n,
        few=few,
        strand=strand_numbers(places),
        all_groups=capture.manifest.groups,
        caption=(
            f"How often two tokens in a row choose the same expert first, {tokens_phrase(n).replace('tokens', 'pairs')}; dotted: "
            "unrelated tokens with the same load; neighbours that are alike route alike, so this does not prove "
            "that the router looks at position."
        ),
        **out,
    )


def _first(ids: np.ndarray) -> np.ndarray:
    """The strongest choice that was kept, [N, K] -> [N]."""
    place = (ids >= 0).argmax(axis=1)
    return ids[np.arange(len(ids)), place]
