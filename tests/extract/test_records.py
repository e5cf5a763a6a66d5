"""Annotated texts: what passes through, what is refused on reading because it could not be written."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from workbench.extract.errors import RecordError
from workbench.extract.records import Document, json_form, read_documents


def strict(text: str) -> Any:
    """JSON as strict readers take it: no NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def test_unknown_fields_that_are_null_pass_through_at_every_level() -> None:
    span = {"start": 0, "end": 1, "type": "t", "note": None}
    row = {
        "id": "1",
        "text": "ab",
        "note": None,
        "meta": {"k": None, "list": [None, {"x": None}]},
        "entities": [span],
        "relations": [{"type": "r", "head": span, "tail": span, "by": None}],
        "events": [{"type": "e", "trigger": span, "arguments": [{"role": "a", "start": 0, "end": 1, "by": None}], "by": None}],
    }  # fmt: skip
    assert json.loads(Document.read(row).dumps()) == row


def test_what_is_not_set_is_left_out() -> None:
    row = {"id": "1", "text": "ab", "relations": None, "entities": [{"start": 0, "end": 1, "type": "t", "score": None}]}
    written = json.loads(Document.read(row).dumps())
    assert written == {"id": "1", "text": "ab", "entities": [{"start": 0, "end": 1, "type": "t"}]}


@pytest.mark.parametrize(
    "half",
    [
        '"n": "\\ud800"',
        '"n": {"deep": ["x", "\\udfff"]}',
        '"n": {"\\ud800": 1}',
        '"\\ud800": 1',
        '"id": "\\ud800"',
        '"entities": [{"start": 0, "end": 1, "type": "\\ud800"}]',
        '"entities": [{"start": 0, "end": 1, "type": "t", "by": "\\ud800"}]',
        '"events": [{"type": "e", "trigger": {"start": 0, "end": 1}, "arguments": [{"role": "\\ud800", "start": 0, "end": 1}]}]',
    ],
)
def test_half_a_surrogate_is_refused_with_its_line(tmp_path: Path, half: str) -> None:
    """Python reads it from an escape, and UTF-8 cannot write it."""
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n{"text": "Marie Curie", ' + half + "}\n")
    with pytest.raises(RecordError, match=r"^Line 2 of 'a\.jsonl' .*\.$") as fault:
        list(read_documents(tmp_path / "a.jsonl"))
    str(fault.value).encode()


def test_a_whole_pair_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "n": "\\ud83d\\ude00"}\n')
    (found,) = read_documents(tmp_path / "a.jsonl")
    assert json.loads(found.dumps().encode())["n"] == "\U0001f600"


def test_a_number_of_five_thousand_digits_ends_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n{"text": "a", "n": ' + "9" * 5000 + "}\n")
    with pytest.raises(RecordError, match=r"^Line 2 of 'a\.jsonl' .*digits.*\.$"):
        list(read_documents(tmp_path / "a.jsonl"))


def test_numbers_that_are_none_become_null(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "n": NaN, "m": [1e999, -Infinity, 2.5], "k": {"x": NaN}}\n')
    (found,) = read_documents(tmp_path / "a.jsonl")
    assert strict(found.dumps()) == {"id": "1", "text": "a", "n": None, "m": [None, None, 2.5], "k": {"x": None}}


def test_a_score_that_is_no_number_is_not_taken_as_none() -> None:
    row = {"id": "1", "text": "a", "entities": [{"start": 0, "end": 1, "type": "t", "score": math.nan}]}
    with pytest.raises(RecordError, match="score"):
        Document.read(row)


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (datetime(2024, 2, 29, 13, 5, 0, 250, UTC), "2024-02-29T13:05:00.000250+00:00"),
        (date(2024, 2, 29), "2024-02-29"),
        (timedelta(days=1, seconds=3, microseconds=40), "P1DT3.00004S"),
        (timedelta(seconds=-90), "-P0DT90S"),
        (Decimal("12345678901234567890.10"), "12345678901234567890.10"),
        (b"\x00\xff", "AP8="),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ((1, {"a": Decimal("0.1")}), [1, {"a": "0.1"}]),
        (True, True),
        (None, None),
    ],
)
def test_values_of_tables_as_json(value: object, form: object) -> None:
    assert json_form(value) == form
    assert strict(Document.read({"id": "1", "text": "a", "n": value}).dumps())["n"] == form


def test_a_value_that_json_has_no_place_for_is_refused() -> None:
    with pytest.raises(RecordError, match=r"kind object.*turn it into text\.$"):
        Document.read({"id": "1", "text": "a", "n": object()})
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RecordError, match=r"nested too deeply"):
        Document.read({"id": "1", "text": "a", "n": deep})
