"""Frames: which forward calls are open, and which call of which stack a record belongs to.

Every model of a composite (the root, a text backbone, a vision tower, an encoder, ...) opens a frame when it is called and
closes it when it returns. The frame of a model that owns sites starts a `Call`, labelled from its own arguments and from those
of the frames around it. When the outermost frame closes, the calls of the pass go to the collector.

Letters: B rows, T tokens of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from probes.calls import Call, Given, grid_of, padding_of, trailing_padding
from probes.collector import Collector
from probes.errors import ProbeError
from probes.labels import Labels, Rows, check_labels
from probes.modality import IMAGE
from probes.predictions import Predictions
from probes.sites import FoundSite
from probes.submodel.layers import is_left_out

_IDS = ("input_ids", "decoder_input_ids")
_MASKS = ("attention_mask", "decoder_attention_mask")
_EMBEDS = ("inputs_embeds", "decoder_inputs_embeds", "hidden_states", "pixel_values")
_KINDS = ("moe_mm_token_type_ids", "mm_token_type_ids")
_LENGTHS = ("cu_seq_lens_q", "cu_seqlens", "cu_seq_lens")
# Stacks whose rows are no rows of the batch: all patches or frames of a batch run in one row.
_POOLED = ("vision", "audio")


@dataclass
class Frame:
    """One open forward call of a model of the composite."""

    path: str
    given: Given
    call: Call | None = None
    decode: bool = False


@dataclass
class Pass:
    """One forward pass of the whole model: its open frames, and the calls that its stacks have made."""

    frames: list[Frame] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    rows: Rows | None = None
    failed: bool = False


class Frames:
    """The open frames of one probe.

    Args:
        model: the watched model.
        sites, stacks: its sites and the names of their token axes.
        collector: who takes the calls of a finished pass.
        labels: how the caller labels the rows of the next pass.
        recording: whether a call made now belongs to this probe (its thread, its block).
        on_pass: who else is told of the calls of a finished pass.

    Attributes:
        predictions: reads the language heads, if that was asked for.
    """

    def __init__(
        self,
        model: nn.Module,
        sites: Sequence[FoundSite],
        stacks: Sequence[str],
        collector: Collector,
        labels: Labels,
        recording: Callable[[], bool],
        on_pass: Callable[[Sequence[Call]], None] | None = None,
    ) -> None:
        self.labels = labels
        self.predictions: Predictions | None = None
        self.unread_masks = 0  # calls whose attention mask has a form that says nothing of padding
        self.stack_of_owner = {site.owner: stacks.index(site.site.stack) for site in sites}
        self._model = model
        self._sites = tuple(sites)
        self._above = [modules_above(model, site.path) for site in sites]
        self._stacks = tuple(stacks)
        self._collector = collector
        self._recording = recording
        self._on_pass = on_pass
        self._encoder_decoder = bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
        self._open: Pass | None = None
        self._last_rows: dict[int, Rows] = {}  # stack -> rows of its last prefill, for the decode steps that follow
        self._rows_of_cache: WeakKeyDictionary[Any, Rows] = WeakKeyDictionary()  # the same, where the cache tells which
        self._waiting_rows: Rows | None = None  # rows of an encoder that ran alone, for its decoder

    def clear(self) -> None:
        """Forget open frames and the rows that could be continued."""
        self._open = None
        self._last_rows.clear()
        self._rows_of_cache.clear()
        self._waiting_rows = None

    def call(self, stack: int) -> Call | None:
        """The open call of a stack if this context records; None inside a backward pass, where checkpointing runs layers again."""
        if not self._recording() or self._open is None or torch._C._current_graph_task_id() != -1:
            return None
        for frame in reversed(self._open.frames):
            if frame.call is not None and frame.call.stack == stack:
                return frame.call
        return None

    def opener(self, path: str, names: tuple[str, ...]) -> Callable[..., None]:
        """The hook that opens a frame of the model at `path`, whose forward has the parameters `names`."""
        stack = self.stack_of_owner.get(path)

        def open_frame(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not self._recording() or torch._C._current_graph_task_id() != -1:
                return
            if self._open is None or any(frame.path == path for frame in self._open.frames):
                # A frame of this module still open means that a pass was broken off (an interrupt skips closing hooks).
                self._open = Pass()
            frame = Frame(path, Given(names, args, kwargs))
            self._open.frames.append(frame)
            if stack is not None:
                frame.call = self._start_call(stack, frame)

        return open_frame

    def closer(self) -> Callable[..., None]:
        """The hook that closes the innermost frame, also when its forward raised."""

        def close_frame(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if not self._recording() or self._open is None or torch._C._current_graph_task_id() != -1:
                return
            running = self._open
            if not running.frames:
                return
            frame = running.frames.pop()
            running.failed = running.failed or output is None
            if frame.call is not None and frame.call.records:
                self._finish_call(frame.call)
                running.calls.append(frame.call)
                _remember(self._rows_of_cache, getattr(output, "past_key_values", None), frame.call.rows)
            if self.predictions is not None and not running.failed:
                self.predictions.read(module, output, running.calls, self._stacks)
            if not running.frames:
                self._open = None
                if self.predictions is not None:
                    self.predictions.clear()
                if not running.failed and running.calls:
                    self._finish_pass(running)

        return close_frame

    def _start_call(self, stack: int, frame: Frame) -> Call:
        assert self._open is not None
        frames = self._frames_of(stack)
        pooled = self._stacks[stack].startswith(_POOLED) and not self._images(stack)
        shape = None if pooled else _first(grid_of(frame.given, _IDS, _EMBEDS) for frame in frames)
        past = _past(frame.given) if not pooled else 0
        frame.decode = past > 0
        rows = self._rows_for(stack, shape, _cache(frame.given) if frame.decode else None)
        call = Call(
            stack=stack, shape=shape or (0, 0), decode=frame.decode, rows=rows, records=[], pooled=pooled, past=past
        )
        if shape is None:
            return call
        for one in frames:
            _take_labels(call, one.given, past, root=one.path == "", encoder=self._stacks[stack].startswith("encoder"))
        pad = self._collector.settings.endings.pad
        if self._stacks[stack].startswith("decoder") and call.padding is None and call.input_ids is not None:
            call.padding = None if pad is None or call.decode else trailing_padding(call.input_ids, pad)
        self.unread_masks += call.padding is None and any(_unreadable(one.given) for one in frames)
        if frame.path == "" or self._open.frames[0].path == "":
            self._ask_model(call, self._open.frames[0].given)
        if not frame.decode and not rows.checked:
            check_labels(rows.labels, [shape, *(other.shape for other in self._open.calls)])
            rows.checked = True
        return call

    def _frames_of(self, stack: int) -> list[Frame]:
        """Frames whose arguments speak of this stack's tokens, the innermost first.

        The arguments of an encoder-decoder's root describe the encoder's input, so a decoder asks its own frame alone.
        """
        assert self._open is not None
        frames = list(reversed(self._open.frames))
        return frames[:1] if self._stacks[stack].startswith("decoder") else frames

    def _rows_for(self, stack: int, shape: tuple[int, int] | None, cache: Any) -> Rows:
        """Rows of a call: those of the prefill that filled its cache, else new ones."""
        assert self._open is not None
        if cache is not None:
            last = _recall(self._rows_of_cache, cache) or self._last_rows.get(stack)
            if last is not None and (shape is None or _fits(last, shape[0])):
                return last
        if self._open.rows is None:
            waiting, self._waiting_rows = self._waiting_rows, None
            asked = self._stacks[stack] == "decoder" and waiting is not None
            self._open.rows = waiting if asked and waiting is not None else Rows(self.labels)
        self._last_rows[stack] = self._open.rows
        return self._open.rows

    def _ask_model(self, call: Call, given: Given) -> None:
        """A model of one's own may name modality and role of its tokens itself (docs/probe.md)."""
        ask = getattr(self._model, "routing_labels", None)
        if ask is None:
            return
        kinds, roles = ask(given)
        if tuple(kinds.shape) == call.shape:
            call.kinds, call.roles = kinds, roles

    def _images(self, stack: int) -> bool:
        return any(
            site.facts.token_axis == "images" for site in self._sites if self.stack_of_owner[site.owner] == stack
        )

    def _finish_call(self, call: Call) -> None:
        """Settle the token axis of a call whose arguments did not tell it, and check that its records fit."""
        tokens = max(
            (record.seen.numel() if record.seen is not None else len(record.routing.ids)) for record in call.records
        )
        if self._images(call.stack):
            call.shape = (tokens, 1)
            call.input_ids = call.padding = call.position_ids = None
            call.kinds = torch.full((tokens, 1), IMAGE, dtype=torch.int64)
        elif call.pooled or call.tokens == 0:
            call.shape = (1, tokens)
        fired = [record.site for record in call.records]
        if len(set(fired)) < len(fired):
            twice = next(site for site in fired if fired.count(site) > 1)
            raise ProbeError(
                f"Site {self._sites[twice].site.id} ran more than once in one forward pass, so its tokens would be counted twice: a "
                "layer that is run in a loop needs an adapter that tells the rounds apart (docs/probe.md)."
            )
        for site in self._sites_of(call.stack):
            if site not in fired and any(is_left_out(layer) for layer in self._above[site]):
                self._collector.left_out[site] += 1
        for site, routing, seen in call.records:
            rows = int(seen.sum()) if seen is not None else call.tokens
            if len(routing.ids) != rows:
                raise ProbeError(
                    f"Site {self._sites[site].site.id} routed {len(routing.ids)} tokens of a call that holds {rows}: its tokens cannot "
                    "be told apart; write an adapter that says which tokens it sees (docs/probe.md)."
                )

    def _sites_of(self, stack: int) -> Iterator[int]:
        return (number for number, site in enumerate(self._sites) if self.stack_of_owner[site.owner] == stack)

    def _finish_pass(self, running: Pass) -> None:
        for call in running.calls:
            call.siblings = running.calls
        if self._encoder_decoder and all(self._stacks[call.stack] == "encoder" for call in running.calls):
            self._waiting_rows = running.rows  # generate() runs the encoder alone, and the decoder in passes of its own
        self._collector.add(running.calls)
        if self._on_pass is not None:
            self._on_pass(running.calls)


def _take_labels(call: Call, given: Given, past: int, *, root: bool, encoder: bool) -> None:
    """Fill what a frame's arguments say of the tokens of a call, where a frame further in has not said it."""
    if call.input_ids is None:
        ids = given.tensor(*(_IDS[:1] if encoder else _IDS))
        fits = ids is not None and tuple(ids.shape) == call.shape and not ids.is_floating_point()
        # A copy: generation hands over a view of all ids so far, which would be kept alive by its last column.
        call.input_ids = ids.detach().clone() if fits and ids is not None else None
    if call.padding is None or root:  # the caller's own two-dimensional mask is the plainest
        found = padding_of(given.get(*(_MASKS[:1] if encoder else _MASKS)), call.shape, past)
        call.padding = found if found is not None else call.padding
    if call.kinds is None:
        kinds = given.tensor(*_KINDS)
        call.kinds = kinds if kinds is not None and tuple(kinds.shape) == call.shape else None
    if call.decode:
        return
    if call.position_ids is None:
        positions = given.tensor("position_ids")
        fits = positions is not None and positions.dim() == 2 and positions.shape[1] == call.shape[1]
        call.position_ids = positions if fits else None
    if call.sequence_index is None:
        index = given.tensor("seq_idx")
        call.sequence_index = index if index is not None and tuple(index.shape) == call.shape else None
    if call.lengths is None:
        call.lengths = given.tensor(*_LENGTHS)


def modules_above(model: nn.Module, path: str) -> tuple[nn.Module, ...]:
    """The modules that hold the one at `path`, the model itself left out."""
    parts = path.split(".")
    return tuple(model.get_submodule(".".join(parts[:end])) for end in range(1, len(parts)))


def _cache(given: Given) -> Any:
    return given.get("past_key_values", "cache_params")


def _remember(rows_of: WeakKeyDictionary[Any, Rows], cache: Any, rows: Rows) -> None:
    try:
        if cache is not None:
            rows_of[cache] = rows
    except TypeError:  # a cache of plain tuples cannot be told apart: the last prefill counts
        return


def _recall(rows_of: WeakKeyDictionary[Any, Rows], cache: Any) -> Rows | None:
    try:
        return rows_of.get(cache)
    except TypeError:
        return None


def _unreadable(given: Given) -> bool:
    """Whether a call has an attention mask of a form that `padding_of` does not know (a flex-attention block mask)."""
    mask = given.get(*_MASKS)
    return mask is not None and not isinstance(mask, (Tensor, Mapping))


def _past(given: Given) -> int:
    """Tokens in the cache that a call continues; 0 without one."""
    cache = _cache(given)
    if cache is None:
        return 0
    length = None
    if hasattr(cache, "get_seq_length"):
        try:
            length = int(cache.get_seq_length())
        except (ValueError, IndexError, AttributeError, TypeError, NotImplementedError):
            length = None  # a cache of state-space layers alone has no length
    if length:
        return length
    position = given.tensor("cache_position")
    if position is not None and position.numel():
        return int(position.reshape(-1)[0])
    mask, ids = given.get("attention_mask"), given.tensor("input_ids", "inputs_embeds")
    if length is None and isinstance(mask, Tensor) and mask.dim() == 2 and ids is not None:
        return max(0, mask.shape[1] - ids.shape[1])
    return 0


def _fits(rows: Rows, batch: int) -> bool:
    return rows.row_documents is None or batch % max(len(rows.row_documents), 1) == 0


def _first(found: Iterator[tuple[int, int] | None]) -> tuple[int, int] | None:
    return next((shape for shape in found if shape is not None), None)
