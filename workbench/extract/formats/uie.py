"""The folder of UIE (Lu et al. 2022; docs/DATASETS.md of its repository): {train,val,test}.json and the four .schema files.

A line of a split holds `tokens`, `entity` and `relation` and `event` with lists of token indices, the structured string `record` and
its parts. `text` is the tokens joined by spaces; where the document's own text differs, the key `original` keeps it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from workbench.extract.errors import RecordError
from workbench.extract.formats.files import expected, json_lines, lines
from workbench.extract.formats.tokens import Counts, Tokens, original, restore, run, tokens_of
from workbench.extract.records import Argument, Document, Event, Relation, Span
from workbench.extract.schema import Schema

SPLITS = {"train": "train", "dev": "val", "val": "val", "test": "test"}
OPEN, CLOSE, COLON = "<extra_id_0>", "<extra_id_1>", "<extra_id_5>"


def read_uie(path: str | Path, counts: Counts | None = None) -> Iterator[Document]:
    """Sentences of one split. A mention with a gap is left out and counted.

    Both spellings of the keys are read: `entity` and, as in the few-shot sets of MetaNER, `entity_offsets`. A key that is
    missing means "not annotated".

    Raises:
        RecordError: a line is not in this form.
    """
    path, counts = Path(path), Counts() if counts is None else counts
    for number, row in enumerate(json_lines(path), start=1):
        place = f"Line {number} of '{path.name}'"
        with expected(path, "in UIE's form", place):
            tokens = restore(row["tokens"], row.get("original"))
            at = _Places(tokens, counts)
            value: dict[str, Any] = {"id": str(row.get("id", f"{path.stem}-{number}")), "text": tokens.text}
            entities = _first(row, "entity", "entity_offsets")
            if entities is not None:
                spans = [at.span(e["offset"], e["type"], "entities") for e in entities]
                value["entities"] = tuple(dict.fromkeys(s for s in spans if s is not None))
            relations = _first(row, "relation", "relation_offsets")
            if relations is not None:
                value["relations"] = tuple(r for r in (_relation(at, each) for each in relations) if r is not None)
            events = _first(row, "event", "event_offsets")
            if events is not None:
                value["events"] = tuple(e for e in (_event(at, each) for each in events) if e is not None)
            value["tokens"] = [list(pair) for pair in tokens.offsets]
            yield Document.model_validate(value)


class _Places:
    """Token index lists of one sentence as characters; gaps are counted."""

    def __init__(self, tokens: Tokens, counts: Counts) -> None:
        self.tokens, self.counts = tokens, counts

    def chars(self, indices: list[int], what: str) -> tuple[int, int] | None:
        whole = run(indices)
        if whole is None:
            self.counts[f"{what} with a discontinuous mention"] += 1
            return None
        return self.tokens.chars(*whole)

    def span(self, indices: list[int], type_: str, what: str) -> Span | None:
        place = self.chars(indices, what)
        return None if place is None else Span(start=place[0], end=place[1], type=type_)


def _relation(at: _Places, row: Mapping[str, Any]) -> Relation | None:
    head, tail = (at.span(arg["offset"], arg["type"], "relations") for arg in row["args"])
    return None if head is None or tail is None else Relation(type=row["type"], head=head, tail=tail)


def _event(at: _Places, row: Mapping[str, Any]) -> Event | None:
    trigger = at.span(row["offset"], row["type"], "events")
    if trigger is None:
        return None
    places = [(arg["type"], at.chars(arg["offset"], "arguments")) for arg in row["args"]]
    arguments = tuple(Argument(role=role, start=p[0], end=p[1]) for role, p in places if p is not None)
    return Event(type=row["type"], trigger=trigger, arguments=arguments)


def _first(row: Mapping[str, Any], *keys: str) -> Any:
    return next((row[key] for key in keys if key in row), None)


def read_uie_schema(folder: str | Path) -> Schema:
    """The schema of a UIE folder: from entity.schema, relation.schema and event.schema (spots, asocs, spot -> asocs).

    A relation may stand between all entity types, because the files do not say more about its tail.

    Raises:
        RecordError: a file is not in this form. SchemaError: the schema is empty.
    """
    folder = Path(folder)

    def three(name: str) -> tuple[list[str], list[str], dict[str, list[str]]]:
        path = folder / f"{name}.schema"
        if not path.is_file():
            return [], [], {}
        with expected(path, "a schema of three JSON lines"):
            spots, asocs, both = (json.loads(line) for line in list(lines(path))[:3])
            return list(spots), list(asocs), dict(both)

    entities, relations, events = three("entity"), three("relation"), three("event")
    if not (entities[0] or events[0]):
        entities = three("record")
    heads = {name: [spot for spot, asocs in relations[2].items() if name in asocs] for name in relations[1]}
    return Schema.read(
        {
            "entities": list(dict.fromkeys([*entities[0], *relations[0]])),
            "relations": {name: {"head": heads[name], "tail": []} for name in relations[1]},
            "events": {spot: events[2].get(spot, []) for spot in events[0]},
        }
    )


def write_uie(
    folder: str | Path, splits: Mapping[str, Iterable[Document]], schema: Schema, counts: Counts | None = None
) -> None:
    """Write a UIE folder.

    Args:
        splits: documents of "train", "dev" (written as val.json) and "test".
        schema: goes into the four .schema files.
        counts: takes how many mentions begin or end in white space and are left out.

    Raises:
        RecordError: another split was named.
    """
    folder, counts = Path(folder), Counts() if counts is None else counts
    folder.mkdir(parents=True, exist_ok=True)
    for split, documents in splits.items():
        if split not in SPLITS:
            raise RecordError(f"A UIE folder holds train, dev and test, not '{split}'.")
        with (folder / f"{SPLITS[split]}.json").open("w", encoding="utf-8", newline="\n") as file:
            for document in documents:
                file.write(json.dumps(_row(document, counts), ensure_ascii=False) + "\n")
    whole = schema.expanded()
    spots = [label.name for label in whole.entities]
    of_spot = {s: [n for n, rule in whole.relations.items() if not rule.head or s in rule.head] for s in spots}
    relation = (spots, list(whole.relations), of_spot)
    roles = list(dict.fromkeys(role for each in whole.events.values() for role in each))
    event = (list(whole.events), roles, {name: list(each) for name, each in whole.events.items()})
    record = (list(dict.fromkeys(spots + event[0])), list(dict.fromkeys(relation[1] + roles)), {**of_spot, **event[2]})
    none: dict[str, list[str]] = {spot: [] for spot in spots}
    for name, parts in {"entity": (spots, [], none), "relation": relation, "event": event, "record": record}.items():
        text = "".join(json.dumps(part, ensure_ascii=False) + "\n" for part in parts)
        (folder / f"{name}.schema").write_text(text, encoding="utf-8", newline="\n")


def _row(document: Document, counts: Counts) -> dict[str, Any]:
    tokens = tokens_of(document)

    def place(start: int, end: int, what: str) -> dict[str, Any] | None:
        found = tokens.tokens(start, end)
        if found is None:
            counts[f"{what} that begin or end in white space"] += 1
            return None
        return {"offset": list(range(*found)), "text": " ".join(tokens.words[slice(*found)])}

    def mention(span: Span, what: str) -> dict[str, Any] | None:
        found = place(span.start, span.end, what)
        return None if found is None else {"type": span.type, **found}

    row: dict[str, Any] = {"id": document.id, "text": " ".join(tokens.words), "tokens": tokens.words}
    if document.entities is not None:
        row["entity"] = [m for m in (mention(s, "entities") for s in document.entities) if m]
    if document.relations is not None:
        pairs = [(r.type, mention(r.head, "relations"), mention(r.tail, "relations")) for r in document.relations]
        row["relation"] = [{"type": name, "args": [head, tail]} for name, head, tail in pairs if head and tail]
    if document.events is not None:
        row["event"] = []
        for event in document.events:
            trigger = mention(event.trigger, "events")
            fillers = [(a.role, place(a.start, a.end, "arguments")) for a in event.arguments]
            if trigger:
                arguments = [{"type": role, **filler} for role, filler in fillers if filler]
                row["event"].append({**trigger, "type": event.type, "args": arguments})
    spots = spot_asoc(row)
    row["spot"] = sorted({spot["label"] for spot in spots})
    row["asoc"] = sorted({label for spot in spots for label, _ in spot["asoc"]})
    row["spot_asoc"], row["record"] = spots, sel(spots)
    kept = original(tokens)
    return row if kept is None else {**row, "original": kept}


def spot_asoc(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Spots in order of (token indices, label), each with its associations in order of the tail (UIE, text2spotasoc.py)."""
    spots: dict[tuple[tuple[int, ...], str], tuple[str, list[tuple[tuple[int, ...], str, str]]]] = {}

    def spot(mention: Mapping[str, Any]) -> list[tuple[tuple[int, ...], str, str]]:
        key = tuple(mention["offset"]), mention["type"]
        return spots.setdefault(key, (mention["text"], []))[1]

    for entity in row.get("entity", ()):
        spot(entity)
    for relation in row.get("relation", ()):
        head, tail = relation["args"]
        spot(head).append((tuple(tail["offset"]), relation["type"], tail["text"]))
    for event in row.get("event", ()):
        spot(event).extend((tuple(arg["offset"]), arg["type"], arg["text"]) for arg in event["args"])
    return [
        {"span": text, "label": label, "asoc": [[name, tail] for _, name, tail in sorted(asocs)]}
        for (_, label), (text, asocs) in sorted(spots.items(), key=lambda item: item[0])
    ]


def sel(spots: Iterable[Mapping[str, Any]]) -> str:
    """The structured string of a sentence (UIE, `convert_spot_asoc`): pieces joined by one space."""
    records = []
    for spot in spots:
        asocs = [" ".join([OPEN, label, COLON, span, CLOSE]) for label, span in spot["asoc"]]
        records.append(" ".join([OPEN, spot["label"], COLON, spot["span"], *asocs, CLOSE]))
    return " ".join([OPEN, " ".join(records), CLOSE])
