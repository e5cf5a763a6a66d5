"""Texts to extract from, out of any file: lines or whole texts, JSONL, CSV, Parquet, or an annotated form; read one at a time."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from workbench.extract.errors import RecordError
from workbench.extract.formats import guess, is_uie_folder, read_annotated
from workbench.extract.formats.files import MAX_FILE, expected, json_lines, opened, whole
from workbench.extract.formats.files import lines as lines_of
from workbench.extract.records import Document, json_form

OWN = frozenset(Document.model_fields) | {"tokens"}  # names that a column of a table may not take over
TABLES = (".csv", ".tsv", ".parquet")
SOME = 1024  # rows of a Parquet file in memory at once


def read_texts(
    path: str | Path, text_column: str | None = None, lines: bool = False, form: str | None = None
) -> Iterator[Document]:
    """Texts of a file, or of every file of a folder; other columns and keys pass through.

    Args:
        text_column: column or key that holds the text; None: "text".
        lines: a .txt file holds a text a line; else it is one text.
        form: an annotated form to read the file in (`workbench.extract.formats.FORMATS`); None: by its name.

    Raises:
        RecordError: the file is missing, empty, or not what its name says, or a value of it has no place in JSON (`json_form`).
    """
    path = Path(path)
    if path.is_dir() and form is None and not any(path.glob("*.ann")) and not is_uie_folder(path):
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in (".txt", ".jsonl", ".csv", ".parquet"))
        if not files:
            raise RecordError(f"'{path.name}' holds no .txt, .jsonl, .csv or .parquet file: give one with texts.")
        for file in files:
            yield from read_texts(file, text_column, lines)
        return
    if not path.exists():
        raise RecordError(f"The file '{path}' does not exist: check the path.")
    ending = path.suffix.lower()
    if form is not None:
        yield from read_annotated(path, form)
    elif ending == ".parquet":
        yield from _parquet(path, text_column or "text")
    elif ending == ".csv" or (ending == ".tsv" and text_column):
        yield from _csv(path, text_column or "text", "\t" if ending == ".tsv" else ",")
    elif ending in (".jsonl", ".ndjson"):
        yield from _jsonl(path, text_column or "text")
    elif ending == ".txt" and (lines or not _aste(path)):
        yield from _txt(path, lines)
    else:
        yield from read_annotated(path)


def _aste(path: Path) -> bool:
    return guess(path) == "aste"


def _txt(path: Path, lines: bool) -> Iterator[Document]:
    if not lines:
        yield Document.read({"id": path.stem, "text": whole(path)}, f"'{path.name}'")
        return
    for number, line in enumerate(lines_of(path), start=1):
        if line.strip():
            yield Document.read({"id": f"{path.stem}-{number}", "text": line}, f"Line {number} of '{path.name}'")


def _jsonl(path: Path, column: str) -> Iterator[Document]:
    for number, row in enumerate(json_lines(path), start=1):
        where = f"Row {number} of '{path.name}'"
        if not isinstance(row, dict) or not isinstance(row.get(column), str):
            raise RecordError(f"{where} has no text under '{column}': name the key with --text-column.")
        value = {"id": str(number), **row}
        if column != "text":
            value["text"] = value.pop(column)
        yield Document.read(value, where)


def _csv(path: Path, column: str, separator: str) -> Iterator[Document]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with opened(path) as file, expected(path, "a CSV table"):
        try:
            for number, row in enumerate(csv.DictReader(file, delimiter=separator), start=1):
                yield _row(path, column, number, {str(k): v for k, v in row.items() if k is not None})
        except csv.Error as fault:
            raise RecordError(f"'{path.name}' is no CSV table ({fault}): correct it or give JSONL.") from None


def _parquet(path: Path, column: str) -> Iterator[Document]:
    import pyarrow.lib
    import pyarrow.parquet

    if path.stat().st_size > MAX_FILE:
        raise RecordError(f"'{path.name}' has more than {MAX_FILE // 2**30} GB: split it.")
    try:
        file = pyarrow.parquet.ParquetFile(path)
        number = 0
        for batch in file.iter_batches(batch_size=SOME):
            for row in batch.to_pylist():
                number += 1
                yield _row(path, column, number, row)
    except pyarrow.lib.ArrowException:
        raise RecordError(f"'{path.name}' is no whole Parquet file: get it again.") from None
    except (ValueError, OverflowError) as fault:  # a date after the year 9999, text that is not UTF-8
        words = (str(fault) or type(fault).__name__).splitlines()[0][:160].rstrip(".")
        raise RecordError(
            f"'{path.name}' holds a value that cannot be read ({words}): turn that column into text."
        ) from None


def _row(path: Path, column: str, number: int, row: dict[str, object]) -> Document:
    if column not in row:
        names = ", ".join(list(row)[:12]) or "none"
        raise RecordError(
            f"'{path.name}' has no column '{column}' (it has {names}): name the one with the texts by --text-column."
        )
    kept = {key: value for key, value in row.items() if key not in OWN and key != column}
    name = json_form(row.get("id"))
    value = {**kept, "id": str(number if name in (None, "") else name), "text": row[column] or ""}
    return Document.read(value, f"Row {number} of '{path.name}'")
