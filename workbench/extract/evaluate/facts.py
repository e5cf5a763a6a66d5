"""What is compared: a document as tuples, and how many tuples of a prediction are right.

The metrics are those of UIE's scorer (universal-ie/UIE, uie/extraction/scorer.py), each by offset and by string:

    entity             (type, span)
    relation strict    (type, head type, head span, tail type, tail span)
    relation boundary  (type, head span, tail span)
    event trigger      (event type, trigger span)
    event argument     (event type, role, argument span); the trigger's place is not compared

Match modes: "normal" matches each gold tuple at most once, "set" compares sets, "multimatch" lets a gold tuple be matched again.
UIE's scorer divides what is right by gold for recall, which in "multimatch" passes 1 where one gold tuple is found twice. Here recall is
the share of gold that is found, in every mode, so that every figure is a fraction; without repeated finds both are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from workbench.extract.errors import ExtractError
from workbench.extract.records import Document

METRICS = (
    ("entity",),
    ("relation", "strict"),
    ("relation", "boundary"),
    ("event", "trigger"),
    ("event", "argument"),
)
SPANS = ("offset", "string")
MODES = ("normal", "set", "multimatch")
Metric = tuple[str, ...]
Fact = tuple[object, ...]  # its first item is the type that it is counted under


class Count(NamedTuple):
    """Tuples that are right, in gold, and predicted.

    Attributes:
        right: predicted tuples that gold has; gold, predicted: how many there are.
        again: how many of the right ones match gold that others match already; more than 0 in the mode "multimatch" alone.
    """

    right: int = 0
    gold: int = 0
    predicted: int = 0
    again: int = 0

    def __add__(self, other: object) -> Count:
        if not isinstance(other, tuple):
            return NotImplemented
        return Count(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def precision(self) -> float:
        return self.right / self.predicted if self.predicted else 0.0

    @property
    def found(self) -> int:
        """Gold tuples that are matched."""
        return self.right - self.again

    @property
    def recall(self) -> float:
        return self.found / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall: 2 right / (gold + predicted) where nothing is matched again."""
        right, found = self.right, self.found
        return 2 * right * found / (right * self.gold + found * self.predicted) if right else 0.0


def facts_of(document: Document, metric: Metric, spans: str) -> list[Fact] | None:
    """The tuples of one metric, or None where that part is not annotated.

    Args:
        metric: one of `METRICS`.
        spans: "offset" or "string": how a span is named.
    """

    def name(start: int, end: int) -> object:
        return (start, end) if spans == "offset" else document.text[start:end]

    if metric == ("entity",):
        entities = document.entities
        return None if entities is None else [(s.type, name(s.start, s.end)) for s in entities]
    if metric[0] == "relation":
        if document.relations is None:
            return None
        strict = metric[1] == "strict"
        return [
            (
                r.type,
                *((r.head.type,) if strict else ()),
                name(r.head.start, r.head.end),
                *((r.tail.type,) if strict else ()),
                name(r.tail.start, r.tail.end),
            )
            for r in document.relations
        ]
    if document.events is None:
        return None
    if metric[1] == "trigger":
        return [(e.type, name(e.trigger.start, e.trigger.end)) for e in document.events]
    return [(e.type, a.role, name(a.start, a.end)) for e in document.events for a in e.arguments]


def check_mode(mode: str) -> None:
    """Refuse what is no match mode.

    Raises:
        ExtractError: there is no such match mode.
    """
    if mode not in MODES:
        raise ExtractError(f"There is no match mode '{mode}': choose one of {', '.join(MODES)}.")


def compare(gold: Iterable[Fact], predicted: Iterable[Fact], mode: str = "normal") -> Mapping[str, Count]:
    """Counts of one text by type (the first item of a fact).

    Raises:
        ExtractError: there is no such match mode.
    """
    check_mode(mode)
    wanted, found = Counter(gold), Counter(predicted)
    if mode == "set":
        wanted, found = Counter(dict.fromkeys(wanted, 1)), Counter(dict.fromkeys(found, 1))
    counts: dict[str, list[int]] = {}
    for fact in wanted.keys() | found.keys():
        row = counts.setdefault(str(fact[0]), [0, 0, 0, 0])
        have, once = found[fact], min(found[fact], wanted[fact])
        again = have - once if mode == "multimatch" and once else 0
        row[0] += once + again
        row[1] += wanted[fact]
        row[2] += have
        row[3] += again
    return {type_: Count(*row) for type_, row in counts.items()}
