"""Whose token is it: the document and the group of every row and token, as the caller labels them or by default.

Letters: B rows of a batch, T tokens of a row.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from probes.errors import LabelError
from workbench.capture import DEFAULT_GROUPS, Group
from workbench.capture.blocks import block_of
from workbench.capture.schema import UNKNOWN_GROUP


@dataclass(frozen=True)
class Labels:
    """What the caller says of the rows of the following calls (`RoutingProbe.label`).

    Attributes:
        documents: None (a document a row), a sequence of ids (one a row), or an integer array [B, T] (packed rows).
        groups: None (by modality and role), a name, a sequence of names (one a row), names [B, T], or document id -> name.
        offsets: int [B, T, 2], start and end of each token in the text of its document, or None.
        prefix_ids: token ids of a prompt that stands before every row; where it does, it is counted apart.
    """

    documents: Any = None
    groups: Any = None
    offsets: Any = None
    prefix_ids: tuple[int, ...] = ()


def as_array(values: Any) -> np.ndarray:
    """A numpy array of a tensor, array or nested list."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values)


class Documents:
    """Names, numbers and blocks of documents; rows without a name are called "0", "1", ... in the order of the calls."""

    def __init__(self, blocks: int) -> None:
        self._blocks = blocks
        self._names: list[str | int] = []  # a running number stands for its own name
        self._named: dict[str, int] = {}
        self._running = array("q")
        self._block = array("B")

    def __len__(self) -> int:
        return len(self._names)

    def number(self, name: Any) -> int:
        """Number of a document of this name, new if it has not been seen."""
        text = str(name)
        if text in self._named:
            return self._named[text]
        if text.isdecimal() and str(int(text)) == text and int(text) < len(self._running):
            return self._running[int(text)]
        self._named[text] = len(self._names)
        return self._add(text, text)

    def fresh(self) -> int:
        """Number of a new document with the next running name."""
        while str(len(self._running)) in self._named:
            self._running.append(self._named[str(len(self._running))])
        name = len(self._running)
        self._running.append(len(self._names))
        return self._add(name, str(name))

    def _add(self, stored: str | int, text: str) -> int:
        self._names.append(stored)
        self._block.append(block_of(text, self._blocks))
        return len(self._names) - 1

    def name(self, number: int) -> str:
        return str(self._names[number])

    def blocks(self, numbers: np.ndarray) -> np.ndarray:
        """int64, block of each document; a negative number gives block 0."""
        table = np.frombuffer(self._block, dtype=np.uint8) if len(self._block) else np.zeros(1, np.uint8)
        found: np.ndarray = table[np.maximum(numbers, 0)].astype(np.int64)
        return found


class GroupTable:
    """Group names in the order in which they came."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._index: dict[str, int] = {}

    def index(self, name: str) -> int:
        if name not in self._index:
            self._index[name] = len(self.names)
            self.names.append(name)
        return self._index[name]

    def default_indices(self) -> list[int]:
        """Indices of the six default groups and of "unknown", which stands last."""
        return [*(self.index(group.name) for group in DEFAULT_GROUPS), self.index(UNKNOWN_GROUP)]

    def records(self) -> list[Group]:
        known = {group.name: group for group in DEFAULT_GROUPS}
        return [known.get(name, Group(name=name)) for name in self.names]


@dataclass(eq=False)
class Rows:
    """The rows of one sequence of calls (a prefill and its decode steps) and what they are labelled.

    Attributes:
        row_documents, last_documents: int64 [B], first and last document of each row, -1 for none.
        token_documents: int64 [B, T] where a row holds several documents.
        row_groups, last_groups, token_groups: the same for group indices, None for groups by modality.
        checked: the labels fit the first call; a decoder of its own length follows its encoder unasked.
    """

    labels: Labels
    row_documents: np.ndarray | None = None
    last_documents: np.ndarray | None = None
    token_documents: np.ndarray | None = None
    row_groups: np.ndarray | None = None
    last_groups: np.ndarray | None = None
    token_groups: np.ndarray | None = None
    finished: dict[int, Any] = field(default_factory=dict)  # stack -> bool tensor [B], rows that generation has ended
    positions: dict[int, np.ndarray] = field(default_factory=dict)  # stack -> int64 [B], next position of each row
    checked: bool = False

    @property
    def resolved(self) -> bool:
        return self.row_documents is not None

    def resolve(
        self, shape: tuple[int, int], segments: np.ndarray | None, documents: Documents, groups: GroupTable
    ) -> None:
        """Give every row its documents and groups.

        Args:
            shape: (B, T) of the first call.
            segments: int [B, T] running number of the packed sequence of each token within its row, or None.
        """
        self._resolve_documents(shape, segments, documents)
        self._resolve_groups(shape, documents, groups)

    def _resolve_documents(self, shape: tuple[int, int], segments: np.ndarray | None, documents: Documents) -> None:
        given = self.labels.documents
        if given is None:
            if segments is None or segments.max(initial=0) == 0:
                self.row_documents = np.array([documents.fresh() for _ in range(shape[0])], dtype=np.int64)
                self.last_documents = self.row_documents
                return
            numbers = np.full(shape, -1, dtype=np.int64)
            for row in range(shape[0]):
                for segment in range(int(segments[row].max()) + 1):
                    numbers[row, segments[row] == segment] = documents.fresh()
            self._set_token_documents(numbers)
            return
        if is_grid(given):
            grid = as_array(given)
            numbers = np.full(grid.shape, -1, dtype=np.int64)
            for value in np.unique(grid[grid >= 0]).tolist():
                numbers[grid == value] = documents.number(value)
            self._set_token_documents(numbers)
            return
        self.row_documents = np.array([documents.number(name) for name in given], dtype=np.int64)
        self.last_documents = self.row_documents

    def _set_token_documents(self, numbers: np.ndarray) -> None:
        self.token_documents = numbers
        self.row_documents, self.last_documents = _ends(numbers)

    def _resolve_groups(self, shape: tuple[int, int], documents: Documents, groups: GroupTable) -> None:
        given = self.labels.groups
        assert self.row_documents is not None and self.last_documents is not None
        if given is None:
            return
        if isinstance(given, str):
            self.row_groups = np.full(len(self.row_documents), groups.index(given), dtype=np.int64)
        elif isinstance(given, Mapping):
            by_document = {
                int(number): groups.index(_named(given, documents.name(int(number))))
                for number in self._all_documents()
            }
            look_up = np.vectorize(lambda number: by_document.get(int(number), -1), otypes=[np.int64])
            self.row_groups, self.last_groups = look_up(self.row_documents), look_up(self.last_documents)
            if self.token_documents is not None:
                self.token_groups = look_up(self.token_documents)
            return
        elif is_grid(given):
            names = as_array(given).astype(object)
            index = np.vectorize(
                lambda name: groups.index(UNKNOWN_GROUP if name is None else str(name)), otypes=[np.int64]
            )
            self.token_groups = index(names)
            self.row_groups, self.last_groups = self.token_groups[:, 0], self.token_groups[:, -1]
            return
        else:
            self.row_groups = np.array(
                [groups.index(UNKNOWN_GROUP if name is None else str(name)) for name in given], dtype=np.int64
            )
        self.last_groups = self.row_groups

    def _all_documents(self) -> np.ndarray:
        numbers = self.row_documents if self.token_documents is None else self.token_documents
        assert numbers is not None
        return np.unique(numbers[numbers >= 0])

    # ------------------------------------------------------------------ what a call asks
    def documents_of(self, shape: tuple[int, int], decode: bool) -> np.ndarray:
        """int64 [B, T] document of each token of a call."""
        return self._spread(shape, decode, self.token_documents, self.row_documents, self.last_documents)

    def groups_of(self, shape: tuple[int, int], decode: bool) -> np.ndarray | None:
        """int64 [B, T] group index of each token of a call, None for groups by modality."""
        if self.row_groups is None:
            return None
        return self._spread(shape, decode, self.token_groups, self.row_groups, self.last_groups)

    def _spread(
        self,
        shape: tuple[int, int],
        decode: bool,
        grid: np.ndarray | None,
        first: np.ndarray | None,
        last: np.ndarray | None,
    ) -> np.ndarray:
        assert first is not None and last is not None
        if grid is not None and not decode and grid.shape == shape:
            return grid
        return np.repeat(repeat_rows(last if decode else first, shape[0])[:, None], shape[1], axis=1)


def repeat_rows(values: np.ndarray, rows: int) -> np.ndarray:
    """Values of B rows for a batch of B x n rows (beams of a row stand together)."""
    if len(values) == rows:
        return values
    if rows % len(values) == 0:
        return np.repeat(values, rows // len(values))
    return np.resize(values, rows)


def _ends(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last non-negative entry of each row of [B, T], -1 where there is none."""
    real = numbers >= 0
    some = real.any(axis=1)
    rows = np.arange(len(numbers))
    first = np.where(some, numbers[rows, real.argmax(axis=1)], -1)
    last = np.where(some, numbers[rows, numbers.shape[1] - 1 - real[:, ::-1].argmax(axis=1)], -1)
    return first, last


def is_grid(given: Any) -> bool:
    """Whether labels are given a token, [B, T], rather than a row."""
    if isinstance(given, (str, Mapping)) or given is None:
        return False
    if hasattr(given, "ndim"):
        return int(given.ndim) == 2
    return len(given) > 0 and not isinstance(given[0], str) and hasattr(given[0], "__len__")


def _named(mapping: Mapping[Any, Any], document: str) -> str:
    name = mapping.get(document)
    if name is None and document.lstrip("-").isdecimal():
        name = mapping.get(int(document))
    return UNKNOWN_GROUP if name is None else str(name)


def check_labels(labels: Labels, shapes: Sequence[tuple[int, int]]) -> None:
    """Raise LabelError if the labels fit none of the token grids (B, T) of a call."""
    if not shapes:
        return
    rows = shapes[0][0]
    for what, given in (("documents", labels.documents), ("groups", labels.groups)):
        if given is None or isinstance(given, (str, Mapping)):
            continue
        if is_grid(given):
            grid = tuple(as_array(given).shape)
            if grid not in shapes:
                raise LabelError(
                    f"{what}= was given for {grid[0]} x {grid[1]} tokens, but the call has {' and '.join(f'{b} x {t}' for b, t in shapes)}"
                    f": give one {what[:-1]} a token, or one a row."
                )
        elif rows % max(len(given), 1) or not len(given):
            raise LabelError(
                f"{what}= names {len(given)} rows, but the call has {rows}: call probe.label({what}=...) before every batch "
                "with one entry a row."
            )
    if labels.offsets is not None:
        shape = as_array(labels.offsets).shape
        if len(shape) != 3 or shape[2] != 2 or tuple(shape[:2]) not in shapes:
            raise LabelError(
                f"offsets= must be an array of rows x tokens x 2 that fits the call's {shapes[0][0]} x {shapes[0][1]} tokens, "
                f"but has the shape {shape}: pass the tokenizer's offset_mapping of this batch."
            )


def segments_by_position(position_ids: np.ndarray, real: np.ndarray | None) -> np.ndarray | None:
    """Number of the packed sequence of each token in its row [B, T], from positions that start again at 0; None if none does.

    Padding (False in `real`) starts nothing: generation gives left padding the position 0 or 1.
    """
    starts = position_ids == 0
    if real is not None:
        starts &= real
    begun = np.cumsum(starts, axis=1)
    if begun.max(initial=0) <= 1:
        return None
    return np.maximum(begun - 1, 0)


def segments_by_lengths(cumulative: np.ndarray, tokens: int) -> np.ndarray | None:
    """The same [1, T] from cumulative sequence lengths [n + 1] of a flattened batch."""
    lengths = np.diff(cumulative)
    if lengths.sum() != tokens or len(lengths) < 2:
        return None
    return np.repeat(np.arange(len(lengths)), lengths)[None]


def segments_by_index(index: np.ndarray) -> np.ndarray | None:
    """The same [B, T] from a sequence index of each token (`seq_idx`)."""
    changed = np.zeros(index.shape, dtype=np.int64)
    changed[:, 1:] = index[:, 1:] != index[:, :-1]
    segments = np.cumsum(changed, axis=1)
    return segments if segments.max(initial=0) > 0 else None
