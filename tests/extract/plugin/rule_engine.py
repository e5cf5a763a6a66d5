"""A deterministic engine for tests of pages and commands: what it finds can be said in advance.

It is found as any plug-in is: this folder on the path is an installed package with an entry point.
Capitalised words are entities of the first type (score .9), numbers of the last (.4), the whole run of two capitalised words is one
nested span more (.7). Two entities next to each other have every relation (.6). The word "fire" triggers every event (.8), its
first role filled by the first entity (.55). A text with "SLOW" takes a fifth of a second, one with "BREAK" is an error.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from workbench.extract.engines import EngineSpec
from workbench.extract.errors import EngineError
from workbench.extract.extraction import Attention, Evidence, Extraction, Link, Place, Step
from workbench.extract.records import Argument, Document, Event, Relation, Span
from workbench.extract.schema import Schema


class Rules:
    name, model, device = "rules", "rules", "cpu"

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.calls = 0

    def extract(
        self,
        texts: Sequence[str],
        schema: Schema | Mapping[str, Any],
        demonstrations: Sequence[Document] = (),
        *,
        batch_size: int = 8,
        progress: Callable[[int], None] | None = None,
        stopped: Callable[[], bool] | None = None,
    ) -> list[Extraction]:
        wanted = Schema.read(schema).expanded()
        found = []
        for at in range(0, len(texts), batch_size):
            if stopped is not None and stopped():
                break
            for text in texts[at : at + batch_size]:
                if "BREAK" in text:
                    raise EngineError("This text breaks the engine of the tests.")
                time.sleep(self.delay + ("SLOW" in text) * 0.2)
                found.append(one(text, wanted))
            if progress is not None:
                progress(len(found))
        self.calls += 1
        return found

    def explain(
        self,
        text: str,
        schema: Schema | Mapping[str, Any],
        item: Span | Relation | Event,
        demonstrations: Sequence[Document] = (),
        *,
        layer: int | None = None,
        heads: Sequence[int] | None = None,
    ) -> Evidence:
        first = item if isinstance(item, Span) else item.head if isinstance(item, Relation) else item.trigger
        label, token = (
            Place(kind="label", piece=item.type),
            Place(kind="text", piece=text[first.start : first.end], start=first.start, end=first.end),
        )
        return Evidence(
            item=item,
            links=(Link(type="L2H", source=label, target=token, score=2.0), Link(type="L2T", source=label, target=token, score=1.5)),
            attention=Attention(
                layer=1 if layer is None else layer, heads=(0, 1), rows=(token,), columns=(label, token),
                weights=(((0.25, 0.75),), ((0.5, 0.5),)), layers=2, heads_in_all=2,
            ),
            steps=(Step(piece="<open>", probability=0.9, allowed=2, state="start"),),
        )  # fmt: skip


def one(text: str, wanted: Schema) -> Extraction:
    types = [label.name for label in wanted.entities]
    spans = []
    if types:
        words = [m.span() for m in re.finditer(r"\b[A-ZÀ-Þ]\w*", text)]
        spans = [Span(start=s, end=e, type=types[0], score=0.9) for s, e in words]
        pairs = [m.span() for m in re.finditer(r"\b[A-Z]\w* [A-Z]\w*", text)]
        spans += [Span(start=s, end=e, type=types[0], score=0.7) for s, e in pairs]
        spans += [Span(start=m.start(), end=m.end(), type=types[-1], score=0.4) for m in re.finditer(r"\d+", text)]
    ordered = sorted(spans, key=lambda s: s.start)
    near = [(a, b) for a, b in pairwise(ordered) if a.end <= b.start]
    relations = [Relation(type=name, head=a, tail=b, score=0.6) for name in wanted.relations for a, b in near]
    events = []
    for name, roles in wanted.events.items():
        for m in re.finditer("fire", text):
            filled = (
                [Argument(role=roles[0], start=ordered[0].start, end=ordered[0].end, score=0.55)]
                if roles and ordered
                else []
            )
            trigger = Span(start=m.start(), end=m.end(), type=name)
            events.append(Event(type=name, trigger=trigger, arguments=tuple(filled), score=0.8))
    return Extraction(
        text=text,
        wanted=wanted,
        entities=tuple(spans),
        relations=tuple(relations),
        events=tuple(events),
        notes=("Rules.",),
    )


def load(model: str | None = None, delay: float = 0.0, **_: Any) -> Rules:
    return Rules(delay)


SPEC = EngineSpec(
    name="rules",
    title="Rules",
    about="Capitalised words, numbers and fires.",
    load=load,
    demonstrations=True,
    evidence=("links", "attention", "steps"),
)
