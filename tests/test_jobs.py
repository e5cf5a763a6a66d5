"""Jobs: order, progress, cancel before and during the work, errors as one sentence, and no face underneath."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from workbench.capture.errors import WorkbenchError
from workbench.jobs import Cancelled, JobList, Snapshot, Task, sentence

WAIT = 20.0  # seconds; only a bound for a broken build, never reached by a whole one


def test_result_and_progress_are_seen_from_another_thread() -> None:
    reported, looked = threading.Event(), threading.Event()

    def work(task: Task) -> int:
        task.progress(3, 10, "Reading")
        reported.set()
        assert looked.wait(WAIT)
        return 42

    job = JobList().start("Sum", work)
    assert reported.wait(WAIT)
    during = job.snapshot()
    looked.set()
    after = job.wait(WAIT)
    assert (during.state, during.step, during.done, during.total, during.fraction) == ("running", "Reading", 3, 10, 0.3)
    assert (after.state, after.result, after.error, after.fraction) == ("done", 42, None, 1.0)
    assert after.finished and after.seconds >= during.seconds > 0


def test_step_stays_when_left_out() -> None:
    def work(task: Task) -> None:
        task.progress(1, 2, "First")
        task.progress(2, 2)
        raise WorkbenchError("A number was expected, but a word came: type a number.")

    snapshot = JobList().start("Steps", work).wait(WAIT)
    assert snapshot.state == "failed"
    assert snapshot.error == "A number was expected, but a word came: type a number."
    assert (snapshot.done, snapshot.total) == (2, 2)


def test_jobs_run_in_order_and_never_two_at_once() -> None:
    jobs, log, running = JobList(), [], []
    most = 0

    def work(number: int):  # type: ignore[no-untyped-def]
        def run(task: Task) -> None:
            nonlocal most
            running.append(number)
            most = max(most, len(running))
            log.append(number)
            running.remove(number)

        return run

    last = [jobs.start(f"job {number}", work(number)) for number in range(20)][-1]
    last.wait(WAIT)
    assert log == list(range(20)) and most == 1


def test_running_job_stops_at_its_next_batch() -> None:
    begun, go = threading.Event(), threading.Event()
    batches = []

    def work(task: Task) -> None:
        for batch in range(100):
            task.check()
            batches.append(batch)
            begun.set()
            assert go.wait(WAIT)

    job = JobList().start("Batches", work)
    assert begun.wait(WAIT)
    job.cancel()
    assert job.snapshot().stopping
    go.set()
    snapshot = job.wait(WAIT)
    assert snapshot.state == "cancelled" and not snapshot.stopping and snapshot.error is None
    assert batches == [0]


def test_waiting_job_is_stopped_at_once_and_never_runs() -> None:
    jobs, go, ran = JobList(), threading.Event(), []
    first = jobs.start("first", lambda task: go.wait(WAIT))
    second = jobs.start("second", lambda task: ran.append("second"))
    third = jobs.start("third", lambda task: ran.append("third"))
    jobs.cancel(second.id)
    assert second.snapshot().state == "cancelled"
    go.set()
    third.wait(WAIT)
    assert first.snapshot().state == "done" and ran == ["third"]


def test_cleanup_runs_once_whatever_the_end_is() -> None:
    jobs, go, tidied = JobList(), threading.Event(), []

    def fail(task: Task) -> None:
        raise ValueError

    works = jobs.start("works", lambda task: go.wait(WAIT), lambda: tidied.append("works"))
    fails = jobs.start("fails", fail, lambda: tidied.append("fails"))
    never = jobs.start("never", lambda task: None, lambda: tidied.append("never"))
    never.cancel()
    never.cancel()
    assert tidied == ["never"]
    go.set()
    works.wait(WAIT)
    fails.wait(WAIT)
    assert tidied == ["never", "works", "fails"]


def test_cancel_after_the_end_changes_nothing() -> None:
    job = JobList().start("quick", lambda task: "kept")
    job.wait(WAIT)
    job.cancel()
    assert (job.snapshot().state, job.snapshot().result, job.snapshot().stopping) == ("done", "kept", False)


def test_worker_survives_a_failure_and_a_pause() -> None:
    jobs = JobList()

    def fail(task: Task) -> None:
        raise ValueError("no such thing\nsecond line")

    failed = jobs.start("fails", fail).wait(WAIT)
    assert failed.state == "failed"
    assert (
        failed.error is not None and "ValueError: no such thing" in failed.error and "second line" not in failed.error
    )
    assert jobs.start("works", lambda task: 1).wait(WAIT).result == 1


def test_list_is_newest_first_and_forgets_the_oldest_finished() -> None:
    jobs = JobList(keep=2)
    for number in range(5):
        jobs.start(str(number), lambda task: None).wait(WAIT)
    titles = [snapshot.title for snapshot in jobs.snapshots()]
    assert titles == ["4", "3", "2"]  # two kept, and the one that was just started
    jobs.clear()
    assert jobs.snapshots() == [] and not jobs.busy


def test_clear_keeps_what_is_running() -> None:
    jobs, go = JobList(), threading.Event()
    jobs.start("done", lambda task: None).wait(WAIT)
    running = jobs.start("running", lambda task: go.wait(WAIT))
    jobs.clear()
    assert [snapshot.title for snapshot in jobs.snapshots()] == ["running"] and jobs.busy
    go.set()
    running.wait(WAIT)


def test_unknown_number_is_no_error() -> None:
    jobs = JobList()
    jobs.cancel(99)
    assert jobs.get(99) is None


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (WorkbenchError("Said already: do this."), "Said already: do this."),
        (Cancelled("Stopped: start again."), "Stopped: start again."),
        (MemoryError(), "The memory was not enough"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "The memory was not enough"),
        (KeyError(), "KeyError"),
        (RuntimeError("x" * 5000), "RuntimeError"),
    ],
)
def test_every_error_is_one_short_line(fault: BaseException, expected: str) -> None:
    said = sentence(fault)
    assert expected in said and "\n" not in said and len(said) < 400


@pytest.mark.parametrize(
    ("fault", "traceback"),
    [(WorkbenchError("A word came: type a number."), False), (ZeroDivisionError("by zero"), True)],
)
def test_only_an_error_that_was_not_foreseen_leaves_a_traceback(
    fault: Exception, traceback: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def work(task: Task) -> None:
        raise fault

    assert JobList().start("Sum", work).wait(WAIT).state == "failed"
    (record,) = caplog.records
    assert "(Sum) failed" in record.getMessage() and bool(record.exc_info) == traceback
    assert ("Traceback" in caplog.text) == traceback
    assert traceback or (record.getMessage().endswith(str(fault)) and "\n" not in record.getMessage())


@pytest.mark.parametrize(
    ("done", "total", "fraction"), [(5, 10, 0.5), (12, 10, 1.0), (-1, 10, 0.0), (5, None, None), (0, 0, None)]
)
def test_fraction_stays_inside_its_bounds(done: int, total: int | None, fraction: float | None) -> None:
    snapshot = Snapshot(1, "t", "running", "s", done, total, 0.0, None, None, False)
    assert snapshot.fraction == fraction


def test_no_face_and_no_torch_underneath() -> None:
    code = "import sys, workbench.jobs; sys.exit(any(name in sys.modules for name in ('streamlit', 'torch', 'plotly')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
