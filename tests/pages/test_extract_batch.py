"""Many texts at once on Extract: what was done is kept when a batch is stopped or breaks, and faults call the file as it was uploaded."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

from pages.parts.extract_batch import csv_bytes
from pages.parts.extract_job import BatchOrder, BatchResult, Which, run_batch
from tests.pages.conftest import Dashboard
from tests.pages.test_extract import Words, said, settled
from workbench.extract import Schema, read_documents
from workbench.jobs import JobList, Task


def order(folder: Path, rows: int, batch_size: int = 1) -> BatchOrder:
    folder.mkdir()
    file = folder / "texts.csv"
    file.write_text("id,text,lang\n" + "".join(f"r{n},Ada {n},en\n" for n in range(rows)))
    return BatchOrder(
        file, folder, Schema.of("name", "number"), Which("rules"), 0.3, True, None, "text", True, batch_size
    )


def test_a_batch_keeps_what_was_done_when_it_is_stopped(rules: None, tmp_path: Path) -> None:
    wish = order(tmp_path / "b", 40)
    result, begun = BatchResult(wish.folder / "found.jsonl"), threading.Event()

    def work(task: Task) -> BatchResult:
        original = task.progress

        def progress(done: int, total: int | None = None, step: str | None = None) -> None:
            original(done, total, step)
            if done >= 5:
                begun.set()
                task._job.cancel()

        task.progress = progress  # type: ignore[method-assign]
        return run_batch(wish, result, task)

    job = JobList().start("b", work)
    assert begun.wait(30)
    end = job.wait(30)
    assert end.state == "cancelled" and end.total == 40
    assert result.early and 5 <= result.done < 40
    assert len(list(read_documents(result.file))) == result.done == len(result.first)
    assert (result.first[0].model_extra or {})["lang"] == "en"
    table = csv_bytes(result.first).decode("utf-8-sig").splitlines()
    assert table[0].startswith("document,kind,type")
    assert len(table) == 1 + sum(len(d.entities or ()) for d in result.first)


def test_a_batch_that_breaks_keeps_what_was_done(rules: None, tmp_path: Path) -> None:
    wish = order(tmp_path / "b", 8)
    wish.file.write_text(wish.file.read_text() + "r9,BREAK,en\n")
    result = BatchResult(wish.folder / "found.jsonl")
    end = JobList().start("b", lambda task: run_batch(wish, result, task)).wait(30)
    assert end.state == "failed" and "breaks the engine" in str(end.error)
    assert result.done == 8


def test_a_file_of_no_texts_or_of_another_encoding_is_said(rules: None, tmp_path: Path) -> None:
    for name, content, said_of_it in (
        ("empty", b"", "'texts.csv' holds no text"),
        ("head", b"id,text\n", "'texts.csv' holds no text"),
        ("latin", "id,text\na,Zürich\n".encode("latin-1"), "'texts.csv' is not UTF-8 text: save it as UTF-8."),
    ):
        wish = order(tmp_path / name, 0)
        wish.file.write_bytes(content)
        result = BatchResult(wish.folder / "found.jsonl")
        end = JobList().start("b", partial(run_batch, wish, result)).wait(30)
        assert end.state == "failed" and said_of_it in str(end.error), name


def test_a_batch_calls_the_file_as_it_was_uploaded(dashboard: Dashboard, rules: None, words: Words) -> None:
    app = dashboard.open("extract", engine="rules")
    app.file_uploader(key="extract.batch.file").upload("mine.csv", b"id,body\na,Ada\n", "text/csv").run()
    app.button(key="extract.batch.go").click().run()
    app = settled(app)
    assert not app.exception and "'mine.csv' has no column 'text'" in said(app, words)
