"""Texts out of files: what the other columns of a table become."""

from __future__ import annotations

import base64
import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from workbench.extract.errors import RecordError
from workbench.extract.records import read_documents, write_documents
from workbench.extract.texts import read_texts


def table(path: Path, **columns: Any) -> Path:
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


def through(path: Path, **options: Any) -> list[dict[str, Any]]:
    """The rows of a file, read, written and read by a strict reader."""
    out = path.with_suffix(".out")
    write_documents(out, read_texts(path, **options))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return [json.loads(line, parse_constant=refuse) for line in out.read_text(encoding="utf-8").splitlines()]


def test_columns_of_any_kind_go_through(tmp_path: Path) -> None:
    when = datetime(2024, 2, 29, 13, 5, tzinfo=UTC)
    price = Decimal("12345678901234567.89")
    path = table(
        tmp_path / "a.parquet",
        text=["one", "two"],
        at=pa.array([when, None], pa.timestamp("us", tz="UTC")),
        fine=pa.array([1, None], pa.timestamp("ns")),
        day=[when.date(), None],
        price=[price, None],
        raw=[b"\xff\x00", None],
        ratio=[math.nan, 0.5],
        nested=[{"when": [when.date()], "x": math.inf}, None],
    )
    first, second = through(path)
    assert datetime.fromisoformat(first["at"]) == when
    assert date.fromisoformat(first["day"]) == when.date()
    assert first["fine"] == "1970-01-01T00:00:00.000000001"
    assert Decimal(first["price"]) == price
    assert base64.b64decode(first["raw"]) == b"\xff\x00"
    assert (first["ratio"], second["ratio"]) == (None, 0.5)
    assert first["nested"] == {"when": ["2024-02-29"], "x": None}
    assert second == {"text": "two", "id": "2", "ratio": 0.5} | dict.fromkeys(("at", "fine", "day", "price", "raw", "nested"))  # fmt: skip
    assert [d.text for d in read_documents(path.with_suffix(".out"))] == ["one", "two"]


def test_ids_of_a_table(tmp_path: Path) -> None:
    """Zero is an id; what is empty or no number is not."""
    path = table(tmp_path / "a.parquet", text=["a", "b"], id=[0, 1])
    assert [row["id"] for row in through(path)] == ["0", "1"]
    path = table(tmp_path / "b.parquet", text=["a", "b", "c"], id=[math.nan, None, 7.0])
    assert [row["id"] for row in through(path)] == ["1", "2", "7.0"]
    path = table(tmp_path / "c.parquet", text=["a"], id=[date(2024, 2, 29)])
    assert [row["id"] for row in through(path)] == ["2024-02-29"]


def test_a_text_of_bytes_is_read_as_utf_8(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", text=["né".encode()])
    assert [row["text"] for row in through(path)] == ["né"]


@pytest.mark.parametrize(
    "column", [pa.array([3_000_000], pa.date32()), pa.array([2**48], pa.timestamp("s")), pa.array([b"\xff"]).view(pa.string())]
)  # fmt: skip
def test_a_value_that_python_cannot_hold_ends_in_a_sentence(tmp_path: Path, column: pa.Array) -> None:
    path = table(tmp_path / "a.parquet", text=["a"], odd=column)
    with pytest.raises(RecordError, match=r"^'a\.parquet' .*\.$"):
        list(read_texts(path))


def test_a_number_of_five_thousand_digits_ends_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "n": ' + "9" * 5000 + "}\n")
    with pytest.raises(RecordError, match=r"^Line 1 of 'a\.jsonl' .*digits.*\.$"):
        list(read_texts(tmp_path / "a.jsonl"))


def test_a_short_row_of_a_csv_keeps_its_missing_column_as_null(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,lang\nfine,en\nshort\n")
    assert [row["lang"] for row in through(tmp_path / "a.csv")] == ["en", None]
