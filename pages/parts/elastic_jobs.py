"""The work behind the Elastic page: sweep, routing of a sub-model beside the whole model's, carve.

Runs in the thread of a job, so it draws nothing; torch loads here, when a job begins, and not with the page.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pages.parts.faults import FIELDS, in_words_of
from workbench.capture.library import Library
from workbench.elastic.places import INPUTS, Order, begun, carved_root, free_name, read_order, sweeps_root
from workbench.jobs import Task

if TYPE_CHECKING:
    from workbench.inputs import Document

SHIPPED = Path(__file__).resolve().parents[2] / "sample_data" / "inputs" / "kinds"
LARGEST_DOWNLOAD = 300_000_000  # bytes that a browser is handed through memory

_FIELDS = FIELDS | {
    "--batch-size": "“Texts at once”",
    "--max-length": "“Tokens a text”",
    "--calibrate": "“Rank on every n-th text”",
    "--rounds": "“Visits of the clock”",
    "--text-column": "“Text column”",
    "--group-by": "“Quality by”",
    "--resume": "“Go on”",
    "--out": "“Name”",
}


@dataclass(frozen=True)
class Pair:
    """Captures of the whole model and of a sub-model on the same texts, in the library."""

    whole: Path
    small: Path
    sub_model: str


@dataclass(frozen=True)
class CarvedModel:
    """A carved model: its folder, and the same as a zip where it is small enough for a browser."""

    name: str
    path: Path
    bytes: int
    archive: bytes | None


def read_texts_of(order: Order, folder: Path) -> list[Document]:
    """The documents of an order."""
    from workbench.inputs import InputOptions, read_documents

    paths = [SHIPPED] if order.shipped else sorted((folder / INPUTS).iterdir())
    options = InputOptions(
        group_by="folder" if order.shipped else order.group_by, text_column=order.text_column, lines=order.lines
    )
    return list(read_documents(paths, options))


def split(documents: Sequence[Any], every: int) -> tuple[list[Any], list[Any]]:
    """(documents to measure on, documents to rank on): every n-th ranks, so that nothing is chosen on what it is judged by."""
    if every < 2 or len(documents) < 2:
        return list(documents), []
    return [one for number, one in enumerate(documents) if number % every], list(documents)[::every]


def run_sweep(folder: Path, task: Task) -> Path:
    """Run the sweep of an order, or go on with it; the order goes when it is finished.

    Returns:
        The folder of the sweep.

    Raises:
        WorkbenchError: one sentence; Cancelled when stopped, and then what was found and the order stay.
    """
    with in_words_of(_FIELDS, folder / INPUTS):
        return _run_sweep(folder, task)


def _run_sweep(folder: Path, task: Task) -> Path:
    from workbench.elastic.latency import LatencyOptions
    from workbench.elastic.points import grid
    from workbench.elastic.sweep import SweepOptions, sweep
    from workbench.models import LoadOptions, load_model

    order = read_order(folder)
    task.progress(0, None, "Reading the texts")
    measured, ranked = split(read_texts_of(order, folder), order.calibrate_every)
    task.check()
    loaded = load_model(
        order.model,
        LoadOptions(dtype=order.dtype, device=order.device),
        progress=lambda said: task.progress(0, None, said),
    )
    task.check()
    options = SweepOptions(
        group_by="folder" if order.shipped else order.group_by, batch_size=order.batch_size, max_length=order.max_length,
        latency=LatencyOptions(rounds=order.rounds, steps=8),
    )  # fmt: skip
    out = sweeps_root() / order.name
    done = sweep(
        loaded, measured, grid(order.layers, order.experts, order.top_k), options, out, calibration=ranked,
        resume=begun(folder), progress=lambda number, total, what: task.progress(number, total, what), cancelled=task.cancelled,
    )  # fmt: skip
    if done.stopped:
        task.check()
    shutil.rmtree(folder, ignore_errors=True)
    return out


def record_pair(model: str, exact: str, words: str, library: Library, task: Task) -> Pair:
    """Record the routing of the whole model and of a sub-model on the shipped texts, into the library.

    Args:
        model: name, folder or hub id. exact: the sub-model as JSON. words: what to call it.

    Raises:
        WorkbenchError: one sentence; nothing is left in the library then.
    """
    from probes import SubModel
    from workbench.inputs import InputOptions, read_documents
    from workbench.models import LoadOptions, load_model
    from workbench.recording import RecordOptions, record

    task.progress(0, None, "Reading the texts")
    documents = list(read_documents([SHIPPED], InputOptions(group_by="folder")))
    loaded = load_model(model, LoadOptions(), progress=lambda said: task.progress(0, None, said))
    sub = SubModel.from_dict(_json(exact))
    total = 2 * len(documents)
    made: list[Any] = []
    for turn, name in enumerate(("the whole model", words)):
        options = RecordOptions(group_by="folder", max_length=512, notes=f"Elastic page: {name}")

        def progress(at: Any, turn: int = turn, name: str = name) -> None:
            task.progress(turn * len(documents) + at.documents, total, f"reading with {name}")

        if turn:
            with sub.applied(loaded.model):
                made.append(record(loaded, documents, options, on_progress=progress, cancelled=task.cancelled))
        else:
            made.append(record(loaded, documents, options, on_progress=progress, cancelled=task.cancelled))
        task.check()
    task.progress(total, total, "Saving")
    stem = loaded.info.id.rpartition("/")[2]
    return Pair(library.add(made[0], f"{stem}-whole"), library.add(made[1], f"{stem}-{_slug(words)}"), words)


def carve_model(model: str, exact: str, words: str, task: Task) -> CarvedModel:
    """Carve a sub-model into a folder below the home.

    Raises:
        WorkbenchError: one sentence; nothing is left behind then.
    """
    from probes import SubModel
    from workbench.elastic.carve import carve

    name = free_name(f"{model.rpartition('/')[2]}-{_slug(words)}", carved_root())
    done = carve(
        model, SubModel.from_dict(_json(exact)), carved_root() / name,
        progress=lambda number, total, what: task.progress(number, total, what), cancelled=task.cancelled,
    )  # fmt: skip
    archive = None
    if done.bytes <= LARGEST_DOWNLOAD:
        buffer = BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as zipped:
            for file in sorted(done.out.iterdir()):
                zipped.write(file, f"{name}/{file.name}")
        archive = buffer.getvalue()
    return CarvedModel(name, done.out, done.bytes, archive)


def _json(text: str) -> dict[str, Any]:
    import json

    value = json.loads(text)
    return dict(value)


def _slug(words: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", words).strip("-")[:40] or "full"
