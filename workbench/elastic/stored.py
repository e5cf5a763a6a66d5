"""Safetensors files copied in part, byte range by byte range: no tensor is ever held, whatever its number format.

Kept rows of a tensor's first axis are byte ranges of the file, so a checkpoint far larger than memory is cut with one
small buffer. Format: https://huggingface.co/docs/safetensors (8 bytes of length, a JSON header, the data).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from workbench.elastic.errors import CarveError
from workbench.models.files import StoredTensor

BUFFER = 4 * 1024 * 1024  # bytes copied at a time


@dataclass(frozen=True)
class Piece:
    """One tensor of the new file: which bytes of which old file it consists of.

    Attributes:
        name: new name.
        dtype, shape: as the header will say.
        source: the old file.
        ranges: (first byte, number of bytes) in the old file, in order.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    source: Path
    ranges: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """Bytes of the tensor."""
        return sum(length for _, length in self.ranges)


def whole(tensor: StoredTensor, source: Path, name: str) -> Piece:
    """The whole tensor under a new name."""
    return Piece(name, tensor.dtype, tensor.shape, source, ((tensor.start, tensor.size),))


def rows(tensor: StoredTensor, source: Path, name: str, axis: int, kept: Sequence[int]) -> Piece:
    """The entries `kept` of one axis; every axis before it must have length 1.

    Raises:
        CarveError: if the bytes of one entry do not lie together.
    """
    extent = tensor.shape[axis]
    if math.prod(tensor.shape[:axis]) != 1 or tensor.size % extent:
        raise CarveError(
            f"The tensor '{tensor.name}' of shape {list(tensor.shape)} has no axis of experts that can be cut by whole bytes: "
            "carve from weights that are not packed across experts."
        )
    step = tensor.size // extent
    ranges: list[tuple[int, int]] = []
    for entry in kept:
        start = tensor.start + entry * step
        if ranges and sum(ranges[-1]) == start:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + step)
        else:
            ranges.append((start, step))
    shape = (*tensor.shape[:axis], len(kept), *tensor.shape[axis + 1 :])
    return Piece(name, tensor.dtype, shape, source, tuple(ranges))


def write_pieces(pieces: Sequence[Piece], file: Path, advance: Callable[[int], None]) -> None:
    """Write a safetensors file that holds these tensors.

    Args:
        pieces: the tensors; they may come from several files.
        file: new file.
        advance: told the bytes written after every buffer; may raise to stop.
    """
    # Wide number formats first, as safetensors writes them: a reader maps each tensor at a multiple of its own width.
    ordered = sorted(pieces, key=lambda piece: (-piece.size / max(math.prod(piece.shape), 1), piece.name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    place = 0
    for piece in ordered:
        header[piece.name] = {
            "dtype": piece.dtype,
            "shape": list(piece.shape),
            "data_offsets": [place, place + piece.size],
        }
        place += piece.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        handle: BinaryIO | None = None
        opened: Path | None = None
        try:
            for piece in ordered:
                if handle is None or opened != piece.source:
                    if handle is not None:
                        handle.close()
                    handle, opened = piece.source.open("rb"), piece.source
                for start, length in piece.ranges:
                    _copy(handle, start, length, out, advance)
        finally:
            if handle is not None:
                handle.close()


def _copy(handle: BinaryIO, start: int, length: int, out: BinaryIO, advance: Callable[[int], None]) -> None:
    handle.seek(start)
    while length:
        part = handle.read(min(length, BUFFER))
        if not part:
            raise CarveError(
                "The checkpoint ended before its header says, while it was read: it was changed meanwhile; try again."
            )
        out.write(part)
        length -= len(part)
        advance(len(part))
