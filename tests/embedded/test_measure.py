"""Baselines, loss and routing numbers against brute force and hand-computed values."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.embedded import card, evaluate
from workbench.embedded.baselines import CountModel
from workbench.embedded.corpus import Document, read_corpus
from workbench.embedded.measure import max_violation, measure, overlap, pooled_load, top_share
from workbench.embedded.recipe import Recipe
from workbench.embedded.train import Plan, train


def test_count_model_by_hand() -> None:
    # boundary 0; one kind "1 2 1 2", the other "1": scaled to four tokens it weighs as much.
    counts = CountModel(3, [[np.array([1, 2, 1, 2])], [np.array([1])]], 0)
    # tokens 1: 2 + 4, tokens 2: 2, token 0: none; one added to each.
    np.testing.assert_allclose(counts.unigram, np.array([1, 7, 3]) / 11)
    assert counts.unigram_nats(np.array([1, 2])) == pytest.approx(-math.log(7 / 11) - math.log(3 / 11))
    # After the boundary only 1 was seen (1 + 4 times, T = 1); after 1 only 2 (twice, T = 1).
    first = (5 + 7 / 11) / (5 + 1)
    second = (2 + 3 / 11) / (2 + 1)
    assert counts.bigram_nats(np.array([1, 2])) == pytest.approx(-math.log(first) - math.log(second))
    for previous in range(3):
        total = sum(
            math.exp(-(counts.bigram_nats(np.array([previous, w])) - counts.bigram_nats(np.array([previous]))))
            for w in range(3)
        )
        assert total == pytest.approx(1.0)


def test_load_numbers_by_hand() -> None:
    a, b = np.array([[8, 0, 0, 0]]), np.array([[1, 1, 0, 2]])
    load = pooled_load([a, b])
    np.testing.assert_allclose(load, [[0.625, 0.125, 0.0, 0.25]])
    np.testing.assert_allclose(max_violation(load), [1.5])
    assert top_share(np.array([[3, 5, 5, 1]]), 0.25) == [{1}], "a tie goes to the lower number"
    np.testing.assert_allclose(overlap(np.array([[4, 3, 2, 1]]), np.array([[4, 1, 3, 2]]), 0.5), [1 / 3])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("measure")
    for kind, word in (("letters", "abc "), ("numbers", "123,")):
        (root / "data" / kind).mkdir(parents=True)
        for n in range(60):
            text = f"{word * (20 + n)}{kind} {n}"
            (root / "data" / kind / f"{n}.txt").write_text(text, encoding="utf-8")
    listing = [
        {"kind": k, "licence": "own", "characters": 10, "held_out": n % 2 == 0}
        for k in ("letters", "numbers")
        for n in range(4)
    ]
    (root / "data" / "SOURCES.jsonl").write_text("".join(json.dumps(r) + "\n" for r in listing), encoding="utf-8")
    recipe = Recipe(
        kinds=("letters", "numbers"), vocabulary=280, context=16, width=16, layers=2, heads=2, key_value_heads=1, head_width=8, experts=4,
        top_k=2, expert_width=8,
    )  # fmt: skip
    train(read_corpus(root / "data", recipe.kinds), root / "run", recipe, Plan(steps=3))
    return root


def test_measure_equals_a_plain_loop(run: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(run / "run" / "model")
    model = AutoModelForCausalLM.from_pretrained(run / "run" / "model", dtype=torch.float32).eval()
    documents = [Document("x", "a", "abc 123, " * 9), Document("x", "b", "größer"), Document("x", "c", "abc")]
    measured = measure(model, tokenizer, documents)
    nats, tokens, count = 0.0, 0, np.zeros((2, 2, 4), dtype=np.int64)
    chosen: list[torch.Tensor] = []
    hooks = [
        layer.mlp.experts.register_forward_pre_hook(lambda _module, given: chosen.append(given[1]))
        for layer in model.model.layers
    ]
    for number, document in enumerate(documents):
        ids = tokenizer(document.text, add_special_tokens=False)["input_ids"]
        for start in range(0, len(ids), 15):
            window = torch.tensor([[tokenizer.bos_token_id, *ids[start : start + 15]]])
            chosen.clear()
            with torch.no_grad():
                scores = torch.log_softmax(model(input_ids=window).logits[0], -1)
            for place in range(1, window.shape[1]):
                nats -= float(scores[place - 1, window[0, place]])
                tokens += 1
                for layer, experts in enumerate(chosen):
                    for expert in experts[place].tolist():
                        count[number % 2, layer, expert] += 1
    for hook in hooks:
        hook.remove()
    assert (measured.documents, measured.tokens, measured.bytes) == (
        3,
        tokens,
        sum(len(d.text.encode()) for d in documents),
    )
    assert measured.nats == pytest.approx(nats, rel=1e-5)
    np.testing.assert_array_equal(measured.count, count)
    assert measured.bits_a_byte == pytest.approx(nats / math.log(2) / measured.bytes)


def test_evaluate_and_card(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--model", str(run / "run" / "model"), "--data-root", str(run / "data"), "--kinds", "letters,numbers"]
    assert evaluate.main([*given, "--out", str(tmp_path / "r.json")]) == 0
    assert "| letters |" in capsys.readouterr().out
    result = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert set(result["loss"]) == {"letters", "numbers"} and len(result["routing"]["trained"]["dead"]) == 2
    made = [
        "--results",
        str(tmp_path / "r.json"),
        "--run",
        str(run / "run"),
        "--data-root",
        str(run / "data"),
        "--out",
        str(tmp_path / "README.md"),
    ]
    assert card.main(made) == 0
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert (
        f"{result['parameters']:,}" in text
        and "3 steps of 1 row(s) of 16 tokens" in text
        and "| letters | own | 0.00 | 4 | 2 |" in text
    )
    assert evaluate.main([*given[:1], str(tmp_path), *given[2:]]) == 1
    assert capsys.readouterr().err.startswith("Expected a model folder with a config.json")
