"""The two tables: types never seen with each source of labels left out, and fine-tuning beside published figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from safetensors.torch import load_file

from tests.extract.usm.made_sets import ENTITIES, EVENTS, RELATIONS
from workbench.extract import Document, Schema, Span
from workbench.extract.evaluate.published import PUBLISHED
from workbench.extract.usm import finetune, unseen
from workbench.extract.usm.engine import UsmEngine
from workbench.extract.usm.model import UsmModel
from workbench.extract.usm.prompt import LabelCoder
from workbench.extract.usm.roundtrip import gold_links, perfect
from workbench.extract.usm.told_apart import told_apart
from workbench.extract.usm.train import loop
from workbench.extract.usm.train.names import NAMES, names_of, normal
from workbench.extract.usm.train.patterns import OPEN, matches, stated_types
from workbench.extract.usm.train.recipe import Recipe
from workbench.extract.usm.train.sources import PLANS
from workbench.training.writer import RunWriter


def test_no_arm_hears_a_name_or_synonym_of_what_is_kept_out(made_sets: None, tokenizer: Any, tmp_path: Path) -> None:
    """The data of every arm as the command builds it, 1,000 prompts each: names, and descriptions too."""
    every = {
        normal(name)
        for set_ in unseen.HELD_OUT
        for type_ in (*ENTITIES.get(set_, ()), *RELATIONS.get(set_, ()), *(EVENTS[set_][1] if set_ in EVENTS else ()))
        for name in names_of(set_, type_)
    }
    every |= {normal(name) for type_ in NAMES["scierc"] for name in names_of("scierc", type_)}
    assert {"gene", "protein", "tumour", "attacker", "time", "material", "used for"} <= every

    class Heard(LabelCoder):
        names: ClassVar[set[str]] = set()
        descriptions: ClassVar[set[str]] = set()

        def ids(self, label: Any) -> tuple[int, ...]:
            self.names.add(normal(label.name))
            self.descriptions.add(label.description)
            return super().ids(label)

    heard: dict[str, set[str]] = {}
    for arm, recipe in unseen.recipes(Recipe(batch=8)).items():
        mixture = loop.build_mixture(recipe, tmp_path, tokenizer, 12)
        assert not {source.name for source in mixture.sources} & {*unseen.KEPT_OUT, *unseen.PROXIES}
        Heard.names, Heard.descriptions = set(), set()
        mixture.prompter.coder = Heard(tokenizer, 12)
        for pool in range(6):
            mixture.samples(pool)
        assert not Heard.names & every, arm
        assert "a cell of bread" not in Heard.descriptions, "a description that says one of the names"
        heard[arm] = Heard.names
    for arm, name in (
        ("+ types stated by texts", "harbour town"),
        ("+ sets of many types", "skill"),
        ("+ synonyms", "human"),
    ):
        assert name in heard[arm] and name in heard[unseen.EVERYTHING] and name not in heard[unseen.CONTROL], arm
    assert "job skill" in heard[unseen.EVERYTHING] and "job skill" not in heard["+ sets of many types"]
    assert "company" in {name for names in heard.values() for name in names}
    assert "phishing" in heard[unseen.BASE], "of casie the roles alone are kept out"


def test_every_arm_adds_one_thing_and_the_last_all_of_them() -> None:
    arms = unseen.recipes(Recipe())
    plain, every = arms.pop(unseen.BASE), arms.pop(unseen.EVERYTHING)
    assert arms.pop(unseen.CONTROL) == plain
    assert set(plain.held_out) == {"bionlp13cg", "anatem", "scierc", "casie:roles"} and plain.patterns == 0
    assert not {*unseen.PROXIES} & {*every.sets} and set(plain.sets) < set(every.sets)
    changed = set()
    for name, recipe in arms.items():
        (field,) = [field for field, value in recipe.to_json().items() if value != plain.to_json()[field]]
        changed.add(field)
        if field == "sets":
            assert set(plain.sets) < set(recipe.sets) < set(every.sets), name
        else:
            assert recipe.to_json()[field] == every.to_json()[field], name
    assert changed == {field for field, value in every.to_json().items() if value != plain.to_json()[field]}
    assert set(unseen.FEW_TYPES) <= set(PLANS) and set(PLANS) >= OPEN
    words = set(arms["+ WordNet and free-form types"].sets) - set(plain.sets)
    assert words == {"semcor_wordnet", "masc_wordnet", "ufet_crowd"}
    assert set(every.sets) == {*plain.sets, *words, *arms["+ sets of many types"].sets}


def test_readings_are_learnt_on_types_that_no_arm_is_taught(
    made_sets: None, monkeypatch: pytest.MonkeyPatch, tokenizer: Any, tmp_path: Path
) -> None:
    monkeypatch.setitem(ENTITIES, "cyner", ("Organization", "Malware", "Indicator"))
    monkeypatch.setitem(ENTITIES, "tasteset2", ("FOOD", "person"))
    base = Recipe(sets=("conll04", "wnut17", "aptner", *unseen.PROXIES))
    types = unseen.types_never_taught(base, tmp_path, tokenizer)
    assert types["cyner"] == {"Indicator"}, "conll04 teaches organizations, aptner malware"
    assert types["tasteset2"] == {"FOOD"}


def test_a_set_of_which_nothing_may_be_asked_is_left_out_and_weights_are_those_of_the_recipe(
    made_sets: None, monkeypatch: pytest.MonkeyPatch, tokenizer: Any, tmp_path: Path
) -> None:
    monkeypatch.setitem(ENTITIES, "bc2gm", ("GENE",))
    recipe = Recipe(sets=("bc2gm", "wnut17", "scierc"), held_out=("bionlp13cg",), weights=(("wnut17", 3.5),))
    found = {source.name: source.plan.weight for source in loop.build_mixture(recipe, tmp_path, tokenizer, 12).sources}
    assert found == {"wnut17": 3.5, "scierc": PLANS["scierc"].weight}


def test_a_shelf_changes_nothing_but_the_time(made_sets: None, tokenizer: Any, tmp_path: Path) -> None:
    shelf: dict[Any, Any] = {}
    recipe = Recipe(sets=("wnut17", "wikigold", "fewrel"), patterns=2.0)
    fresh, first, second = (
        loop.build_mixture(recipe, tmp_path, tokenizer, 12, shelf=each) for each in (None, shelf, shelf)
    )
    for other in (first, second):
        assert [s.name for s in other.sources] == [s.name for s in fresh.sources]
        assert "patterns" in {source.name for source in other.sources}
        for mine, theirs in zip(fresh.samples(0)[0], other.samples(0)[0], strict=True):
            assert mine[0] == theirs[0] and mine[1].labels == theirs[1].labels and mine[2].typed == theirs[2].typed


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("Oslo is a city in Norway.", {("Oslo", "city")}),
        ("Edvard Munch (1863-1944) was a Norwegian painter who lived there.", {("Edvard Munch", "painter")}),
        ("She met Munch, a famous expressionist painter, in Kragerø.", {("Munch", "expressionist painter")}),
        ("They sold companies such as Nokia.", {("Nokia", "company")}),
        ("a small river called Akerselva runs there", {("Akerselva", "small river"), ("Akerselva", "river")}),
        ("The Nile is a river of Africa.", {("Nile", "river")}),
        ("It is a city. The result is a kind of loss. He was the first.", set()),
        ("paris is a city", set()),
    ],
)
def test_types_that_texts_state(text: str, stated: set[tuple[str, str]]) -> None:
    found = {(text[start:end], kind) for start, end, kind in matches(text)}
    assert found <= stated and bool(found) == bool(stated)
    (made,) = stated_types([Document(id="1", text=text)]) or [None]
    assert (made is None) == (not stated)


def test_a_whole_prompt_asks_everything_and_gold_is_all_gold(made_sets: None, tokenizer: Any, tmp_path: Path) -> None:
    recipe = replace(finetune.recipe_of("conll04"), whole=1.0, drop=0.0)
    mixture = loop.build_mixture(recipe, tmp_path, tokenizer, 12)
    (source,) = mixture.sources
    for _, sample, gold in (row for batch in mixture.samples(0)[:3] for row in batch):
        chunk = next(c for c in source.chunks if c.pieces is sample.pieces)
        assert sample.mentions == len(source.entities) and len(sample.labels) == sample.mentions + len(source.relations)
        assert len(gold.typed) == len(chunk.entities) + len(chunk.relations)
        assert gold.linked == {(head[0], tail[0]) for _, head, tail in chunk.relations}


def test_arms_are_trained_once_and_stand_in_a_table(
    made_sets: None, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--encoder", str(encoder), "--data-root", str(tmp_path), "--out", str(tmp_path / "out"), "--steps", "2",
                 "--base-steps", "2", "--data", "conll04", "wnut17", "scierc", "skillspan", "--development", "4"]  # fmt: skip
    RunWriter.open(tmp_path / "out" / "base-0", name="killed before its first state").metrics(1, {"loss": 1.0})
    assert unseen.main([*arguments, "--arm", unseen.CONTROL]) == 0
    both = [*arguments, "--arm", unseen.CONTROL, "+ synonyms"]
    assert unseen.main(both) == 0
    said = capsys.readouterr()
    for line in ("base-0: kept from before", "nothing-more-0: kept from before", "synonyms-0: training"):
        assert line in said.err
    base, arm = (load_file(unseen.folder_of(tmp_path / "out", name, 0) / "model" / "model.safetensors") for name in (unseen.BASE, "+ synonyms"))  # fmt: skip
    moved = max((base[name] - arm[name]).abs().max() for name in base)
    assert 0 < moved < 0.05, "an arm goes on from the weights of the base"
    results = json.loads((tmp_path / "out" / "table.json").read_text())
    for arm in (unseen.CONTROL, "+ synonyms"):
        result = results[arm]["0"]
        values = [result["f1"][name][metric]["f1"] or 0.0 for name, metric in unseen.MEAN_OF]
        assert result["mean"] == pytest.approx(sum(values) / 4) and result["steps"] == 2
        assert result["f1"]["casie"]["argument"]["gold"] > 0
        assert result["told_apart"]["scierc"]["mentions"] == result["f1"]["scierc"]["entity"]["gold"]
        assert result["described"]["scierc"]["entity"]["gold"] == result["f1"]["scierc"]["entity"]["gold"] > 0
    table = (tmp_path / "out" / "table.md").read_text().splitlines()
    assert len(table) == 4 and table[2].startswith("| nothing more |") and table[3].startswith("| + synonyms |")
    assert unseen.main([*both, "--documents", "3"]) == 1
    assert "other options" in capsys.readouterr().err


def test_types_are_told_apart_by_their_own_links(
    model: UsmModel, tokenizer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Perfect links, and links that take each type for the next one; two of the three mentions are of one type."""
    engine = UsmEngine(model, tokenizer)
    text = "marie met pierre in paris"
    spans = (Span(start=0, end=5, type="person"), Span(start=10, end=16, type="person"), Span(start=20, end=25, type="city"))  # fmt: skip
    found = [Document(id="1", text=text, entities=spans), Document(id="2", text="near a museum", entities=())]
    schema = Schema.read({"entities": ["city", "person", "museum"]})

    def links(windows: Any, plan: Any, size: int, moved: int = 0) -> Any:
        for w, window in enumerate(windows):
            gold = gold_links(found[window.text], window, plan[0])
            gold.typed = {((label + moved) % 3, span) for label, span in gold.typed}
            yield w, 0, perfect(gold, len(window.pieces), plan[0])

    monkeypatch.setattr(engine.passes, "link_scores", links)
    assert told_apart(engine, found, schema) == {"right": 1.0, "majority": pytest.approx(2 / 3), "mentions": 3}
    monkeypatch.setattr(engine.passes, "link_scores", partial(links, moved=1))
    assert told_apart(engine, found, schema)["right"] == 0.0


def test_fine_tuning_stands_beside_what_papers_state(
    made_sets: None, model: UsmModel, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(folder), "--data-root", str(tmp_path), "--out", str(tmp_path / "out"), "--steps", "2", "--development", "3"]  # fmt: skip
    assert finetune.main([*arguments, "--data", "conll04", "14lap"]) == 0
    table = capsys.readouterr().out
    for name in ("conll04", "14lap"):
        (row,) = [line for line in table.splitlines() if line.startswith(f"| {name}")]
        for stated in PUBLISHED[name]:
            assert f"| {100 * stated.f1:.1f} |" in row
    assert "USM-large, 356 M" in table and "UIE-large, 770 M" in table
    assert not (tmp_path / "out" / "scierc").exists()
    assert finetune.main([*arguments, "--data", "conll04", "--split", "dev"]) == 1, "another part is another result"
    arguments[arguments.index(str(tmp_path / "out"))] = str(tmp_path / "dev")
    assert finetune.main([*arguments, "--data", "conll04", "--split", "dev", "--pair-weight", "3"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| conll04 dev")]
    assert not any(f"| {100 * stated.f1:.1f} |" in row for stated in PUBLISHED["conll04"]), "stated of the test part"
    recipe = json.loads((tmp_path / "dev" / "conll04" / "result.json").read_text())["settings"]["recipe"]
    assert recipe["pair_weight"] == 3.0


@pytest.mark.parametrize("main", [unseen.main, finetune.main])
def test_a_missing_set_is_one_sentence(
    main: Callable[[list[str]], int], encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["--encoder" if main is unseen.main else "--model", str(encoder)]
    assert main([*start, "--data-root", str(tmp_path / "none"), "--out", str(tmp_path / "out"), "--steps", "1"]) == 1
    assert ("Traceback" not in (said := capsys.readouterr().err) and "conll04" in said) or "wnut17" in said


def test_a_table_of_several_seeds_says_how_far_they_lie_apart() -> None:
    def run(f1: float, right: float) -> dict[str, Any]:
        leaf = {"f1": f1, "interval": [f1 - 0.01, f1 + 0.01]}
        parts = {name: dict.fromkeys(metrics, leaf) for name, metrics in unseen.HELD_OUT.items()}
        told = {name: {"right": right} for name, _ in unseen.APART}
        return {"f1": parts, "mean": f1, "mean_described": f1 / 2, "told_apart": told, "steps": 250}

    results = {unseen.CONTROL: {0: run(0.10, 0.3), 1: run(0.20, 0.3), 2: run(0.5, 0.3)}, "+ synonyms": {0: run(0.13, 0.4), 1: run(0.18, 0.6)},
               unseen.EVERYTHING: {2: run(0.4, 0.5)}}  # fmt: skip
    head, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in unseen.as_table(results).splitlines()
    )
    control, synonyms, everything = (dict(zip(head, row, strict=True)) for row in rows)
    assert synonyms["mean of four"] == "15.5 (13.0 to 18.0)" and synonyms["seeds"] == "2" and synonyms["steps"] == "250"
    assert synonyms["effect"] == "+0.5 (-2.0 to +3.0)", "each seed against the same seed of nothing more"
    assert (
        synonyms["scierc types told apart"] == "50.0 (40.0 to 60.0)"
        and synonyms["with descriptions"] == "7.8 (6.5 to 9.0)"
    )
    assert everything["scierc entity"] == "40.0 (39.0 to 41.0)", "of one seed the interval of its texts"
    assert everything["effect"] == "-10.0" and control["effect"] == "-"
