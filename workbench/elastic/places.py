"""Which curves are at hand: shipped ones, and the user's own sweeps below $WORKBENCH_HOME/sweeps.

    sample-NAME     shipped under sample_data/curves
    mine-DIGEST     a sweep below the home

An id may stand in an address: it is never a path and never a name that the user typed. A sweep that was started from the
page keeps its order (what to sweep, and the texts) below sweeps/.orders until it is finished, so that it can go on after a
stop, also after the program was closed.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from workbench.capture.library import default_root
from workbench.capture.schema import CURVE_FILE
from workbench.capture.write import write_error
from workbench.elastic.errors import SweepError
from workbench.elastic.journal import SWEEP_FILE, write_json

SAMPLES = Path(__file__).resolve().parents[2] / "sample_data" / "curves"
ORDERS = ".orders"
ORDER_FILE, INPUTS = "order.json", "inputs"


@dataclass(frozen=True)
class CurvePlace:
    """A curve at hand."""

    id: str
    name: str
    path: Path
    origin: Literal["sample", "mine"]

    @property
    def stamp(self) -> str:
        """Changes whenever the curve does."""
        status = (self.path / CURVE_FILE).stat()
        return f"{status.st_mtime_ns}-{status.st_size}"


@dataclass(frozen=True)
class Order:
    """A sweep that was asked for on the page.

    Attributes:
        name: of the sweep. model: embedded name, folder or hub id.
        layers, experts, top_k: values of the grid.
        group_by, text_column, lines: how the texts are read. calibrate_every: every so many documents rank instead of measure.
        rounds: of the clock. max_length, batch_size, dtype, device: as in the command.
        captures: keep the routing of every sub-model.
        shipped: read the shipped texts; False: the files in the order's folder.
    """

    name: str
    model: str
    layers: tuple[str, ...] = ()
    experts: tuple[str, ...] = ()
    top_k: tuple[str, ...] = ()
    group_by: str = "folder"
    text_column: str | None = None
    lines: bool = False
    calibrate_every: int = 5
    rounds: int = 5
    max_length: int = 512
    batch_size: int = 8
    dtype: str = "auto"
    device: str = "auto"
    captures: bool = False
    shipped: bool = True
    files: tuple[str, ...] = field(default=())


def sweeps_root() -> Path:
    """The folder of the user's own sweeps."""
    return default_root().parent / "sweeps"


def carved_root() -> Path:
    """The folder of models carved from the page."""
    return default_root().parent / "carved"


def curve_places(samples: Path | None = None) -> list[CurvePlace]:
    """Every curve at hand: the user's own, newest first, then the shipped ones."""
    own = [CurvePlace(f"mine-{_digest(path.name)}", path.name, path, "mine") for path in _folders(sweeps_root())]
    own.sort(key=lambda place: place.stamp, reverse=True)
    shipped = samples if samples is not None else SAMPLES
    return [*own, *(CurvePlace(f"sample-{path.name}", path.name, path, "sample") for path in _folders(shipped))]


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if not path.name.startswith(".") and (path / CURVE_FILE).is_file())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# ------------------------------------------------------------------ orders
def free_name(wish: str, root: Path) -> str:
    """A folder name made of the wish that is not taken below `root`."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", wish).strip("-.")[:60] or "sweep"
    name, number = stem, 2
    while (root / name).exists() or (root / ORDERS / name).exists():
        name, number = f"{stem}-{number}", number + 1
    return name


def keep_order(order: Order, files: Sequence[tuple[str, bytes]]) -> Path:
    """Write an order with its files; returns its folder.

    Raises:
        CaptureError: if the disk is full.
    """
    folder = sweeps_root() / ORDERS / order.name
    try:
        (folder / INPUTS).mkdir(parents=True)
        for name, data in files:
            (folder / INPUTS / name).write_bytes(data)
        write_json(folder / ORDER_FILE, asdict(order))
    except OSError as fault:
        shutil.rmtree(folder, ignore_errors=True)
        raise write_error(fault, folder) from fault
    return folder


def read_order(folder: Path) -> Order:
    """The order in a folder.

    Raises:
        SweepError: if it cannot be read.
    """
    try:
        raw = json.loads((folder / ORDER_FILE).read_text(encoding="utf-8"))
        lists = ("layers", "experts", "top_k", "files")
        fields: dict[str, Any] = {name: tuple(value) if name in lists else value for name, value in raw.items()}
        return Order(**fields)
    except (OSError, ValueError, TypeError) as fault:
        raise SweepError(
            f"The order of the sweep '{folder.name}' cannot be read, so it cannot go on: discard it and start anew."
        ) from fault


def unfinished() -> list[Path]:
    """Folders of orders whose sweep was not finished."""
    root = sweeps_root() / ORDERS
    return sorted(path for path in root.iterdir() if (path / ORDER_FILE).is_file()) if root.is_dir() else []


def begun(folder: Path) -> bool:
    """Whether the sweep of an order has written anything yet."""
    return (sweeps_root() / folder.name / SWEEP_FILE).is_file()


def discard(folder: Path) -> None:
    """Forget an order and what its sweep found, unless that already is a curve."""
    shutil.rmtree(folder, ignore_errors=True)
    found = sweeps_root() / folder.name
    if not (found / CURVE_FILE).is_file():
        shutil.rmtree(found, ignore_errors=True)
