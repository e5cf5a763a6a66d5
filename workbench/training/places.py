"""Which runs are at hand: shipped ones, the user's own below $WORKBENCH_HOME/runs, and folders opened elsewhere.

    sample-NAME     shipped under sample_data/runs
    mine-DIGEST     below the home
    folder-DIGEST   elsewhere on this machine, remembered in runs.json of the home

An id may stand in an address: it is never a path and never a name that the user typed.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workbench.capture.library import default_root
from workbench.capture.write import write_error
from workbench.training.format import RunInfo, TrainingLogError
from workbench.training.read import is_run, read_info

SAMPLES = Path(__file__).resolve().parents[2] / "sample_data" / "runs"
MAX_FOLDERS = 50


@dataclass(frozen=True)
class RunPlace:
    """A run at hand; one that cannot be read is listed with its fault, not hidden."""

    id: str
    path: Path
    origin: Literal["sample", "home", "folder"]
    info: RunInfo | None
    fault: str | None

    @property
    def name(self) -> str:
        return (self.info.name if self.info is not None else "") or self.path.name


def runs_root() -> Path:
    """The folder of the user's own runs."""
    return default_root().parent / "runs"


def run_places(samples: Path | None = None) -> list[RunPlace]:
    """Every run at hand: the user's own, those opened elsewhere, then the shipped ones; running ones first, newest first."""
    found = [_place(path, "home", path.name) for path in _runs_below(runs_root())]
    for folder in remembered():
        found += [_place(path, "folder", str(path)) for path in _runs_below(folder)]
    found.sort(key=lambda place: place.info.created if place.info is not None else "", reverse=True)
    found.sort(key=lambda place: place.info is None or place.info.state != "running")
    found += [_place(path, "sample", path.name) for path in _runs_below(samples if samples is not None else SAMPLES)]
    unique: dict[Path, RunPlace] = {}
    for place in found:
        unique.setdefault(place.path.resolve(), place)
    return list(unique.values())


def remember(folder: Path) -> list[str]:
    """Take a run, or a folder of runs, among those at hand; it stays where it is.

    Returns:
        The ids of its runs.

    Raises:
        TrainingLogError: if it holds no run.
    """
    path = folder.expanduser().resolve()
    runs = _runs_below(path)
    if not runs:
        if is_run(path):
            read_info(path)
        raise TrainingLogError(
            f"'{folder}' holds no run: a run is a folder with a run.json, as RoutingLog writes it; name it or the folder above it."
        )
    _write([path, *(other for other in remembered() if other != path)][:MAX_FOLDERS])
    return [place.id for place in run_places() if place.path in runs]


def remembered() -> list[Path]:
    """Folders opened elsewhere, last opened first."""
    try:
        raw = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    listed = raw.get("folders", []) if isinstance(raw, dict) else []
    return [Path(path) for path in listed if isinstance(path, str)][:MAX_FOLDERS]


def _runs_below(folder: Path) -> list[Path]:
    """The folder itself if it is a run, else its children that are."""
    if is_run(folder):
        return [folder]
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and is_run(path))
    except OSError:
        return []


def _place(path: Path, origin: Literal["sample", "home", "folder"], identity: str) -> RunPlace:
    digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
    place_id = f"sample-{path.name}" if origin == "sample" else f"{'mine' if origin == 'home' else 'folder'}-{digest}"
    try:
        return RunPlace(place_id, path, origin, read_info(path), None)
    except TrainingLogError as fault:
        return RunPlace(place_id, path, origin, None, str(fault))


def _file() -> Path:
    return runs_root().parent / "runs.json"


def _write(folders: list[Path]) -> None:
    file = _file()
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({"folders": [str(folder) for folder in folders]}, indent=1), encoding="utf-8")
        os.replace(part, file)
    except OSError as fault:
        part.unlink(missing_ok=True)
        raise write_error(fault, file) from fault
