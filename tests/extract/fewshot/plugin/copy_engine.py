"""A deterministic engine that learns in context, for tests: it finds again, as whole words, what the demonstrations mark.

The score of a span is the share of the demonstrations with that string in their text that mark it so, less .001 for each that comes before
the first of them: so order, number and every single demonstration matter. Attention goes to the demonstrations that marked the string.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workbench.extract.engines import EngineSpec
from workbench.extract.extraction import Attention, Evidence, Extraction, Place
from workbench.extract.records import Document, Event, Relation, Span
from workbench.extract.schema import Schema


class Copies:
    name, model, device = "copies", "copies", "cpu"
    delay = 0.0

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
                time.sleep(self.delay)
                found.append(
                    Extraction(
                        text=text, wanted=wanted, entities=tuple(spans_of(text, wanted, demonstrations)), floor=0.0
                    )
                )
            if progress is not None:
                progress(len(found))
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
        assert isinstance(item, Span)
        words = text[item.start : item.end]
        row = Place(kind="text", piece=words, start=item.start, end=item.end)
        label = Place(kind="label", piece=item.type)
        columns = [
            Place(kind="demonstration", piece=d.text[:9], start=0, end=9, document=n)
            for n, d in enumerate(demonstrations)
        ]
        raw = [1.0 if (words, item.type) in marked(d) else 0.0 for d in demonstrations]
        shares = [0.8 * each / (sum(raw) or 1.0) for each in raw]
        weights = (*shares, 1.0 - sum(shares))
        return Evidence(
            item=item,
            attention=Attention(
                layer=0, heads=(0,), rows=(row,), columns=(*columns, label), weights=((weights,),), layers=1, heads_in_all=1
            ),
        )  # fmt: skip


def marked(document: Document) -> set[tuple[str, str]]:
    return {(document.text[s.start : s.end], s.type) for s in document.entities or ()}


def spans_of(text: str, wanted: Schema, shots: Sequence[Document]) -> list[Span]:
    types = {label.name for label in wanted.entities}
    found = []
    for words, type_ in dict.fromkeys(pair for shot in shots for pair in sorted(marked(shot)) if pair[1] in types):
        holding = [shot for shot in shots if words in shot.text]
        having = [n for n, shot in enumerate(shots) if (words, type_) in marked(shot)]
        score = max(0.0, round(len(having) / len(holding) - 0.001 * having[0], 4))
        for match in re.finditer(rf"(?<!\w){re.escape(words)}(?!\w)", text):
            found.append(Span(start=match.start(), end=match.end(), type=type_, score=score))
    return found


def load(model: str | None = None, **_: Any) -> Copies:
    return Copies()


SPEC = EngineSpec(
    name="copies", title="Copies", about="Finds again what the examples mark.", load=load, demonstrations=True, evidence=("attention",),
    kinds=("entities",),
)  # fmt: skip
