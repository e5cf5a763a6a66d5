"""Batch: an uploaded file through the schema as it stands, with progress, Cancel, and what was done kept."""

from __future__ import annotations

import csv
import io
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from pages.parts.extract_job import BatchOrder, BatchResult, Which, run_batch, tidy
from pages.parts.extract_view import columns_of_table, rows_for_table
from pages.parts.faults import in_words
from pages.parts.frame import follow
from pages.parts.uploads import temporary_folder
from pages.parts.words import count, plain, seconds
from workbench import session
from workbench.extract import Document, Schema, read_documents
from workbench.extract.marks import COLUMNS, lines_of
from workbench.jobs import Cancelled, Task

_P = "extract."
TYPES = ["csv", "jsonl", "txt", "parquet"]
SHOWN = 50
EVERY = 1.0  # seconds between two looks at how far a batch is


class Batch:
    """A batch of this server: its order and its result, and the job that fills it."""

    def __init__(self, order: BatchOrder, result: BatchResult, job: int) -> None:
        self.order, self.result, self.job = order, result, job


def show_batch(
    schema: Schema | None,
    which: Which,
    threshold: float | None,
    nested: bool,
    labels: frozenset[str] | None,
    demonstrations: tuple[Document, ...],
    missing: str,
) -> None:
    """Draw the form, and what the last batch of this tab gave."""
    state = st.session_state
    with st.expander("Many texts", icon=":material/table_rows:", expanded=state.get(f"{_P}batch") is not None):
        upload = st.file_uploader(
            "File of texts",
            type=TYPES,
            key=f"{_P}batch.file",
            help="CSV and Parquet: a row a text; JSONL: a line a text.",
        )
        left, middle, right = st.columns(3, vertical_alignment="bottom")
        column = left.text_input("Text column", value="text", key=f"{_P}batch.column", max_chars=200)
        lines = middle.checkbox("A txt file holds a text a line", value=True, key=f"{_P}batch.lines")
        size = right.number_input("Texts at once", 1, 256, 8, key=f"{_P}batch.size")
        why = missing or (
            "Correct the schema first." if schema is None else "" if upload is not None else "Choose a file first."
        )
        if st.button(
            "Extract from all", key=f"{_P}batch.go", icon=":material/play_arrow:", disabled=bool(why), help=why or None
        ):
            assert schema is not None
            _start(
                upload,
                schema,
                which,
                threshold,
                nested,
                labels,
                column.strip() or "text",
                lines,
                int(size),
                demonstrations,
            )
        found: Batch | None = state.get(f"{_P}batch")
        if found is not None:
            _show(found, upload is None or Path(upload.name).name == found.order.file.name)


def _start(
    upload: Any, schema: Schema, which: Which, threshold: float | None, nested: bool, labels: frozenset[str] | None, column: str,
    lines: bool, size: int, demonstrations: tuple[Document, ...],
) -> None:  # fmt: skip
    before: Batch | None = st.session_state.get(f"{_P}batch")
    if before is not None and _over(before):  # no page shows it any more
        tidy(before.result.file.parent)
    base = temporary_folder()
    folder = base / "upload"  # of its own: the file keeps its name, by which faults call it, and is not the result's
    folder.mkdir()
    file = folder / Path(upload.name).name
    with file.open("wb") as sink:
        upload.seek(0)
        while chunk := upload.read(2**20):
            sink.write(chunk)
    order = BatchOrder(file, folder, schema, which, threshold, nested, labels, column, lines, size, demonstrations)
    result = BatchResult(base / "found.jsonl")
    job = session.jobs().start(
        "Extraction from a file", partial(_work, order, result), partial(file.unlink, missing_ok=True)
    )
    st.session_state[f"{_P}batch"] = Batch(order, result, job.id)
    if not job.wait(1.0).finished:
        follow(job.id)


def _over(batch: Batch) -> bool:
    job = session.jobs().get(batch.job)
    return job is None or job.snapshot().finished


def _work(order: BatchOrder, result: BatchResult, task: Task) -> BatchResult:
    try:
        return run_batch(order, result, task)
    except Cancelled:
        raise
    except Exception as fault:
        result.fault = str(fault)  # what was done stays; the list of jobs says what was wrong
        raise


def _show(batch: Batch, same_file: bool) -> None:
    """The batch as far as it is; what was wrong with a file is no longer said once another one is chosen."""
    result = batch.result
    job = session.jobs().get(batch.job)
    now = job.snapshot() if job is not None else None
    if now is not None and not now.finished:
        show_progress(batch.job, "batch", "The work stops at its next batch; what was done is kept.")
    elif now is not None and now.error and not result.done:
        if same_file:
            st.error(in_words(now.error, 600))
        return
    if not result.done:
        if now is None or now.finished:
            st.info("It was stopped before the first texts were done, and nothing is kept.")
        return
    finished = now is None or now.finished
    early = ""
    if finished and (result.early or result.fault):
        early = (
            " It was stopped early; what was done is here."
            if result.early
            else f" It ended early: {in_words(result.fault, 300)}"
        )
    st.markdown(f"{count(result.done, 'text')}: {result.counts}.{early}")
    frames = []
    for document in result.first[:SHOWN]:
        frame, _ = rows_for_table(document)
        frame.insert(0, "document", document.id)
        frames.append(frame)
    st.dataframe(
        pd.concat(frames, ignore_index=True), key=f"{_P}batch.table", hide_index=True, height=300,
        column_config={"document": st.column_config.TextColumn("Document"), **columns_of_table()},
    )  # fmt: skip
    st.caption(f"Results of the first {count(min(result.done, SHOWN), 'text')}; the files hold all.")
    row = st.container(horizontal=True, key=f"{_P}batch.downloads")
    for name, mime, make in (("jsonl", "application/jsonl", _jsonl), ("csv", "text/csv", _csv)):
        row.download_button(
            name.upper(), data=partial(make, result), file_name=f"extracted.{name}", mime=mime, key=f"{_P}batch.{name}",
            icon=":material/download:", on_click="ignore", type="tertiary",
        )  # fmt: skip


def show_progress(job_id: int, name: str, what_stops: str) -> None:
    """How far a job is, and Cancel; drawn anew by itself, since the page is not until the end.

    Args:
        name: sets the key of Cancel apart. what_stops: what Cancel does, in a sentence.
    """
    st.fragment(_progress, run_every=EVERY)(job_id, name, what_stops)


def _progress(job_id: int, name: str, what_stops: str) -> None:
    job = session.jobs().get(job_id)
    if job is None:
        return
    now = job.snapshot()
    how_far = f": {now.done:,} of {now.total:,}" if now.total else ""
    step = "Stopping at the next batch" if now.stopping else f"{now.step}{how_far} · {seconds(now.seconds)}"
    st.progress(1.0 if now.finished else now.fraction or 0.0, text=plain(step))
    st.button(
        "Cancel", key=f"{_P}{name}.cancel", disabled=now.stopping or now.finished, on_click=session.jobs().cancel, args=(job_id,),
        help=what_stops,
    )  # fmt: skip


def _jsonl(result: BatchResult) -> bytes:
    return b"".join(line for line in result.file.read_bytes().splitlines(keepends=True) if line.endswith(b"\n"))


def _csv(result: BatchResult) -> bytes:
    whole = result.file.with_suffix(".whole.jsonl")
    whole.write_bytes(_jsonl(result))  # a line that is being written is left out
    return csv_bytes(read_documents(whole))


def csv_bytes(documents: Any) -> bytes:
    """Every result as a row of `COLUMNS`."""
    sink = io.StringIO(newline="")
    writer = csv.DictWriter(sink, COLUMNS)
    writer.writeheader()
    for document in documents:
        writer.writerows(lines_of(document))
    return sink.getvalue().encode("utf-8-sig")
