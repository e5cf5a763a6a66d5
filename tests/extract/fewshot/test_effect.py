"""What demonstrations do: each left out against a brute force, attention summed by demonstration, the distance to the fine-tuned one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.extract.metaner.conftest import made as metaner_copy  # noqa: F401 - a fixture
from tests.extract.uie.conftest import plain_tokenizer, words  # noqa: F401 - fixtures
from workbench.extract import Document, Schema, Span, load_engine
from workbench.extract.extraction import Attention, Extraction, Place
from workbench.extract.fewshot import effect as effects
from workbench.extract.fewshot.effect import attention_shares, change, distance, leave_one_out
from workbench.extract.metaner.engine import MetaNerEngine

SCHEMA = Schema.of("person", "city")


def shot(text: str, *marks: tuple[str, str]) -> Document:
    found = [Span(start=text.index(w), end=text.index(w) + len(w), type=t) for w, t in marks]
    return Document(id="", text=text, entities=tuple(found))


SHOTS = [
    shot("Rome is old", ("Rome", "city")),
    shot("Ada met Bo", ("Ada", "person"), ("Bo", "person")),
    shot("Rome and Bo", ("Bo", "person")),
]


def extraction(*spans: tuple[int, int, str, float]) -> Extraction:
    found = tuple(Span(start=s, end=e, type=t, score=p) for s, e, t, p in spans)
    return Extraction(text="x" * 20, wanted=SCHEMA, entities=found, floor=0.0)


def test_a_change_counts_what_comes_goes_and_moves() -> None:
    having = extraction((0, 2, "person", 0.9), (3, 5, "city", 0.8), (6, 8, "city", 0.4))
    lacking = extraction((0, 2, "person", 0.6), (6, 8, "city", 0.7), (9, 11, "person", 0.55))
    found = change(4, having, lacking, 0.5)
    assert [s.key for s in found.gone] == [(3, 5, "city")]
    assert [s.key for s in found.new] == [(6, 8, "city"), (9, 11, "person")]
    assert found.moved == pytest.approx(0.3) and found.greatest == pytest.approx(0.3)
    assert found.size == pytest.approx(0.8 + 0.7 + 0.55 + 0.3) and found.number == 4
    same = change(0, having, having)
    assert (same.gone, same.new, same.moved, same.greatest) == ((), (), 0.0, 0.0)


@pytest.mark.usefixtures("copies")
def test_each_is_left_out_and_a_stop_keeps_what_was_done() -> None:
    engine, text = load_engine("copies"), "Ada left Rome with Bo"
    told: list[tuple[int, int, str]] = []
    found = leave_one_out(engine, text, SCHEMA, SHOTS, 0.0, lambda *now: told.append(now))
    whole = {s.key: s.score for s in engine.extract([text], SCHEMA, SHOTS)[0].entities}
    for number, each in enumerate(found):
        rest = [s for n, s in enumerate(SHOTS) if n != number]
        without = {s.key: s.score for s in engine.extract([text], SCHEMA, rest)[0].entities}
        assert {s.key for s in each.gone} == whole.keys() - without.keys()
        assert each.moved == pytest.approx(sum(abs(whole[k] - without[k]) for k in whole.keys() & without.keys()))
    assert [each.number for each in found] == [0, 1, 2] and [n for n, *_ in told] == [0, 1, 2]
    calls = iter([False, False, True, True, True])
    assert len(leave_one_out(engine, text, SCHEMA, SHOTS, stopped=lambda: next(calls))) == 1
    assert leave_one_out(engine, text, SCHEMA, SHOTS, stopped=lambda: True) == []
    only = leave_one_out(engine, text, SCHEMA, SHOTS[:1], 0.0)
    assert [s.type for s in only[0].gone] == ["city"], "the last one is left out as well"


def test_attention_is_summed_by_demonstration() -> None:
    columns = (
        Place(kind="label", piece="a"), Place(kind="demonstration", piece="b", document=1), Place(kind="demonstration", piece="c", document=0),
        Place(kind="demonstration", piece="d", document=1), Place(kind="text", piece="e"),
    )  # fmt: skip
    weights = np.random.default_rng(0).dirichlet(np.ones(5), size=(2, 3))  # heads, rows
    attention = Attention(
        layer=0, heads=(0, 1), rows=(columns[4],) * 3, columns=columns, layers=1, heads_in_all=2,
        weights=tuple(tuple(tuple(map(float, row)) for row in head) for head in weights),
    )  # fmt: skip
    wanted = [0.0, 0.0, 0.0]
    for head in range(2):
        for row in range(3):
            wanted[0] += weights[head, row, 2] / 6
            wanted[1] += (weights[head, row, 1] + weights[head, row, 3]) / 6
    assert attention_shares(attention, 3) == pytest.approx(wanted)


def test_metaners_attention_reaches_its_demonstrations(metaner_copy: Any) -> None:  # noqa: F811
    """The engine's own evidence: the shares of demonstrations, labels and text add up to 1."""
    model, tokenizer, tokens = metaner_copy
    with torch.no_grad():
        model.write.bias[model.config.fixed.index(tokens.end)] = -5.0  # untrained, but it does not end at once
    engine = MetaNerEngine(model, tokenizer, "tiny")
    text = "marie worked in paris"
    shots = [shot("pierre met marie", ("pierre", "person")), shot("warsaw is old", ("warsaw", "city"))]
    (found,) = engine.extract([text], SCHEMA, shots)
    evidence = engine.explain(text, SCHEMA, found.entities[0], shots)
    assert evidence.attention is not None, evidence.attention_refused
    shares = attention_shares(evidence.attention, 2)
    rest = [p for p in evidence.attention.columns if p.document is None]
    weights = np.asarray(evidence.attention.weights).mean((0, 1))
    outside = sum(w for w, p in zip(weights, evidence.attention.columns, strict=True) if p in rest)
    assert all(0 < share < 1 for share in shares) and sum(shares) + outside == pytest.approx(1.0, abs=1e-4)


@pytest.mark.usefixtures("copies")
def test_the_distance_to_the_fine_tuned_one(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load_engine("copies")

    class Rome:
        name, model, device = "copies", "rome", "cpu"

        def extract(self, texts: Any, schema: Any, demonstrations: Any = (), **more: Any) -> Any:
            assert not demonstrations
            return engine.extract(texts, schema, SHOTS[:1], **more)

    monkeypatch.setattr(effects, "fine_tuned", lambda *_: Rome())
    texts = [Document(id="t", text="Ada left Rome")]
    gold = [shot("Rome and Ada", ("Rome", "city"), ("Ada", "person"))]
    found = distance(engine, texts, SCHEMA, SHOTS, threshold=0.0, gold=gold)
    assert found is not None
    assert found.agreement["f1"] == pytest.approx(2 * 2 / (4 + 2)) and found.agreement["both"] == 2
    assert found.f1 == pytest.approx({"in context": 1.0, "fine-tuned": 2 / 3})
    assert [(row["words"], row["fine-tuned"] is None) for row in found.lines()] == [("Ada", True), ("Rome", False)]
    assert distance(engine, texts, SCHEMA, SHOTS, stopped=lambda: True) is None
