"""Write a capture folder so that it appears whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workbench.capture.claims import claimed
from workbench.capture.errors import CaptureError
from workbench.capture.schema import (
    COACTIVATION_FILE,
    CURVE_FILE,
    LOAD_DIMS,
    LOAD_DTYPES,
    LOAD_FILE,
    MANIFEST_FILE,
    TOKENS_FOLDER,
    Manifest,
)

if TYPE_CHECKING:
    from workbench.capture.capture import Capture

# Columns from which the text could be read back; `text=False` leaves them out.
TEXT_COLUMNS = ("piece", "token_id", "predicted_id")


def write_capture(capture: Capture, path: Path, *, overwrite: bool = False, text: bool = True) -> Path:
    """Write `capture` to the folder `path`; see `Capture.save`."""
    if path.exists() and not overwrite:
        raise CaptureError(
            f"'{path}' exists already, and a capture is not overwritten unasked: choose another name or pass overwrite=True."
        )
    if path.exists() and not (path / MANIFEST_FILE).is_file():
        raise CaptureError(f"'{path}' exists and is not a capture, so it is left alone: choose another name.")
    capture.validate()
    with whole_or_nothing(path) as temporary:
        write_files(capture, temporary, text=text)
    return path


def write_files(capture: Capture, folder: Path, *, text: bool) -> None:
    """Write every file of the capture into an existing empty folder."""
    import pyarrow.parquet as pq

    manifest = capture.manifest
    arrays = {name: np.ascontiguousarray(capture.table(name).values, dtype=LOAD_DTYPES[name]) for name in LOAD_DIMS}
    arrays["expert_mask"] = np.ascontiguousarray(capture.expert_mask)
    metadata = {name: " ".join(dims) for name, dims in LOAD_DIMS.items()} | {"expert_mask": "site expert"}
    _save_tensors(arrays, folder / LOAD_FILE, metadata)
    if capture.coactivation is not None:
        square = np.ascontiguousarray(capture.coactivation, dtype=np.int64)
        _save_tensors({"coactivation": square}, folder / COACTIVATION_FILE, {"coactivation": "site expert expert"})
    if capture.has("tokens") and capture.tokens is not None:
        (folder / TOKENS_FOLDER).mkdir()
        for stack, table in capture.tokens.items():
            if not text:
                table = table.drop_columns([name for name in TEXT_COLUMNS if name in table.column_names])
            pq.write_table(table, folder / TOKENS_FOLDER / f"{stack}.parquet", compression="zstd")
    if capture.curve is not None:
        pq.write_table(capture.curve, folder / CURVE_FILE, compression="zstd")
    write_manifest(manifest, folder)


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Replace `manifest.json` of a folder in one step."""
    with whole_file(folder / MANIFEST_FILE) as temporary:
        temporary.write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _save_tensors(arrays: dict[str, np.ndarray], file: Path, metadata: dict[str, str]) -> None:
    from safetensors.numpy import save_file

    save_file(arrays, file, metadata=metadata)


@contextmanager
def whole_or_nothing(target: Path, *, replace: bool = True) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its place when the block ends well, and goes when it does not.

    What a program that was killed left beside it goes first (`workbench.capture.claims`).

    Args:
        target: the folder. replace: whether one that stands there in the end gives way.

    Raises:
        CaptureError: when the disk is full or the place cannot be written; what stood at `target` is then still there.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with claimed(target, folder=True) as temporary:
            yield temporary
            _swap(temporary, target, replace)
    except OSError as fault:
        raise write_error(fault, target) from fault
    except Exception as fault:
        # safetensors and pyarrow wrap the system's error into their own; a full disk must still be named as one.
        if "No space left" in str(fault):
            raise write_error(OSError(errno.ENOSPC, "No space left on device"), target) from fault
        raise


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A temporary file beside `target` that takes its place when the block ends well, and goes when it does not.

    Raises:
        OSError: if it cannot be written; what stood at `target` is then still there.
    """
    with claimed(target, folder=False) as temporary:
        yield temporary
        os.replace(temporary, target)


def _swap(temporary: Path, target: Path, replace: bool) -> None:
    if not target.exists():
        os.rename(temporary, target)
        return
    if not replace:
        raise CaptureError(
            f"'{target}' was made by another program meanwhile, and nothing is overwritten: choose another name and start again."
        )
    old = target.parent / f".{target.name}.{secrets.token_hex(6)}.old"
    os.rename(target, old)
    try:
        os.rename(temporary, target)
    except OSError:
        os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_error(fault: OSError, target: Path) -> CaptureError:
    """The sentence for a failed write."""
    if fault.errno == errno.ENOSPC:
        free = shutil.disk_usage(_existing(target)).free
        return CaptureError(
            f"The disk that holds '{target.parent}' is full ({free / 1e6:.0f} MB free), so nothing was written and nothing "
            "was lost: free some space or choose another folder, then save again."
        )
    return CaptureError(
        f"'{target}' cannot be written ({fault.strerror or fault}): check that the folder exists and may be written."
    )


def _existing(path: Path) -> Path:
    for parent in (path, *path.parents):
        if parent.exists():
            return parent
    return Path()
