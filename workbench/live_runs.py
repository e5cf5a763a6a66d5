"""Live runs in the background: what each is to do, what it has come to, and a thread each.

The list of jobs runs one job at a time; live runs are watched while they go, so each has a thread of its own. What bounds them
is memory: they borrow their models from `workbench.live_models`.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from workbench.analysis.trace import Trace
from workbench.capture import Capture, ModelInfo
from workbench.jobs import log_failure, sentence
from workbench.live.control import Control, Stopped
from workbench.live.prompt import Prompt
from workbench.live.sampling import Sampling
from workbench.live_models import Models
from workbench.models import LoadedModel, LoadOptions

if TYPE_CHECKING:
    from workbench.live.run import LiveRun

State = Literal["waiting", "loading", "reading", "writing", "done", "stopped", "failed"]
FINISHED: frozenset[State] = frozenset({"done", "stopped", "failed"})
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """What a run is to do.

    Attributes:
        model: embedded name, folder, GGUF file or hub id.
        prompts: one, or two side by side.
        sampling: how tokens are written.
        options: how the model is loaded.
        paused: begin paused, before the prompt is read.
    """

    model: str
    prompts: tuple[Prompt, ...]
    sampling: Sampling = field(default_factory=Sampling)
    options: LoadOptions = field(default_factory=LoadOptions)
    paused: bool = False


@dataclass(frozen=True)
class LiveSnapshot:
    """A run as it is at one moment.

    Attributes:
        id: what stands in an address.
        state: waiting (for a model), loading, reading, writing, done, stopped or failed.
        step: what it is doing, in words.
        paused: it is held, or will be before the next pass.
        stopping: it was asked to stop and has not yet.
        model: what was loaded, or None before.
        memory: the memory estimate in words, empty before it is made.
        traces: what each sequence has gone through.
        written, most: tokens written, and at most, over all sequences.
        read: share of the layers that the prompt has reached, 0 to 1.
        seconds: time that the model has worked.
        patches: rows of picture or sound towers, which are in the capture only.
        error: one sentence, once failed.
        capture: once it has ended and anything was recorded.
    """

    id: str
    state: State
    step: str
    paused: bool
    stopping: bool
    model: ModelInfo | None
    memory: str
    traces: tuple[Trace, ...]
    written: int
    most: int
    read: float
    seconds: float
    patches: int
    error: str | None
    capture: Capture | None

    @property
    def finished(self) -> bool:
        return self.state in FINISHED

    @property
    def tokens_per_second(self) -> float:
        """Tokens written a second of the model's own time, reading included."""
        return self.written / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class _Seen:
    """What a run has come to; fields as in LiveSnapshot."""

    traces: tuple[Trace, ...] = ()
    written: int = 0
    read: float = 0.0
    seconds: float = 0.0
    patches: int = 0

    @classmethod
    def of(cls, run: LiveRun) -> _Seen:
        return cls(run.traces(), run.written, run.sites_read / run.sites, run.seconds, run.patches)


class Live:
    """One run in the background; made by `LiveRuns.start`."""

    def __init__(self, order: Order) -> None:
        self.id = secrets.token_hex(4)
        self.order = order
        self.control = Control(paused=order.paused)
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._state: State = "waiting"
        self._step = "Waiting"
        self._memory = ""
        self._error: str | None = None
        self._run: LiveRun | None = None
        self._last: _Seen | None = None  # what the run had come to when it ended
        self._model: ModelInfo | None = None
        self._capture: Capture | None = None

    def snapshot(self) -> LiveSnapshot:
        """The run as it is now."""
        with self._lock:
            state, step, error = self._state, self._step, self._error
            model, capture, memory = self._model, self._capture, self._memory
            run, last = self._run, self._last
        seen = last or (_Seen.of(run) if run is not None else _Seen())
        if state == "reading" and seen.written:
            state, step = "writing", "Writing"
        finished = state in FINISHED
        return LiveSnapshot(
            id=self.id,
            state=state,
            step=step,
            paused=self.control.paused and not finished,
            stopping=self.control.stopped and not finished,
            model=model,
            memory=memory,
            traces=seen.traces,
            written=seen.written,
            most=self.order.sampling.max_new_tokens * len(self.order.prompts),
            read=1.0 if seen.written or (finished and seen.traces) else seen.read,
            seconds=seen.seconds,
            patches=seen.patches,
            error=error,
            capture=capture,
        )

    def wait(self, timeout: float | None = None) -> LiveSnapshot:
        """Block until the run has ended or `timeout` seconds have passed."""
        self._ended.wait(timeout)
        return self.snapshot()

    # ------------------------------------------------------------------ its own thread
    def say(self, step: str, state: State | None = None) -> None:
        """Tell what it is doing; the state stays as it was when left out."""
        with self._lock:
            self._step = step
            self._state = state or self._state

    def estimated(self, memory: str) -> None:
        """Tell what memory the model needs, in words."""
        with self._lock:
            self._memory = memory

    def _finish(self, state: State, step: str, error: str | None = None, capture: Capture | None = None) -> None:
        with self._lock:
            self._state, self._step, self._error, self._capture = state, step, error, capture
        self._ended.set()

    def _work(self, models: Models) -> None:
        try:
            with models.lend(self) as loaded:
                try:
                    capture = self._watch(loaded)
                finally:
                    self._let_go()
        except Stopped:
            self._finish("stopped", "Stopped before anything was read")
        except Exception as fault:
            log_failure(_LOG, f"live run {self.id}", fault)
            self._finish("failed", "Failed", error=sentence(fault))
        else:
            if self.control.stopped:
                self._finish("stopped", "Stopped", capture=capture)
            else:
                self._finish("done", "Done", capture=capture)

    def _let_go(self) -> None:
        """Keep what was seen and drop the run, which holds the model: a model that makes room must really go."""
        with self._lock:
            self._last = _Seen.of(self._run) if self._run is not None else None
            self._run = None

    def _watch(self, loaded: LoadedModel) -> Capture | None:
        from workbench.live.run import LiveRun

        if self.control.stopped:
            raise Stopped
        self.say("Preparing the prompt", "loading")
        run = LiveRun(loaded, self.order.prompts, self.order.sampling)
        with self._lock:
            self._run, self._model = run, loaded.info
        self.say("Reading the prompt", "reading")
        run.go(self.control)
        return run.capture() if any(len(trace) for trace in run.traces()) else None


class LiveRuns:
    """The live runs of this program.

    Args:
        max_models: models held in memory at once.
        keep: finished runs that stay to be looked at; older ones are forgotten.
    """

    def __init__(self, max_models: int = 2, keep: int = 12) -> None:
        self._lock = threading.Lock()
        self._keep = keep
        self._lives: dict[str, Live] = {}
        self._models = Models(max_models)

    def start(self, order: Order, cleanup: Callable[[], None] | None = None) -> Live:
        """Begin a run; it loads its model, reads and writes in a thread of its own.

        Args:
            order: what to do.
            cleanup: called once when the run has ended, whatever its end is.
        """
        live = Live(order)

        def work() -> None:
            try:
                live._work(self._models)
            finally:
                if cleanup is not None:
                    cleanup()

        with self._lock:
            self._lives[live.id] = live
            finished = [other.id for other in self._lives.values() if other.snapshot().finished]
            for old in finished[: max(len(finished) - self._keep, 0)]:
                del self._lives[old]
        # A daemon: closing the program does not wait for a model to finish its sentence.
        threading.Thread(target=work, name=f"workbench-live-{live.id}", daemon=True).start()
        return live

    def get(self, number: str | None) -> Live | None:
        """The run of this id, or None if there never was one or it is forgotten."""
        with self._lock:
            return self._lives.get(number or "")

    def forget(self, number: str) -> None:
        """Stop a run and take it off the list."""
        with self._lock:
            live = self._lives.pop(number, None)
        if live is not None:
            live.control.stop()

    @property
    def held(self) -> tuple[str, ...]:
        """Names of the models in memory."""
        return self._models.names
