"""Temporary files and folders beside their target that a program which was killed cannot leave for good.

Whoever writes one holds the system's lock on it, which ends with the process however that ends. So one without a lock is stale,
and the next program that writes into the same parent removes it; one that another program is writing is left alone.

Where the system or the file system has no such lock (Windows; some network file systems), nothing is ever taken for stale.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NAME = re.compile(r"^\..+\.[0-9a-f]{12}\.part$")


@contextmanager
def claimed(target: Path, *, folder: bool) -> Iterator[Path]:
    """A new, empty, hidden file or folder beside `target`, locked; gone after the block if it was not moved away.

    Args:
        target: what it will become. Its parent must be there.
        folder: make a folder, not a file.

    Raises:
        OSError: if it cannot be made.
    """
    clear_stale(target.parent)
    path, handle = _make(target, folder)
    try:
        yield path
    finally:
        if handle is not None:
            os.close(handle)
        _remove(path)


def _make(target: Path, folder: bool) -> tuple[Path, int | None]:
    while True:
        path = target.parent / f".{target.name}.{secrets.token_hex(6)}.part"
        if folder:
            path.mkdir()
        else:
            path.touch(exist_ok=False)
        if fcntl is None:
            return path, None
        handle = os.open(path, os.O_RDONLY)
        locked = _lock(handle)
        if locked is None or (locked and path.exists()):
            return path, handle
        os.close(handle)  # another program came between and took it for stale: make a new one


def _lock(handle: int) -> bool | None:
    """Whether the lock is ours now; None where there is no such lock."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def clear_stale(parent: Path) -> list[Path]:
    """Remove what programs that were killed left in a folder; returns what was removed."""
    removed: list[Path] = []
    if fcntl is None or not parent.is_dir():
        return removed
    with suppress(OSError):
        for path in [path for path in parent.iterdir() if _NAME.match(path.name)]:
            with suppress(OSError):
                handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
                try:
                    if _lock(handle):
                        _remove(path)
                        removed.append(path)
                finally:
                    os.close(handle)
    return removed


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
