"""Readers and writers of annotated texts in the forms of the field; offsets are code points everywhere (docs/data.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from workbench.extract.errors import RecordError
from workbench.extract.formats.aste import read_aste, write_aste
from workbench.extract.formats.brat import read_brat, write_brat
from workbench.extract.formats.conll import read_conll, write_conll
from workbench.extract.formats.spacy_docs import read_spacy, write_spacy
from workbench.extract.formats.spert import read_spert, write_spert
from workbench.extract.formats.tokens import Counts
from workbench.extract.formats.uie import read_uie, read_uie_schema, write_uie
from workbench.extract.records import Document, read_documents, write_documents
from workbench.extract.schema import Schema

FORMATS = ("jsonl", "conll", "spert", "uie", "aste", "brat", "spacy")


def read_annotated(path: str | Path, form: str | None = None, counts: Counts | None = None) -> Iterator[Document]:
    """Annotated texts in any of `FORMATS`.

    Args:
        form: of the file; None: by its name (a folder is brat) and, for .json, .jsonl and .txt, by its first line.
        counts: takes what had to be left out, by reason.

    Raises:
        RecordError: an unknown format, or a file that is not in it.
    """
    path = Path(path)
    form = form or guess(path)
    if form == "jsonl":
        return read_documents(path)
    if form == "conll":
        return read_conll(path)
    if form == "spert":
        return read_spert(path)
    if form == "uie":
        return read_uie(path, counts)
    if form == "aste":
        return read_aste(path, counts)
    if form == "brat":
        return read_brat(path, counts)
    if form == "spacy":
        return read_spacy(path)
    raise RecordError(f"There is no format '{form}': choose one of {', '.join(FORMATS)}.")


def write_annotated(path: str | Path, documents: Iterable[Document], form: str, counts: Counts | None = None) -> None:
    """Write annotated texts; for UIE's folder use `write_uie`, which also wants the schema."""
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
        return "brat"
    ending = path.suffix.lower()
    by_name = {".conll": "conll", ".tsv": "conll", ".iob2": "conll", ".bio": "conll", ".spacy": "spacy", ".ann": "brat"}
    if ending in by_name:
        return by_name[ending]
    if not path.is_file():
        raise RecordError(f"The file '{path}' does not exist: check the path.")
    with path.open("rb") as file:
        start = file.read(2**16)
    first = start.splitlines()[0] if start.strip() else b""
    if first.lstrip().startswith(b"[") and ending == ".json":
        return "spert"
    if first.lstrip().startswith(b"{"):
        return "uie" if b'"tokens"' in start and b'"offset"' in start and b'"start"' not in start else "jsonl"
    return "aste" if b"####" in first else "conll"


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
