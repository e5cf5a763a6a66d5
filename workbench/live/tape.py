"""What one sequence has gone through so far: written by the model's thread, read by any other at any moment.

The model's thread only sets tensors aside; they are copied to the host many steps at a time (`flush`), so that following along
does not make a GPU wait for every token. Rows that were handed out are never changed afterwards, so a reader needs no copy.

Letters: S sites, N tokens, K chosen experts.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from probes.modality import MODALITIES
from probes.pieces import pieces_of
from probes.token_labels import joined
from workbench.analysis.trace import NO_EXPERT, Trace

if TYPE_CHECKING:
    from probes import RoutingProbe
    from probes.calls import Call, Record

_ROOM = 256  # tokens at first; doubled when full


class Tape:
    """One sequence.

    Args:
        name: of the sequence.
        probe: that watches the model.
        processor: for text pieces, or None.
    """

    def __init__(self, name: str, probe: RoutingProbe, processor: object) -> None:
        self.name = name
        self.written = 0  # tokens that the model chose, whether flushed or not
        self.patches = 0  # rows of towers whose patches are no tokens of the sequence
        self._probe = probe
        self._sites = tuple(found.site for found in probe.found)
        self._special = frozenset(probe.collector.settings.special)
        self._pieces_of = pieces_of(processor)
        self._pending: list[Sequence[Call] | tuple[Tensor, Tensor]] = []
        self._lock = threading.Lock()
        self._length = 0
        self._unrouted: dict[int, deque[int]] = {}  # stack -> tokens that were written and have not gone through it
        self._stack = 0  # token axis that is written to
        self._ids = np.full(_ROOM, -1, np.int64)
        self._modality = np.zeros(_ROOM, np.uint8)
        self._stacks = np.zeros(_ROOM, np.uint8)
        self._is_written = np.zeros(_ROOM, bool)
        self._probability = np.full(_ROOM, np.nan, np.float32)
        self._widest = max(site.top_k for site in self._sites)
        self._experts = np.full((len(self._sites), _ROOM, self._widest), NO_EXPERT, np.int32)
        self._weights = np.zeros((len(self._sites), _ROOM, self._widest), np.float32)
        self._pieces: tuple[str | None, ...] = ()

    # ------------------------------------------------------------------ the model's thread
    def passed(self, calls: Sequence[Call]) -> None:
        """A forward pass has ended."""
        self._pending.append(calls)

    def chose(self, token: Tensor, scores: Tensor) -> None:
        """A token int64 [1] was chosen from the scores float32 [1, V] of the model; both are left as they are."""
        self._pending.append((token, scores))
        self.written += 1

    @torch.inference_mode()
    def flush(self) -> None:
        """Copy what was set aside to the host, all of it at once, and hand it out."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        picks = [entry for entry in pending if isinstance(entry, tuple)]
        chosen, values = _probabilities(picks)
        passes = [entry for entry in pending if not isinstance(entry, tuple)]
        records = [record for entry in passes for call in entry if not call.pooled for record in call.records]
        rows = _Rows(records)
        with self._lock:
            pick = 0
            for entry in pending:
                if isinstance(entry, tuple):
                    self._take_choice(chosen[pick], values[pick])
                    pick += 1
                    continue
                for call in entry:
                    if call.pooled:
                        self.patches += call.tokens
                    else:
                        self._take_call(call, rows)
            self._read_pieces()

    def keep_written(self, tokens: int) -> None:
        """Drop tokens that generation took back: on some devices it runs one step further than it gives out."""
        with self._lock:
            extra = int(self._is_written[: self._length].sum()) - tokens
            if extra > 0:
                self._length -= extra
                self.written -= extra
                self._pieces = self._pieces[: self._length]

    def _take_choice(self, token: int, probability: float) -> None:
        at = self._append(1, self._stack)
        self._ids[at] = token
        self._is_written[at] = True
        self._probability[at] = probability
        self._unrouted.setdefault(self._stack, deque()).append(at)

    def _take_call(self, call: Call, rows: _Rows) -> None:
        waiting = self._unrouted.setdefault(call.stack, deque())
        self._stack = call.stack
        if call.decode and call.tokens == 1 and waiting:  # a step that follows a choice: by far the most frequent call
            self._take_records(call, np.array([waiting.popleft()]), rows)
            return
        real = np.ones(call.tokens, bool) if call.padding is None else ~call.padding.reshape(-1).cpu().numpy()
        if call.decode and waiting:
            places = [waiting.popleft() for _ in range(min(len(waiting), int(real.sum())))]
            where = np.full(call.tokens, -1)
            where[np.flatnonzero(real)[: len(places)]] = places
        else:
            first = self._append(int(real.sum()), call.stack)
            where = np.where(real, first + np.cumsum(real) - 1, -1)
            kept = slice(first, first + int(real.sum()))
            if call.input_ids is not None:
                self._ids[kept] = call.input_ids.reshape(-1).cpu().numpy()[real]
            self._modality[kept] = self._probe.collector.modality_of(call)[real]
        self._take_records(call, where, rows)

    def _take_records(self, call: Call, where: np.ndarray, rows: _Rows) -> None:
        """Experts of a call: `where` int [N] is the place of each of its tokens, -1 for none."""
        if rows.width and all(record.seen is None for record in call.records):
            sites = np.array([record.site for record in call.records])
            ids, weights = rows.take(len(sites) * call.tokens)
            there = where >= 0
            shape = (len(sites), call.tokens, rows.width)
            at = (sites[:, None], where[there][None, :], slice(0, rows.width))
            self._widen(rows.width)
            self._experts[at] = ids.reshape(shape)[:, there]
            self._weights[at] = weights.reshape(shape)[:, there]
            return
        for record in call.records:
            ids, weights = rows.take(record.routing.ids.shape[0])
            place = where if record.seen is None else where[record.seen.reshape(-1).cpu().numpy()]
            there = place >= 0
            self._widen(ids.shape[1])
            self._experts[record.site, place[there], : ids.shape[1]] = ids[there]
            self._weights[record.site, place[there], : ids.shape[1]] = weights[there]

    # ------------------------------------------------------------------ arrays
    def _append(self, tokens: int, stack: int) -> int:
        """Room for `tokens` more tokens; returns the place of the first."""
        first = self._length
        while first + tokens > len(self._ids):
            self._grow()
        self._stacks[first : first + tokens] = stack
        self._is_written[first : first + tokens] = False
        self._length += tokens
        return first

    def _grow(self) -> None:
        """Twice the room, in new arrays: readers keep the old ones."""
        more = len(self._ids)
        self._ids = np.concatenate([self._ids, np.full(more, -1, np.int64)])
        self._modality = np.concatenate([self._modality, np.zeros(more, np.uint8)])
        self._stacks = np.concatenate([self._stacks, np.zeros(more, np.uint8)])
        self._is_written = np.concatenate([self._is_written, np.zeros(more, bool)])
        self._probability = np.concatenate([self._probability, np.full(more, np.nan, np.float32)])
        shape = (len(self._sites), more, self._widest)
        self._experts = np.concatenate([self._experts, np.full(shape, NO_EXPERT, np.int32)], axis=1)
        self._weights = np.concatenate([self._weights, np.zeros(shape, np.float32)], axis=1)

    def _widen(self, width: int) -> None:
        """Room for more choices a token than the sites stated."""
        if width <= self._widest:
            return
        extra = ((0, 0), (0, 0), (0, width - self._widest))
        self._experts = np.pad(self._experts, extra, constant_values=NO_EXPERT)
        self._weights = np.pad(self._weights, extra)
        self._widest = width

    def _read_pieces(self) -> None:
        if self._pieces_of is None:
            self._pieces = (None,) * self._length
            return
        # All of them again: a character may be split over several tokens. Stacks are apart like documents.
        stop = self._length
        self._pieces = tuple(self._pieces_of(self._ids[:stop], self._stacks[:stop]))

    # ------------------------------------------------------------------ any thread
    def trace(self) -> Trace:
        """What was handed out so far."""
        with self._lock:
            stop = self._length
            ids = self._ids[:stop]
            experts, weights = self._experts[:, :stop], self._weights[:, :stop]
            waiting = [at for queue in self._unrouted.values() for at in queue if at < stop]
            if waiting:  # the only rows that are still to change
                experts, weights = experts.copy(), weights.copy()
            stacks = self._probe.stacks
            return Trace(
                name=self.name,
                sites=self._sites,
                token_ids=ids,
                pieces=self._pieces,
                modality=tuple(MODALITIES[code] for code in self._modality[:stop]),
                stack=tuple(stacks[code] for code in self._stacks[:stop]),
                written=self._is_written[:stop],
                special=np.isin(ids, list(self._special)) if self._special else np.zeros(stop, bool),
                probability=self._probability[:stop],
                experts=experts,
                weights=weights,
            )


class _Rows:
    """The experts of many records on the host, in one copy: rows of choices, the largest weight first.

    Attributes:
        width: choices of a row, or 0 where records differ in it.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        widths = {record.routing.ids.shape[1] for record in records}
        self.width = widths.pop() if len(widths) == 1 else 0
        self._at = 0
        self._each: list[tuple[np.ndarray, np.ndarray]] = []
        if not records:
            return
        ids = joined([record.routing.ids.reshape(-1) for record in records]).cpu().numpy()
        weights = joined([record.routing.weights.reshape(-1).float() for record in records]).cpu().numpy()
        if self.width:
            self._ids, self._weights = _ranked(ids.reshape(-1, self.width), weights.reshape(-1, self.width))
            return
        start = 0
        for record in records:
            shape, size = record.routing.ids.shape, record.routing.ids.numel()
            part = slice(start, start + size)
            self._each.append(_ranked(ids[part].reshape(shape), weights[part].reshape(shape)))
            start += size

    def take(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """The next `rows` rows [rows, K]; where widths differ, those of the next record, which has that many."""
        if not self.width:
            self._at += 1
            return self._each[self._at - 1]
        part = slice(self._at, self._at + rows)
        self._at += rows
        return self._ids[part], self._weights[part]


def _ranked(ids: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows [n, K] by descending weight; a choice that led to no expert stands last, as NO_EXPERT with weight 0."""
    weights = np.where(ids < 0, -np.inf, weights)
    order = np.argsort(-weights, axis=1, kind="stable")
    ids = np.maximum(np.take_along_axis(ids, order, 1), NO_EXPERT)
    return ids, np.where(ids == NO_EXPERT, 0.0, np.take_along_axis(weights, order, 1))


def _probabilities(picks: Sequence[tuple[Tensor, Tensor]]) -> tuple[list[int], list[float]]:
    """Tokens and their probabilities under the scores that they were chosen from, for many choices in one go."""
    if not picks:
        return [], []
    tokens = torch.cat([token for token, _ in picks])
    scores = torch.cat([score for _, score in picks])
    values = (scores.gather(1, tokens[:, None]).squeeze(1) - scores.logsumexp(dim=-1)).exp()
    return tokens.tolist(), values.tolist()
