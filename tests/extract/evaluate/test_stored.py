"""Evaluations that are kept with the project: made, written, read, and the same as when they were measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.extract import ExtractError, load_engine
from workbench.extract.evaluate import evaluate, stored
from workbench.extract.evaluate.published import PUBLISHED
from workbench.extract.evaluate.stored import OURS, main, measure, read_stored, stored_evaluations
from workbench.extract.records import Document, Relation, Span, read_documents
from workbench.extract.schema import Schema

TEXT = "Ada met Bo 7 times"


def texts(name: str, root: Path, split: str, counts: Any = None) -> list[Document]:
    """Two texts of any set: one that the rules of the tests find, one that they do not."""
    assert split == "test"
    ada, bo = Span(start=0, end=3, type="person"), Span(start=8, end=10, type="person")
    right = Document(id="1", text=TEXT, entities=(ada, bo), relations=(Relation(type="met", head=ada, tail=bo),))
    return [right, Document(id="2", text="nothing here", entities=(Span(start=0, end=7, type="person"),), relations=())]


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "load_data", texts)


def test_what_was_measured_is_what_is_read(rule_engine: None, sets: None, tmp_path: Path) -> None:
    out = tmp_path / "rules.json"
    arguments = ["--engine", "rules", "--data-root", str(tmp_path), "--data", "conll04", "ncbi_disease", "--texts", "1", "--out", str(out)]  # fmt: skip
    assert main(arguments) == 0
    assert stored_evaluations(tmp_path) == [out]
    found = read_stored(out)
    documents = texts("conll04", tmp_path, "test")
    truth = evaluate(load_engine("rules"), documents, Schema.read({"entities": ["person"], "relations": {"met": {}}}))
    by = {(figure.data, figure.what): figure for figure in found.figures}
    assert set(by) == {("conll04", "entity"), ("conll04", "relation strict"), ("ncbi_disease", "entity")}
    entity = by["conll04", "entity"]
    assert entity.f1 == truth.scores[("entity",), "offset"].count.f1 and entity.whole and entity.texts == 2
    assert (entity.low, entity.high) == truth.scores[("entity",), "offset"].interval
    stated = by["conll04", "relation strict"].published
    assert list(stated.values()) == [each.f1 for each in PUBLISHED["conll04"]]
    assert all(f"{each.parameters} M" in model for each, model in zip(PUBLISHED["conll04"], stated, strict=True))
    assert not by["conll04", "entity"].published, "papers state relations"
    ours, free = found.parts
    assert ours.name == OURS and free.name.startswith("ncbi_disease") and len(free.gold) == 1
    assert "conll04" not in {part.name.split(",")[0] for part in found.parts}, (
        "its licence keeps its texts from being passed on"
    )
    gold = [d for path in sorted(stored.READY.glob("*.texts.jsonl")) for d in read_documents(path)]
    assert [d.text for d in ours.gold] == [d.text for d in gold]
    assert ours.evaluation().scores[("entity",), "offset"].count.gold == sum(len(d.entities or ()) for d in ours.gold)


def test_a_piece_of_a_part_has_no_published_figure_beside_it(rule_engine: None, sets: None, tmp_path: Path) -> None:
    made = measure(load_engine("rules"), tmp_path, 1, 1, ["conll04"])
    assert [figure.whole for figure in made.figures] == [False, False]
    assert not any(figure.published for figure in made.figures)
    assert made.to_json()["first"] == 1


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"version": 99}', '{"version": 1, "engine": "x", "parts": [{"name": 1}]}']
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(damage)
    with pytest.raises(ExtractError, match="make it anew") as fault:
        read_stored(path)
    assert "\n" not in str(fault.value)


def test_what_ships_can_be_read() -> None:
    for path in stored_evaluations():
        found = read_stored(path)
        assert found.parts and json.dumps(found.to_json())
        for part in found.parts:
            assert part.name == OURS or part.name.split(",")[0] in stored.FREE


def test_the_engine_that_is_met_first_comes_first(tmp_path: Path) -> None:
    for name in ("uie-mini", "usm-mini", "a"):
        (tmp_path / f"{name}.json").touch()
    assert [path.stem for path in stored_evaluations(tmp_path)] == ["usm-mini", "a", "uie-mini"]
