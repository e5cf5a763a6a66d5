"""Counts and token rows of a running capture: calls wait until enough has gathered, then all their sites are counted at once.

Letters: N tokens of a flush, S sites, K choices, E experts, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probes.calls import Call
from probes.errors import ProbeError
from probes.labels import Documents, GroupTable, as_array, repeat_rows
from probes.predictions import Late, prediction_fields
from probes.sites import FoundSite
from probes.tally import Tally
from probes.token_labels import PADDING, REASONS, Settings, TokenLabels, joined
from probes.token_rows import Chunk, TokenRows
from workbench.capture.schema import BLOCKS, PHASES

PENDING_BYTES = 32 * 2**20  # ids and weights that may wait to be counted
PENDING_CALLS = 512
MAX_PAIRS = 2**27  # entries of the co-activation table (1 GiB) above which it is not kept


@dataclass
class StackCount:
    """Sums over the tokens of a stack: how many are in no group and why, and how many calls it had."""

    calls: int = 0
    tokens: int = 0
    excluded: dict[str, int] = field(default_factory=dict)
    by_group: dict[int, int] = field(default_factory=dict)  # group index -> tokens counted


class Collector:
    """Everything that one probe has counted so far.

    Args:
        sites: the sites of the model.
        stacks: names of the token axes; a site's stack is one of them.
        settings: what to record.
    """

    def __init__(self, sites: Sequence[FoundSite], stacks: Sequence[str], settings: Settings) -> None:
        self.sites = tuple(sites)
        self.stacks = tuple(stacks)
        self.settings = settings
        self.documents = Documents(BLOCKS)
        self.groups = GroupTable()
        self.counts = [StackCount() for _ in stacks]
        self.fired = [0] * len(sites)  # calls of each site
        self.left_out = [0] * len(sites)  # calls in which a sub-model had left out the layer of the site
        self.top_k = [site.site.top_k for site in sites]
        self._recorded = [False] * len(sites)
        self._tallies: dict[tuple[int, int, int, torch.device], list[Tally]] = {}
        self.rows = [TokenRows(settings.max_tokens, settings.seed, self.documents.name) for _ in stacks]
        self._of_stack = [tuple(n for n, site in enumerate(sites) if site.site.stack == stack) for stack in stacks]
        widest = max((site.site.experts for site in sites), default=0)
        self.coactivation = settings.coactivation and len(sites) * widest**2 <= MAX_PAIRS
        self.late = Late()
        self._pending: list[list[Call]] = [[] for _ in stacks]
        self._waiting_bytes = 0
        self._waiting_calls = 0
        self._labels = TokenLabels(settings, self.documents, self.groups)
        self._next_position: list[dict[int, int]] = [{} for _ in stacks]  # document -> tokens so far

    @property
    def tallies(self) -> list[Tally]:
        """All counts so far."""
        return [tally for same in self._tallies.values() for tally in same]

    # ------------------------------------------------------------------ coming in
    def add(self, calls: Sequence[Call]) -> None:
        """Take the calls of one forward pass of the model; count them now or later."""
        for call in calls:
            for record in call.records:
                ids = record.routing.ids
                self._waiting_bytes += ids.numel() * (ids.element_size() + record.routing.weights.element_size())
                if record.routing.logits is not None:
                    self._waiting_bytes += record.routing.logits.numel() * record.routing.logits.element_size()
            self._waiting_bytes += sum(found.nbytes for found in (call.predicted, call.loss) if found is not None)
            self._pending[call.stack].append(call)
        self._waiting_calls += len(calls)
        if self._waiting_bytes > PENDING_BYTES or self._waiting_calls > PENDING_CALLS:
            self.flush()

    @torch.inference_mode()
    def flush(self) -> None:
        """Count everything that waits."""
        pending, self._pending = self._pending, [[] for _ in self.stacks]
        self._waiting_bytes = self._waiting_calls = 0
        # Stacks that take their rows from the batch come first: patches look up the rows of their images there.
        order = sorted(range(len(self.stacks)), key=lambda stack: bool(pending[stack]) and pending[stack][0].pooled)
        for stack in order:
            if pending[stack]:
                self._flush_stack(stack, pending[stack])

    def modality_of(self, call: Call) -> np.ndarray:
        """Modality code of each token of a call, int [N] (`probes.modality`)."""
        codes, _ = self._labels.modality([call], torch.device("cpu"))
        return np.full(call.tokens, codes) if isinstance(codes, int) else as_array(codes)

    # ------------------------------------------------------------------ counting
    def _flush_stack(self, stack: int, calls: list[Call]) -> None:
        for call in calls:
            if not call.rows.resolved:
                home = next((other for other in (call, *call.siblings) if not other.pooled), call)
                call.rows.resolve(home.shape, home.segments(), self.documents, self.groups)
        home_device = calls[0].records[0].routing.ids.device if calls[0].records else torch.device("cpu")
        self._labels.mark_finished(stack, calls)
        documents = np.concatenate([self._labels.documents_of(call) for call in calls])
        phase = np.repeat([int(call.decode) for call in calls], [call.tokens for call in calls])
        modality, role = self._labels.modality(calls, home_device)
        group = self._labels.group(calls, modality, role, home_device)
        reason = self._labels.reasons(calls, documents, modality, home_device)
        count = self.counts[stack]
        count.calls += len(calls)
        count.tokens += len(documents)

        kept: Tensor | None = None
        if reason is not None:
            found = torch.bincount(reason, minlength=len(REASONS)).tolist()
            for code in range(1, len(REASONS)):
                if found[code]:
                    count.excluded[REASONS[code]] = count.excluded.get(REASONS[code], 0) + found[code]
            if found[0] < len(documents):
                kept = (reason == 0).nonzero().squeeze(1)
        in_group = torch.bincount(group if kept is None else group[kept], minlength=len(self.groups.names))
        for index, number in enumerate(in_group.tolist()):
            if number:
                count.by_group[index] = count.by_group.get(index, 0) + number
        pair = self.documents.blocks(documents) * len(PHASES) + phase
        used, local = np.unique(pair, return_inverse=True)
        groups = len(self.groups.names)
        cells = torch.as_tensor(local, device=home_device) * groups + group
        self._count(stack, calls, cells, used.tolist(), groups, kept)
        if self.settings.tokens:
            self._keep_rows(stack, calls, documents, phase, modality, role, group, reason)

    def _count(
        self, stack: int, calls: list[Call], cells: Tensor, used: list[int], groups: int, kept: Tensor | None
    ) -> None:
        whole: dict[tuple[int, int, torch.device, torch.dtype], list[tuple[int, Tensor, Tensor]]] = {}
        inside = cells if kept is None else cells[kept]
        for site, entries in self._by_site(calls).items():
            full = len(entries) == len(calls) and all(seen is None for _, _, seen in entries)
            ids = joined([routing.ids for _, routing, _ in entries])
            weights = joined([routing.weights for _, routing, _ in entries])
            self._check_width(site, ids)
            if full:
                if kept is not None:
                    ids, weights = ids[kept.to(ids.device)], weights[kept.to(ids.device)]
                key = (self.sites[site].site.experts, ids.shape[-1], ids.device, weights.dtype)
                whole.setdefault(key, []).append((site, ids, weights))
                continue
            place = self._places(calls, entries).to(cells.device)
            if kept is not None:
                is_kept = torch.zeros(len(cells), dtype=torch.bool, device=cells.device)
                is_kept[kept] = True
                chosen = is_kept[place]
                place = place[chosen]
                ids, weights = ids[chosen.to(ids.device)], weights[chosen.to(ids.device)]
            self._tally(stack, [(site, ids, weights)], cells[place], used, groups)
        for members in whole.values():
            self._tally(stack, members, inside, used, groups)

    def _tally(
        self, stack: int, members: list[tuple[int, Tensor, Tensor]], cells: Tensor, used: list[int], groups: int
    ) -> None:
        site, ids, _ = members[0]
        experts, device = self.sites[site].site.experts, ids.device
        key = (stack, experts, ids.shape[-1], device)
        numbers = {number for number, _, _ in members}
        # Sites of one tally have the same top-k; one that first runs with another (in a sub-model) gets a tally of its own.
        tally = next((one for one in self._tallies.get(key, ()) if numbers <= set(one.sites)), None)
        if tally is None:
            taken = {number for one in self._tallies.get(key, ()) for number in one.sites}
            if numbers & taken and len(members) > 1:
                for member in members:
                    self._tally(stack, [member], cells, used, groups)
                return
            same = tuple(
                number
                for number in self._of_stack[stack]
                if number in numbers
                or (
                    number not in taken
                    and self.sites[number].site.experts == experts
                    and self.top_k[number] == ids.shape[-1]
                )
            )
            tally = Tally(same, experts, ids.shape[-1], device, self.coactivation)
            self._tallies.setdefault(key, []).append(tally)
        rows = torch.tensor([tally.sites.index(number) for number, _, _ in members], device=device)
        tally.add(
            rows,
            torch.stack([ids for _, ids, _ in members]),
            torch.stack([weights for _, _, weights in members]),
            cells.to(device),
            used,
            groups,
            any(self.sites[number].facts.may_lose for number, _, _ in members),
        )

    def _by_site(self, calls: list[Call]) -> dict[int, list[tuple[int, Any, Tensor | None]]]:
        found: dict[int, list[tuple[int, Any, Tensor | None]]] = {}
        for number, call in enumerate(calls):
            for site, routing, seen in call.records:
                found.setdefault(site, []).append((number, routing, seen))
        for site, entries in found.items():
            self.fired[site] += len(entries)
        return found

    def _places(self, calls: list[Call], entries: list[tuple[int, Any, Tensor | None]]) -> Tensor:
        """int64, places in the flush of the tokens that a site saw."""
        starts = np.concatenate([[0], np.cumsum([call.tokens for call in calls])])
        parts = []
        for number, routing, seen in entries:
            device = routing.ids.device
            local = (
                torch.arange(calls[number].tokens, device=device)
                if seen is None
                else seen.nonzero().squeeze(1).to(device)
            )
            parts.append(local + int(starts[number]))
        return torch.cat(parts)

    def _check_width(self, site: int, ids: Tensor) -> None:
        """Top-k as executed: taken from the first record, and the same in every later one."""
        width = ids.shape[-1]
        if self._recorded[site] and width != self.top_k[site]:
            raise ProbeError(
                f"Site {self.sites[site].site.id} chose {self.top_k[site]} experts a token and now {width}: record runs with a "
                "different top-k in captures of their own."
            )
        self._recorded[site] = True
        self.top_k[site] = width

    # ------------------------------------------------------------------ token rows
    def _keep_rows(
        self,
        stack: int,
        calls: list[Call],
        documents: np.ndarray,
        phase: np.ndarray,
        modality: Tensor | int,
        role: Tensor | int,
        group: Tensor,
        reason: Tensor | None,
    ) -> None:
        rows = self.rows[stack]
        why = np.zeros(len(documents), np.uint8) if reason is None else reason.cpu().numpy()
        position = self._positions(stack, calls, documents, why != PADDING)
        keep = why == 0
        keep[keep] = rows.wanted(documents[keep])
        if not keep.any():
            return
        start, end = self._offsets(calls)
        ids = [
            np.full(call.tokens, -1, np.int64) if call.input_ids is None else as_array(call.input_ids).reshape(-1)
            for call in calls
        ]
        length = len(documents)
        fields = {
            "document": documents,
            "position": position.astype(np.int32),
            "token_id": np.concatenate(ids).astype(np.int64),
            "start": start,
            "end": end,
            "modality": _spread(modality, length),
            "role": _spread(role, length),
            "phase": phase.astype(np.uint8),
            "group": group.cpu().numpy().astype(np.int32),
            **prediction_fields(
                calls,
                documents,
                why != PADDING,
                self.settings.placeholders,
                self.late,
                predicted=self.settings.predicted,
                loss=self.settings.loss,
            ),
        }
        sites: dict[int, tuple[np.ndarray | None, np.ndarray, np.ndarray, np.ndarray | None]] = {}
        kept = torch.as_tensor(np.flatnonzero(keep))
        for site, entries in self._by_site_quietly(calls).items():
            chosen_ids = joined([routing.ids for _, routing, _ in entries])
            weights = joined([routing.weights for _, routing, _ in entries])
            logits = [routing.logits for _, routing, _ in entries]
            scores = joined(logits) if self.settings.scores and all(part is not None for part in logits) else None
            full = len(entries) == len(calls) and all(seen is None for _, _, seen in entries)
            saw: np.ndarray | None = None
            if full:
                place = kept.to(chosen_ids.device)
            else:
                where = self._places(calls, entries).cpu().numpy()
                present = np.zeros(length, dtype=bool)
                present[where] = True
                saw = present[keep]
                # Rows of a site come in the order of its calls, which is the order of the tokens.
                place = torch.as_tensor(np.flatnonzero(keep[where])).to(chosen_ids.device)
            sites[site] = (
                saw,
                *_ranked(chosen_ids[place], weights[place]),
                _half(None if scores is None else scores[place]),
            )
        rows.add(Chunk({name: values[keep] for name, values in fields.items()}, sites))

    def _by_site_quietly(self, calls: list[Call]) -> dict[int, list[tuple[int, Any, Tensor | None]]]:
        fired = list(self.fired)
        found = self._by_site(calls)
        self.fired = fired
        return found

    def _positions(self, stack: int, calls: list[Call], documents: np.ndarray, real: np.ndarray) -> np.ndarray:
        """int64 [N], number of each token among the real tokens of its document in this stack."""
        position = np.zeros(len(documents), dtype=np.int64)
        start = 0
        for call in calls:
            stop = start + call.tokens
            shape = (1, call.tokens) if call.pooled else call.shape
            numbers = documents[start:stop].reshape(shape)
            position[start:stop] = self._positions_of(stack, call, numbers, real[start:stop].reshape(shape)).reshape(-1)
            start = stop
        return position

    def _positions_of(self, stack: int, call: Call, documents: np.ndarray, real: np.ndarray) -> np.ndarray:
        follow = self._next_position[stack]
        before = call.rows.positions.get(stack)
        if call.decode and before is not None and not call.pooled:
            begin = repeat_rows(before, len(documents))
            counted = np.cumsum(real, axis=1)
            call.rows.positions[stack] = begin + counted[:, -1]
            for number, reached in zip(documents[:, -1].tolist(), call.rows.positions[stack].tolist(), strict=True):
                follow[number] = max(follow.get(number, 0), reached)
            found: np.ndarray = begin[:, None] + counted - real
            return found
        out = np.zeros(documents.shape, dtype=np.int64)
        labelled = call.rows.row_documents
        beams = 1 if call.pooled or labelled is None else max(1, len(documents) // max(len(labelled), 1))
        reached_by: dict[int, int] = {}
        last = np.zeros(len(documents), dtype=np.int64)
        for row in range(len(documents)):
            if row % beams == 0:  # beams of a row run side by side: all start where the row does
                follow.update(reached_by)
                reached_by = {}
            for number in np.unique(documents[row]).tolist():
                inside = documents[row] == number
                counted = np.cumsum(real[row][inside])
                begin_at = follow.get(number, 0)
                out[row][inside] = begin_at + counted - real[row][inside]
                reached_by[number] = begin_at + int(counted[-1])
            last[row] = reached_by[int(documents[row][-1])]
        follow.update(reached_by)
        call.rows.positions[stack] = last
        return out

    def _offsets(self, calls: list[Call]) -> tuple[np.ndarray, np.ndarray]:
        starts, ends = [], []
        for call in calls:
            given = call.rows.labels.offsets
            grid = None if given is None or call.decode or call.pooled else as_array(given)
            if grid is None or tuple(grid.shape[:2]) != call.shape:
                starts.append(np.full(call.tokens, -1, np.int32))
                ends.append(np.full(call.tokens, -1, np.int32))
            else:
                starts.append(grid[..., 0].reshape(-1).astype(np.int32))
                ends.append(grid[..., 1].reshape(-1).astype(np.int32))
        return np.concatenate(starts), np.concatenate(ends)


def _ranked(ids: Tensor, weights: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Ids and float16 weights of rows [n, K], the largest weight first; a choice that led to no expert is -1."""
    weights, order = weights.float().sort(dim=-1, descending=True, stable=True)
    ids = ids.gather(-1, order).clamp(min=-1)
    kind = np.int16 if int(ids.max()) <= np.iinfo(np.int16).max else np.int32
    return ids.cpu().numpy().astype(kind), weights.cpu().numpy().astype(np.float16)


def _half(scores: Tensor | None) -> np.ndarray | None:
    return None if scores is None else scores.float().cpu().numpy().astype(np.float16)


def _spread(codes: Tensor | int, length: int) -> np.ndarray:
    if isinstance(codes, int):
        return np.full(length, codes, dtype=np.uint8)
    found: np.ndarray = codes.cpu().numpy().astype(np.uint8)
    return found
