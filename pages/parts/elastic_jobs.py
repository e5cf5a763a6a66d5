"""The work behind the Elastic page: sweep, routing of a sub-model beside the whole model's, carve.

Runs in the thread of a job, so it draws nothing; torch loads here, when a job begins, and not with the page.
"""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pages.parts.faults import FIELDS, in_words_of
from workbench.capture.library import Library
from workbench.elastic.places import INPUTS, CurvePlace, Order, begun, carved_root, free_name, read_order, sweeps_root
from workbench.jobs import Task

if TYPE_CHECKING:
    from workbench.capture import Capture
    from workbench.inputs import Document
    from workbench.models import LoadedModel

SHIPPED = Path(__file__).resolve().parents[2] / "sample_data" / "inputs" / "kinds"
SHIPPED_SAMPLES = SHIPPED.parent / "unified"  # for the unified model: texts, pictures, sounds and clips with captions
PAIR_LENGTH = 512  # tokens of a text in the pair of captures, fewer where the model takes fewer
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
    """Captures of the whole model and of a sub-model on the same texts, in the library or beside the curve."""

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


def is_unified(model: str) -> bool:
    """Whether a model is the unified one, from its configuration alone."""
    from workbench.elastic.samples import OWN_FAMILY
    from workbench.models.files import find_model, read_config

    return (read_config(find_model(model)) or {}).get("model_type") == OWN_FAMILY


def shipped_inputs(model: str) -> tuple[Path, str]:
    """The shipped inputs that suit a model, and what they are grouped by."""
    return (SHIPPED_SAMPLES, "modality") if is_unified(model) else (SHIPPED, "folder")


def read_texts_of(order: Order, folder: Path) -> tuple[list[Document], str]:
    """The documents of an order, and what they are grouped by."""
    from workbench.inputs import InputOptions, read_documents

    path, group_by = shipped_inputs(order.model) if order.shipped else (folder / INPUTS, order.group_by)
    paths = [path] if order.shipped else sorted(path.iterdir())
    options = InputOptions(group_by=group_by, text_column=order.text_column, lines=order.lines)
    return list(read_documents(paths, options)), group_by


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
    from workbench.elastic.captures import TOKEN_ROWS
    from workbench.elastic.latency import LatencyOptions
    from workbench.elastic.points import grid
    from workbench.elastic.samples import takes_samples
    from workbench.elastic.sweep import SweepOptions, sweep
    from workbench.models import LoadOptions, load_model

    order = read_order(folder)
    task.progress(0, None, "Reading the texts")
    documents, group_by = read_texts_of(order, folder)
    measured, ranked = split(documents, order.calibrate_every)
    task.check()
    loaded = load_model(
        order.model,
        LoadOptions(dtype=order.dtype, device=order.device),
        progress=lambda said: task.progress(0, None, said),
    )
    task.check()
    options = SweepOptions(
        group_by=group_by, batch_size=order.batch_size, max_length=None if takes_samples(loaded) else order.max_length,
        latency=LatencyOptions(rounds=order.rounds, steps=8), captures=TOKEN_ROWS if order.captures else 0,
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


def stored_pair(place: CurvePlace, rows: Any, words: str) -> Pair | None:
    """The captures that a sweep kept of the whole model and of a sub-model, or None if it lacks one of them.

    Args:
        place: the curve. rows: of the curve. words: the sub-model.
    """
    from workbench.elastic.captures import capture_folder

    if "capture" not in rows:
        return None
    names = [rows.loc[rows["full"].astype(bool), "capture"], rows.loc[rows["sub_model"] == words, "capture"]]
    folders = [
        capture_folder(place.path, one.iloc[0]) if len(one) and isinstance(one.iloc[0], str) else None for one in names
    ]
    whole, small = folders
    return None if whole is None or small is None else Pair(whole, small, words)


def record_pair(model: str, exact: str, words: str, library: Library, task: Task) -> Pair:
    """Record the routing of the whole model and of a sub-model on the shipped inputs, into the library.

    Args:
        model: name, folder or hub id. exact: the sub-model as JSON. words: what to call it.

    Raises:
        WorkbenchError: one sentence; nothing is left in the library then.
    """
    from probes import SubModel
    from workbench.elastic.samples import takes_samples
    from workbench.inputs import InputOptions, read_documents
    from workbench.models import LoadOptions, load_model
    from workbench.recording import RecordOptions, record, row_length

    task.progress(0, None, "Reading the inputs")
    path, group_by = shipped_inputs(model)
    documents = list(read_documents([path], InputOptions(group_by=group_by)))
    loaded = load_model(model, LoadOptions(), progress=lambda said: task.progress(0, None, said))
    sub = SubModel.from_dict(_json(exact))
    longest = min(PAIR_LENGTH, row_length(loaded, RecordOptions()))  # some models take less
    total = 2 * len(documents)
    made: list[Any] = []
    for turn, name in enumerate(("the whole model", words)):
        options = RecordOptions(group_by=group_by, max_length=longest, notes=f"Elastic page: {name}")

        def progress(at: Any, turn: int = turn, name: str = name) -> None:
            task.progress(turn * len(documents) + at.documents, total, f"reading with {name}")

        with sub.applied(loaded.model) if turn else nullcontext():
            if takes_samples(loaded):
                task.progress(turn * len(documents), total, f"reading with {name}")
                made.append(_record_samples(loaded, documents))
            else:
                made.append(record(loaded, documents, options, on_progress=progress, cancelled=task.cancelled))
        task.check()
    task.progress(total, total, "Saving")
    stem = loaded.info.id.rpartition("/")[2]
    return Pair(library.add(made[0], f"{stem}-whole"), library.add(made[1], f"{stem}-{_slug(words)}"), words)


def _record_samples(loaded: LoadedModel, documents: Sequence[Document]) -> Capture:
    """The routing of the unified model on samples of every modality, by the six groups."""
    from workbench.unified.captures import record_samples
    from workbench.unified.checkpoint import tokenizers_beside
    from workbench.unified.documents import Reader

    tokenizers = tokenizers_beside(loaded.model, loaded.info.id)
    reader = Reader(tokenizers)
    samples = [sample for document in documents for sample in reader.samples(document)]
    run: Any = loaded.model
    return record_samples(run, tokenizers, samples, name=loaded.info.id)


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
            for file in sorted(path for path in done.out.rglob("*") if path.is_file()):
                zipped.write(file, f"{name}/{file.relative_to(done.out).as_posix()}")
        archive = buffer.getvalue()
    return CarvedModel(name, done.out, done.bytes, archive)


def _json(text: str) -> dict[str, Any]:
    import json

    value = json.loads(text)
    return dict(value)


def _slug(words: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", words).strip("-")[:40] or "full"
