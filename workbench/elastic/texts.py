"""Documents as batches of token ids whose next-token losses can be added up by document and group.

Letters: B rows of a batch, T tokens of a row, n tokens of a row that are predicted, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.capture import DEFAULT_GROUPS
from workbench.elastic.errors import SweepError
from workbench.inputs.rows import Row, RowMaker
from workbench.recording import RecordOptions, pad_id, row_length

if TYPE_CHECKING:
    import torch

    from workbench.inputs import Document
    from workbench.models import LoadedModel

TEXT_GROUP = DEFAULT_GROUPS[0].name


@dataclass(frozen=True)
class Batch:
    """Rows that run at once.

    Attributes:
        ids, mask: int64 [B, T], padded on the right.
        cell: int64 [B, T]: for each position the number of the cell (document and group) of the token there, or -1 where
            the token is not predicted (the first of a row, a prompt, padding).
        tokens: number of tokens that are not padding.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    cell: np.ndarray
    tokens: int

    def arguments(self, device: Any) -> dict[str, Any]:
        """What the model is called with."""
        return {"input_ids": self.ids.to(device), "attention_mask": self.mask.to(device)}

    def answer(self, output: Any) -> torch.Tensor:
        """What is scored of the model's output: logits [B, T, V], of which row t predicts token t + 1."""
        logits: torch.Tensor = output.logits
        return logits

    def part(self, rows: int, length: int) -> Batch:
        """The first tokens of the first rows, to try something on."""
        ids, mask = self.ids[:rows, :length], self.mask[:rows, :length]
        return Batch(ids, mask, self.cell[:rows, :length], int(mask.sum()))

    def words(self) -> torch.Tensor:
        """int64 [n]: its text tokens, one row after the other."""
        return self.ids[self.mask.bool()]

    def scored(self, answer: torch.Tensor) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Cells, losses in nats and whether the likeliest prediction was right, [n] each, a row at a time."""
        import torch
        from torch.nn.functional import cross_entropy

        for number in range(len(self.ids)):  # float32 logits of a whole batch may not fit
            places = np.flatnonzero(self.cell[number] >= 0)
            if not len(places):
                continue
            first, last = int(places[0]), int(places[-1])
            whole_run = last - first + 1 == len(places)  # a view where no position is left out, which is nearly always
            index = slice(first - 1, last) if whole_run else torch.from_numpy(places - 1).to(answer.device)
            found = answer[number, index].float()
            target = self.ids[number, places].to(answer.device)
            loss = cross_entropy(found, target, reduction="none").double().cpu().numpy()
            # The largest value takes a third of the time that its place takes; the place decides where two are equal.
            right = found.amax(dim=-1) == found.gather(1, target[:, None])[:, 0]
            hits = right.nonzero()[:, 0]
            right[hits] = found[hits].argmax(dim=-1) == target[hits]
            yield self.cell[number, places], loss, right.cpu().numpy()

    def pieces(self) -> Iterator[bytes]:
        """Everything that tells this batch from another one."""
        yield self.ids.numpy().tobytes()
        yield self.cell.tobytes()


@dataclass(frozen=True)
class Texts:
    """Everything that a sweep reads.

    Attributes:
        batches: in order of falling length.
        cells: (document id, group) of each cell.
        tokens: predicted tokens of each cell.
        groups: names of the groups, in order of first appearance.
        fingerprint: of ids and cells, to tell whether a sweep is resumed on the same inputs.
    """

    batches: tuple[Batch, ...]
    cells: tuple[tuple[str, str], ...]
    tokens: np.ndarray
    groups: tuple[str, ...]
    fingerprint: str

    @classmethod
    def of(cls, batches: Sequence[Batch], cells: Sequence[tuple[str, str]], tokens: Sequence[int]) -> Texts:
        """Batches with the cells that they name, and the number of predicted tokens of each cell."""
        digest = hashlib.sha256(repr(list(cells)).encode())
        for batch in batches:
            for piece in batch.pieces():
                digest.update(piece)
        groups = tuple(dict.fromkeys(group for _, group in cells))
        return cls(tuple(batches), tuple(cells), np.array(tokens), groups, digest.hexdigest()[:32])

    @property
    def documents(self) -> int:
        return len({document for document, _ in self.cells})


def read_texts(
    loaded: LoadedModel, documents: Sequence[Document], *, group_by: str, batch_size: int, max_length: int | None
) -> Texts:
    """Tokenize documents and pack them into batches.

    Raises:
        SweepError: if a document has pictures or sounds, or no token is left to predict.
        InputError, RecordingError: if a document cannot be tokenized, or `max_length` is more than the model takes.
    """
    import torch

    if loaded.tokenizer is None:
        raise SweepError(f"A sweep reads texts, but the model '{loaded.info.id}' has no tokenizer: use a text model.")
    if group_by == "phase":
        raise SweepError("A sweep only reads, so --group-by phase has one group: use another one, for example folder.")
    other = next((document.id for document in documents if document.media), None)
    if other is not None:
        raise SweepError(
            f"A sweep measures the loss on texts, but '{other}' has a picture, sound or clip: leave it out."
        )
    length = row_length(loaded, RecordOptions(max_length=max_length))
    maker = RowMaker(loaded.tokenizer, length, by_role=group_by == "role")
    made = [row for document in documents for row in maker.rows(document)]
    made.sort(key=lambda row: -len(row.ids))
    cells: dict[tuple[str, str], int] = {}
    counts: list[int] = []
    batches: list[Batch] = []
    pad = pad_id(loaded)
    for start in range(0, len(made), batch_size):
        rows = made[start : start + batch_size]
        width = max(len(row.ids) for row in rows)
        ids = torch.full((len(rows), width), pad, dtype=torch.int64)
        mask = torch.zeros((len(rows), width), dtype=torch.int64)
        cell = np.full((len(rows), width), -1, dtype=np.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row.ids)] = torch.tensor(row.ids)
            mask[number, : len(row.ids)] = 1
            _mark(row, cell[number], cells, counts)
        batches.append(Batch(ids, mask, cell, int(mask.sum())))
    if not sum(counts):
        raise SweepError(
            "The inputs hold no token that follows another one, so there is no loss to measure: give longer texts."
        )
    return Texts.of(batches, list(cells), counts)


def _mark(row: Row, cell: np.ndarray, cells: dict[tuple[str, str], int], counts: list[int]) -> None:
    """Fill in which cell each predicted token of a row belongs to, and count it."""
    for place in range(max(len(row.prefix), 1), len(row.ids)):
        group = row.groups[place] if row.groups is not None else row.group
        key = (row.document, group or TEXT_GROUP)
        number = cells.setdefault(key, len(cells))
        if number == len(counts):
            counts.append(0)
        cell[place] = number
        counts[number] += 1


class Scores:
    """Sums over the predicted tokens of each cell: loss in nats, and tokens whose likeliest prediction was right.

    Attributes:
        loss, right: float64 [cells].
    """

    def __init__(self, cells: int) -> None:
        self.loss = np.zeros(cells, dtype=np.float64)
        self.right = np.zeros(cells, dtype=np.float64)

    def add(self, batch: Batch, answer: torch.Tensor) -> None:
        """Add the predictions of one batch, as its `answer` gives them."""
        for cells, loss, right in batch.scored(answer):
            np.add.at(self.loss, cells, loss)
            np.add.at(self.right, cells, right)
