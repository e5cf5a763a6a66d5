"""New capture from files on the Start page: the form, and the job behind it on the embedded model."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts.recording_job import Order, make_capture, names, tidy
from tests.pages.conftest import Dashboard
from workbench import session
from workbench.capture import Capture
from workbench.capture.library import Library
from workbench.jobs import JobList, Snapshot, Task
from workbench.models import embedded_models

Words = Callable[[AppTest], str]
WAIT = 240.0
TEXTS = {
    "one.txt": "The river was low that summer, and the mill stood still. " * 3,
    "two.txt": "def add(a, b):\n    return a + b\n" * 3,
}

needs_model = pytest.mark.skipif(not embedded_models(), reason="needs the embedded model in sample_data/checkpoints")


def run(order: Order, library: Library) -> Snapshot:
    return JobList().start("capture", lambda task: make_capture(order, library, task), lambda: tidy(order)).wait(WAIT)


def order(folder: Path, texts: dict[str, str], **more: object) -> Order:
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    files = tuple(sorted(folder.iterdir()))
    return Order(
        model=embedded_models()[0].name, files=files, folder=folder, name="made", batch_size=2, max_length=64, **more
    )  # type: ignore[arg-type]


@needs_model
def test_files_become_a_capture_in_the_library(tmp_path: Path) -> None:
    library = Library(tmp_path / "captures")
    done = run(order(tmp_path / "up", TEXTS, group_by="file"), library)
    assert done.state == "done", done.error
    assert done.result == tmp_path / "captures" / "made" and not (tmp_path / "up").exists()
    capture = Capture.load(done.result)
    capture.validate()
    assert len(capture.groups) == 2 and capture.token_count.sum() > 0 and capture.has("tokens")


@needs_model
def test_cancelled_before_the_model_is_loaded_leaves_nothing(tmp_path: Path) -> None:
    wanted, go, jobs = order(tmp_path / "up", TEXTS), threading.Event(), JobList()

    def work(task: Task) -> Path:
        go.wait(WAIT)
        return make_capture(wanted, Library(tmp_path / "captures"), task)

    job = jobs.start("capture", work, lambda: tidy(wanted))
    job.cancel()
    go.set()
    done = job.wait(WAIT)
    assert done.state == "cancelled" and not (tmp_path / "captures").exists() and not (tmp_path / "up").exists()


@needs_model
@pytest.mark.parametrize(
    ("texts", "sentence"), [({"empty.txt": ""}, "empty.txt"), ({"bad.png": "no picture"}, "bad.png")]
)
def test_bad_input_is_one_sentence_with_the_name_that_was_uploaded(
    tmp_path: Path, texts: dict[str, str], sentence: str
) -> None:
    done = run(order(tmp_path / "up", texts), Library(tmp_path / "captures"))
    assert done.state == "failed" and done.error is not None
    assert sentence in done.error and str(tmp_path) not in done.error and "\n" not in done.error
    assert not (tmp_path / "captures").exists()


def test_name_of_the_capture_from_its_files() -> None:
    assert names(["a.txt"]) == "a" and names(["a.txt", "b.txt", "c.txt"]) == "a-and-2-more" and names([]) == "capture"


@needs_model
def test_form_says_what_is_missing(dashboard: Dashboard, words: Words) -> None:
    app = dashboard.open()
    button = app.button(key="start.make.start")
    assert not app.exception and button.disabled and "Upload at least one file" in button.help
    app.selectbox(key="start.make.model").select("Another model: folder or hub id").run()
    assert "Choose a model" in app.button(key="start.make.start").help
    app.selectbox(key="start.make.model").select(embedded_models()[0].name).run()
    app.file_uploader(key="start.make.files").upload("one.txt", TEXTS["one.txt"].encode(), "text/plain").run()
    app.selectbox(key="start.make.groups").select("a column of the table").run()
    assert "Name the column" in app.button(key="start.make.start").help


@needs_model
def test_from_the_form_to_the_library(dashboard: Dashboard, words: Words) -> None:
    app = dashboard.open()
    app.file_uploader(key="start.make.files").upload("one.txt", TEXTS["one.txt"].encode(), "text/plain").run()
    app.button(key="start.make.start").click().run()
    assert not app.exception
    job = session.jobs().get(session.jobs().snapshots()[0].id)
    assert job is not None and job.wait(WAIT).state == "done", job.snapshot().error
    app.run()
    assert not app.exception and session.find_path(dashboard.library / "one") is not None


@needs_model
def test_what_the_model_writes_is_recorded_too(tmp_path: Path) -> None:
    library = Library(tmp_path / "captures")
    done = run(order(tmp_path / "up", TEXTS, group_by="phase", generate=4, prompt="Read this:"), library)
    assert done.state == "done", done.error
    capture = Capture.load(done.result)
    written = capture.token_count[0, capture.group_index("decode")]
    assert written == 2 * 3  # of four written tokens the last is never fed back


@needs_model
def test_further_columns_of_the_token_rows_are_kept_when_asked_for(tmp_path: Path) -> None:
    done = run(order(tmp_path / "up", TEXTS, streams=("predicted", "loss")), Library(tmp_path / "captures"))
    assert done.state == "done", done.error
    names = Capture.load(done.result).read_tokens("text").column_names
    assert {"predicted_id", "loss"} <= set(names) and not any(name.startswith("scores_") for name in names)


@needs_model
def test_a_sentence_names_what_the_form_calls_an_option(tmp_path: Path) -> None:
    done = run(order(tmp_path / "up", TEXTS, generate=4_000), Library(tmp_path / "captures"))
    assert done.state == "failed" and done.error is not None
    assert "“Tokens to write”" in done.error and "--" not in done.error
