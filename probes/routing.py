"""`RoutingProbe`: watch a live model and record which experts take which tokens.

How it works. A hook on every model of a composite (the root, a text backbone, a vision tower, an encoder, ...) opens and
closes a *frame*: the arguments of one forward call. The hook of a site only appends what was chosen to the open call of its
stack; labels and counts are worked out later, for many calls at once (`probes.collector`). Hooks return nothing, so the model
computes what it would without them, and all of them go when the block is left.

Letters: B rows, T tokens of a row, N = B x T tokens of a call, K choices.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from probes.adapters import Adapter, logits_of
from probes.calls import Call, Given, Record, grid_of, padding_of, trailing_padding
from probes.collector import Collector, Settings
from probes.errors import BusyError, NothingRecordedError, ProbeError
from probes.fused import RouterRerun, Witnesses
from probes.labels import Labels, Rows, check_labels
from probes.locks import acquire, release
from probes.modality import IMAGE, endings_of, placeholders_of, special_ids
from probes.pieces import pieces_of
from probes.result import build_capture
from probes.sites import FoundSite, find_sites, refuse_compiled
from workbench.capture import Capture

# The probes whose blocks are open in this context: a forward pass of another thread on the same model is not recorded.
_ACTIVE: ContextVar[frozenset[object]] = ContextVar("open routing probes", default=frozenset())

_IDS = ("input_ids", "decoder_input_ids")
_MASKS = ("attention_mask", "decoder_attention_mask")
_EMBEDS = ("inputs_embeds", "decoder_inputs_embeds", "hidden_states", "pixel_values")
_KINDS = ("moe_mm_token_type_ids", "mm_token_type_ids")
_LENGTHS = ("cu_seq_lens_q", "cu_seqlens", "cu_seq_lens")
# Stacks whose rows are no rows of the batch: all patches or frames of a batch run in one row.
_POOLED = ("vision", "audio")


@dataclass
class _Frame:
    """One open forward call of a model of the composite."""

    path: str
    given: Given
    call: Call | None = None
    decode: bool = False


@dataclass
class _Pass:
    """One forward pass of the whole model: its open frames, and the calls that its stacks have made."""

    frames: list[_Frame] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    rows: Rows | None = None
    failed: bool = False


class RoutingProbe:
    """Record the routing of every forward pass inside a `with` block.

    Args:
        model: a mixture-of-experts model of transformers, or one of your own (docs/probe.md).
        tokens: keep a row a token (bounded by `max_tokens`).
        processor: tokenizer or processor, for text pieces and to tell special tokens, which are counted apart.
        documents: None (a document a row; packed rows are split where positions restart), ids a row, or integers [B, T].
        groups: None (six groups by modality and role), a name, names a row, names [B, T], or document id -> name.
        coactivation: count pairs of experts chosen together.
        scores: keep the router's score of every expert in the token rows.
        max_tokens: bound on token rows of a stack; whole documents are kept, a uniform sample by `seed`.
        lock_timeout: seconds to wait for another probe on the same model.
        adapters: readers of routers of your own, asked before the built-in ones.

    Raises:
        NoExpertsError, CompiledModelError, UnknownRouterError: on construction, if the model cannot be watched.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        tokens: bool = False,
        processor: Any = None,
        documents: Any = None,
        groups: Any = None,
        coactivation: bool = True,
        scores: bool = False,
        max_tokens: int = 200_000,
        seed: int = 0,
        lock_timeout: float = 60.0,
        adapters: Sequence[Adapter] = (),
    ) -> None:
        if max_tokens < 1:
            raise ProbeError(f"max_tokens must be at least 1, but is {max_tokens}: leave tokens=False to keep no rows.")
        self.model = model
        self.processor = processor
        self.found: tuple[FoundSite, ...] = tuple(find_sites(model, adapters))
        self.stacks = tuple(dict.fromkeys(site.site.stack for site in self.found))
        self.lock_timeout = lock_timeout
        self._labels = Labels(documents, groups)
        settings = Settings(
            tokens=tokens,
            coactivation=coactivation,
            scores=scores,
            max_tokens=max_tokens,
            seed=seed,
            special=special_ids(processor) if processor is not None else (),
            endings=endings_of(model),
            placeholders=placeholders_of(model),
        )
        self.collector = Collector(self.found, self.stacks, settings)
        self.witnesses = Witnesses(self.found)
        self.reruns = RouterRerun(self.found)
        self._stack_of_owner = {site.owner: self.stacks.index(site.site.stack) for site in self.found}
        self._encoder_decoder = bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
        self._handles: list[RemovableHandle] = []
        self._used = False
        self._open: _Pass | None = None
        self._last_rows: dict[int, Rows] = {}  # stack -> rows of its last prefill, for the decode steps that follow
        self._rows_of_cache: WeakKeyDictionary[Any, Rows] = WeakKeyDictionary()  # the same, where the cache tells which
        self.unread_masks = 0  # calls whose attention mask has a form that says nothing of padding
        self._waiting_rows: Rows | None = None  # rows of an encoder that ran alone, for its decoder
        self._scores: dict[int, Tensor] = {}  # site -> logits of the router call that belongs to the next record
        self._seen: dict[int, Tensor | None] = {}  # site -> tokens that its half of a split block sees

    # ------------------------------------------------------------------ the block
    def __enter__(self) -> RoutingProbe:
        if self._used:
            raise BusyError(
                "A probe watches once, and this one was entered before: make a new RoutingProbe for another run."
            )
        refuse_compiled(self.model)
        acquire(self.model, self.lock_timeout)
        self._used = True
        try:
            self._install()
        except BaseException:
            self._remove()
            release(self.model)
            raise
        _ACTIVE.set(_ACTIVE.get() | {self})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._remove()
            self._open = None
            self._scores.clear()
            self._seen.clear()
            self._last_rows.clear()
            self._rows_of_cache.clear()
            self._waiting_rows = None
            _ACTIVE.set(_ACTIVE.get() - {self})
        finally:
            release(self.model)
        self.collector.flush()

    def label(
        self, documents: Any = None, groups: Any = None, offsets: Any = None, prefix_ids: Sequence[int] = ()
    ) -> _Relabel:
        """Say whose tokens the following forward calls hold, until the next `label`; as a `with` block, until its end.

        Args:
            documents, groups: as in the constructor.
            offsets: int [B, T, 2], start and end of each token in the text of its document.
            prefix_ids: token ids of a prompt that stands before every row; counted apart, in no group.
        """
        before = self._labels
        self._labels = Labels(documents, groups, offsets, tuple(int(token) for token in prefix_ids))
        return _Relabel(self, before)

    def documents(self, documents: Any) -> _Relabel:
        """Label the documents of the following calls and keep the other labels."""
        before = self._labels
        self._labels = replace(before, documents=documents)
        return _Relabel(self, before)

    def groups(self, groups: Any) -> _Relabel:
        """Label the groups of the following calls and keep the other labels."""
        before = self._labels
        self._labels = replace(before, groups=groups)
        return _Relabel(self, before)

    def capture(
        self, model_id: str | None = None, licence: str = "", notes: str = "", grouped_by: str | None = None
    ) -> Capture:
        """What was recorded so far, after the probe has proved its own record.

        Args:
            model_id: name of the model for the manifest; default: the configuration's, never a path.
            licence, notes: words for the manifest.
            grouped_by: what the groups are; default "modality and role", or "given by the caller".

        Raises:
            NothingRecordedError: if no forward pass ended inside the block.
            ProbeError: if a check failed; the message names the site.
        """
        self.collector.flush()
        if not any(count.calls for count in self.collector.counts):
            raise NothingRecordedError(
                "A capture needs at least one forward pass of the watched model inside the probe's block, and there was none: call "
                "the model itself (not a compiled copy) inside `with RoutingProbe(...) as probe:`, in the thread that opened it."
            )
        return build_capture(
            self.model,
            self.collector,
            piece_of=pieces_of(self.processor),
            failures=self.witnesses.failures(),
            recomputed=self.reruns.recomputed,
            unread_masks=self.unread_masks,
            model_id=model_id,
            licence=licence,
            notes=notes,
            grouped_by=grouped_by,
        )

    # ------------------------------------------------------------------ hooks
    def _install(self) -> None:
        from transformers import PreTrainedModel

        owners = set(self._stack_of_owner)
        for path, module in self.model.named_modules():
            above = any(owner == path or not path or owner.startswith(path + ".") for owner in owners)
            if above and (not path or path in owners or isinstance(module, PreTrainedModel)):
                names = tuple(inspect.signature(type(module).forward).parameters)[1:]
                self._handles.append(module.register_forward_pre_hook(self._opener(path, names), with_kwargs=True))
                self._handles.append(module.register_forward_hook(self._closer(), with_kwargs=True, always_call=True))
        for number, site in enumerate(self.found):
            self._watch(number, site)
        if hasattr(self.model, "_valid_auto_compile_criteria"):
            # generate() compiles decode steps with a static cache on a GPU; compiled steps would skip the hooks.
            self.model.__dict__["_valid_auto_compile_criteria"] = _never

    def _watch(self, number: int, site: FoundSite) -> None:
        adapter, facts = site.adapter, site.facts
        scores = self.collector.settings.scores
        stack = self._stack_of_owner[site.owner]
        split = facts.split is not None

        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            call = self._call(stack)
            if call is not None:
                routing = adapter.read(args, kwargs, None, facts)
                if routing is not None:
                    if scores:
                        routing = routing._replace(logits=self._scores.pop(number, routing.logits))
                    call.records.append(Record(number, routing, self._seen.get(number) if split else None))

        def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            call = self._call(stack)
            if call is not None:
                routing = adapter.read(args, kwargs, output, facts)
                if routing is not None:
                    if scores and routing.logits is None:
                        routing = routing._replace(logits=logits_of(output, facts.experts))
                    elif not scores:
                        routing = routing._replace(logits=None)
                    call.records.append(Record(number, routing, self._seen.get(number) if split else None))
                    self.witnesses.expect(number, routing.ids)

        if adapter.when == "before":
            self._handles.append(facts.watch.register_forward_pre_hook(before, with_kwargs=True))
        else:
            self._handles.append(facts.watch.register_forward_hook(after, with_kwargs=True))
        if scores and facts.router is not None and facts.router is not facts.watch:

            def keep_scores(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
                found = (
                    logits_of(output, facts.experts - facts.identity_experts) if self._call(stack) is not None else None
                )
                if found is not None:
                    self._scores[number] = found[:, : facts.experts]

            self._handles.append(facts.router.register_forward_hook(keep_scores, with_kwargs=True))
        if facts.split is not None:

            def divide(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                if self._call(stack) is not None:
                    self._seen[number] = adapter.seen(args, kwargs, facts)

            self._handles.append(facts.split.register_forward_pre_hook(divide, with_kwargs=True))
        if facts.block is not None and facts.router is not None:
            self._handles += self.reruns.watch(number, lambda: self._call(stack))
        self._handles += self.witnesses.watch(number, lambda: self._call(stack) is not None)

    def _remove(self) -> None:
        while self._handles:
            self._handles.pop().remove()
        if self.model.__dict__.get("_valid_auto_compile_criteria") is _never:
            del self.model.__dict__["_valid_auto_compile_criteria"]

    def _call(self, stack: int) -> Call | None:
        """The open call of a stack if this context records; None inside a backward pass, where checkpointing runs layers again."""
        if self not in _ACTIVE.get() or self._open is None or torch._C._current_graph_task_id() != -1:
            return None
        for frame in reversed(self._open.frames):
            if frame.call is not None and frame.call.stack == stack:
                return frame.call
        return None

    # ------------------------------------------------------------------ frames
    def _opener(self, path: str, names: tuple[str, ...]) -> Any:
        stack = self._stack_of_owner.get(path)

        def open_frame(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self not in _ACTIVE.get() or torch._C._current_graph_task_id() != -1:
                return
            if self._open is None or any(frame.path == path for frame in self._open.frames):
                # A frame of this module still open means that a pass was broken off (an interrupt skips closing hooks).
                self._open = _Pass()
            frame = _Frame(path, Given(names, args, kwargs))
            self._open.frames.append(frame)
            if stack is not None:
                frame.call = self._start_call(stack, frame)

        return open_frame

    def _closer(self) -> Any:
        def close_frame(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if self not in _ACTIVE.get() or self._open is None or torch._C._current_graph_task_id() != -1:
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
            if not running.frames:
                self._open = None
                if not running.failed and running.calls:
                    self._finish_pass(running)

        return close_frame

    def _start_call(self, stack: int, frame: _Frame) -> Call:
        assert self._open is not None
        frames = self._frames_of(stack)
        pooled = self.stacks[stack].startswith(_POOLED) and not self._images(stack)
        shape = None if pooled else _first(grid_of(frame.given, _IDS, _EMBEDS) for frame in frames)
        past = _past(frame.given) if not pooled else 0
        frame.decode = past > 0
        rows = self._rows_for(stack, shape, _cache(frame.given) if frame.decode else None)
        call = Call(stack=stack, shape=shape or (0, 0), decode=frame.decode, rows=rows, records=[], pooled=pooled)
        if shape is None:
            return call
        for one in frames:
            _take_labels(call, one.given, past, root=one.path == "", encoder=self.stacks[stack].startswith("encoder"))
        pad = self.collector.settings.endings.pad
        if self.stacks[stack].startswith("decoder") and call.padding is None and call.input_ids is not None:
            call.padding = None if pad is None or call.decode else trailing_padding(call.input_ids, pad)
        self.unread_masks += call.padding is None and any(_unreadable(one.given) for one in frames)
        if frame.path == "" or self._open.frames[0].path == "":
            self._ask_model(call, self._open.frames[0].given)
        if not frame.decode:
            check_labels(rows.labels, [shape, *(other.shape for other in self._open.calls)])
        return call

    def _frames_of(self, stack: int) -> list[_Frame]:
        """Frames whose arguments speak of this stack's tokens, the innermost first.

        The arguments of an encoder-decoder's root describe the encoder's input, so a decoder asks its own frame alone.
        """
        assert self._open is not None
        frames = list(reversed(self._open.frames))
        return frames[:1] if self.stacks[stack].startswith("decoder") else frames

    def _rows_for(self, stack: int, shape: tuple[int, int] | None, cache: Any) -> Rows:
        """Rows of a call: those of the prefill that filled its cache, else new ones."""
        assert self._open is not None
        if cache is not None:
            last = _recall(self._rows_of_cache, cache) or self._last_rows.get(stack)
            if last is not None and (shape is None or _fits(last, shape[0])):
                return last
        if self._open.rows is None:
            waiting, self._waiting_rows = self._waiting_rows, None
            asked = self.stacks[stack] == "decoder" and waiting is not None
            self._open.rows = waiting if asked and waiting is not None else Rows(self._labels)
        self._last_rows[stack] = self._open.rows
        return self._open.rows

    def _ask_model(self, call: Call, given: Given) -> None:
        """A model of one's own may name modality and role of its tokens itself (docs/probe.md)."""
        ask = getattr(self.model, "routing_labels", None)
        if ask is None:
            return
        kinds, roles = ask(given)
        if tuple(kinds.shape) == call.shape:
            call.kinds, call.roles = kinds, roles

    def _images(self, stack: int) -> bool:
        return any(
            site.facts.token_axis == "images" for site in self.found if self._stack_of_owner[site.owner] == stack
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
        for site, routing, seen in call.records:
            rows = int(seen.sum()) if seen is not None else call.tokens
            if len(routing.ids) != rows:
                raise ProbeError(
                    f"Site {self.found[site].site.id} routed {len(routing.ids)} tokens of a call that holds {rows}: its tokens cannot "
                    "be told apart; write an adapter that says which tokens it sees (docs/probe.md)."
                )

    def _finish_pass(self, running: _Pass) -> None:
        for call in running.calls:
            call.siblings = running.calls
        if self._encoder_decoder and all(self.stacks[call.stack] == "encoder" for call in running.calls):
            self._waiting_rows = running.rows  # generate() runs the encoder alone, and the decoder in passes of its own
        self.collector.add(running.calls)


class _Relabel:
    """What `label` returns: nothing to hold, or a `with` block after which the labels are those from before."""

    def __init__(self, probe: RoutingProbe, before: Labels) -> None:
        self._probe = probe
        self._before = before

    def __enter__(self) -> RoutingProbe:
        return self._probe

    def __exit__(self, *_: object) -> None:
        self._probe._labels = self._before


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


def _never(*_: Any, **__: Any) -> bool:
    return False


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
