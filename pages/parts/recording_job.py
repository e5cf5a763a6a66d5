"""The work behind "New capture": uploaded files through a model under a probe into the library, with progress and cancel.

Runs in the thread of a job, so it draws nothing; torch loads here, when a job begins, and not with a page.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pages.parts.faults import FIELDS, in_words_of
from workbench.capture.library import Library
from workbench.jobs import Task
from workbench.models import LoadOptions, estimate_memory, load_model
from workbench.models.memory import MemoryEstimate, Workload


@dataclass(frozen=True)
class Order:
    """One capture to make.

    Attributes:
        model: embedded name, folder, GGUF file or hub id.
        files: uploaded files, in `folder`.
        folder: temporary folder of theirs; `tidy` removes it.
        name: wish for the capture's name.
        group_by: as in `workbench capture --group-by`.
        text_column: of tables, or None for the usual names.
        lines: whether each line of a text file is a document.
        batch_size: rows at once. max_length: tokens a document is cut to. max_tokens: token rows kept.
        dtype, device: as in `LoadOptions`.
        generate: tokens to write at the end of each document.
        prompt: words before every text, or beside every picture, sound and clip; None: the default.
        streams: further columns of the token rows, as `workbench capture --streams` names them.
        untrained: whether the weights are drawn anew, for the null.
    """

    model: str
    files: tuple[Path, ...]
    folder: Path
    name: str
    group_by: str = "modality"
    text_column: str | None = None
    lines: bool = False
    batch_size: int = 8
    max_length: int = 512
    max_tokens: int = 200_000
    dtype: str = "auto"
    device: str = "auto"
    generate: int = 0
    prompt: str | None = None
    streams: tuple[str, ...] = ()
    untrained: bool = False


def can_record() -> bool:
    """Whether this installation can run a model (the package may be installed for viewing only)."""
    return all(
        find_spec(name) is not None
        for name in ("torch", "transformers", "workbench.inputs.read", "workbench.recording")
    )


def estimate(model: str, options: LoadOptions, workload: Workload, task: Task) -> MemoryEstimate:
    """What the model and the largest batch will need, before anything is loaded."""
    task.progress(0, None, "Reading the model's description")
    return estimate_memory(model, options, workload)


def make_capture(order: Order, library: Library, task: Task) -> Path:
    """Load, read, record, save.

    Returns:
        The folder of the new capture in the library.

    Raises:
        WorkbenchError: one sentence; Cancelled when stopped. Nothing is left in the library then.
    """
    with in_words_of(FIELDS, order.folder):
        return _make(order, library, task)


def _make(order: Order, library: Library, task: Task) -> Path:
    from workbench.inputs import InputOptions, read_documents
    from workbench.recording import RecordOptions, record, wanted_streams

    task.progress(0, None, "Reading the files")
    documents = list(
        read_documents(
            list(order.files),
            InputOptions(
                group_by=order.group_by,
                text_column=order.text_column,
                lines=order.lines,
                prompts=(order.prompt,) if order.prompt else (),
            ),
        )
    )
    task.check()
    workload = Workload(order.batch_size, order.max_length, order.generate)
    loaded = load_model(
        order.model,
        LoadOptions(dtype=order.dtype, device=order.device),
        progress=lambda said: task.progress(0, len(documents), said),
        workload=workload,
    )
    task.check()
    try:
        capture = record(
            loaded,
            documents,
            RecordOptions(
                group_by=order.group_by,
                batch_size=order.batch_size,
                max_length=order.max_length,
                max_tokens=order.max_tokens,
                generate=order.generate,
                untrained=order.untrained,
                **wanted_streams(",".join(order.streams)),
            ),
            on_progress=lambda at: task.progress(at.documents, at.total, f"{at.tokens:,} tokens read"),
            cancelled=task.cancelled,
        )
    finally:
        task.check()  # stopped: what was recorded so far is not kept, whether it came back or not
    task.progress(len(documents), len(documents), "Saving")
    return library.add(capture, order.name)


def tidy(order: Order) -> None:
    """Remove the uploaded files; given to the job as its clean-up."""
    shutil.rmtree(order.folder, ignore_errors=True)


def names(files: Sequence[str]) -> str:
    """A capture's name from its files: the only one's, or the first one's with the number of the others."""
    stem = Path(files[0]).stem if files else "capture"
    return stem if len(files) < 2 else f"{stem}-and-{len(files) - 1}-more"
