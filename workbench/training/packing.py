"""Training rows: documents of one kind, one after the other, cut into rows of the context length.

A boundary token stands before every document. Positions are not reset and attention may look across a boundary: the model learns to
start anew after it. Every row also begins with a boundary, as every input does in use. Row ``i`` of a kind depends on the seed, the
kind and ``i`` alone, so a resumed run sees exactly the rows that it would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Stream:
    """The endless sequence of rows of one kind.

    Args:
        documents: token ids of each document, without a boundary.
        boundary: id of the boundary token.
        length: tokens of a row, the leading boundary included.
        seed: any non-negative numbers; another epoch is another shuffle of the documents.
    """

    def __init__(self, documents: Sequence[np.ndarray], boundary: int, length: int, seed: Sequence[int]) -> None:
        self._documents = [
            np.concatenate([np.array([boundary], dtype=np.int32), d.astype(np.int32)]) for d in documents
        ]
        self._boundary = boundary
        self._length = length
        self._seed = tuple(seed)
        tokens = sum(map(len, self._documents))
        self.rows_per_epoch = max(1, tokens // (length - 1))
        self._epoch = -1
        self._flat = np.empty(0, dtype=np.int32)

    def row(self, index: int) -> np.ndarray:
        """Row number ``index``, int32 of shape [length]; a corpus smaller than one row is repeated."""
        epoch, place = divmod(index, self.rows_per_epoch)
        if epoch != self._epoch:
            order = np.random.default_rng((*self._seed, epoch)).permutation(len(self._documents))
            self._flat = np.concatenate([self._documents[i] for i in order])
            self._epoch = epoch
        body = self._length - 1
        piece = np.resize(self._flat, body) if len(self._flat) < body else self._flat[place * body : (place + 1) * body]
        return np.concatenate([np.array([self._boundary], dtype=np.int32), piece])


def batch(streams: Sequence[Stream], step: int, rows: int) -> np.ndarray:
    """The rows of one step: ``rows`` of every kind, kinds in order, so that each kind has an equal share of the tokens.

    Args:
        streams: one a kind.
        step: number of the step, from 0.
        rows: rows of each kind.

    Returns:
        int32 [kinds x rows, T].
    """
    return np.stack([stream.row(step * rows + r) for stream in streams for r in range(rows)])
