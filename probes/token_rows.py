"""Token rows: a bounded, uniform sample of whole documents, and the Arrow table that it ends in.

Documents are ranked by a seeded hash (`workbench.capture.blocks.priority_of`), and the longest run of the smallest ranks that
fits is kept. A document is kept whole or not at all, except that a first document longer than the bound is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.modality import MODALITIES, ROLES
from workbench.capture import Sampling
from workbench.capture.blocks import priority_of
from workbench.capture.schema import PHASES

if TYPE_CHECKING:
    import pyarrow as pa

# Columns that every row has; numpy type of what is collected.
FIELDS = {
    "document": np.int64,
    "position": np.int32,
    "token_id": np.int64,
    "start": np.int32,
    "end": np.int32,
    "modality": np.uint8,
    "role": np.uint8,
    "phase": np.uint8,
    "group": np.int32,
}
# Columns of `probes.predictions`, where they were asked for.
PREDICTION_FIELDS = {"predicted_id": np.int32, "loss": np.float32, "late": np.int64}


@dataclass
class Chunk:
    """Rows of one flush.

    Attributes:
        fields: column name -> array [N] (FIELDS, and those of PREDICTION_FIELDS that were asked for).
        sites: site number -> (rows that the site saw bool [N] or None for all, ids int [n, K], weights float16 [n, K],
            scores float16 [n, E] or None).
    """

    fields: dict[str, np.ndarray]
    sites: dict[int, tuple[np.ndarray | None, np.ndarray, np.ndarray, np.ndarray | None]]

    def __len__(self) -> int:
        return len(self.fields["document"])

    def take(self, keep: np.ndarray) -> Chunk:
        sites = {}
        for site, (saw, ids, weights, scores) in self.sites.items():
            inside = keep if saw is None else keep[saw]
            sites[site] = (
                None if saw is None else saw[keep],
                ids[inside],
                weights[inside],
                None if scores is None else scores[inside],
            )
        return Chunk({name: values[keep] for name, values in self.fields.items()}, sites)


@dataclass
class TokenRows:
    """The kept rows of one stack.

    Args:
        max_tokens: bound on the rows.
        seed: of the ranking of documents.
        name_of: name of a document by its number.
    """

    max_tokens: int
    seed: int
    name_of: Callable[[int], str]
    seen: int = 0
    cut: int = 0  # rows of a single too long document that were left out
    _chunks: list[Chunk] = field(default_factory=list)
    _sizes: dict[int, int] = field(default_factory=dict)
    _ranks: dict[int, int] = field(default_factory=dict)
    _documents: set[int] = field(default_factory=set)
    _limit: int = 2**64  # documents of this rank and above are not kept
    _kept: int = 0

    def wanted(self, documents: np.ndarray) -> np.ndarray:
        """bool [N]: rows of documents that may still be kept; also counts them as seen."""
        self.seen += len(documents)
        unique, inverse = np.unique(documents, return_inverse=True)
        self._documents.update(unique.tolist())
        return np.array([self._rank(number) < self._limit for number in unique.tolist()], dtype=bool)[inverse]

    def _rank(self, number: int) -> int:
        rank = self._ranks.get(number)
        if rank is None:
            rank = priority_of(self.name_of(number), self.seed)
            if rank < self._limit:
                self._ranks[number] = rank
        return rank

    def add(self, chunk: Chunk) -> None:
        """Keep the rows of `chunk` (of wanted documents), and drop the documents of highest rank while there are too many."""
        if len(chunk) == 0:
            return
        self._chunks.append(chunk)
        unique, counts = np.unique(chunk.fields["document"], return_counts=True)
        for number, size in zip(unique.tolist(), counts.tolist(), strict=True):
            self._sizes[number] = self._sizes.get(number, 0) + size
        self._kept += len(chunk)
        gone = []
        while self._kept > self.max_tokens and len(self._sizes) > 1:
            last = max(self._sizes, key=lambda number: self._ranks[number])
            self._limit = self._ranks[last]
            self._kept -= self._sizes.pop(last)
            del self._ranks[last]
            gone.append(last)
        if self._kept > self.max_tokens:
            self._cut_only_document()
        if gone and sum(len(part) for part in self._chunks) > 1.5 * self.max_tokens:
            self._compact()

    def _cut_only_document(self) -> None:
        """One document alone is longer than the bound: keep its first rows, and nothing of any other document."""
        (number,) = self._sizes
        self._compact()
        whole = sum(len(chunk) for chunk in self._chunks)
        self.cut += whole - self.max_tokens
        room, kept = self.max_tokens, []
        for chunk in self._chunks:
            kept.append(chunk if len(chunk) <= room else chunk.take(np.arange(len(chunk)) < room))
            room -= len(kept[-1])
        self._chunks = kept
        self._sizes[number] = self._kept = self.max_tokens
        self._limit = self._ranks[number] + 1

    def _compact(self) -> None:
        alive = np.fromiter(self._sizes, dtype=np.int64, count=len(self._sizes))
        self._chunks = [chunk.take(np.isin(chunk.fields["document"], alive)) for chunk in self._chunks]

    @property
    def sampling(self) -> Sampling:
        return Sampling(
            kept=self._kept,
            seen=self.seen,
            seed=self.seed,
            documents_kept=len(self._sizes),
            documents_seen=len(self._documents),
        )

    # ------------------------------------------------------------------ the table
    def table(
        self,
        columns: Mapping[int, tuple[str, int]],
        groups: Sequence[str],
        piece_of: Callable[[np.ndarray, np.ndarray], list[str | None]] | None,
        scores: bool,
        predicted: bool = False,
        late: np.ndarray | None = None,
    ) -> pa.Table:
        """The Arrow table: documents in the order in which they came, rows of a document by position.

        Args:
            columns: site number -> (site id, experts), in model order.
            groups: names by number.
            piece_of: token ids and documents [N] -> text pieces, or None without a tokenizer.
            scores: whether to write the columns `scores_<site>`.
            predicted: whether to write `predicted_id`.
            late: float32, losses by their number in the field "late", to write `loss`; None for no such column.
        """
        import pyarrow as pa

        self._compact()
        fields = {
            name: np.concatenate([chunk.fields[name] for chunk in self._chunks] or [np.empty(0, kind)])
            for name, kind in self._kinds(predicted, late is not None).items()
        }
        order = np.lexsort((fields["position"], fields["document"]))
        fields = {name: values[order] for name, values in fields.items()}
        length = len(order)
        numbers, inverse = np.unique(fields["document"], return_inverse=True)
        names = [self.name_of(number) for number in numbers.tolist()]
        made: dict[str, Any] = {
            "document": _labels(inverse, names),
            "position": pa.array(fields["position"]),
            "token_id": pa.array(fields["token_id"].astype(np.int32), mask=fields["token_id"] < 0),
        }
        pieces = None if piece_of is None else piece_of(fields["token_id"], fields["document"])
        made["piece"] = pa.array(pieces if pieces is not None else [None] * length, pa.string())
        for name in ("start", "end"):
            made[name] = pa.array(fields[name], mask=fields[name] < 0)
        for name, texts in (("modality", MODALITIES), ("role", ROLES), ("phase", PHASES), ("group", tuple(groups))):
            made[name] = _labels(fields[name], texts)
        if predicted:
            made["predicted_id"] = pa.array(fields["predicted_id"], mask=fields["predicted_id"] < 0)
        if late is not None:
            there = fields["late"] >= 0
            loss = fields["loss"].copy()
            loss[there] = late[fields["late"][there]]
            made["loss"] = pa.array(loss, mask=np.isnan(loss))
        for site, (site_id, experts) in columns.items():
            kind = pa.int16() if experts <= np.iinfo(np.int16).max else pa.int32()
            made[f"experts_{site_id}"] = self._column(site, 1, order, kind)
            made[f"weights_{site_id}"] = self._column(site, 2, order, pa.float16())
            if scores:
                made[f"scores_{site_id}"] = self._column(site, 3, order, pa.float16())
        return pa.table(made)

    @staticmethod
    def _kinds(predicted: bool, loss: bool) -> dict[str, Any]:
        wanted = (("predicted_id",) if predicted else ()) + (("loss", "late") if loss else ())
        return {**FIELDS, **{name: PREDICTION_FIELDS[name] for name in wanted}}

    def _column(self, site: int, which: int, order: np.ndarray, kind: Any) -> pa.Array:
        """One list column: a row is null where the site did not see the token."""
        import pyarrow as pa

        present, values = [], []
        for chunk in self._chunks:
            entry = chunk.sites.get(site)
            part = None if entry is None else entry[which]
            if entry is None or part is None:
                present.append(np.zeros(len(chunk), dtype=bool))
                continue
            present.append(np.ones(len(chunk), dtype=bool) if entry[0] is None else entry[0])
            values.append(part)
        there = np.concatenate(present or [np.zeros(0, bool)])
        width = values[0].shape[1] if values else 0
        flat = np.concatenate(values) if values else np.zeros((0, 0), np.float16)
        source = np.cumsum(there) - 1  # row of `flat` that belongs to a row of the chunks
        there = there[order]
        taken = flat[source[order][there]]
        offsets = np.zeros(len(order) + 1, dtype=np.int32)
        np.cumsum(there * width, out=offsets[1:])
        # A null offset marks a null list.
        mask = np.append(~there, False)
        return pa.ListArray.from_arrays(pa.array(offsets, mask=mask), pa.array(taken.reshape(-1), kind))


def _labels(codes: np.ndarray, names: Sequence[str]) -> pa.DictionaryArray:
    """A dictionary-encoded text column; a negative code is null."""
    import pyarrow as pa

    codes = codes.astype(np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(list(names), pa.string()))
