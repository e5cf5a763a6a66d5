"""Sets never seen, and silver annotation: what is learnt from, what is asked, and what the tables say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.extract.usm.made_sets import ENTITIES
from tests.extract.usm.made_sets import documents as made
from workbench.extract import Document, Relation, Schema, Span
from workbench.extract.extraction import Extraction
from workbench.extract.records import read_documents, write_documents
from workbench.extract.usm import finetune, silver, unseen_sets
from workbench.extract.usm.reading import Reading
from workbench.extract.usm.train import loop
from workbench.extract.usm.train.recipe import Recipe
from workbench.extract.usm.train.sources import PLANS


def test_nothing_is_learnt_from_a_set_that_is_measured_or_chosen_by(
    made_sets: None, tokenizer: Any, tmp_path: Path
) -> None:
    left_out = {*unseen_sets.UNSEEN, *unseen_sets.PROXIES}
    assert left_out <= set(PLANS), "else leaving it out would say nothing"
    recipe = unseen_sets.recipe_of(Recipe(batch=4), 2.5)
    weights = {
        source.name: source.plan.weight for source in loop.build_mixture(recipe, tmp_path, tokenizer, 12).sources
    }
    assert not left_out & set(weights) and "aptner" in weights
    assert weights["bc5cdr"] == 2.5 and weights["skillspan"] == PLANS["skillspan"].weight
    assert unseen_sets.recipe_of(Recipe()).weights == ()


def test_codes_are_asked_by_words_and_stay_the_same_mentions() -> None:
    person, town = Span(start=0, end=5, type="Peop"), Span(start=15, end=20, type="Loc")
    text = Document(id="1", text="Marie lives in Paris", entities=(person, town), relations=(Relation(type="Live_In", head=person, tail=town),))  # fmt: skip
    (found,) = unseen_sets.asked("conll04", [text])
    assert [(s.start, s.end, s.type) for s in found.entities or ()] == [(0, 5, "person"), (15, 20, "location")]
    (relation,) = found.relations or ()
    assert (relation.type, relation.head.type, relation.tail.type) == ("Live_In", "person", "location")
    assert unseen_sets.asked("snips", [text])[0] == text


class OnlyPeople:
    """Finds every mention of the type "person", and takes every fourth word for a location."""

    def __init__(self, gold: Sequence[Document]) -> None:
        self.gold = {document.text: document for document in gold}

    def extract(self, texts: Sequence[str], schema: Schema, *_: Any, **__: Any) -> list[Extraction]:
        found = []
        for text in texts:
            people = [s for s in self.gold[text].entities or () if s.type == "person"]
            places = [Span(start=0, end=1, type="location")]
            spans = tuple(s.model_copy(update={"score": 1.0}) for s in (*people, *places))
            found.append(Extraction(text=text, wanted=schema.expanded(), entities=spans))
        return found


def test_types_known_by_name_are_counted_apart_from_new_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    texts = [
        Document(id="1", text="Marie met Pierre in Paris", entities=(Span(start=0, end=5, type="Peop"), Span(start=10, end=16, type="Peop"), Span(start=20, end=25, type="Loc")), relations=()),
        Document(id="2", text="Oslo", entities=(Span(start=0, end=4, type="Loc"),), relations=()),
    ]  # fmt: skip
    monkeypatch.setattr(unseen_sets, "load_data", lambda *_: texts)
    engine: Any = OnlyPeople(unseen_sets.asked("conll04", texts))
    engine.reading = Reading("mean", 0.5)
    result = unseen_sets.measure(engine, tmp_path, {"person"}, None, ["conll04"])
    found = result["sets"]["conll04"]
    assert found["known"] == {"f1": 1.0, "gold": 2} and found["new"] == {"f1": 0.0, "gold": 2}
    assert found["entity"]["f1"] == result["mean"] == pytest.approx(2 * 2 / (4 + 4))
    assert found["types"]["location"] == {"known": False, "f1": 0.0, "gold": 2} and found["relation"]["gold"] == 0
    table = unseen_sets.as_table({"steps": 7, "parameters": 22e6, "readings": dict.fromkeys((unseen_sets.SEEN, unseen_sets.NEW), result)}).splitlines()  # fmt: skip
    assert table[0].startswith("7 steps, 22.0 M parameters") and "25.95" in table[4]
    assert "100.0 of 2" in table[4] and "0.0 of 2" in table[4] and table[5].startswith("| mean | 50.0 |")


def test_a_run_on_sets_never_seen_is_made_once(
    made_sets: None, monkeypatch: pytest.MonkeyPatch, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        unseen_sets, "recipe_of", lambda base, cap: replace(base, sets=("wikigold", "bc5cdr"), patterns=0.0)
    )
    arguments = ["--encoder", str(encoder), "--data-root", str(tmp_path), "--out", str(tmp_path / "out"), "--steps", "2", "--limit", "2", "--development", "2"]  # fmt: skip
    assert unseen_sets.main(arguments) == 0
    table = capsys.readouterr().out
    assert (tmp_path / "out" / "table.md").read_text() == table
    for name in unseen_sets.UNSEEN:
        assert f"| {name}, " in table
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    seen, new = (result["readings"][name] for name in (unseen_sets.SEEN, unseen_sets.NEW))
    for found in (seen, new):
        assert found["sets"]["conll04"]["types"]["person"]["known"]
        assert not found["sets"]["cyner"]["types"]["Malware"]["known"]
    assert seen["reading"]["curves"] and not new["reading"]["curves"]
    assert unseen_sets.main(arguments) == 0
    again = capsys.readouterr()
    assert again.out == table and "kept from before" in again.err
    assert unseen_sets.main([*arguments, "--seed", "1"]) == 1 and "other options" in capsys.readouterr().err


def test_silver_sentences_come_from_what_may_be_learnt_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    texts = {
        "wikigold": ["Marie Curie worked in Paris for many years. She met Pierre near a museum there, says he. Short one."],
        "re3d": ["They all went to the old town of Warsaw. They all went to the old town of Warsaw."],
    }  # fmt: skip
    asked = []

    def readable(name: str, root: Path, most: int, seed: int) -> list[Document]:
        asked.append(name)
        return [Document(id=str(n), text=text) for n, text in enumerate(texts[name])]

    monkeypatch.setattr(silver, "readable_documents", readable)
    found = silver.sentences(["wikigold", "re3d"], tmp_path, 10, 0)
    assert asked == ["wikigold", "re3d"]
    assert sorted(document.text for document in found) == [
        "Marie Curie worked in Paris for many years.",
        "She met Pierre near a museum there, says he.",
        "They all went to the old town of Warsaw.",
    ]
    assert len({document.id for document in found}) == 3
    assert {document.id.split("/")[0] for document in silver.sentences(["wikigold", "re3d"], tmp_path, 2, 0)} == {
        "wikigold",
        "re3d",
    }


def test_silver_keeps_as_many_texts_without_a_relation_as_with_one() -> None:
    person, town = Span(start=0, end=1, type="a"), Span(start=2, end=3, type="b")
    with_one = Document(id="1", text="x y", relations=(Relation(type="r", head=person, tail=town),))
    empty = [Document(id=f"e{n}", text="x y", relations=()) for n in range(3)]
    assert [d.id for d in silver.balanced([empty[0], with_one, empty[1], empty[2]])] == ["e0", "1"]
    assert silver.balanced(empty) == []


def test_silver_texts_make_up_half_of_the_samples(made_sets: None, tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "silver.jsonl"
    write_documents(path, [Document(id="s", text="pierre worked in warsaw near paris", entities=(), relations=())])
    recipe = replace(finetune.recipe_of("conll04"), silver=str(path))
    mixture = loop.build_mixture(recipe, tmp_path, tokenizer, 12)
    drawn = [sample for pool in range(4) for batch in mixture.samples(pool) for _, sample, _ in batch]
    silver_ones = [sample for sample in drawn if "pierre worked in warsaw" in tokenizer.decode(sample.pieces.ids)]
    assert 0.45 < len(silver_ones) / len(drawn) < 0.55


def test_silver_is_made_and_learnt_from(
    made_sets: None, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENTITIES, "wikigold", ("PER",))
    data, out = ["--data-root", str(tmp_path)], tmp_path / "silver.jsonl"
    texts = len(silver.sentences(["wikigold", "re3d"], tmp_path, 100, 0))
    assert texts and made("wikigold", tmp_path)
    assert (
        silver.main(
            ["--model", str(folder), "--set", "conll04", *data, "--out", str(out), "--texts", "wikigold", "re3d"]
        )
        == 0
    )
    said = capsys.readouterr().out
    found = list(read_documents(out))
    related = [document for document in found if document.relations]
    assert f"{texts} sentences read, {len(found)} kept" in said and len(found) <= 2 * len(related)
    tune = ["--model", str(folder), *data, "--out", str(tmp_path / "tuned"), "--steps", "1", "--development", "2"]
    assert finetune.main([*tune, "--data", "conll04", "--silver", str(out)]) == 0
    assert json.loads((tmp_path / "tuned" / "conll04" / "result.json").read_text())["settings"]["recipe"][
        "silver"
    ] == str(out)


@pytest.mark.parametrize(
    ("data", "silver_file", "said"),
    [(["conll04"], "none.jsonl", "does not exist"), (["conll04", "14lap"], "some.jsonl", "one set")],
)
def test_silver_that_cannot_be_used_is_one_sentence(
    made_sets: None, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], data: list[str], silver_file: str, said: str
) -> None:  # fmt: skip
    write_documents(tmp_path / "some.jsonl", [Document(id="s", text="marie", entities=(), relations=())])
    arguments = ["--model", str(folder), "--data-root", str(tmp_path), "--out", str(tmp_path / "out"), "--steps", "1"]
    assert finetune.main([*arguments, "--data", *data, "--silver", str(tmp_path / silver_file)]) == 1
    found = capsys.readouterr().err
    assert said in found and "Traceback" not in found


def test_silver_without_a_relation_is_one_sentence_and_leaves_no_file(
    made_sets: None, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silver, "readable_documents", lambda *_: [])
    out = tmp_path / "silver.jsonl"
    assert (
        silver.main(["--model", str(folder), "--set", "conll04", "--data-root", str(tmp_path), "--out", str(out)]) == 1
    )
    assert "No relation was found in 0 sentences" in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf"])
def test_a_weight_is_above_0(weight: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        unseen_sets.main(
            ["--encoder", "e", "--data-root", str(tmp_path), "--out", str(tmp_path), f"--most-weight={weight}"]
        )
    assert "a number above 0 is needed" in capsys.readouterr().err
