"""Copies of annotated texts in which mentions are swapped for others of their type, so that what stands around them has to be learnt.

A small set names the same few hundred mentions over and over: a model can learn its relations by heart from their words. In a copy "Lee Harvey
Oswald" may shoot "Grover Cleveland"; that the one killed the other still follows from the sentence.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from workbench.extract.records import Argument, Document, Event, Relation, Span

SHARE = 0.5  # of the mentions that may be swapped
LONGEST = 60  # characters of a mention that is put elsewhere


def swapped(documents: Sequence[Document], copies: int, seed: int) -> list[Document]:
    """Copies of documents with mentions swapped; a document in which nothing can be is left out.

    A mention is swapped only where no other annotated span of other borders touches it.

    Args:
        copies: of each document.
    """
    pool: dict[str, list[str]] = {}
    for document in documents:
        for span in document.entities or ():
            words = document.text[span.start : span.end]
            if len(words) <= LONGEST:
                pool.setdefault(span.type, []).append(words)
    draw = random.Random(seed)
    made = []
    for number in range(copies):
        for document in documents:
            put = {
                at: draw.choice(pool[type_])
                for at, type_ in _free(document).items()
                if type_ in pool and draw.random() < SHARE
            }
            if put:
                made.append(_replaced(document, put, f"{document.id}~{number}"))
    return made


def _spans(document: Document) -> list[tuple[int, int]]:
    """Borders of everything annotated."""
    found = [(span.start, span.end) for span in document.entities or ()]
    found += [(end.start, end.end) for relation in document.relations or () for end in (relation.head, relation.tail)]
    for event in document.events or ():
        found.append((event.trigger.start, event.trigger.end))
        found += [(argument.start, argument.end) for argument in event.arguments]
    return sorted(set(found))


def _free(document: Document) -> dict[tuple[int, int], str]:
    """Mentions of one type that no other annotated span overlaps, by their borders."""
    borders = _spans(document)
    types: dict[tuple[int, int], set[str]] = {}
    for span in document.entities or ():
        types.setdefault((span.start, span.end), set()).add(span.type)
    return {
        at: next(iter(names))
        for at, names in sorted(types.items())
        if len(names) == 1 and not any(a < at[1] and at[0] < b and (a, b) != at for a, b in borders)
    }


def _replaced(document: Document, put: dict[tuple[int, int], str], name: str) -> Document:
    """The document with other words at some borders, every annotated span moved along.

    Args:
        put: borders -> words; they do not overlap each other, nor another span.
    """
    pieces: list[str] = []
    ends: list[tuple[int, int]] = []  # (old end, by how much everything behind it moves)
    last = moved = 0
    for (start, end), words in sorted(put.items()):
        pieces += [document.text[last:start], words]
        moved += len(words) - (end - start)
        ends.append((end, moved))
        last = end
    pieces.append(document.text[last:])

    def shift(at: int) -> int:
        return at + next((by for end, by in reversed(ends) if end <= at), 0)

    def place(start: int, end: int) -> tuple[int, int]:
        words = put.get((start, end))
        first = shift(start)
        return first, first + len(words) if words is not None else shift(end)

    def span(old: Span) -> Span:
        start, end = place(old.start, old.end)
        return Span(start=start, end=end, type=old.type)

    def argument(old: Argument) -> Argument:
        start, end = place(old.start, old.end)
        return Argument(role=old.role, start=start, end=end)

    return Document(
        id=name,
        text="".join(pieces),
        entities=None if document.entities is None else tuple(span(each) for each in document.entities),
        relations=None
        if document.relations is None
        else tuple(Relation(type=r.type, head=span(r.head), tail=span(r.tail)) for r in document.relations),
        events=None
        if document.events is None
        else tuple(
            Event(type=e.type, trigger=span(e.trigger), arguments=tuple(argument(a) for a in e.arguments))
            for e in document.events
        ),
    )
