"""`--demonstrations` of `workbench extract` and `workbench evaluate`: forms of the file, and files that show nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.extract.fewshot.conftest import row
from tests.extract.fewshot.test_protocol import call

pytestmark = pytest.mark.usefixtures("copies")
OWN = {"id": "1", "text": "Rome is old", "entities": [{"start": 0, "end": 4, "type": "city"}]}
BARE = {"id": "2", "text": "Oslo is cold"}


def written(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return path


@pytest.fixture
def common(tmp_path: Path) -> tuple[object, ...]:
    (tmp_path / "schema.json").write_text('{"entities": ["city"]}')
    (tmp_path / "in.txt").write_text("Oslo beats Rome")
    out = tmp_path / "out.jsonl"
    return ("extract", "--engine", "copies", "--schema", tmp_path / "schema.json", "--input", tmp_path / "in.txt", "--out", out, "--overwrite", "--json")  # fmt: skip


def test_they_are_read_in_any_form(
    common: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forms = {
        "own.jsonl": json.dumps(OWN), "few.json": json.dumps(row("entity_offsets", "Rome is old", ("city", "Rome", [0]))),
        "columns.conll": "Rome B-city\nis O\nold O\n",
        "split.jsonl": "\n".join(json.dumps(each) for each in (OWN, BARE)),
    }  # fmt: skip
    for name, content in forms.items():
        (tmp_path / name).write_text(content + "\n", encoding="utf-8")
        status, out, err = call(capsys, *common, "--demonstrations", tmp_path / name)
        assert status == 0, err
        assert json.loads(out.strip().splitlines()[-1])["entities"] == 1, name
        found = json.loads((tmp_path / "out.jsonl").read_text())
        assert [(s["start"], s["end"], s["type"]) for s in found["entities"]] == [(11, 15, "city")]
        assert ("1 demonstrations without annotated entities left out." in err) == (name == "split.jsonl")


def test_what_shows_nothing_is_one_sentence(
    common: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = row("entity", "Rome is old", ("city", "Oslo", [7]))
    words = {"id": "1", "text": "Rome is old", "entities": [{"text": "Oslo", "type": "city"}]}
    late = {**OWN, "entities": [{"start": 8, "end": 90, "type": "city"}]}
    for rows, said in (
        ((), "hold no text: give texts with marked entities"),
        ((BARE, BARE), "hold 2 texts, none with annotated entities"),
        ((outside,), "Line 1 of 'd.jsonl'"),
        ((words,), "entities.0.start: it is missing"),
        ((late,), "runs from 8 to 90, but the text has 11 characters"),
    ):
        path = written(tmp_path / "d.jsonl", *rows)
        for arguments in (common, ("evaluate", "--engine", "copies", "--data", written(tmp_path / "gold.jsonl", OWN))):
            status, out, err = call(capsys, *arguments, "--demonstrations", path)
            assert status == 1 and said in err and len(err.strip().splitlines()) == 1 and not out, (rows, err)
    assert not (tmp_path / "out.jsonl").exists()
