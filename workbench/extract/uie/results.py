"""What was read off a structure as an `Extraction`."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from workbench.extract.extraction import Extraction
from workbench.extract.records import Argument, Event, Relation, Span
from workbench.extract.schema import Schema
from workbench.extract.uie.records import Found


def extraction_of(text: str, schema: Schema, found: Found, **more: Any) -> Extraction:
    """Results in text order.

    Args:
        schema: sentiment written out. more: fields of `Extraction`, for instance threshold.
    """
    arguments: dict[tuple[str, int, int], list[Argument]] = defaultdict(list)
    for (trigger, role, start, end), score in found.arguments.items():
        arguments[trigger].append(Argument(role=role, start=start, end=end, score=_score(score)))

    def span(key: tuple[str, int, int], score: float | None = None) -> Span:
        return Span(type=key[0], start=key[1], end=key[2], score=None if score is None else _score(score))

    entities = [span(key, score) for key, score in found.entities.items()]
    relations = [
        Relation(type=name, head=span(head), tail=span(tail), score=_score(score))
        for (name, head, tail), score in found.relations.items()
    ]
    events = [
        Event(
            type=key[0],
            trigger=span(key, score),
            arguments=tuple(sorted(arguments[key], key=lambda a: (a.start, a.end, a.role))),
            score=_score(score),
        )
        for key, score in found.triggers.items()
    ]
    return Extraction(
        text=text,
        wanted=schema,
        entities=tuple(sorted(entities, key=lambda s: (s.start, -s.end, s.type))),
        relations=tuple(
            sorted(relations, key=lambda r: (r.head.start, r.tail.start, r.type, r.head.type, r.tail.type))
        ),
        events=tuple(sorted(events, key=lambda e: (e.trigger.start, e.trigger.end, e.type))),
        **more,
    )


def _score(value: float) -> float:
    return min(1.0, max(0.0, round(value, 4)))
