"""Does muting the experts that a group uses most hurt that group more than muting random experts of equal load?

A group's favourites say nothing of what happens without them. So they are muted for one run, and so are random sets of as many
experts that carry the same part of all choices; what counts is the difference between the two, in nats a token.

Intervals: documents of a group are drawn with replacement, the same ones for the full model, the muted one and every
random draw; for the random side the draws are drawn again too, because other random sets could have come up.

Letters: E experts, G groups, R rows (what is muted), K random draws, C cells (a document's tokens of one group).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workbench.analysis.intervals import interval_ends, resample_weights
from workbench.analysis.overlap import top_experts
from workbench.analysis.specialisation import log2_specialisation
from workbench.capture import CaptureError

CHOICES = ("used", "preferred")
LOAD_TOLERANCE = 0.01  # of all choices of a site, how far a random set's load may lie from the wanted one
_TRIES, _STEPS = 20, 400


def favourites(count: np.ndarray, share: float, by: str = "used", mask: np.ndarray | None = None) -> np.ndarray:
    """bool [G, E]: the experts of one site that each group uses most, or prefers most.

    Args:
        count: int64 [G, E], choices. share: part of the experts, as in Figure 9 of the ERNIE 5.0 report (0.25).
        by: "used" (most choices of the group) or "preferred" (log2 of its share over that of the other groups).
        mask: bool [E], experts that there are.

    Raises:
        CaptureError: for another `by`, or a share outside (0, 1].
    """
    if by not in CHOICES:
        raise CaptureError(
            f"Favourites are the experts {' or '.join(CHOICES)} most, not '{by}': choose one of the two."
        )
    if by == "used" or len(count) < 2:
        return top_experts(count, share, mask)
    others = count.sum(axis=0) - count
    ratio = log2_specialisation(count, others, mask)
    # Ranks as counts: top_experts breaks ties and knows how many a share is; an expert that is not there has none.
    rank = np.where(np.isnan(ratio), 0, ratio.argsort(axis=1).argsort(axis=1) + 1)
    return top_experts(rank, share, mask)


def pooled_load(count: np.ndarray) -> np.ndarray:
    """float64 [E], part of the choices that each expert takes, every group with tokens weighing the same; count [G, E]."""
    total = count.sum(axis=1, keepdims=True)
    share = count / np.maximum(total, 1)
    found: np.ndarray = share[total[:, 0] > 0].mean(axis=0) if total.any() else np.zeros(count.shape[1])
    return found


def sets_of_equal_load(
    load: np.ndarray, size: int, target: float, draws: int, random: np.random.Generator, mask: np.ndarray | None = None
) -> np.ndarray:
    """bool [draws, E]: random sets of `size` experts whose loads add up to `target` as nearly as can be.

    Each starts as a uniform draw; random swaps of a member with another expert are kept while they bring the load nearer, until
    it is within `LOAD_TOLERANCE`.

    Args:
        load: float64 [E], part of the choices of each expert. mask: bool [E], experts that may be drawn.

    Raises:
        CaptureError: if there are fewer experts than `size`.
    """
    able = np.flatnonzero(np.ones(len(load), dtype=bool) if mask is None else mask)
    if size > len(able):
        raise CaptureError(f"A random set of {size} experts was asked for, but there are {len(able)}: ask for fewer.")
    found = np.zeros((draws, len(load)), dtype=bool)
    for draw in range(draws):
        best: np.ndarray | None = None
        for _ in range(_TRIES):
            inside = random.permutation(able)
            chosen, rest = inside[:size].copy(), inside[size:].copy()
            off = load[chosen].sum() - target
            for _ in range(_STEPS if size and len(rest) else 0):
                if abs(off) <= LOAD_TOLERANCE:
                    break
                a, b = random.integers(size), random.integers(len(rest))
                after = off - load[chosen[a]] + load[rest[b]]
                if abs(after) < abs(off):
                    chosen[a], rest[b], off = rest[b], chosen[a], after
            if best is None or abs(off) < abs(load[best].sum() - target):
                best = chosen
            if abs(load[best].sum() - target) <= LOAD_TOLERANCE:
                break
        found[draw, best] = True
    return found


@dataclass(frozen=True)
class Losses:
    """What was measured.

    Attributes:
        rows: names of what was muted.
        cells: (document, group) of each cell. tokens: int64 [C], predicted tokens.
        full: float64 [C], summed loss of the full model, nats. changed: float64 [R, C]. random: float64 [R, K, C]; K may be 0.
        load, random_load: float64 [R] and [R, K], part of all choices that the muted experts had, mean over sites.
    """

    rows: tuple[str, ...]
    cells: tuple[tuple[str, str], ...]
    tokens: np.ndarray
    full: np.ndarray
    changed: np.ndarray
    random: np.ndarray
    load: np.ndarray
    random_load: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, for JSON."""
        arrays = {name: getattr(self, name).tolist() for name in _ARRAYS}
        return {"rows": list(self.rows), "cells": [list(cell) for cell in self.cells], **arrays}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Losses:
        """What `to_dict` gave.

        Raises:
            CaptureError: if it is something else.
        """
        try:
            rows = tuple(str(row) for row in found["rows"])
            cells = tuple((str(document), str(group)) for document, group in found["cells"])
            draws = len(found["random"][0]) if rows else 0
            shapes = {
                "tokens": (len(cells),), "full": (len(cells),), "changed": (len(rows), len(cells)),
                "random": (len(rows), draws, len(cells)), "load": (len(rows),), "random_load": (len(rows), draws),
            }  # fmt: skip
            arrays = {
                name: np.asarray(found[name], dtype=np.int64 if name == "tokens" else np.float64).reshape(shape)
                for name, shape in shapes.items()
            }
        except (KeyError, IndexError, TypeError, ValueError) as fault:
            raise CaptureError(
                "The losses of a causal check were expected, but the file holds something else: make it again with `workbench causal`."
            ) from fault
        return cls(rows, cells, **arrays)


_ARRAYS = ("tokens", "full", "changed", "random", "load", "random_load")


@dataclass(frozen=True)
class Estimate:
    """Values [R, G] in nats a token with their interval; NaN ends where a group has fewer than two documents."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class CausalTable:
    """The causal table.

    Attributes:
        rows, groups: what was muted, and whose tokens the loss is of.
        full: float64 [G], loss of the full model, nats a token.
        change: muted minus full. random: the same of the random sets, mean over the draws. excess: change minus random.
        documents, tokens: int64 [G]. draws: random sets a row.
        load, random_load: float64 [R], part of all choices that was muted; random: mean over the draws.
        own: int64 [R], number of the group that a row belongs to, -1 for none.
        separate: whether experts were chosen on other documents than those that the loss is of.
    """

    rows: tuple[str, ...]
    groups: tuple[str, ...]
    full: np.ndarray
    change: Estimate
    random: Estimate
    excess: Estimate
    documents: np.ndarray
    tokens: np.ndarray
    draws: int
    load: np.ndarray
    random_load: np.ndarray
    own: np.ndarray
    level: float
    resamples: int
    seed: int
    separate: bool = True

    def hurts(self, row: int) -> bool | None:
        """Whether the row's own group loses more than under random muting, with its interval above zero; None if unknown."""
        column = int(self.own[row])
        if column < 0 or not self.draws or np.isnan(self.excess.low[row, column]):
            return None
        return bool(self.excess.low[row, column] > 0)

    def frame(self) -> pd.DataFrame:
        """A row for every muted set and group."""
        row, column = (index.ravel() for index in np.indices(self.change.value.shape))
        numbers = {
            f"{name}{end}": getattr(part, key)[row, column]
            for name, part in (("change", self.change), ("random_change", self.random), ("excess", self.excess))
            for end, key in (("", "value"), ("_low", "low"), ("_high", "high"))
        }
        return pd.DataFrame(
            {
                "muted": [self.rows[index] for index in row],
                "group": [self.groups[index] for index in column],
                "own_group": self.own[row] == column,
                "loss_full": self.full[column],
                **numbers,
                "unit": "nats a token",
                "n_documents": self.documents[column],
                "n_tokens": self.tokens[column],
                "draws": self.draws,
                "load_muted": self.load[row],
                "load_random": self.random_load[row],
            }
        )


def causal_table(
    losses: Losses, *, level: float = 0.95, resamples: int = 2000, seed: int = 0, separate: bool = True
) -> CausalTable:
    """Loss by group with intervals by bootstrap over documents.

    Raises:
        CaptureError: for a level outside (0, 1) or fewer than 20 resamples.
    """
    if not 0 < level < 1 or resamples < 20:
        raise CaptureError(
            f"An interval needs a level between 0 and 1 and at least 20 resamples, not {level} and {resamples}: choose .95 and 2000."
        )
    known = sorted({group for _, group in losses.cells})
    groups = tuple(
        dict.fromkeys([*(row for row in losses.rows if row in known), *known])
    )  # the diagonal is a group's own
    shape = (len(losses.rows), len(groups))
    draws = losses.random.shape[1]
    parts = {name: [np.full(shape, np.nan) for _ in range(3)] for name in ("change", "random", "excess")}
    full, documents, tokens = np.zeros(len(groups)), np.zeros(len(groups), np.int64), np.zeros(len(groups), np.int64)
    redrawn = resample_weights(draws, resamples, seed + 1) / draws if draws else np.zeros((resamples, 0))
    for column, group in enumerate(groups):
        inside = np.array([own == group for _, own in losses.cells])
        n = losses.tokens[inside].astype(np.float64)
        documents[column], tokens[column] = inside.sum(), int(n.sum())
        full[column] = losses.full[inside].sum() / n.sum()
        delta = losses.changed[:, inside] - losses.full[inside]  # [R, D]
        other = losses.random[:, :, inside] - losses.full[inside]  # [R, K, D]
        values = {"change": delta.sum(axis=1) / n.sum()}
        weights = resample_weights(len(n), resamples, seed)  # [B, D]
        below = weights @ n
        samples = {"change": (weights @ delta.T) / below[:, None]}  # [B, R]
        if draws:
            values["random"] = other.sum(axis=2).mean(axis=1) / n.sum()
            each = np.einsum("bd,rkd->brk", weights, other) / below[:, None, None]
            samples["random"] = np.einsum("brk,bk->br", each, redrawn)
            values["excess"] = values["change"] - values["random"]
            samples["excess"] = samples["change"] - samples["random"]
        for name, value in values.items():
            low, high = interval_ends(value, samples[name], None, level)
            told = len(n) > 1 and (name == "change" or draws > 1)
            for slot, numbers in zip(parts[name], (value, low, high), strict=True):
                slot[:, column] = numbers if told or slot is parts[name][0] else np.nan
    own = np.array([groups.index(row) if row in groups else -1 for row in losses.rows], dtype=np.int64)
    return CausalTable(
        losses.rows, groups, full, Estimate(*parts["change"]), Estimate(*parts["random"]), Estimate(*parts["excess"]),
        documents, tokens, draws, losses.load, losses.random_load.mean(axis=1) if draws else np.full(shape[0], np.nan),
        own, level, resamples, seed, separate,
    )  # fmt: skip


def verdict(table: CausalTable) -> str:
    """One or two sentences: whether a group's own experts matter more to it than random ones of equal load, and what that does not prove."""
    known = [(row, table.hurts(row)) for row in range(len(table.rows)) if table.own[row] >= 0]
    judged = [(row, answer) for row, answer in known if answer is not None]
    if not judged:
        return (
            "Whether this hurts a group more than muting random experts of equal load cannot be said: it needs at least two documents a "
            "group and two random draws."
        )
    yes, no = [row for row, answer in judged if answer], [row for row, answer in judged if not answer]
    level = f"{table.level:.0%}"
    said = []
    if yes:
        whom = "every group" if not no else f"{len(yes)} of {len(judged)} groups"
        said.append(
            f"Muting the experts that a group favours hurts {whom} more than muting random experts of equal load does "
            f"({'; '.join(_difference(table, row, level) for row in _by_excess(table, yes)[:3])})"
        )
    if no:
        what = (
            f"for {_names(table, no)} it does not"
            if yes
            else "Muting the experts that a group favours does not hurt it more than muting random experts of equal load"
        )
        said.append(f"{what} ({'; '.join(_difference(table, row, level) for row in _by_excess(table, no)[:3])})")
    where = "" if table.separate else "; the experts were chosen on the same documents, which favours the claim"
    return (
        "; ".join(said)
        + f"{where}; nats a token, {table.draws} random sets each, {int(table.documents.sum()):,} documents. "
        + "It does not prove that the group's knowledge sits in these experts: a model trained without them would have put it elsewhere."
    )


def _by_excess(table: CausalTable, rows: Sequence[int]) -> list[int]:
    return sorted(rows, key=lambda row: -float(table.excess.value[row, table.own[row]]))


def _names(table: CausalTable, rows: Sequence[int]) -> str:
    return ", ".join(table.rows[row] for row in rows)


def _difference(table: CausalTable, row: int, level: str) -> str:
    column = int(table.own[row])
    change, random, excess = (part.value[row, column] for part in (table.change, table.random, table.excess))
    low, high = table.excess.low[row, column], table.excess.high[row, column]
    return f"{table.rows[row]} {change:+.2f} against {random:+.2f}, difference {excess:+.2f}, {level} interval {low:+.2f} to {high:+.2f}"
