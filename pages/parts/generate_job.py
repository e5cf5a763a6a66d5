"""The work behind the Generate page: a model of this server's shelf makes one thing under a probe, step by step.

Runs in the thread of a job, so it draws nothing; torch loads here, when a job begins, and not with the page.
"""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.capture.errors import WorkbenchError
from workbench.jobs import Task
from workbench.making import GUIDANCE, TEMPERATURE

if TYPE_CHECKING:
    from workbench.unified.generate import Generator
    from workbench.unified.watched import Look, Watched

MODEL_TYPE = "unified_omni"  # as in workbench.unified.config, which loads torch
CHECKPOINTS = Path(__file__).resolve().parents[2] / "sample_data" / "checkpoints"
INPUTS = CHECKPOINTS.parent / "inputs" / "unified"


@dataclass(frozen=True)
class Wish:
    """What the page asks for.

    Attributes:
        model: folder of the checkpoint.
        make: ``picture``, ``clip``, ``speech``, ``text`` or ``read``.
        prompt: words.
        file: of ``read``; ``upload`` says that it lies in a temporary folder of its own, which goes after the work.
        temperature, top_p, guidance, seed: of sampling.
    """

    model: Path
    make: str
    prompt: str
    file: Path | None = None
    upload: bool = False
    temperature: float = TEMPERATURE
    top_p: float = 1.0
    guidance: float = GUIDANCE
    seed: int = 0


class Watching:
    """What a job has made so far; written by the job's thread, read by the page."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self._lock = threading.Lock()
        self._looks: list[Look] = []
        self._done: Watched | None = None

    def add(self, look: Look) -> None:
        """Another step."""
        with self._lock:
            self._looks.append(look)

    def finish(self, made: Watched) -> None:
        """The whole, with its capture."""
        with self._lock:
            self._done = made

    def snapshot(self) -> tuple[tuple[Look, ...], Watched | None]:
        """Steps so far, and the whole once it is there."""
        with self._lock:
            return tuple(self._looks), self._done


class Shelf:
    """The model that was used last, kept for the next one who asks; one job at a time runs, so one is enough."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: tuple[Path, int, Generator] | None = None

    def take(self, folder: Path) -> Generator:
        """The generator of a checkpoint, loaded anew when its files changed."""
        from workbench.unified.checkpoint import load_checkpoint
        from workbench.unified.generate import Generator

        stamp = (folder / "model.safetensors").stat().st_mtime_ns if (folder / "model.safetensors").is_file() else 0
        with self._lock:
            if self._held is None or self._held[:2] != (folder, stamp):
                self._held = None  # two models in memory at once is what runs out of it
                self._held = (folder, stamp, Generator(*load_checkpoint(folder)))
            return self._held[2]


def make(watching: Watching, shelf: Shelf, task: Task) -> None:
    """Make what was wished, telling every step.

    Raises:
        WorkbenchError: one sentence; Cancelled when stopped.
    """
    from workbench.unified.sampling import Sampling
    from workbench.unified.watched import WatchedOrder, check_order, make_watched

    wish = watching.wish
    settings = Sampling(wish.temperature, wish.top_p, wish.guidance, False, wish.seed)
    order = WatchedOrder(wish.make, wish.prompt, wish.file, settings)
    check_order(order)
    task.progress(0, None, "Loading the model")
    generator = shelf.take(wish.model)
    task.check()
    scales = len(generator.config.image_scales)
    total = {"picture": scales, "clip": scales * order.frames}.get(wish.make)

    def on_look(look: Look) -> None:
        watching.add(look)
        task.progress(len(watching.snapshot()[0]), total, look.group)

    try:
        watching.finish(make_watched(generator, order, on_look, task.check, wish.model.name))
    except WorkbenchError as fault:
        if wish.file is not None and str(wish.file.parent) in str(fault):
            raise type(fault)(str(fault).replace(f"{wish.file.parent}/", "")) from fault
        raise


def tidy(wish: Wish) -> None:
    """Remove an uploaded file; given to the job as its clean-up."""
    if wish.upload and wish.file is not None:
        shutil.rmtree(wish.file.parent, ignore_errors=True)


def checkpoints(home: Path) -> dict[str, Path]:
    """Unified models at hand by name: shipped ones, then those under ``models`` and ``runs/*/model`` of the home."""
    candidates = [
        *_folders(CHECKPOINTS),
        *_folders(home / "models"),
        *(run / "model" for run in _folders(home / "runs")),
    ]
    found: dict[str, Path] = {}
    for folder in candidates:
        if is_unified(folder):
            name = folder.name if folder.name != "model" else folder.parent.name
            found.setdefault(name, folder)
    return found


def is_unified(folder: Path) -> bool:
    """Whether a folder holds a checkpoint of the unified model, by its description alone."""
    try:
        described: Any = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(described, dict) and described.get("model_type") == MODEL_TYPE


def samples() -> dict[str, Path]:
    """Shipped files that the model can read, by name."""
    kinds = ("pictures", "clips", "sounds")
    return {path.name: path for kind in kinds for path in sorted((INPUTS / kind).glob("*")) if path.is_file()}


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
