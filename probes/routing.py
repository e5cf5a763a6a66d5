"""`RoutingProbe`: watch a live model and record which experts take which tokens.

How it works. A hook on every model of a composite (the root, a text backbone, a vision tower, an encoder, ...) opens and
closes a *frame*: the arguments of one forward call. The hook of a site only appends what was chosen to the open call of its
stack; labels and counts are worked out later, for many calls at once (`probes.collector`). Hooks return nothing, so the model
computes what it would without them, and all of them go when the block is left.

Letters: B rows, T tokens of a row, N = B x T tokens of a call, K choices.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import replace
from types import TracebackType
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from probes.adapter_base import Adapter, logits_of
from probes.calls import Call, Record
from probes.collector import Collector
from probes.errors import BusyError, NothingRecordedError, ProbeError
from probes.frames import Frames
from probes.fused import RouterRerun, Witnesses
from probes.labels import Labels
from probes.locks import acquire, release
from probes.modality import endings_of, placeholders_of, special_ids
from probes.pieces import pieces_of
from probes.predictions import Predictions, not_told_of_beams, told_of_beams
from probes.result import build_capture
from probes.sites import FoundSite, find_sites, refuse_compiled
from probes.submodel.patches import Patches
from probes.token_labels import Settings
from workbench.capture import Capture

# The probes whose blocks are open in this context: a forward pass of another thread on the same model is not recorded.
_ACTIVE: ContextVar[frozenset[object]] = ContextVar("open routing probes", default=frozenset())


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
        predictions: keep the id that the language head finds likeliest at each position in the token rows.
        loss: keep the cross-entropy in nats of the next token at each position in the token rows.
        max_tokens: bound on token rows of a stack; whole documents are kept, a uniform sample by `seed`.
        lock_timeout: seconds to wait for another probe on the same model.
        adapters: readers of routers of your own, asked before the built-in ones.
        on_pass: called with the calls (`probes.calls.Call`) of every forward pass when it has ended, in the thread that runs
            the model: for a view that follows along.

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
        predictions: bool = False,
        loss: bool = False,
        max_tokens: int = 200_000,
        seed: int = 0,
        lock_timeout: float = 60.0,
        adapters: Sequence[Adapter] = (),
        on_pass: Callable[[Sequence[Call]], None] | None = None,
    ) -> None:
        if max_tokens < 1:
            raise ProbeError(f"max_tokens must be at least 1, but is {max_tokens}: leave tokens=False to keep no rows.")
        if (predictions or loss) and not tokens:
            raise ProbeError(
                "Predictions and losses are columns of the token rows, and none are kept: add tokens=True, or leave them out."
            )
        self.model = model
        self.processor = processor
        self.found: tuple[FoundSite, ...] = tuple(find_sites(model, adapters))
        self.stacks = tuple(dict.fromkeys(site.site.stack for site in self.found))
        self.lock_timeout = lock_timeout
        settings = Settings(
            tokens=tokens,
            coactivation=coactivation,
            scores=scores,
            max_tokens=max_tokens,
            seed=seed,
            special=special_ids(processor) if processor is not None else (),
            endings=endings_of(model),
            placeholders=placeholders_of(model),
            predicted=predictions,
            loss=loss,
        )
        self.collector = Collector(self.found, self.stacks, settings)
        self.witnesses = Witnesses(self.found)
        self.reruns = RouterRerun(self.found)
        self._key = key = object()  # stands for this probe among the open ones, without holding it
        self.frames = Frames(
            model,
            self.found,
            self.stacks,
            self.collector,
            Labels(documents, groups),
            lambda: key in _ACTIVE.get(),
            on_pass,
        )
        if predictions or loss:
            self.frames.predictions = Predictions(predictions, loss, settings.endings)
        self._handles: list[RemovableHandle] = []
        self._patches = Patches()
        self._used = False
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
        _ACTIVE.set(_ACTIVE.get() | {self._key})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._remove()
            self.frames.clear()
            self._scores.clear()
            self._seen.clear()
            _ACTIVE.set(_ACTIVE.get() - {self._key})
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
        before = self.frames.labels
        self.frames.labels = Labels(documents, groups, offsets, tuple(int(token) for token in prefix_ids))
        return _Relabel(self, before)

    def documents(self, documents: Any) -> _Relabel:
        """Label the documents of the following calls and keep the other labels."""
        before = self.frames.labels
        self.frames.labels = replace(before, documents=documents)
        return _Relabel(self, before)

    def groups(self, groups: Any) -> _Relabel:
        """Label the groups of the following calls and keep the other labels."""
        before = self.frames.labels
        self.frames.labels = replace(before, groups=groups)
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
        if self.frames.predictions is not None and not self.frames.predictions.calls_read:
            raise ProbeError(
                f"Predictions and losses need the logits of a language head, and no call of {type(self.model).__name__} returned any: "
                "load the model with its head and call it whole, or leave them out."
            )
        return build_capture(
            self.model,
            self.collector,
            piece_of=pieces_of(self.processor),
            failures=self.witnesses.failures(),
            recomputed=self.reruns.recomputed,
            unread_masks=self.frames.unread_masks,
            model_id=model_id,
            licence=licence,
            notes=notes,
            grouped_by=grouped_by,
        )

    # ------------------------------------------------------------------ hooks
    def _install(self) -> None:
        from transformers import PreTrainedModel

        owners = set(self.frames.stack_of_owner)
        for path, module in self.model.named_modules():
            above = any(owner == path or not path or owner.startswith(path + ".") for owner in owners)
            if above and (not path or path in owners or isinstance(module, PreTrainedModel)):
                names = tuple(inspect.signature(type(module).forward).parameters)[1:]
                self._handles.append(
                    module.register_forward_pre_hook(self.frames.opener(path, names), with_kwargs=True)
                )
                self._handles.append(
                    module.register_forward_hook(self.frames.closer(), with_kwargs=True, always_call=True)
                )
        for number, site in enumerate(self.found):
            self._watch(number, site)
        if hasattr(self.model, "_valid_auto_compile_criteria"):
            # generate() compiles decode steps with a static cache on a GPU; compiled steps would skip the hooks.
            self._patches.attribute(self.model, "_valid_auto_compile_criteria", _never)
        if self.frames.predictions is not None:
            told_of_beams(self.model, self.frames.predictions)

    def _watch(self, number: int, site: FoundSite) -> None:
        adapter, facts = site.adapter, site.facts
        scores = self.collector.settings.scores
        stack = self.frames.stack_of_owner[site.owner]
        split = facts.split is not None

        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            call = self.frames.call(stack)
            if call is not None:
                routing = adapter.read(args, kwargs, None, facts)
                if routing is not None:
                    if scores:
                        routing = routing._replace(logits=self._scores.pop(number, routing.logits))
                    call.records.append(Record(number, routing, self._seen.get(number) if split else None))

        def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            call = self.frames.call(stack)
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
                    logits_of(output, facts.experts - facts.identity_experts)
                    if self.frames.call(stack) is not None
                    else None
                )
                if found is not None:
                    self._scores[number] = found[:, : facts.experts]

            self._handles.append(facts.router.register_forward_hook(keep_scores, with_kwargs=True))
        if facts.split is not None:

            def divide(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                if self.frames.call(stack) is not None:
                    self._seen[number] = adapter.seen(args, kwargs, facts)

            self._handles.append(facts.split.register_forward_pre_hook(divide, with_kwargs=True))
        # A kernel puts a forward of its own on the block; where the class's own runs, it calls its router and experts.
        if facts.block is not None and facts.router is not None and "forward" in vars(facts.block):
            self._handles += self.reruns.watch(number, lambda: self.frames.call(stack))
        self._handles += self.witnesses.watch(number, lambda: self.frames.call(stack) is not None)

    def _remove(self) -> None:
        while self._handles:
            self._handles.pop().remove()
        self._patches.restore()
        if self.frames.predictions is not None:
            not_told_of_beams(self.model)


class _Relabel:
    """What `label` returns: nothing to hold, or a `with` block after which the labels are those from before."""

    def __init__(self, probe: RoutingProbe, before: Labels) -> None:
        self._probe = probe
        self._before = before

    def __enter__(self) -> RoutingProbe:
        return self._probe

    def __exit__(self, *_: object) -> None:
        self._probe.frames.labels = self._before


def _never(*_: Any, **__: Any) -> bool:
    return False
