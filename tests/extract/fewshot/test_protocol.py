"""The protocol: episodes, the score against a brute force, seeds, orders, what is kept, the command."""

from __future__ import annotations

import json
import random
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.extract.fewshot.conftest import PLACE_TEST, SHOTS
from workbench.cli import run as command
from workbench.extract import Document, Span
from workbench.extract.engines import load_engine
from workbench.extract.errors import EngineError, ExtractError
from workbench.extract.evaluate.facts import Count
from workbench.extract.fewshot import Method, Protocol, Store, Watch, agreement, episode_count, open_sets, run
from workbench.extract.fewshot.evaluation import cells_of, key_of, ordered
from workbench.extract.fewshot.published import STATED, stated
from workbench.extract.fewshot.scoring import paired
from workbench.extract.fewshot.store import FILE, weights_mark
from workbench.extract.fewshot.table import result_table

pytestmark = pytest.mark.usefixtures("copies")


def brute_force_f1(gold: list[list[dict[str, Any]]], predicted: list[list[dict[str, Any]]]) -> float:
    """As `getresult.py` counts: dictionaries of type, token offset and text, each once a sentence."""
    right = found = wanted = 0
    for golds, preds in zip(gold, predicted, strict=True):
        unique_gold: list[dict[str, Any]] = []
        unique_pred: list[dict[str, Any]] = []
        for each in golds:
            if each not in unique_gold:
                unique_gold.append(each)
        for each in preds:
            if each not in unique_pred:
                unique_pred.append(each)
        found, wanted = found + len(unique_pred), wanted + len(unique_gold)
        right += sum(each in unique_pred for each in unique_gold)
    precision, recall = right / found if found else 0.0, right / wanted if wanted else 0.0
    return 2 * precision * recall / (precision + recall) if precision and recall else 0.0


def as_document(tokens: list[str], entities: list[dict[str, Any]]) -> Document:
    starts = [len(" ".join(tokens[:n])) + (n > 0) for n in range(len(tokens))]
    spans = [
        Span(start=starts[e["offset"][0]], end=starts[e["offset"][-1]] + len(tokens[e["offset"][-1]]), type=e["type"])
        for e in entities
    ]
    return Document(id="x", text=" ".join(tokens), entities=tuple(spans))


def test_the_score_is_that_of_the_papers_code() -> None:
    draw = random.Random(5)
    for _ in range(60):
        gold, predicted, documents, answers = [], [], [], []
        for _ in range(draw.randint(1, 6)):
            tokens = [draw.choice(["a", "bb", "c"]) for _ in range(draw.randint(1, 7))]
            sides = []
            for _side in range(2):
                some = []
                for _ in range(draw.randint(0, 4)):
                    first = draw.randrange(len(tokens))
                    last = min(len(tokens) - 1, first + draw.randint(0, 2))
                    words = " ".join(tokens[first : last + 1])
                    some.append({"type": draw.choice("XY"), "offset": list(range(first, last + 1)), "text": words})
                sides.append(some + some[: draw.randint(0, 2)])  # some of them twice
            gold.append(sides[0])
            predicted.append(sides[1])
            documents.append(as_document(tokens, sides[0]))
            answers.append(as_document(tokens, sides[1]))
        count = sum(episode_count(documents, answers).values(), Count())
        assert count.f1 == pytest.approx(brute_force_f1(gold, predicted), abs=1e-12)
    with pytest.raises(ExtractError, match="not the same texts"):
        episode_count(documents, answers[:-1])


def test_agreement_is_symmetric_and_whole_where_both_find_nothing() -> None:
    a = [as_document(["a", "b"], [{"type": "X", "offset": [0]}, {"type": "X", "offset": [1]}])]
    b = [as_document(["a", "b"], [{"type": "X", "offset": [1]}])]
    assert agreement(a, b)["f1"] == agreement(b, a)["f1"] == pytest.approx(2 / 3)
    none = [as_document(["a"], [])]
    assert agreement(none, none)["f1"] == 1.0


def test_both_spellings_and_any_folder_above_are_read(few: Path) -> None:
    places, again = open_sets(few, ["places", "again"])
    assert [label.name for label in places.schema.entities] == ["person", "city"]
    for text, one, two in zip(PLACE_TEST, places.test, again.test, strict=True):
        assert one.text == two.text == text[0] and one.entities == two.entities
        assert [(s.type, one.text[s.start : s.end]) for s in one.entities or ()] == [(t, w) for t, w, _ in text[1:]]  # type: ignore[misc]
    assert places.seeds(1) == (1, 2, 3) and places.seeds(5) == ()
    assert [d.text for d in places.support(2, 1)] == [s[0] for s in SHOTS[2]]
    assert open_sets(few / "metaner_fewshot", ["places"])[0].folder.name == "places"
    assert open_sets(few / "metaner_fewshot", ["places"])[0].test == places.test
    with pytest.raises(ExtractError, match=r"'wnut17/test\.json'"):
        open_sets(few, ["wnut17"])
    with pytest.raises(ExtractError, match="'../places'"):
        open_sets(few, ["../places"])
    with pytest.raises(ExtractError, match="does not exist"):
        open_sets(few / "no", ["places"])
    with pytest.raises(ExtractError, match="seed 9"):
        places.support(9, 1)


def test_a_limit_draws_the_same_sentences_for_all(few: Path) -> None:
    places, again = open_sets(few, ["places", "again"])
    drawn = places.sample(3)
    assert len(drawn) == 3 and drawn == places.sample(3) and set(drawn) <= set(places.test)
    assert list(drawn) == [d for d in places.test if d in drawn], "in text order"
    assert len({places.sample(3, seed)[0].text + places.sample(3, seed)[1].text for seed in range(20)}) > 1
    assert places.sample(None) == places.sample(99) == places.test
    assert again.sample(3) != ()


def expected_f1(seed: int) -> float:
    """The copying engine's F1 on `places`, from the sentences themselves."""
    marks = {(words, type_) for _, *entities in SHOTS[seed] for type_, words, _ in entities}  # type: ignore[misc]
    right = found = wanted = 0
    for text, *entities in PLACE_TEST:
        tokens = text.split()  # type: ignore[union-attr]
        gold = {(t, tuple(at)) for t, _, at in entities}  # type: ignore[misc]
        predicted = set()
        for words, type_ in marks:
            size = len(words.split())
            for n in range(len(tokens)):
                if tokens[n : n + size] == words.split():
                    predicted.add((type_, tuple(range(n, n + size))))
        right, found, wanted = right + len(gold & predicted), found + len(predicted), wanted + len(gold)
    return 2 * right / (found + wanted)


def test_mean_and_deviation_over_support_sets(few: Path) -> None:
    sets = open_sets(few, ["places", "again"])
    told: list[tuple[int, int, str]] = []
    watch = Watch(progress=lambda *now: told.append(now))
    results = run([Method("copies", seeds=2)], sets, Protocol(threshold=0.0, batch_size=2), watch=watch)
    found = results["copies, in context"]["sets"]
    wanted = [expected_f1(seed) for seed in (1, 2)]
    assert wanted[0] != wanted[1]
    for name in ("places", "again"):
        assert [found[name]["seeds"][s]["f1"] for s in ("1", "2")] == pytest.approx(wanted)
        assert found[name]["mean"] == pytest.approx(statistics.mean(wanted))
        assert found[name]["std"] == pytest.approx(statistics.pstdev(wanted))
        assert found[name]["seeds"]["1"]["sentences"] == 5 and found[name]["seeds"]["1"]["gold"] == 9
    assert (5, 5, "places, seed 1: sentences") in told
    # seed 3 marks "Ada" as city and as person: of the two only the better scored stays, as after the paper's vote
    third = run([Method("copies", seeds=3)], sets[:1], Protocol(threshold=0.0))["copies, in context"]["sets"]["places"]
    by_type = third["seeds"]["3"]["by_type"]
    assert by_type["person"]["predicted"] == 0 and by_type["city"]["predicted"] == 6


def test_orders_are_of_the_first_support_set_and_reported(few: Path) -> None:
    sets = open_sets(few, ["places"])
    method = Method("copies", seeds=2, orders=4)
    assert [(c.seed, c.order) for c in cells_of(method, sets, 1)] == [(1, 0), (1, 1), (1, 2), (1, 3), (2, 0)]
    shots = sets[0].support(1, 1)
    assert ordered(shots, 0, "x") == shots and sorted(d.text for d in ordered(shots, 3, "x")) == sorted(
        d.text for d in shots
    )
    assert len({ordered(shots, n, "x") for n in range(10)}) == 2
    result = run([method], sets, Protocol(threshold=0.9995))["copies, in context"]["sets"]["places"]
    orders = result["orders"]
    assert len(orders["f1"]) == 4 and orders["f1"][0] == result["seeds"]["1"]["f1"]
    assert orders["range"] == pytest.approx(max(orders["f1"]) - min(orders["f1"])) and orders["std"] == pytest.approx(
        statistics.pstdev(orders["f1"])
    )
    assert result["episodes"] == 2, "orders do not enter the mean over support sets"


def test_drawn_orders_are_shown_as_they_are(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that would sort its demonstrations is told not to, but for the first order, which is its own."""
    import copy_engine

    asked: list[tuple[str, tuple[str, ...]]] = []

    class Sorts(copy_engine.Copies):  # type: ignore[misc]
        way = "sorted"

        def in_order(self) -> Sorts:
            made = Sorts()
            made.way = "as given"
            return made

        def extract(self, texts: Any, schema: Any, demonstrations: Any = (), **more: Any) -> Any:
            asked.append((self.way, tuple(d.text for d in demonstrations)))
            return super().extract(texts, schema, demonstrations, **more)

    monkeypatch.setattr(copy_engine, "SPEC", replace(copy_engine.SPEC, load=lambda _: Sorts(), ordered=True))
    (places,) = open_sets(few, ["places"])
    run([Method("copies", seeds=2, orders=3)], [places], Protocol())
    shots = places.support(1, 1)
    given = [tuple(d.text for d in ordered(shots, order, "places/1")) for order in (1, 2)]
    assert [way for way, _ in asked] == ["sorted", "as given", "as given", "sorted"]
    assert [texts for _, texts in asked[1:3]] == given


def test_what_is_done_is_kept_and_not_done_again(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = open_sets(few, ["places"])
    protocol, methods, out = Protocol(limit=4), [Method("copies", seeds=3)], tmp_path / "out"
    asked = 0

    def stop_in_the_second() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    part = run(methods, sets, protocol, Store(out), Watch(stopped=stop_in_the_second))["copies, in context"]
    assert 0 < part["episodes_done"] < part["episodes"] == 3
    with (out / FILE).open("a") as file:
        file.write('{"key": {"engi')  # killed while writing
    whole = run(methods, sets, protocol, Store(out))["copies, in context"]
    assert whole["episodes_done"] == 3
    fresh = run(methods, sets, protocol)["copies, in context"]["sets"]["places"]
    kept = whole["sets"]["places"]
    assert [kept["seeds"][n]["f1"] for n in "123"] == [fresh["seeds"][n]["f1"] for n in "123"]
    monkeypatch.setattr(
        "workbench.extract.fewshot.evaluation.load_engine", lambda *_, **__: pytest.fail("nothing is left to do")
    )
    assert run(methods, sets, protocol, Store(out))["copies, in context"] == whole
    assert len(Store(out)) == 3
    cell = next(cells_of(methods[0], sets, 1))
    others = (Protocol(limit=3), Protocol(limit=4, sample_seed=1), Protocol(limit=4, threshold=0.2))
    assert all(Store(out).get(key_of(cell, other)) is None for other in others)


def test_weights_that_changed_are_other_weights(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = weights_mark(str(tmp_path))
    (tmp_path / "a").write_text("12")
    assert before and weights_mark(str(tmp_path)) != before
    assert weights_mark("hub/name") == weights_mark(None) == ""


def test_names_of_types_are_an_option_of_the_engine_and_part_of_the_key(
    few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import copy_engine

    asked: list[dict[str, Any]] = []

    def load(model: str | None = None, **options: Any) -> Any:
        asked.append(options)
        return copy_engine.load(model)

    with pytest.raises(EngineError, match="leave --names out"):
        run([Method("copies", seeds=1, anonymous=True)], open_sets(few, ["places"]), Protocol(1))
    monkeypatch.setattr(copy_engine, "SPEC", replace(copy_engine.SPEC, load=load, anonymous=True))
    kept = Store()
    for anonymous in (None, True, False, True):
        method = Method("copies", seeds=1, anonymous=anonymous)
        found = run([method], open_sets(few, ["places"]), Protocol(1), kept)
        assert found[method.name]["episodes_done"] == 1
    assert asked == [{}, {"anonymous": True}, {"anonymous": False}], "the second time it was kept"
    assert len(kept) == 3


def test_what_cannot_be_done_is_refused_before_anything_runs(few: Path) -> None:
    sets = open_sets(few, ["places"])
    with pytest.raises(EngineError, match="does not learn from examples in context"):
        run([Method("usm", "anything")], sets, Protocol())
    with pytest.raises(EngineError, match="cannot be fine-tuned"):
        run([Method("copies", how="fine-tuned")], sets, Protocol())
    with pytest.raises(ExtractError, match="3 support sets of 1 shot, but 10"):
        run([Method("copies")], sets, Protocol())
    assert load_engine("copies").extract(["x"], {"entities": ["a"]}) != []


def test_the_papers_figures_are_those_of_its_tables() -> None:
    ours = {row.model: row for row in STATED if row.how == "in context"}
    at = ours["MetaNER"].f1
    assert [at[n, 1] for n in ("conll03", "wnut17", "NCBI-disease", "SEC-filings")] == [0.574, 0.3159, 0.4001, 0.5207]
    assert statistics.mean(at.values()) == pytest.approx(0.4760, abs=1e-4), "the table's own mean"
    assert statistics.mean(ours["MetaNER-base"].f1.values()) == pytest.approx(0.4288, abs=1e-4)
    assert {row.model for row in stated(1)} < {row.model for row in STATED}


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = command([str(argument) for argument in arguments])
    return (status, *capsys.readouterr())


def test_the_command(few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("fewshot", "--engine", "copies", "--data", few, "--sets", "places,again", "--seeds", 3, "--threshold", 0)
    status, out, err = call(capsys, *common, "--orders", 2, "--out", tmp_path / "o", "--json")
    assert status == 0, err
    found = json.loads(out.strip().splitlines()[-1])
    wanted = [expected_f1(seed) for seed in (1, 2)]
    assert [found["places"]["seeds"][n]["f1"] for n in ("1", "2")] == pytest.approx(wanted)
    assert 0 <= found["again"]["mean"] <= 1 and found["again"]["std"] >= 0 and not found["stopped_early"]
    assert found["again"]["orders"]["seed"] == 1 and len(out.strip().splitlines()) == 1
    status, out, _ = call(capsys, *common, "--beside", "copies=other", "--zero-shot", "--beside-seeds", 1, "--json")
    beside = json.loads(out.strip().splitlines()[-1])["comparisons"]
    assert list(beside) == ["copies other, in context", "copies other, zero-shot"]
    assert beside["copies other, in context"]["main_above"]["places"] == {
        "mean": 0.0,
        "std": 0.0,
        "above": 0,
        "episodes": 1,
    }
    assert beside["copies other, zero-shot"]["main_above"]["again"]["above"] == 3
    status, out, _ = call(capsys, *common, "--out", tmp_path / "o")
    assert status == 0 and "paper: MetaNER-base, 220 M" not in out, "the paper says nothing of these sets"
    assert f"{100 * found['places']['mean']:.2f}±" in out
    for arguments, said in (
        (("--beside", "nobody"), "no engine 'nobody'"),
        (("--zero-shot",), "--beside"),
        (("--shots", 5), "0 support sets of 5 shots"),
        (("--beside", "copies"), "named twice"),
    ):
        status, out, err = call(capsys, *common, *arguments)
        assert status == 1 and said in err and len(err.strip().splitlines()) == 1 and not out


def test_methods_are_held_against_each_other_support_set_by_support_set(few: Path) -> None:
    assert paired({"1": 0.5, "2": 0.7, "3": 0.1}, {"1": 0.4, "2": 0.8}) == {
        "mean": pytest.approx(0.0), "std": pytest.approx(0.1), "above": 1, "episodes": 2,
    }  # fmt: skip
    assert paired({"1": 0.5, "2": 0.7}, {"none": 0.4}) == {
        "mean": pytest.approx(0.2), "std": pytest.approx(0.1), "above": 2, "episodes": 2,
    }  # fmt: skip
    assert paired({}, {"1": 0.5})["mean"] is None
    methods = [Method("copies", seeds=2), Method("copies", how="zero-shot")]
    found = run(methods, open_sets(few, ["places"]), Protocol(threshold=0.0))
    lines = result_table(found, ["places"], 1)
    wanted = statistics.mean(
        expected_f1(seed) for seed in (1, 2)
    )  # without demonstrations the copying engine finds nothing
    assert f"places {100 * wanted:+.2f} (above in 2 of 2)" in "\n".join(lines)


def test_the_papers_rows_stand_below_ours_with_their_sizes() -> None:
    result = {"sets": {"conll03": {"mean": 0.5, "std": 0.01, "episodes": 3}}}
    lines = result_table({"ours": result}, ["conll03", "wnut17"], 1)
    assert "50.00±1.00 (3)" in lines[1] and lines[1].split()[-1] == "-", "no mean while a set is missing"
    assert any(
        line.startswith("paper: MetaNER-base, 220 M, in context") and "53.94" in line and "25.55" in line
        for line in lines
    )
