"""Names of types in prompts: what is asked of what, the choice, where it is kept and found, and the options that set it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.extract.metaner.conftest import document, documents
from workbench.extract.errors import EngineError
from workbench.extract.metaner import naming
from workbench.extract.metaner.engine import MetaNerEngine
from workbench.extract.metaner.naming import Trial, best_way, main, measure, naming_table, write_way
from workbench.extract.metaner.tokens import LEARNT, MetaTokens
from workbench.extract.seq2seq.start import save_model

Made = tuple[Any, Any, MetaTokens]
SCHEMA = {"entities": ["person", "city"]}


@pytest.fixture(params=["made", "t5"])
def engine(request: pytest.FixtureRequest) -> MetaNerEngine:
    model, tokenizer, _ = request.getfixturevalue(request.param)
    return MetaNerEngine(model, tokenizer)


def test_a_prompt_has_the_names_that_were_chosen_and_the_other_engine_keeps_its_own(engine: MetaNerEngine) -> None:
    own = engine.named(False)
    shown = documents(2)
    assert engine.prompts(SCHEMA, shown).names == {"person": "<type1>", "city": "<type2>"}
    assert own.prompts(SCHEMA, shown).names == {"person": "person", "city": "city"}
    assert (
        engine.in_order().prompts(SCHEMA, documents(6)).order
        == list(range(6))
        != engine.prompts(SCHEMA, documents(6)).order
    )
    assert own.net is engine.net and own.named(True).prompts(SCHEMA, shown).names["city"] == "<type2>"
    text = document(30).text
    sources = [next(e.prompts(SCHEMA, shown).of(0, text, e.prompts(SCHEMA, shown).wire.shots([document(30)])[0].pieces)).source.ids for e in (engine, own)]  # fmt: skip
    said = [engine.tokenizer.decode(ids) for ids in sources]
    assert "<type1>" in said[0] and "person" not in said[0]
    assert "<type1>" not in said[1] and "person" in said[1]


def test_texts_that_are_asked_about_show_nothing() -> None:
    types, asked, supports = Trial(texts=20, supports=4).draw(documents(60))
    assert types == ["city", "person"] and len(asked) == 20
    assert len(supports) == 4 and all(len(support) == 2 for support in supports)
    of_them = {d.id for d in asked}
    assert not of_them & {d.id for support in supports for d in support}
    for support in supports:
        for type_, shown in zip(types, support, strict=True):
            assert type_ in {span.type for span in shown.entities or ()}
    assert Trial(texts=20, supports=4).draw(documents(60))[2] == supports, "the same draw"


def test_every_set_counts_the_same_and_the_papers_way_wins_a_tie() -> None:
    assert best_way({"a": {"anonymous": [0.5, 0.7], "own": [0.6]}}) == "anonymous"
    found = {"a": {"anonymous": [0.9], "own": [0.5]}, "b": {"anonymous": [0.1], "own": [0.6]}}
    assert best_way(found) == "own"
    table = naming_table(found)
    assert table[-1] == "| mean | 50.0 | 55.0 |" and "| a | 90.0 (90.0) | 50.0 (50.0) |" in table


def test_it_is_measured_by_set_way_and_support_set(made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An engine that finds people only where it is told their name: F1 by hand."""
    model, tokenizer, _ = made
    asked: list[str] = []

    def read(name: str, root: Path, split: str) -> list[Any]:
        asked.append(f"{name}:{split}")
        return documents(40)

    class Told(MetaNerEngine):
        def extract(self, texts: Any, schema: Any, demonstrations: Any = (), **_: Any) -> Any:
            from workbench.extract.extraction import Extraction

            gold = {d.text: d for d in documents(40)}
            kept = [
                [s for s in gold[t].entities or () if s.type == "person" and not self.shape.anonymous] for t in texts
            ]
            return [Extraction(text=t, wanted=schema, entities=[s.model_copy(update={"score": 1.0}) for s in spans], floor=0.0) for t, spans in zip(texts, kept, strict=True)]  # fmt: skip

    monkeypatch.setattr(naming, "load_data", read)
    found = measure(Told(model, tokenizer), tmp_path, ["one", "two"], Trial(texts=10, supports=3))
    assert asked == ["one:dev", "two:dev"], "development parts only"
    assert found["one"]["anonymous"] == [0.0] * 3
    assert found["two"]["own"] == pytest.approx([0.8] * 3)  # 20 of 20 people right, 10 cities missed
    monkeypatch.setattr(naming, "load_data", lambda *_: documents(5))
    with pytest.raises(EngineError, match="beyond the first 10"):
        measure(Told(model, tokenizer), tmp_path, ["one"], Trial(texts=10))


@pytest.mark.parametrize("kind", ["made", "t5"])
def test_the_choice_is_kept_in_the_folder_and_found_there(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model, tokenizer, _ = request.getfixturevalue(kind)
    learnt = {"anonymous": True, "facts": {"types": {}}}
    if kind == "made":
        model.config.engine = learnt
    save_model(tmp_path, model, tokenizer)
    if kind == "t5":
        (tmp_path / LEARNT).write_text(json.dumps(learnt), encoding="utf-8")
    assert MetaNerEngine.load(str(tmp_path), "cpu").shape.anonymous
    write_way(tmp_path, "own", {"a": {"anonymous": [0.1], "own": [0.2]}})
    again = MetaNerEngine.load(str(tmp_path), "cpu")
    assert not again.shape.anonymous and again.learnt["naming"]["a"]["own"] == [0.2] and "facts" in again.learnt
    assert MetaNerEngine.load(str(tmp_path), "cpu", anonymous=True).shape.anonymous, "an argument has the last word"


def test_what_cannot_be_written_or_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineError, match="holds no configuration"):
        write_way(tmp_path, "own", {})
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    with pytest.raises(EngineError, match="cannot be changed"):
        write_way(tmp_path, "own", {})
    assert main(["--model", str(tmp_path / "none"), "--data-root", str(tmp_path)]) == 1
    assert str(tmp_path / "none") in capsys.readouterr().err


def test_development_parts_are_of_sets_that_never_teach() -> None:
    """Texts of conll04's train part do teach, and its development part is not among them."""
    from workbench.extract.metaner.train.sets import NEVER

    assert set(naming.DEVELOPMENT) - NEVER == {"conll04"}
