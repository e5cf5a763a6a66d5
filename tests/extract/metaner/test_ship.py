"""The shipped form: int8 without the shared word embeddings, found beside it and checked, and its card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.extract.metaner.conftest import documents
from tests.extract.metaner.test_train import drawn
from tests.extract.seq2seq.conftest import tiny_copy
from workbench.extract.errors import EngineError
from workbench.extract.loop import Length
from workbench.extract.metaner.engine import MetaNerEngine
from workbench.extract.metaner.naming import write_way
from workbench.extract.metaner.ship import main, ship
from workbench.extract.metaner.tokens import MetaTokens
from workbench.extract.metaner.train.meta import MetaLoss
from workbench.extract.metaner.wire import Wire
from workbench.extract.seq2seq.loop import Recipe, train
from workbench.extract.seq2seq.stream import Stream
from workbench.extract.seq2seq.weights import WEIGHTS, save_copy_model
from workbench.extract.storage import read_tensors

Made = tuple[Any, Any, MetaTokens]
SCHEMA = {"entities": ["person", "city"]}


@pytest.fixture
def trained(made: Made, tmp_path: Path) -> Path:
    """A run of a few steps from a base."""
    model, tokenizer, tokens = made
    episodes = drawn(Wire(tokenizer, tokens, True))
    stream = Stream({"in context": (1.0, episodes.in_context), "plain": (1.0, episodes.plain)}, tokens.sel, 4, 0)
    what = {
        "sets": ["wikigold", "semcor_wordnet"], "meta": 0.05, "demonstrations": 5, "shown": 48, "asked": 64, "anonymous": 0.8, "documents": 3000,
        "texts": ["texts"], "language_model": True, "plain": False,
    }  # fmt: skip
    facts = {
        "types": {"wikigold": 4},
        "texts": {"wikigold": 1234},
        "left_out_as_measured": 7,
        "touched": {"person": ["wikigold"], "location": []},
    }
    recipe = Recipe(what=what, batch=4, warmup=2, bf16=False)

    def save(folder: Path) -> None:
        model.config.engine = {"anonymous": True, "facts": facts}
        save_copy_model(folder, model, tokenizer)

    train(
        model, stream, tmp_path / "run", recipe, Length(steps=12), save, family="metaner", start="tiny", extra=MetaLoss(tokens.sel, 0, every=1)
    )  # fmt: skip
    return tmp_path / "run" / "model"


def test_word_embeddings_are_stored_once_and_found_beside_it(trained: Path, words: Any, tmp_path: Path) -> None:
    save_copy_model(tmp_path / "uie-tiny", tiny_copy(words), words, "int8")
    (tmp_path / "uie-tiny" / "LICENSE").write_text("for research", encoding="utf-8")
    report = ship(trained, tmp_path / "metaner-tiny", tmp_path / "uie-tiny")
    stored = read_tensors(tmp_path / "metaner-tiny" / WEIGHTS)
    assert "encoder.model.embeddings.word_embeddings.weight" not in stored and len(stored) > 20
    whole = MetaNerEngine.load(str(trained), "cpu")
    small = MetaNerEngine.load(str(tmp_path / "metaner-tiny"), "cpu")
    table, again = whole.net.get_input_embeddings().weight, small.net.get_input_embeddings().weight
    assert table.shape == again.shape and (table - again).abs().max() < table.abs().max() / 120
    assert not again[tiny_copy(words).config.vocab_size :].any()
    text = [d.text for d in documents(4)]
    assert len(small.extract(text, SCHEMA, documents(2))) == 4
    assert report["bytes"] == sum((tmp_path / "metaner-tiny" / f).stat().st_size for f in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"))  # fmt: skip
    assert (tmp_path / "metaner-tiny" / "LICENSE").is_file()
    ship(trained, tmp_path / "alone" / "metaner-whole")  # no other folder is needed
    assert MetaNerEngine.load(str(tmp_path / "alone" / "metaner-whole"), "cpu").copies
    (tmp_path / "metaner-tiny").rename(tmp_path / "alone" / "metaner-tiny")
    with pytest.raises(EngineError, match="shares the word embeddings of 'uie-tiny', which is not beside it"):
        MetaNerEngine.load(str(tmp_path / "alone" / "metaner-tiny"), "cpu")
    other = tiny_copy(words)
    with torch.no_grad():
        other.get_input_embeddings().weight[20] += 1
    save_copy_model(tmp_path / "alone" / "uie-tiny", other, words, "int8")
    with pytest.raises(EngineError, match="holds others"):
        MetaNerEngine.load(str(tmp_path / "alone" / "metaner-tiny"), "cpu")
    with pytest.raises(EngineError, match="other word embeddings"):
        ship(trained, tmp_path / "alone" / "metaner-x", tmp_path / "alone" / "uie-tiny")
    settings = json.loads((tmp_path / "alone" / "metaner-tiny" / "config.json").read_text())
    settings["words"]["folder"] = "../run/model"
    (tmp_path / "alone" / "metaner-tiny" / "config.json").write_text(json.dumps(settings))
    with pytest.raises(EngineError, match="not beside it"):
        MetaNerEngine.load(str(tmp_path / "alone" / "metaner-tiny"), "cpu")


def test_the_card_says_what_was_learnt_and_measured(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = {
        "conll03": {"mean": 0.345, "std": 0.021}, "wnut17": {"mean": 0.1, "std": 0.0}, "engine": "metaner", "shots": 1, "seeds": 10, "limit": 500,
    }  # fmt: skip
    (tmp_path / "one.json").write_text("a table for people\n" + json.dumps(result) + "\n", encoding="utf-8")
    arguments = [
        "--model",
        str(trained),
        "--out",
        str(tmp_path / "metaner-card"),
        "--results",
        str(tmp_path / "one.json"),
    ]
    assert main(arguments) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["steps"] == 12 and sum(said["tasks"].values()) == 48 and said["bytes"] > 10_000
    card = (tmp_path / "metaner-card" / "README.md").read_text(encoding="utf-8")
    for wanted in (
        "# metaner-card", "12 steps of 4", "| 1 | 10 | 500 | 34.5 ± 2.1 | 10.0 ± 0.0 | - | - |", "| person | wikigold |", "| location | none |",
        "(7 windows of text", "| wikigold | CC BY 4.0 |", "1,234 | 4", "meta-function | weight 0.05", "--documents 3000",
    ):  # fmt: skip
        assert wanted in card, wanted
    assert str(tmp_path) not in card and "names in use" not in card
    write_way(
        trained, "own", {"a": {"anonymous": [0.1, 0.3], "own": [0.5, 0.2]}, "b": {"anonymous": [0.1], "own": [0.2]}}
    )
    assert main([*arguments[:3], str(tmp_path / "metaner-named")]) == 0
    capsys.readouterr()
    card = (tmp_path / "metaner-named" / "README.md").read_text(encoding="utf-8")
    assert (
        "under their own names beside demonstrations: F1 27.5 by name, 15.0 anonymous, mean over development parts of a, b"
        in card
    )
    assert not MetaNerEngine.load(str(tmp_path / "metaner-named"), "cpu").shape.anonymous
    (tmp_path / "two.json").write_text("[]", encoding="utf-8")
    assert main([*arguments[:-1], str(tmp_path / "two.json")]) == 1
    assert "holds no few-shot result" in capsys.readouterr().err
    assert main(["--model", str(trained), "--out", str(tmp_path / "x"), "--run", str(tmp_path)]) == 1
    assert "name its folder with --run" in capsys.readouterr().err
