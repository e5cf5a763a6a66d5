"""Where a prediction is wrong, in four categories.

A wrong item and a gold item that was not found are paired: same place, other type: "type"; same type, overlapping place: "boundary".
What stays unpaired is "missed" (gold) or "spurious" (predicted). Each item is in one mistake at most, so the four add up to what
precision and recall lose by offset: missed + boundary + type = gold not found, spurious + boundary + type = predicted and wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workbench.extract.records import Document

CATEGORIES = ("missed", "spurious", "boundary", "type")
KINDS = ("entity", "relation", "trigger", "argument")
Place = tuple[int, int]


@dataclass(frozen=True)
class Item:
    """An entity, relation, trigger or argument as a mistake shows it.

    Attributes:
        type: entity, relation or event type; of an argument the event type.
        role: of an argument, else "".
        places: (start, end) of the span, or of head and tail.
        ends: entity types of head and tail, else empty.
    """

    type: str
    places: tuple[Place, ...]
    role: str = ""
    ends: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mistake:
    """One error.

    Attributes:
        kind: entity, relation, trigger or argument. category: missed, spurious, boundary or type.
        document: index of the text.
        gold, predicted: what should be and what was; None where there is none.
    """

    kind: str
    category: str
    document: int
    gold: Item | None
    predicted: Item | None


def mistakes_of(index: int, gold: Document, predicted: Document) -> list[Mistake]:
    """Every mistake of one text; parts that are not annotated have none."""
    found: list[Mistake] = []
    for kind in KINDS:
        wanted = items(gold, kind)
        if wanted is not None:
            found += _paired(kind, index, wanted, items(predicted, kind) or [])
    return found


def items(document: Document, kind: str) -> list[Item] | None:
    """The items of one kind, each once, or None where that part is not annotated."""
    if kind == "entity":
        part = None if document.entities is None else [Item(s.type, ((s.start, s.end),)) for s in document.entities]
    elif kind == "relation":
        part = None
        if document.relations is not None:
            part = [
                Item(r.type, ((r.head.start, r.head.end), (r.tail.start, r.tail.end)), ends=(r.head.type, r.tail.type))
                for r in document.relations
            ]
    elif kind == "trigger":
        part = None
        if document.events is not None:
            part = [Item(e.type, ((e.trigger.start, e.trigger.end),)) for e in document.events]
    else:
        part = None
        if document.events is not None:
            part = [Item(e.type, ((a.start, a.end),), role=a.role) for e in document.events for a in e.arguments]
    return None if part is None else list(dict.fromkeys(part))


def _paired(kind: str, index: int, gold: Sequence[Item], predicted: Sequence[Item]) -> list[Mistake]:
    right = set(gold) & set(predicted)
    missing = [item for item in gold if item not in right]
    wrong = [item for item in predicted if item not in right]
    found: list[Mistake] = []

    def pair(category: str, alike: Callable[[Item, Item], bool]) -> None:
        for item in list(missing):
            other = next((each for each in wrong if alike(item, each)), None)
            if other is not None:
                missing.remove(item)
                wrong.remove(other)
                found.append(Mistake(kind, category, index, item, other))

    pair("type", lambda a, b: a.places == b.places)
    pair("boundary", lambda a, b: (a.type, a.role) == (b.type, b.role) and _overlap(a, b))
    found += [Mistake(kind, "missed", index, item, None) for item in missing]
    found += [Mistake(kind, "spurious", index, None, item) for item in wrong]
    return found


def _overlap(a: Item, b: Item) -> bool:
    return all(x[0] < y[1] and y[0] < x[1] for x, y in zip(a.places, b.places, strict=True))
