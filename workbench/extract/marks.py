"""What a result puts on its text, as plain rows: marks for a drawing, lines for a table, offsets for a browser.

A browser counts UTF-16 units; everything else here counts code points. `Units` converts, once a text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, NamedTuple

from workbench.extract.records import Document, Event, Relation, Span

Item = Span | Relation | Event


class Mark(NamedTuple):
    """One stretch to be marked.

    Attributes:
        start, end: code points. label: type, or event and role. score: None for gold.
        kind: "entity", "trigger" or "argument". number: of the entity, or of the event.
    """

    start: int
    end: int
    label: str
    score: float | None
    kind: str
    number: int


def places_of(text: str, words: str) -> list[tuple[int, int]]:
    """Every place of some words in a text, not inside a longer word; where there is none, inside one."""
    wanted = re.escape(words)
    for pattern in (rf"(?<!\w){wanted}(?!\w)", wanted):
        if found := [match.span() for match in re.finditer(pattern, text)]:
            return found
    return []


def marks_of(document: Document) -> list[Mark]:
    """Entities, then triggers, then arguments that are not marked as entities already."""
    marks = [Mark(s.start, s.end, s.type, s.score, "entity", n) for n, s in enumerate(document.entities or ())]
    taken = {(mark.start, mark.end) for mark in marks}
    for n, event in enumerate(document.events or ()):
        marks.append(Mark(event.trigger.start, event.trigger.end, event.type, event.score, "trigger", n))
    for n, event in enumerate(document.events or ()):
        for argument in event.arguments:
            if (argument.start, argument.end) not in taken:
                taken.add((argument.start, argument.end))
                label = f"{event.type}: {argument.role}"
                marks.append(Mark(argument.start, argument.end, label, argument.score, "argument", n))
    return marks


def item_of(document: Document, kind: str, index: int) -> Item | None:
    """The entity, relation or event behind a mark or a line; an argument stands for its event."""
    part: tuple[Item, ...] | None
    if kind == "entity":
        part = document.entities
    elif kind == "relation":
        part = document.relations
    else:
        part = document.events
    return part[index] if part is not None and 0 <= index < len(part) else None


COLUMNS = (
    "document", "kind", "type", "role", "text", "start", "end", "score", "event", "head", "head_type", "head_start", "head_end", "tail",
    "tail_type", "tail_start", "tail_end",
)  # fmt: skip


def lines_of(document: Document) -> Iterator[dict[str, Any]]:
    """Every entity, relation, trigger and argument as one row of `COLUMNS`; what a kind does not have is None.

    `event` is the number of the event in its document, from 0, on triggers and arguments.
    """
    text = document.text

    def row(kind: str, type_: str, score: float | None, **more: Any) -> dict[str, Any]:
        return dict.fromkeys(COLUMNS) | {"document": document.id, "kind": kind, "type": type_, "score": score} | more

    def place(start: int, end: int) -> dict[str, Any]:
        return {"text": text[start:end], "start": start, "end": end}

    for span in document.entities or ():
        yield row("entity", span.type, span.score, **place(span.start, span.end))
    for relation in document.relations or ():
        ends: dict[str, Any] = {}
        for side, end in (("head", relation.head), ("tail", relation.tail)):
            ends |= {
                side: text[end.start : end.end],
                f"{side}_type": end.type,
                f"{side}_start": end.start,
                f"{side}_end": end.end,
            }
        yield row("relation", relation.type, relation.score, **ends)
    for number, event in enumerate(document.events or ()):
        yield row("trigger", event.type, event.score, event=number, **place(event.trigger.start, event.trigger.end))
        for argument in event.arguments:
            more = place(argument.start, argument.end)
            yield row("argument", event.type, argument.score, role=argument.role, event=number, **more)


class Units:
    """Between code points and UTF-16 units of one text; only characters beyond the basic plane make them differ."""

    def __init__(self, text: str) -> None:
        self._wide = [n for n, c in enumerate(text) if ord(c) > 0xFFFF]  # code points that take two units
        self._wide_units = [at + n + 1 for n, at in enumerate(self._wide)]  # units of their second half

    def to_units(self, point: int) -> int:
        """The unit at which a code point begins."""
        return point + bisect_right(self._wide, point - 1)

    def to_points(self, unit: int) -> int:
        """The code point at a unit; the second half of a pair belongs to its code point."""
        return unit - bisect_right(self._wide_units, unit)
