"""Extraction over many texts: in pieces, so that memory stays small, results arrive while it runs, and stopping keeps them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice

from workbench.extract.engines import Engine
from workbench.extract.extraction import Extraction
from workbench.extract.records import Document
from workbench.extract.schema import Schema

PIECE = 8  # batches handed to the engine at once
ONE = {"entities": "entity", "relations": "relation", "events": "event"}


class Tally:
    """Results of many texts by kind.

    Attributes:
        counts: entities, relations and events; None of a kind that was looked for in no text.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int | None] = dict.fromkeys(ONE)

    def add(self, document: Document) -> None:
        for kind in ONE:
            part = getattr(document, kind)
            if part is not None:
                self.counts[kind] = (self.counts[kind] or 0) + len(part)

    def __str__(self) -> str:
        """ "1 entity, 2 events"; nothing of a kind that was not looked for."""
        there = [(kind, number) for kind, number in self.counts.items() if number is not None]
        return ", ".join(f"{number:,} {ONE[kind] if number == 1 else kind}" for kind, number in there) or "nothing"


def extract_all(
    engine: Engine,
    documents: Iterable[Document],
    schema: Schema,
    demonstrations: Sequence[Document] = (),
    *,
    batch_size: int = 8,
    progress: Callable[[int], None] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> Iterator[tuple[Document, Extraction]]:
    """Each document with its candidates, as soon as its piece is done.

    Args:
        documents: may be a reader that yields one at a time.
        progress: called with the number of texts done.
        stopped: asked between batches; once true, no more texts are started.
    """
    rest = iter(documents)
    done = 0
    while not (stopped is not None and stopped()):
        piece = list(islice(rest, batch_size * PIECE))
        if not piece:
            return

        def report(count: int, before: int = done) -> None:
            if progress is not None:
                progress(before + count)

        found = engine.extract(
            [d.text for d in piece], schema, demonstrations, batch_size=batch_size, progress=report, stopped=stopped
        )
        yield from zip(piece, found, strict=False)
        done += len(found)
        if len(found) < len(piece):
            return


def annotated(
    document: Document,
    extraction: Extraction,
    threshold: float | None = None,
    nested: bool = True,
    labels: Collection[str] | None = None,
    along: bool = False,
) -> Document:
    """The document with what was found in place of what was annotated; its id and unknown fields stay.

    Args:
        threshold, nested, labels, along: as in `Extraction.select`.
    """
    found = extraction.select(threshold, nested, labels, along=along)
    parts = {"entities": found.entities, "relations": found.relations, "events": found.events}
    return document.model_copy(update=parts)
