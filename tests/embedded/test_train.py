"""The recipe on tiny generated text: it learns, it resumes to the same curve, it refuses another run's folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.embedded import __main__ as command
from workbench.embedded.corpus import Corpus, EmbeddedError, read_corpus
from workbench.embedded.packing import Stream, batch
from workbench.embedded.recipe import Recipe, balance_loss, learning_rate
from workbench.embedded.train import METRICS, Plan, train

MICRO = Recipe(
    kinds=("letters", "numbers"),
    vocabulary=300,
    context=32,
    rows=2,
    width=32,
    layers=2,
    heads=2,
    key_value_heads=1,
    head_width=16,
    experts=8,
    top_k=2,
    expert_width=16,
    learning_rate=1e-2,
    warm_up=2,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for kind, alphabet in (("letters", "abcde "), ("numbers", "12345,")):
        (root / kind).mkdir()
        for n in range(40):
            (root / kind / f"{n}.txt").write_text("".join(rng.choice(list(alphabet), 150)), encoding="utf-8")
    return read_corpus(root, ("letters", "numbers"))


def curve(out: Path) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in (out / METRICS).read_text(encoding="utf-8").splitlines()]
    return [(row["step"], row["loss"]) for row in rows]


def test_it_learns_and_a_resumed_run_has_the_same_curve(corpus: Corpus, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(corpus, whole, MICRO, Plan(steps=14, save_every=5, log_every=1))
    train(corpus, parts, MICRO, Plan(steps=14, save_every=5, log_every=1, stop_after=5))
    # What a kill between two checkpoints leaves behind: lines of steps that no state knows, the last one cut.
    with (parts / METRICS).open("a", encoding="utf-8") as file:
        file.write('{"step": 6, "loss": 99.0}\n{"step": 7, "lo')
    train(corpus, parts, MICRO, Plan(resume=True, save_every=5, log_every=1))
    expected = curve(whole)
    assert [step for step, _ in curve(parts)] == [step for step, _ in expected] == list(range(1, 15))
    np.testing.assert_allclose([loss for _, loss in curve(parts)], [loss for _, loss in expected], rtol=1e-5)
    assert expected[-1][1] < expected[0][1] - 1
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(whole / "model")
    other = AutoModelForCausalLM.from_pretrained(parts / "model")
    assert model.dtype == torch.bfloat16
    for name, value in model.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, rtol=1e-2, atol=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(whole / "model")
    text = "abc 123, größer 🙂\n\tx"
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    assert tokenizer("12")["input_ids"] == [tokenizer.bos_token_id, *tokenizer.convert_tokens_to_ids(["1", "2"])]


def test_another_run_is_not_overwritten(corpus: Corpus, tmp_path: Path) -> None:
    train(corpus, tmp_path, MICRO, Plan(steps=1))
    with pytest.raises(EmbeddedError, match="add --resume"):
        train(corpus, tmp_path, MICRO, Plan(steps=1))
    with pytest.raises(EmbeddedError, match="these differ: seed"):
        train(corpus, tmp_path, replace(MICRO, seed=1), Plan(resume=True))
    other = Corpus(corpus.kinds, {kind: documents[1:] for kind, documents in corpus.documents.items()})
    with pytest.raises(EmbeddedError, match="other ones"):
        train(other, tmp_path, MICRO, Plan(resume=True))
    with pytest.raises(EmbeddedError, match="leave --resume out"):
        train(corpus, tmp_path / "new", MICRO, Plan(resume=True))
    weights = tmp_path / "state" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(EmbeddedError, match="start anew"):
        train(corpus, tmp_path, MICRO, Plan(steps=2, resume=True))


def test_command_trains(corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in corpus.kinds:
        (tmp_path / "data" / kind).mkdir(parents=True)
        for document in corpus.documents[kind]:
            (tmp_path / "data" / kind / document.name).write_text(document.text, encoding="utf-8")
    sizes = [
        "--vocabulary",
        "300",
        "--context",
        "16",
        "--width",
        "16",
        "--layers",
        "1",
        "--experts",
        "4",
        "--top-k",
        "1",
        "--expert-width",
        "8",
    ]
    given = [
        "--data-root",
        str(tmp_path / "data"),
        "--out",
        str(tmp_path / "run"),
        "--kinds",
        "letters,numbers",
        "--steps",
        "2",
        *sizes,
    ]
    assert command.main(given) == 0
    assert "model" in capsys.readouterr().out
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= {
        p.name for p in (tmp_path / "run" / "model").iterdir()
    }
    assert not list((tmp_path / "run").rglob("*.bin")) and not list((tmp_path / "run").rglob("*.pt")), (
        "safetensors only"
    )


def test_rows_cover_every_token_once_an_epoch_and_depend_on_the_index_alone() -> None:
    documents = [np.arange(10 * n + 2, 10 * n + 2 + n % 5 + 1) for n in range(50)]
    stream, again = (Stream(documents, 0, 8, (3, 1)) for _ in range(2))
    rows = [stream.row(i) for i in range(2 * stream.rows_per_epoch)]
    np.testing.assert_array_equal(again.row(len(rows) - 1), rows[-1])  # straight to a late row, as a resumed run does
    np.testing.assert_array_equal(again.row(1), rows[1])
    assert all(row[0] == 0 and len(row) == 8 for row in rows)
    first = np.concatenate([row[1:] for row in rows[: stream.rows_per_epoch]])
    content = first[first > 0]
    assert len(set(content.tolist())) == len(content), "no token twice in an epoch"
    assert len(content) + 8 > sum(map(len, documents)) - 8
    second = np.concatenate([row[1:] for row in rows[stream.rows_per_epoch :]])
    assert not np.array_equal(first, second), "another epoch, another order"
    assert batch([stream, again], 1, 2).shape == (4, 8)


def test_balance_loss_is_per_layer_and_least_when_even() -> None:
    even = torch.eye(4).repeat(5, 1) * 20.0
    skewed = torch.zeros(20, 4)
    skewed[:, 0] = 20.0
    assert balance_loss((even,), 4, 1).item() == pytest.approx(1.0, abs=1e-3)
    assert balance_loss((skewed,), 4, 1).item() == pytest.approx(4.0, abs=1e-3)
    # Two layers, each all on one expert, but another one: pooled they would look half as bad.
    assert balance_loss((skewed, skewed.roll(1, 1)), 4, 1).item() == pytest.approx(4.0, abs=1e-3)


def test_learning_rate_warms_up_stays_and_decays_to_zero() -> None:
    recipe = replace(MICRO, learning_rate=1.0, warm_up=10, decay_share=0.5)
    rates = [learning_rate(recipe, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9:51] == [1.0] * 42
    assert rates[75] == pytest.approx(0.5) and rates[99] == pytest.approx(0.02)
