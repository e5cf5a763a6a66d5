"""Where the data lies: one folder a set below a data root, each looked for before it is read (docs/data.md says where to get it)."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np

from workbench.unified.segments import UnifiedError

IDX_MAGIC = 0x08
"""Third byte of an IDX file whose values are unsigned bytes (Y. LeCun's description of the MNIST files)."""


def set_folder(root: Path, name: str) -> Path:
    """The folder of one data set.

    Args:
        root: data root, with one folder a set.
        name: ``fashion_mnist``, ``mnist_t10k``, ``noto_emoji``, ``fsdd`` or ``text``.

    Raises:
        UnifiedError: it is not there.
    """
    folder = root / name
    if not folder.is_dir():
        raise UnifiedError(
            f"Expected the data set '{name}' in the folder '{folder}', but there is none: name the data root with --data-root, "
            "and see docs/data.md for where each set is to be had."
        )
    return folder


def read_idx(path: Path) -> np.ndarray:
    """Read a gzip-packed IDX file of unsigned bytes.

    Args:
        path: ``*-ubyte.gz``.

    Returns:
        uint8 array in the shape that the header gives.

    Raises:
        UnifiedError: the file is missing, broken, cut short or of another type.
    """
    if not path.is_file():
        raise UnifiedError(f"Expected the file '{path}', but it is missing: fetch the whole data set again.")
    try:
        with gzip.open(path) as file:
            raw = file.read()
    except (OSError, EOFError) as fault:
        raise UnifiedError(
            f"Expected a gzip-packed IDX file, but '{path}' cannot be unpacked: fetch it again."
        ) from fault
    axes = raw[3] if len(raw) > 3 else 0
    shape = np.frombuffer(raw[4 : 4 + 4 * axes], ">i4") if len(raw) >= 4 + 4 * axes else np.zeros(0)
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] != IDX_MAGIC or len(raw) != 4 + 4 * axes + int(np.prod(shape)):
        raise UnifiedError(f"Expected an IDX file of unsigned bytes, but '{path}' is not a whole one: fetch it again.")
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)


def held_out(key: str, share: float = 0.05) -> bool:
    """Whether the item with this name or text belongs to the held-out share; decided by a hash, so it never moves.

    Args:
        key: text or name of the item.
        share: held-out share, 0 to 1.
    """
    value = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return value < share * 2**64
