"""Uploaded files on disk, for a job that reads them and removes them."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def temporary_folder() -> Path:
    """A new empty folder; whoever asks removes it, and the end of the dashboard at the latest: it holds a user's own files."""
    folder = Path(tempfile.mkdtemp(prefix="workbench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def keep_uploads(files: Iterable[Any]) -> tuple[Path, tuple[Path, ...]]:
    """Write uploads into a new temporary folder; returns the folder, which the job's clean-up removes, and the files.

    The browser names a file: only the last part of its name counts, and a name that came before gets a number.
    """
    folder = temporary_folder()
    kept: list[Path] = []
    for number, file in enumerate(files):
        target = folder / Path(file.name).name
        if target.exists():
            target = folder / f"{target.stem}-{number}{target.suffix}"
        target.write_bytes(file.getbuffer())
        kept.append(target)
    return folder, tuple(kept)
