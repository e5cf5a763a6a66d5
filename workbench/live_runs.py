"""Live runs in the background: a thread each, a few models in memory, no model in two runs at once.

The list of jobs runs one job at a time; live runs are watched while they go, so each has a thread of its own. What bounds them
is memory: at most `max_models` models are held, kept by name for the next run, the longest unused one making room. A run that
needs a model in use waits for it; a paused run that nobody has touched for ten minutes gives way.
"""

from __future__ import annotations

import gc
import itertools
import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from workbench.analysis.trace import Trace
from workbench.capture import Capture, ModelInfo
from workbench.capture.errors import WorkbenchError
from workbench.jobs import sentence
from workbench.live.control import Control, Stopped
from workbench.live.prompt import Prompt
from workbench.live.sampling import Sampling
from workbench.models import LoadedModel, LoadOptions, NotEnoughMemoryError, Workload, estimate_memory, load_model

if TYPE_CHECKING:
    from workbench.live.run import LiveRun

State = Literal["waiting", "loading", "reading", "writing", "done", "stopped", "failed"]
FINISHED: frozenset[State] = frozenset({"done", "stopped", "failed"})
GIVE_WAY_SECONDS = 600.0  # how long a paused run may keep a model from one that waits
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
    def _say(self, step: str, state: State | None = None) -> None:
        with self._lock:
            self._step = step
            self._state = state or self._state

    def _finish(self, state: State, step: str, error: str | None = None, capture: Capture | None = None) -> None:
        with self._lock:
            self._state, self._step, self._error, self._capture = state, step, error, capture
        self._ended.set()

    def _work(self, models: _Models) -> None:
        try:
            with models.lend(self) as loaded:
                try:
                    capture = self._watch(loaded)
                finally:
                    self._let_go()
        except Stopped:
            self._finish("stopped", "Stopped before anything was read")
        except Exception as fault:
            if not isinstance(fault, WorkbenchError):
                _LOG.exception("live run %s failed", self.id)
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
        self._say("Preparing the prompt", "loading")
        run = LiveRun(loaded, self.order.prompts, self.order.sampling)
        with self._lock:
            self._run, self._model = run, loaded.info
        self._say("Reading the prompt", "reading")
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
        self._models = _Models(max_models)

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


@dataclass
class _Slot:
    """A model in memory, or on its way there."""

    name: str
    loaded: LoadedModel | None = None
    user: Live | None = None
    used: int = 0  # running number of its last use


class _Models:
    """A few models, each lent to one run at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._changed = threading.Condition()
        self._loading = threading.Lock()  # transformers sets global switches while it loads, so one loads at a time
        self._slots: dict[tuple[str, LoadOptions, float], _Slot] = {}
        self._clock = itertools.count(1)

    @property
    def names(self) -> tuple[str, ...]:
        with self._changed:
            return tuple(slot.name for slot in self._slots.values() if slot.loaded is not None)

    def lend(self, live: Live) -> _Loan:
        return _Loan(self, live)

    def take(self, live: Live) -> _Slot:
        """Wait for a model, load it if it is not held; the caller gives it back.

        Raises:
            Stopped: if the run was stopped while it waited.
            WorkbenchError: if the model cannot be loaded.
        """
        order = live.order
        key = (order.model, order.options, _stamp(order.model))
        slot = self._claim(key, live)
        if slot.loaded is None:
            try:
                with self._loading:
                    slot.loaded = _load(live)
            except BaseException:
                with self._changed:
                    self._slots.pop(key, None)
                    self._changed.notify_all()
                raise
        return slot

    def give_back(self, slot: _Slot) -> None:
        with self._changed:
            slot.user = None
            slot.used = next(self._clock)
            self._changed.notify_all()

    def _claim(self, key: tuple[str, LoadOptions, float], live: Live) -> _Slot:
        with self._changed:
            while True:
                if live.control.stopped:
                    raise Stopped
                slot = self._slots.get(key)
                if slot is None and (len(self._slots) < self._most or self._make_room()):
                    slot = self._slots[key] = _Slot(live.order.model)
                if slot is not None and slot.user is None:
                    slot.user = live
                    return slot
                waited_for = [slot] if slot is not None else list(self._slots.values())
                live._say(
                    "Waiting: another run uses this model; it begins when that one has ended"
                    if slot is not None
                    else f"Waiting: {self._most} other models are in use; it begins when one of their runs has ended"
                )
                _hurry([other.user for other in waited_for if other.user is not None])
                self._changed.wait(0.5)  # a stop does not notify, so look again

    def _make_room(self) -> bool:
        """Drop the model that was unused for longest; False if all are in use."""
        idle = [(slot.used, key) for key, slot in self._slots.items() if slot.user is None]
        if not idle:
            return False
        del self._slots[min(idle)[1]]
        gc.collect()
        _empty_device_cache()
        return True


class _Loan:
    """A `with` block that holds a model."""

    def __init__(self, models: _Models, live: Live) -> None:
        self._models, self._live = models, live

    def __enter__(self) -> LoadedModel:
        self._slot = self._models.take(self._live)
        assert self._slot.loaded is not None
        return self._slot.loaded

    def __exit__(self, *fault: object) -> None:
        self._models.give_back(self._slot)


def _load(live: Live) -> LoadedModel:
    order = live.order
    live._say(f"Estimating the memory of {order.model}", "loading")
    workload = Workload(len(order.prompts), 1024, order.sampling.max_new_tokens)
    estimate = estimate_memory(order.model, order.options, workload)
    with live._lock:
        live._memory = estimate.sentence()
    if not estimate.fits and not order.options.force:
        raise NotEnoughMemoryError(
            f"'{order.model}' needs {estimate.sentence()}: choose a smaller model or number format, or close other programs."
        )
    if live.control.stopped:
        raise Stopped
    return load_model(order.model, order.options, live._say, workload=workload)


def _hurry(holders: Sequence[Live]) -> None:
    """Stop paused runs that were left alone while another waits."""
    for holder in holders:
        if holder.control.idle_seconds > GIVE_WAY_SECONDS:
            holder.control.stop()


def _stamp(model: str) -> float:
    """Changes when the files of a model folder do, so that a checkpoint written anew is loaded anew."""
    from workbench.models import find_model

    folder = find_model(model).folder
    if folder is None:
        return 0.0
    try:
        return max((file.stat().st_mtime for file in folder.iterdir() if file.is_file()), default=0.0)
    except OSError:
        return time.time()


def _empty_device_cache() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
