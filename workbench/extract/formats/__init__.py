"""Readers and writers of annotated texts in the forms of the field; offsets are code points everywhere (docs/data.md)."""

from __future__ import annotations

import json
from codecs import BOM_UTF8 as BOM
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from workbench.extract.errors import RecordError
from workbench.extract.formats.aste import read_aste, write_aste
from workbench.extract.formats.brat import read_brat, write_brat
from workbench.extract.formats.conll import read_conll, write_conll
from workbench.extract.formats.spacy_docs import read_spacy, write_spacy
from workbench.extract.formats.spert import read_spert, write_spert
from workbench.extract.formats.tokens import Counts
from workbench.extract.formats.uie import SPLITS as UIE_PARTS
from workbench.extract.formats.uie import read_uie, read_uie_schema, write_uie
from workbench.extract.records import Document, read_documents, write_documents
from workbench.extract.schema import Schema

UIE_KEYS = frozenset(
    ("entity", "relation", "event", "entity_offsets", "relation_offsets", "event_offsets", "spot_asoc")
)
FORMATS = ("jsonl", "conll", "spert", "uie", "aste", "brat", "spacy")


def read_annotated(
    path: str | Path, form: str | None = None, counts: Counts | None = None, split: str | None = None
) -> Iterator[Document]:
    """Annotated texts in any of `FORMATS`.

    Args:
        form: of the file; None: by its name (a folder is UIE's or brat's) and, for .json, .jsonl and .txt, by its first line.
        counts: takes what had to be left out, by reason.
        split: train, dev or test of a UIE folder; None: every part that is there.

    Raises:
        RecordError: an unknown format, a file that is not in it, or an empty one whose form is not named.
    """
    path = Path(path)
    if form is None and path.is_file() and not _start(path):
        raise RecordError(f"'{path.name}' is empty: give a file with at least one annotated text.")
    form = form or guess(path)
    if form == "jsonl":
        return read_documents(path)
    if form == "conll":
        return read_conll(path)
    if form == "spert":
        return read_spert(path)
    if form == "uie":
        return _uie(uie_parts(path, split) if path.is_dir() else [path], counts)
    if form == "aste":
        return read_aste(path, counts)
    if form == "brat":
        return read_brat(path, counts)
    if form == "spacy":
        return read_spacy(path)
    raise RecordError(f"There is no format '{form}': choose one of {', '.join(FORMATS)}.")


def write_annotated(path: str | Path, documents: Iterable[Document], form: str, counts: Counts | None = None) -> None:
    """Write annotated texts; for UIE's folder use `write_uie`, which also wants the schema.

    Args:
        counts: takes what the form has no place for, by reason.

    Raises:
        RecordError: an unknown format.
    """
    writers = {"conll": write_conll, "spert": write_spert, "aste": write_aste, "brat": write_brat, "spacy": write_spacy}
    if form == "jsonl":
        write_documents(path, documents)
    elif form in writers:
        writers[form](path, documents, counts)
    else:
        raise RecordError(f"Annotated texts cannot be written as '{form}': choose one of jsonl, {', '.join(writers)}.")


def guess(path: Path) -> str:
    """The format of a file, by name and first line."""
    if path.is_dir():
        return "uie" if is_uie_folder(path) else "brat"
    ending = path.suffix.lower()
    by_name = {".conll": "conll", ".tsv": "conll", ".iob2": "conll", ".bio": "conll", ".spacy": "spacy", ".ann": "brat"}
    if ending in by_name:
        return by_name[ending]
    if not path.is_file():
        raise RecordError(f"The file '{path}' does not exist: check the path.")
    first = (_start(path).splitlines() or [b""])[0]
    if first.startswith(b"[") and ending == ".json":
        return "spert"
    if first.startswith(b"{") or ending in (".jsonl", ".ndjson"):
        return "uie" if _uie_row(first) else "jsonl"
    return "aste" if b"####" in first else "conll"


def _start(path: Path) -> bytes:
    """The first 64 KB of a file, from the first that is no white space; nothing for a file that holds no more than that."""
    with path.open("rb") as file:
        start = file.read(2**16).removeprefix(BOM).lstrip()
        while not start and (more := file.read(2**16)):
            start = more.lstrip()
    return start


def _uie_row(line: bytes) -> bool:
    """Whether a JSON line has the keys of UIE; one that is longer than what was read is looked at as it stands."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return b'"tokens"' in line and b'"offset"' in line and b'"start"' not in line
    return isinstance(row, dict) and "tokens" in row and any(key in row for key in UIE_KEYS)


def is_uie_folder(path: Path) -> bool:
    """Whether a folder holds a part of a UIE set beside its schema files."""
    return any(path.glob("*.schema")) and any((path / f"{name}.json").is_file() for name in UIE_PARTS.values())


def uie_parts(folder: Path, split: str | None) -> list[Path]:
    """Files of a UIE folder.

    Args:
        split: train, dev (val.json) or test; None: every part that is there.

    Raises:
        RecordError: there is none.
    """
    if split is not None and split not in UIE_PARTS:
        raise RecordError(f"A UIE folder holds train, dev and test, not '{split}'.")
    named = dict.fromkeys(UIE_PARTS.values()) if split is None else (UIE_PARTS[split],)
    found = [path for name in named if (path := folder / f"{name}.json").is_file()]
    if not found:
        what = "train.json, val.json or test.json" if split is None else f"{UIE_PARTS[split]}.json"
        raise RecordError(f"'{folder.name}' holds no {what}: expected a UIE folder, or the path of one of its files.")
    return found


def _uie(paths: Sequence[Path], counts: Counts | None) -> Iterator[Document]:
    for path in paths:
        yield from read_uie(path, counts)


def schema_of(documents: Iterable[Document]) -> Schema:
    """The schema that annotated texts use: types of entities, relations with the types at their ends, events with their roles.

    Raises:
        SchemaError: nothing is annotated.
    """
    entities: dict[str, None] = {}
    relations: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    events: dict[str, dict[str, None]] = {}
    for document in documents:
        entities.update((span.type, None) for span in document.entities or () if span.type)
        for relation in document.relations or ():
            heads, tails = relations.setdefault(relation.type, ({}, {}))
            for side, end in ((heads, relation.head), (tails, relation.tail)):
                if end.type:
                    side[end.type] = None
                    entities[end.type] = None
        for event in document.events or ():
            events.setdefault(event.type, {}).update((argument.role, None) for argument in event.arguments)
    return Schema.read(
        {
            "entities": sorted(entities),
            "relations": {n: {"head": sorted(h), "tail": sorted(t)} for n, (h, t) in sorted(relations.items())},
            "events": {name: sorted(roles) for name, roles in sorted(events.items())},
        }
    )


__all__ = [
    "FORMATS", "Counts", "guess", "read_annotated", "read_aste", "read_brat", "read_conll", "read_spacy", "read_spert", "read_uie",
    "read_uie_schema", "schema_of", "write_annotated", "write_aste", "write_brat", "write_conll", "write_spacy", "write_spert",
    "write_uie",
]  # fmt: skip
