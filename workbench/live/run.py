"""One live run: a model reads one or two prompts and writes on, under one routing probe, while other threads look on.

Choices made here:
- `generate` of transformers does the writing, so every family that it knows works, with its own cache and its own picture or
  sound inputs; a logits processor chooses the token, and a hook in front of the model is the gate where a run is held.
- Two prompts share the model and the probe: each is a sequence with a thread and a cache of its own, and they move in turn, a
  pass each. Neither is padded or batched, so each is read as it would be alone. In the capture they are two groups.
- Tensors go to the host a few times a second, not at every token (`Tape.flush`).
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import torch

from probes import NothingRecordedError, RoutingProbe
from workbench.analysis.trace import Trace
from workbench.capture import Capture
from workbench.live.control import Control, Stopped, Turns
from workbench.live.prompt import LiveError, Prepared, Prompt, prepare
from workbench.live.sampling import Picker, Sampling
from workbench.live.tape import Tape

if TYPE_CHECKING:
    from probes.calls import Call
    from workbench.models import LoadedModel

FLUSH_SECONDS = 0.25  # how often tokens are handed out; pages look about twice a second
MAX_SEQUENCES = 2


class LiveRun:
    """Reads and writes once; made for one use.

    Args:
        loaded: the model; no other run may use it until `go` has returned.
        prompts: one, or two that are read side by side; their names differ.
        sampling: how tokens are written; every sequence draws with the same seed, from a generator of its own.
        lock_timeout: seconds to wait for another probe on the same model.

    Raises:
        LiveError, InputError: if a prompt cannot be read by this model, or the model cannot write.
    """

    def __init__(
        self, loaded: LoadedModel, prompts: Sequence[Prompt], sampling: Sampling, *, lock_timeout: float = 60.0
    ) -> None:
        names = [prompt.name for prompt in prompts]
        if not 1 <= len(prompts) <= MAX_SEQUENCES or len(set(names)) < len(names):
            raise LiveError(
                f"One or two prompts of different names were expected, but {len(prompts)} came: name them apart."
            )
        self.loaded = loaded
        self.sampling = sampling
        self._model: Any = loaded.model
        if sampling.max_new_tokens and not _can_write(loaded):
            raise LiveError(
                f"The model '{loaded.info.id}' ({type(loaded.model).__name__}) reads and cannot write: ask for 0 new tokens to watch it read."
            )
        self.prepared: tuple[Prepared, ...] = tuple(
            prepare(loaded, prompt, sampling.max_new_tokens) for prompt in prompts
        )
        processor = loaded.processor if loaded.processor is not None else loaded.tokenizer
        self._probe = RoutingProbe(
            loaded.model,
            tokens=True,
            processor=processor,
            seed=sampling.seed,
            lock_timeout=lock_timeout,
            on_pass=self._passed,
        )
        self._tapes = tuple(Tape(name, self._probe, processor) for name in names)
        self._turns = Turns(len(names))
        self._lane_of_thread: dict[int, int] = {}
        self._holds = [False] * len(names)  # whose turn it is, as its own thread knows
        self._reading: list[Any] = []  # hooks that count layers while a prompt is read
        self._faults: list[BaseException] = []
        self._control = Control()
        self._flushed = 0.0
        self.sites_read = 0  # sites that the prompt being read has reached
        self._held = 0.0
        self._begun: float | None = None
        self._ended: float | None = None

    # ------------------------------------------------------------------ any thread
    def traces(self) -> tuple[Trace, ...]:
        """What each sequence has gone through so far."""
        return tuple(tape.trace() for tape in self._tapes)

    @property
    def written(self) -> int:
        """Tokens written so far, over all sequences."""
        return sum(tape.written for tape in self._tapes)

    @property
    def patches(self) -> int:
        """Patches of picture or sound towers that were routed too; they are in the capture and not among the tokens."""
        return sum(tape.patches for tape in self._tapes)

    @property
    def seconds(self) -> float:
        """Time that the model has worked; pauses are left out."""
        if self._begun is None:
            return 0.0
        return max((self._ended or time.monotonic()) - self._begun - self._held, 0.0)

    @property
    def sites(self) -> int:
        """Number of sites of the model."""
        return len(self._probe.found)

    # ------------------------------------------------------------------ the model's thread
    def go(self, control: Control) -> None:
        """Read and write until the end, or until stopped; what was handed out stays either way.

        Raises:
            Exception: whatever the model raises.
        """
        self._control = control
        self._begun = time.monotonic()
        gate = self._model.register_forward_pre_hook(self._before_pass)
        try:
            with self._probe, torch.inference_mode():
                if len(self._tapes) == 1:
                    self._sequence(0)
                else:
                    self._side_by_side()
        finally:
            gate.remove()
            self._forget_layers()
            for tape in self._tapes:
                tape.flush()
            self._ended = time.monotonic()
        if self._faults:
            raise self._faults[0]

    def _side_by_side(self) -> None:
        threads = []
        for lane in range(len(self._tapes)):
            # The context carries the open probe into the thread; the turns see to it that one runs at a time.
            work = copy_context()
            thread = threading.Thread(target=work.run, args=(self._sequence_quietly, lane), daemon=True)
            threads.append(thread)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _sequence_quietly(self, lane: int) -> None:
        try:
            with torch.inference_mode():
                self._sequence(lane)
        except BaseException as fault:
            self._faults.append(fault)
            self._control.stop()

    def _sequence(self, lane: int) -> None:
        self._lane_of_thread[threading.get_ident()] = lane
        try:
            self._take_turn(lane)
            self._read_and_write(lane)
        except Stopped:
            pass
        finally:
            self._tapes[lane].flush()
            self._turns.leave(lane)

    def _read_and_write(self, lane: int) -> None:
        prepared, tape = self.prepared[lane], self._tapes[lane]
        alone = len(self._tapes) == 1
        self._probe.label(documents=[prepared.name], groups=None if alone else [prepared.name])
        self._watch_layers()
        if not self.sampling.max_new_tokens:
            self._read(prepared)
            return
        picker = Picker(self.sampling, self._model.device, lambda token, scores: self._chosen(lane, token, scores))
        if prepared.sample is not None:
            from workbench.unified.live import write_on

            write_on(self.loaded, prepared.sample, picker, self.sampling.max_new_tokens, lambda: self._control.stopped)
            tape.flush()
            return
        found = self._model.generate(
            **prepared.inputs,
            generation_config=_configuration(self._model, self.sampling.max_new_tokens),
            logits_processor=[picker],
            stopping_criteria=[_Ends(self)],
        )
        tape.flush()
        if "input_ids" in prepared.inputs and not self.loaded.is_encoder_decoder:
            tape.keep_written(int(found.shape[1]) - int(prepared.inputs["input_ids"].shape[1]))

    def _read(self, prepared: Prepared) -> None:
        """One forward pass without writing."""
        import inspect

        inputs = dict(prepared.inputs)
        known = inspect.signature(type(self._model).forward).parameters
        if "use_cache" in known:
            inputs["use_cache"] = False
        if "logits_to_keep" in known:
            inputs["logits_to_keep"] = 1  # routing needs no vocabulary
        if self.loaded.is_encoder_decoder and "decoder_input_ids" in known:
            start = getattr(self._model.config, "decoder_start_token_id", None)
            inputs["decoder_input_ids"] = inputs["input_ids"].new_full((1, 1), int(start or 0))
        self._model(**inputs)

    def _before_pass(self, module: Any, arguments: Any) -> None:
        """The gate: wait for the turn of this sequence, and while the run is paused."""
        lane = self._lane_of_thread.get(threading.get_ident())
        if lane is None:
            return
        self._take_turn(lane)
        if self._turns.first(lane):
            if self._control.would_hold():
                for tape in self._tapes:
                    tape.flush()
                since = time.monotonic()
                try:
                    self._control.gate()
                finally:
                    self._held += time.monotonic() - since
            else:
                self._control.gate()
        elif self._control.stopped:
            raise Stopped

    def _take_turn(self, lane: int) -> None:
        if not self._holds[lane]:
            self._turns.take(lane)
            self._holds[lane] = True

    def _passed(self, calls: Sequence[Call]) -> None:
        self._tapes[self._lane_of_thread[threading.get_ident()]].passed(calls)

    def _chosen(self, lane: int, token: Any, scores: Any) -> None:
        self._forget_layers()
        self._tapes[lane].chose(token, scores)
        now = time.monotonic()
        if now - self._flushed > FLUSH_SECONDS:
            self._flushed = now
            for tape in self._tapes:  # the others wait for their turn
                tape.flush()
        if len(self._tapes) > 1:
            self._holds[lane] = False
            self._turns.give(lane)

    # ------------------------------------------------------------------ layers of a prompt that is being read
    def _watch_layers(self) -> None:
        """Count the sites that the prompt has reached, and let a stop be heard between two of them."""
        self.sites_read = 0

        def reached(module: Any, arguments: Any) -> None:
            self.sites_read = min(self.sites_read + 1, self.sites)
            if self._control.stopped:
                raise Stopped

        self._reading = [found.facts.watch.register_forward_pre_hook(reached) for found in self._probe.found]

    def _forget_layers(self) -> None:
        while self._reading:
            self._reading.pop().remove()

    # ------------------------------------------------------------------ what is kept
    def capture(self) -> Capture:
        """The capture of the run, once `go` has returned.

        Raises:
            LiveError: if it was stopped before anything was read.
            ProbeError: if the probe's record fails its own checks.
        """
        from workbench.recording import with_model

        pair = len(self._tapes) > 1
        try:
            made = self._probe.capture(
                model_id=self.loaded.info.id, notes=self._notes(), grouped_by="prompt" if pair else None
            )
        except NothingRecordedError as fault:
            raise LiveError(
                "A run that has read its prompt was expected, but it was stopped before: start it again and let it read."
            ) from fault
        return with_model(made, self.loaded)

    def _notes(self) -> str:
        how = self.sampling
        drawn = (
            "the most probable token each time"
            if how.temperature == 0
            else f"temperature {how.temperature:g}, top-p {how.top_p:g}, seed {how.seed}"
        )
        return f"A live run: {self.written} tokens written, at most {how.max_new_tokens} a prompt; {drawn}."


class _Ends:
    """Stopping criterion: ends a sequence after the token at which the run was asked to stop."""

    def __init__(self, run: LiveRun) -> None:
        self._run = run

    def __call__(self, input_ids: torch.Tensor, scores: Any, **more: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self._run._control.stopped, dtype=torch.bool, device=input_ids.device)


def _can_write(loaded: LoadedModel) -> bool:
    ask: Callable[[], bool] | None = getattr(loaded.model, "can_generate", None)
    return ask is not None and bool(ask())


def _configuration(model: Any, new_tokens: int) -> Any:
    """The model's own generation settings, without those that would choose tokens: the picker does that."""
    config = copy.deepcopy(model.generation_config)
    config.do_sample, config.num_beams, config.num_return_sequences = False, 1, 1
    config.temperature, config.top_p, config.top_k = (
        1.0,
        1.0,
        50,
    )  # transformers' own defaults; the greedy way ignores them
    config.max_new_tokens, config.max_length = new_tokens, None
    config.return_dict_in_generate = False
    return config
