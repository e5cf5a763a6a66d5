"""Routing captures of the sub-models of a sweep, each a folder of its own beside the curve: OUT/captures/NAME.

The texts are those whose loss is measured. Each capture appears whole or not at all, so a sweep that is stopped goes on with the
next sub-model; the name stands in the column `capture` of the curve.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.capture.errors import CaptureError
from workbench.capture.schema import MANIFEST_FILE
from workbench.elastic.journal import kept_error
from workbench.elastic.points import FULL, Point

if TYPE_CHECKING:
    from workbench.inputs import Document
    from workbench.models import LoadedModel
    from workbench.recording import RecordOptions

CAPTURES = "captures"
TOKEN_ROWS = 20_000  # of each capture, where nothing else was asked for


def capture_name(key: str) -> str:
    """The folder name of a sub-model's capture: its words where a file system takes them, and a digest that tells it from others."""
    if key == FULL:
        return FULL
    words = re.sub(r"[^A-Za-z0-9]+", "-", key).strip("-")[:50].strip("-")
    return f"{words}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def capture_folder(curve: Path, name: str) -> Path | None:
    """The capture called `name` of the sweep in the folder `curve`, or None if it is not there."""
    folder = curve / CAPTURES / name
    # The name comes from a file that may have been sent: it must be one folder, and no way out of this one.
    plain = Path(name).name == name and not name.startswith(".")
    return folder if plain and (folder / MANIFEST_FILE).is_file() else None


def record_point(
    loaded: LoadedModel,
    documents: Sequence[Document],
    point: Point,
    options: RecordOptions,
    curve: Path,
    stop: Callable[[], bool],
) -> str | None:
    """Record the routing of one sub-model; its name, or None if that was stopped, and then nothing is left.

    Args:
        loaded: the whole model. documents: what is read. point: the sub-model.
        options: how it is recorded. curve: folder of the sweep. stop: asked before every batch.

    Raises:
        WorkbenchError: if a document cannot be recorded.
        CaptureError: if the disk is full; what was found is kept.
    """
    from workbench.recording import RecordingError, record

    stopped = False

    def asked() -> bool:
        nonlocal stopped
        stopped = stopped or stop()
        return stopped

    try:
        with point.plan.applied(loaded.model):
            made = record(loaded, documents, options, cancelled=asked)
    except RecordingError:
        if stopped:  # before its first batch
            return None
        raise
    if stopped:
        return None
    name = capture_name(point.key)
    try:
        made.save(curve / CAPTURES / name, overwrite=True)
    except CaptureError as fault:
        if isinstance(fault.__cause__, OSError):
            raise kept_error(fault.__cause__, curve) from fault
        raise
    return name
