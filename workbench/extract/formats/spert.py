"""SpERT JSON: `[{"tokens", "entities": [{"type", "start", "end"}], "relations": [{"type", "head", "tail"}], "orig_id"}]`.

Offsets are token indices, end exclusive; heads and tails are places in the list of entities. Where joining the tokens by spaces does
not give the text, the key `original` keeps it; `not_annotated` names the parts that are, so that an empty list means "none there"
(other readers pass both over). Events have no place: they are read as "not annotated".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from workbench.extract.formats.files import expected, json_value
from workbench.extract.formats.tokens import Counts, leave_out, original, restore, tokens_of
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
            unknown = "entities" in row.get("not_annotated", ())
            yield Document.model_validate(
                {
                    "id": str(row.get("orig_id", number)),
                    "text": tokens.text,
                    "entities": None if unknown else tuple(spans),
                    "relations": None
                    if relations is None
                    else tuple(
                        Relation(type=r["type"], head=spans[r["head"]], tail=spans[r["tail"]]) for r in relations
                    ),
                    "tokens": [list(pair) for pair in tokens.offsets],
                }
            )


def write_spert(path: str | Path, documents: Iterable[Document], counts: Counts | None = None) -> None:
    """Entities and relations.

    An end of a relation that is no entity is added as one. That is counted, as are events, which have no place here, and what
    begins or ends in white space.
    """
    counts = Counts() if counts is None else counts
    rows: list[dict[str, Any]] = []
    for document in documents:
        tokens, places = tokens_of(document), {}
        entities: list[dict[str, Any]] = []
        annotated = {span.key: span for span in document.entities or ()}
        ends = {end.key: end for relation in document.relations or () for end in (relation.head, relation.tail)}
        for span in (annotated | ends).values():
            place = tokens.tokens(span.start, span.end)
            if place is None:
                leave_out(counts, "entities that begin or end in white space", span.key in annotated)
                continue
            added = document.entities is not None and span.key not in annotated
            leave_out(counts, "ends of relations that were no entity and became one", added)
            places[span.key] = len(entities)
            entities.append({"type": span.type, "start": place[0], "end": place[1]})
        row: dict[str, Any] = {"tokens": tokens.words, "entities": entities, "orig_id": document.id}
        if document.entities is None:
            row["not_annotated"] = ["entities"]
        if document.relations is not None:
            row["relations"] = [
                {"type": r.type, "head": places[r.head.key], "tail": places[r.tail.key]}
                for r in document.relations
                if r.head.key in places and r.tail.key in places
            ]
            lost = len(document.relations) - len(row["relations"])
            leave_out(counts, "relations that begin or end in white space", lost)
        kept = original(tokens)
        rows.append(row if kept is None else {**row, "original": kept})
        leave_out(counts, "events, which SpERT JSON has no place for", len(document.events or ()))
    Path(path).write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
