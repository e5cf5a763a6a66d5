"""Background work with progress and cancel, one job at a time, for faces that are redrawn while it runs.

A job runs a function in one worker thread. The function gets a `Task`: it reports how far it is, and asks between two
batches whether it should stop. Everything that a page reads is a snapshot taken under a lock, so a page may look at any
moment. Nothing here draws anything: a page polls the list, a command line could do the same.

Jobs run in the order in which they were started, and only one at a time: two models in memory at once is what runs out
of it.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from workbench.capture.errors import WorkbenchError

State = Literal["waiting", "running", "done", "failed", "cancelled"]
FINISHED: frozenset[State] = frozenset({"done", "failed", "cancelled"})
_LOG = logging.getLogger(__name__)


class Cancelled(WorkbenchError):
    """Raised inside a job's function when it was asked to stop."""


@dataclass(frozen=True)
class Snapshot:
    """What a job was at one moment.

    Attributes:
        id: number of the job in its list, from 1.
        title: one line for a person, for example "Capture of 3 files".
        state: waiting, running, done, failed or cancelled.
        step: what it is doing, in words.
        done: units finished (documents, bytes, ...).
        total: units in all, or None while unknown.
        seconds: time it has run.
        result: what the function returned, once done.
        error: one sentence, once failed.
        stopping: it was asked to stop and has not yet.
    """

    id: int
    title: str
    state: State
    step: str
    done: int
    total: int | None
    seconds: float
    result: Any
    error: str | None
    stopping: bool

    @property
    def fraction(self) -> float | None:
        """Share of the work that is finished, in [0, 1], or None while the total is unknown."""
        if self.state == "done":
            return 1.0
        if not self.total:
            return None
        return min(max(self.done / self.total, 0.0), 1.0)

    @property
    def finished(self) -> bool:
        return self.state in FINISHED


class Task:
    """The end of a job that its function holds: report progress, ask whether to stop."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def progress(self, done: int, total: int | None = None, step: str | None = None) -> None:
        """Say how far the work is; `step` stays as it was when left out."""
        self._job._report(done, total, step)

    def cancelled(self) -> bool:
        """Whether the user asked to stop; ask between two batches."""
        return self._job._stop.is_set()

    def check(self) -> None:
        """Raise Cancelled if the user asked to stop."""
        if self.cancelled():
            raise Cancelled("The work was stopped on request, and nothing was kept: start it again when wanted.")


class Job:
    """One piece of work; made by `JobList.start`."""

    def __init__(
        self, number: int, title: str, function: Callable[[Task], Any], cleanup: Callable[[], None] | None = None
    ) -> None:
        self.id = number
        self.title = title
        self._function = function
        self._cleanup = cleanup
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._end = threading.Event()
        self._state: State = "waiting"
        self._step = "Waiting for the job before it"
        self._done = 0
        self._total: int | None = None
        self._begun: float | None = None
        self._ended: float | None = None
        self._result: Any = None
        self._error: str | None = None

    def cancel(self) -> None:
        """Ask the work to stop: at once if it waits, at its next batch if it runs, without effect once it has ended."""
        self._stop.set()
        with self._lock:
            if self._state == "waiting":
                self._finish("cancelled", step="Stopped before it began")
            else:
                return
        self._tidy()

    def snapshot(self) -> Snapshot:
        """The job as it is now."""
        with self._lock:
            begun, ended = self._begun, self._ended
            seconds = 0.0 if begun is None else (ended if ended is not None else time.monotonic()) - begun
            stopping = self._stop.is_set() and self._state not in FINISHED
            return Snapshot(
                self.id, self.title, self._state, self._step, self._done, self._total, seconds,
                self._result, self._error, stopping,
            )  # fmt: skip

    def wait(self, timeout: float | None = None) -> Snapshot:
        """Block until the job has ended or `timeout` seconds have passed; returns what it is then."""
        self._end.wait(timeout)
        return self.snapshot()

    # ------------------------------------------------------------------ worker's side
    def _report(self, done: int, total: int | None, step: str | None) -> None:
        with self._lock:
            self._done = done
            self._total = total
            if step is not None:
                self._step = step

    def _finish(self, state: State, *, step: str, result: Any = None, error: str | None = None) -> None:
        """Set the last state; the caller holds the lock."""
        self._state, self._step, self._result, self._error = state, step, result, error
        self._ended = time.monotonic()
        if self._begun is None:
            self._begun = self._ended
        self._end.set()

    def _tidy(self) -> None:
        if self._cleanup is not None:
            self._cleanup()

    def _run(self) -> None:
        with self._lock:
            if self._state != "waiting":
                return
            self._state, self._step, self._begun = "running", "Starting", time.monotonic()
        try:
            try:
                result = self._function(Task(self))
            finally:
                self._tidy()
        except Cancelled:
            with self._lock:
                self._finish("cancelled", step="Stopped")
        except Exception as fault:
            log_failure(_LOG, f"job {self.id} ({self.title})", fault)
            with self._lock:
                self._finish("failed", step="Failed", error=sentence(fault))
        else:
            with self._lock:
                # A function that returned has done its work, even if the wish to stop came too late to be heard.
                self._finish("done", step="Done", result=result)


class JobList:
    """Jobs in the order of their start, run one after the other by one thread.

    Args:
        keep: how many finished jobs stay in the list; older ones are forgotten.
    """

    def __init__(self, keep: int = 8) -> None:
        self._keep = keep
        self._lock = threading.Lock()
        self._jobs: dict[int, Job] = {}
        self._queue: deque[Job] = deque()
        self._numbers = itertools.count(1)
        self._worker: threading.Thread | None = None

    def start(self, title: str, function: Callable[[Task], Any], cleanup: Callable[[], None] | None = None) -> Job:
        """Put `function(task)` at the end of the queue.

        Args:
            title: one line for a person.
            function: the work; it makes no call to a page, and asks `task.check()` between two batches.
            cleanup: called once at the end, whatever the end is, also if the job never began.
        """
        with self._lock:
            job = Job(next(self._numbers), title, function, cleanup)
            self._jobs[job.id] = job
            self._queue.append(job)
            if self._worker is None:
                # A daemon: closing the program does not wait for a model to finish its sentence.
                self._worker = threading.Thread(target=self._work, name="workbench-jobs", daemon=True)
                self._worker.start()
            self._forget()
        return job

    def snapshots(self) -> list[Snapshot]:
        """Every job in the list, newest first."""
        with self._lock:
            jobs = list(self._jobs.values())
        return [job.snapshot() for job in reversed(jobs)]

    def get(self, number: int) -> Job | None:
        """The job with this number, or None if it was never there or is forgotten."""
        with self._lock:
            return self._jobs.get(number)

    def cancel(self, number: int) -> None:
        """Ask one job to stop; a number that is not there is no error."""
        job = self.get(number)
        if job is not None:
            job.cancel()

    def clear(self) -> None:
        """Forget every finished job."""
        with self._lock:
            self._jobs = {number: job for number, job in self._jobs.items() if not job.snapshot().finished}

    @property
    def busy(self) -> bool:
        """Whether a job waits or runs."""
        return any(not snapshot.finished for snapshot in self.snapshots())

    def _forget(self) -> None:
        finished = [number for number, job in self._jobs.items() if job.snapshot().finished]
        for number in finished[: max(len(finished) - self._keep, 0)]:
            del self._jobs[number]

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._worker = None
                    return
                job = self._queue.popleft()
            job._run()


def log_failure(log: logging.Logger, what: str, fault: BaseException) -> None:
    """Write to the log that `what` failed: one line where the error carries its own sentence, else the whole traceback."""
    if isinstance(fault, WorkbenchError):
        log.warning("%s failed: %s", what, fault)
    else:
        log.error("%s failed", what, exc_info=fault)


def sentence(fault: BaseException) -> str:
    """One sentence for a person about any exception.

    An error of the workbench carries its own sentence; of others the kind and the first line are named, and where the
    whole story stands.
    """
    if isinstance(fault, WorkbenchError):
        return str(fault)
    if isinstance(fault, MemoryError) or "out of memory" in str(fault).lower():
        return (
            "The memory was not enough for this work: close other programs, or choose a smaller model, batch or length."
        )
    lines = str(fault).strip().splitlines()
    what = f"{type(fault).__name__}: {lines[0][:200]}" if lines else type(fault).__name__
    return f"The work stopped on an error that was not foreseen ({what}): the log of the program has the details."
