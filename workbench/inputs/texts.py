"""Texts and rows of tables: txt, jsonl, csv and parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from workbench.capture.errors import reason
from workbench.inputs.documents import InputError, InputOptions
from workbench.inputs.files import Source

Row = tuple[str, dict[str, Any]]  # where it stands ("line 3"), and its fields


def read_text(source: Source) -> str:
    """The whole of a UTF-8 file, without a byte-order mark and with plain line ends.

    Raises:
        InputError: if it is not UTF-8, or is empty.
    """
    try:
        text = source.path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise InputError(
            f"'{source.path}' is not UTF-8 text (byte {fault.start}): save it as UTF-8, or leave it out if it is no text."
        ) from fault
    if "\x00" in text:
        raise InputError(
            f"'{source.path}' holds zero bytes and is no text: leave it out, or give it the suffix of its kind."
        )
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise InputError(
            f"'{source.path}' is an empty text, which has no token to route: put words into it or leave it out."
        )
    return text


def read_rows(source: Source, options: InputOptions) -> Iterator[Row]:
    """Rows of a jsonl, csv or parquet file as dictionaries.

    Raises:
        InputError: naming the file and the row.
    """
    if source.kind == "jsonl":
        return _json_rows(source)
    if source.kind == "csv":
        return _csv_rows(source)
    return _parquet_rows(source, options)


def has_text_column(source: Source) -> bool:
    """Whether the head of a csv has a column called "text"."""
    return "text" in (next(csv.reader(io.StringIO(read_text(source)), _dialect(source)), []))


def text_of(row: dict[str, Any], where: str, source: Source, column: str) -> str:
    """The text of a row; raises InputError if the column is missing, no text, or empty."""
    if column not in row:
        raise InputError(
            f"'{source.path}' has no column '{column}' ({where} has {_names(row)}): name the column of the text with --text-column."
        )
    value = row[column]
    if not isinstance(value, str):
        raise InputError(
            f"Column '{column}' of '{source.path}' should hold text, but {where} holds a {type(value).__name__}: choose another --text-column."
        )
    if not value.strip():
        raise InputError(f"'{source.path}' has an empty text in {where}: take that row out.")
    return value


def value_of(row: dict[str, Any], where: str, source: Source, column: str) -> str:
    """The value of a grouping column as a name."""
    if column not in row:
        raise InputError(
            f"'{source.path}' has no column '{column}' to group by ({where} has {_names(row)}): check --group-by."
        )
    value = row[column]
    return "none" if value is None or str(value).strip() == "" else str(value)


def _names(row: dict[str, Any]) -> str:
    names = [str(name) for name in list(row)[:12]]
    return ", ".join(names) if names else "no columns"


def _json_rows(source: Source) -> Iterator[Row]:
    for number, line in enumerate(read_text(source).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as fault:
            raise InputError(
                f"Line {number} of '{source.path}' is no JSON ({reason(fault)}): a jsonl file has one object a line."
            ) from fault
        if not isinstance(row, dict):
            raise InputError(
                f"Line {number} of '{source.path}' should be a JSON object, but is a {type(row).__name__}."
            )
        yield f"line {number}", row


def _dialect(source: Source) -> type[csv.Dialect]:
    return csv.excel_tab if source.path.suffix.lower() == ".tsv" else csv.excel


def _csv_rows(source: Source) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.DictReader(io.StringIO(read_text(source)), dialect=_dialect(source))
    try:
        for number, row in enumerate(reader, start=1):
            yield f"row {number}", {str(name): value for name, value in row.items() if name is not None}
    except csv.Error as fault:
        raise InputError(
            f"'{source.path}' cannot be read as csv ({reason(fault)}): save it again with quoted fields."
        ) from fault


def _parquet_rows(source: Source, options: InputOptions) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(source.path)
        names = file.schema_arrow.names
        wanted = [options.text_column or "text", "id", "group", "messages", options.column]
        columns = [name for name in names if name in wanted]
        if not {options.text_column or "text", "messages"} & set(columns):
            columns = names[:12]  # for the sentence about the missing column
        number = 0
        for batch in file.iter_batches(batch_size=1024, columns=columns):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row
    except (pa.ArrowInvalid, pa.ArrowException, OSError) as fault:
        raise InputError(f"'{source.path}' cannot be read as parquet ({reason(fault)}): write it again.") from fault
