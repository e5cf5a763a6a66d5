"""A trace: the tokens of one sequence in the order in which a model read and wrote them, with the experts that each chose.

This is what the Live page shows and replays; it needs no model and no torch. Counting a trace up to a token gives the same
tables that a capture gives, so the same figures draw both.

Letters: T tokens, S sites, K chosen experts (the most of any site), E experts (the most of any site).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from workbench.analysis.load import heatmap_of
from workbench.analysis.select import Selection
from workbench.analysis.tables import HeatmapTable
from workbench.capture import CaptureError, Group, Site

NO_EXPERT = -1  # a place that holds no choice: not routed yet, not seen by the site, or dropped
PHASES = ("prefill", "decode")


class Choice(NamedTuple):
    """One expert that a token chose at one site."""

    site: str
    expert: int
    weight: float
    rank: int  # 0 for the largest gate weight


@dataclass(frozen=True)
class TokenEvent:
    """What happened at one token.

    Attributes:
        place: its number in the sequence, from 0.
        token_id: id in the vocabulary, -1 where the model was given none.
        piece: its text; None without a tokenizer.
        modality: "text", "image", "video", "audio" or "unknown".
        phase: "prefill" (read) or "decode" (written).
        stack: which token axis it belongs to ("text", "encoder", "decoder", ...).
        special: whether the tokenizer calls it special.
        probability: what the model gave the token before temperature and top-p, 0 to 1; None for a token that was read.
        choices: its experts at each site, the largest gate weight first; empty until it has gone through the layers.
    """

    place: int
    token_id: int
    piece: str | None
    modality: str
    phase: str
    stack: str
    special: bool
    probability: float | None
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Trace:
    """The tokens of one sequence and their experts.

    Attributes:
        name: what the sequence is called ("Prompt A").
        sites: S sites in model order.
        token_ids: int64 [T], -1 where there is none.
        pieces: T texts, None without a tokenizer.
        modality: T names.
        stack: T names of token axes; a site chooses for the tokens of its own stack.
        written: bool [T], True for tokens that the model wrote.
        special: bool [T].
        probability: float32 [T], NaN for tokens that were read.
        experts: int32 [S, T, K], NO_EXPERT where there is no choice; the largest gate weight first.
        weights: float32 [S, T, K], 0 there.
    """

    name: str
    sites: tuple[Site, ...]
    token_ids: np.ndarray
    pieces: tuple[str | None, ...]
    modality: tuple[str, ...]
    stack: tuple[str, ...]
    written: np.ndarray
    special: np.ndarray
    probability: np.ndarray
    experts: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def routed(self) -> np.ndarray:
        """bool [T]: tokens that have gone through the layers; the last one that a model wrote has not."""
        found: np.ndarray = (self.experts != NO_EXPERT).any(axis=(0, 2))
        return found

    @property
    def text(self) -> str:
        """The pieces joined."""
        return "".join(piece or "" for piece in self.pieces)

    def site_index(self, site: str) -> int:
        """Place of a site.

        Raises:
            CaptureError: if there is none of this id.
        """
        for index, one in enumerate(self.sites):
            if one.id == site:
                return index
        raise CaptureError(f"A site of this run was expected, but '{site}' is none: choose one of its layers.")

    def upto(self, tokens: int) -> Trace:
        """The first `tokens` tokens."""
        stop = max(0, min(tokens, len(self)))
        return replace(
            self,
            token_ids=self.token_ids[:stop],
            pieces=self.pieces[:stop],
            modality=self.modality[:stop],
            stack=self.stack[:stop],
            written=self.written[:stop],
            special=self.special[:stop],
            probability=self.probability[:stop],
            experts=self.experts[:, :stop],
            weights=self.weights[:, :stop],
        )

    # ------------------------------------------------------------------ one token
    def event(self, place: int) -> TokenEvent:
        """What happened at one token."""
        value = float(self.probability[place])
        return TokenEvent(
            place=place,
            token_id=int(self.token_ids[place]),
            piece=self.pieces[place],
            modality=self.modality[place],
            phase=PHASES[int(self.written[place])],
            stack=self.stack[place],
            special=bool(self.special[place]),
            probability=None if np.isnan(value) else value,
            choices=self.route(place),
        )

    def events(self) -> Iterator[TokenEvent]:
        """Every token in order."""
        return (self.event(place) for place in range(len(self)))

    def route(self, place: int) -> tuple[Choice, ...]:
        """The way of one token through all layers: its experts at every site, sites in model order."""
        found = []
        for index, site in enumerate(self.sites):
            for rank, expert in enumerate(self.experts[index, place].tolist()):
                if expert != NO_EXPERT:
                    found.append(Choice(site.id, int(expert), float(self.weights[index, place, rank]), rank))
        return tuple(found)

    def first_choice(self, site: str) -> np.ndarray:
        """int32 [T], expert of the largest gate weight at a site, NO_EXPERT where there is none."""
        found: np.ndarray = self.experts[self.site_index(site), :, 0]
        return found

    def weight_of(self, site: str, expert: int) -> np.ndarray:
        """float32 [T], gate weight that each token gives to an expert of a site; NaN where it did not choose it."""
        index = self.site_index(site)
        chosen = self.experts[index] == expert
        return np.where(chosen.any(axis=1), (self.weights[index] * chosen).sum(axis=1), np.nan).astype(np.float32)

    # ------------------------------------------------------------------ counts
    def counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Choices int64 [S, E], gate weight float64 [S, E] and tokens int64 [S] that each site has routed.

        Special tokens count here like any others, as the model routes them; a capture leaves them out.
        """
        widest = max((site.experts for site in self.sites), default=0)
        count = np.zeros((len(self.sites), widest), np.int64)
        mass = np.zeros((len(self.sites), widest))
        tokens = np.zeros(len(self.sites), np.int64)
        for index in range(len(self.sites)):
            chosen = self.experts[index] != NO_EXPERT
            ids = self.experts[index][chosen]
            count[index] = np.bincount(ids, minlength=widest)
            mass[index] = np.bincount(ids, weights=self.weights[index][chosen], minlength=widest)
            tokens[index] = chosen.any(axis=1).sum()
        return count, mass, tokens

    def heatmap(self, measure: str = "utilisation") -> HeatmapTable:
        """Sites x experts of these tokens, as `analysis.load.heatmap_table` counts a capture; no cell is greyed for few tokens."""
        count, mass, tokens = self.counts()
        number = np.arange(count.shape[1])[None, :]
        experts = np.array([site.experts for site in self.sites])[:, None]
        identity = np.array([site.identity_experts for site in self.sites])[:, None]
        group = Group(name=self.name)
        return heatmap_of(
            Selection(
                sites=self.sites,
                groups=(group,),
                phase=None,
                count=count[:, None, :],
                mass=mass[:, None, :],
                tokens=tokens[:, None],
                exists=number < experts,
                real=number < experts - identity,
                min_expected=0.0,
                all_groups=(group,),
            ),
            measure,
        )

    def frame(self) -> pd.DataFrame:
        """A row for every token, site and chosen expert; tokens that chose nothing have one row without an expert."""
        rows = []
        for event in self.events():
            known = {
                "sequence": self.name,
                "token": event.place,
                "token_id": event.token_id,
                "piece": event.piece,
                "modality": event.modality,
                "phase": event.phase,
                "probability": event.probability,
            }
            for site, expert, weight, rank in event.choices:
                rows.append({**known, "site": site, "rank": rank, "expert": expert, "weight": weight})
            if not event.choices:
                rows.append({**known, "site": None, "rank": None, "expert": None, "weight": None})
        return pd.DataFrame(rows)


def share_by_expert(trace: Trace, site: str) -> list[tuple[int, int, float]]:
    """(expert, tokens, share of the routed tokens) at a site by first choice, the most chosen first."""
    first = trace.first_choice(site)
    first = first[first != NO_EXPERT]
    numbers, counts = np.unique(first, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [(int(numbers[at]), int(counts[at]), float(counts[at] / first.size)) for at in order]
