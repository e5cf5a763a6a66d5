"""SpERT JSON: `[{"tokens", "entities": [{"type", "start", "end"}], "relations": [{"type", "head", "tail"}], "orig_id"}]`.

Offsets are token indices, end exclusive; heads and tails are places in the list of entities. Where joining the tokens by spaces does
not give the text, the key `original` keeps it (other readers pass it over).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from workbench.extract.formats.files import expected, json_value
from workbench.extract.formats.tokens import Counts, original, restore, tokens_of
from workbench.extract.records import Document, Relation, Span


def read_spert(path: str | Path) -> Iterator[Document]:
    """Sentences with entities and relations.

    Raises:
        RecordError: the file is not in this form.
    """
    path = Path(path)
    for number, row in enumerate(json_value(path), start=1):
        with expected(path, "SpERT JSON", f"Sentence {number} of '{path.name}'"):
            tokens = restore(row["tokens"], row.get("original"))
            spans = []
            for entity in row["entities"]:
                start, end = tokens.chars(entity["start"], entity["end"])
                spans.append(Span(start=start, end=end, type=entity["type"]))
            relations = row.get("relations")
            yield Document.model_validate(
                {
                    "id": str(row.get("orig_id", number)),
                    "text": tokens.text,
                    "entities": tuple(spans),
                    "relations": None
                    if relations is None
                    else tuple(
                        Relation(type=r["type"], head=spans[r["head"]], tail=spans[r["tail"]]) for r in relations
                    ),
                    "tokens": [list(pair) for pair in tokens.offsets],
                }
            )


def write_spert(path: str | Path, documents: Iterable[Document], counts: Counts | None = None) -> None:
    """Entities and relations; an end of a relation that is no entity is added as one. Events have no place here and are counted."""
    counts = Counts() if counts is None else counts
    rows: list[dict[str, Any]] = []
    for document in documents:
        tokens, places = tokens_of(document), {}
        entities: list[dict[str, Any]] = []
        ends = [end for relation in document.relations or () for end in (relation.head, relation.tail)]
        for span in [*(document.entities or ()), *ends]:
            if span.key in places:
                continue
            place = tokens.tokens(span.start, span.end)
            if place is None:
                counts["entities that begin or end in white space"] += 1
                continue
            places[span.key] = len(entities)
            entities.append({"type": span.type, "start": place[0], "end": place[1]})
        row: dict[str, Any] = {"tokens": tokens.words, "entities": entities, "orig_id": document.id}
        if document.relations is not None:
            row["relations"] = [
                {"type": r.type, "head": places[r.head.key], "tail": places[r.tail.key]}
                for r in document.relations
                if r.head.key in places and r.tail.key in places
            ]
        kept = original(tokens)
        rows.append(row if kept is None else {**row, "original": kept})
        if document.events:
            counts["events, which SpERT JSON has no place for"] += len(document.events)
    Path(path).write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
