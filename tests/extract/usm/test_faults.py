"""Wrong options and damaged files end in one sentence: the commands that train, measure and ship USM."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workbench.cli import run
from workbench.extract.errors import EngineError, ExtractError, no_model
from workbench.extract.seq2seq.model import CopySeq2Seq
from workbench.extract.seq2seq.start import start_model as start_writer
from workbench.extract.uie import ship as uie_ship
from workbench.extract.usm import finetune, ship, silver, unseen, unseen_sets
from workbench.extract.usm.engine import UsmEngine
from workbench.extract.usm.model import UsmModel
from workbench.extract.usm.train.recipe import parse_weights
from workbench.extract.usm.train.start import is_usm_model, start_model
from workbench.extract.usm.tune import with_development

Main = Callable[[list[str]], int]
SHIP, SHIP_UIE, FINETUNE, UNSEEN, UNSEEN_SETS = ship.main, uie_ship.main, finetune.main, unseen.main, unseen_sets.main


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The last line of standard error."""
    return capsys.readouterr().err.strip().splitlines()[-1]


def minified(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()), separators=(",", ":")))


# ---------------------------------------------------------------------- which folder is a USM model
def test_a_usm_model_is_known_by_the_type_it_states(folder: Path, encoder: Path, tmp_path: Path) -> None:
    assert is_usm_model(folder) and not is_usm_model(encoder) and not is_usm_model(tmp_path / "none")
    minified(folder)
    assert is_usm_model(folder), "however its JSON is set"
    for text in (b'{"model_type": "bert", "of": "\\"model_type\\": \\"usm\\""}', b'["usm"]', b'{"model_type": "usm"', '{"é": 1}'.encode("latin-1")):  # fmt: skip
        (encoder / "config.json").write_bytes(text)
        assert not is_usm_model(encoder), text


def test_every_training_goes_on_from_a_minified_usm_model(
    made_sets: None, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    minified(folder)
    assert isinstance(start_model(str(folder), "cpu")[0], UsmModel)
    assert isinstance(start_writer(str(folder))[0], CopySeq2Seq)
    arguments = ["--model", str(folder), "--data-root", str(tmp_path), "--out", str(tmp_path / "out"), "--steps", "1", "--development", "2"]  # fmt: skip
    assert finetune.main([*arguments, "--data", "conll04"]) == 0
    assert json.loads((tmp_path / "out" / "table.json").read_text())["conll04"]["before"] is not None
    capsys.readouterr()


# ---------------------------------------------------------------------- what a run starts from
def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


def _latin(folder: Path) -> None:
    (folder / "config.json").write_bytes('{"model_type": "bert", "é": 1}'.encode("latin-1"))


def _list(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


def _shape(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"hidden_size": 32', '"hidden_size": 64'))


@pytest.mark.parametrize("start", [start_model, start_writer])
@pytest.mark.parametrize("damage", [_cut, _latin, _list, _shape])
def test_a_damaged_encoder_is_one_sentence(start: Any, damage: Callable[[Path], None], encoder: Path) -> None:
    damage(encoder)
    with pytest.raises(EngineError, match="cannot be loaded"):
        start(str(encoder), "cpu")


@pytest.mark.parametrize("start", [start_model, start_writer])
@pytest.mark.parametrize("of", ["folder", "encoder"])
def test_a_device_that_is_not_here_is_one_sentence(start: Any, of: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(EngineError, match="The device 'nonsense' cannot be used"):
        start(str(request.getfixturevalue(of)), "nonsense")


# ---------------------------------------------------------------------- `workbench train`
@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--hold-out", "conll04"], "needs a set to learn from"),
        (["--hold-out", "conll04", "--engine", "uie"], "needs a set to learn from"),
        (["--data", "ncbi_disease", "--hold-out", "conll04", "--hold-out", "bc5cdr"], "needs a set to learn from"),
        (["--device", "nonsense"], "The device 'nonsense' cannot be used"),
        (["--device", "nonsense", "--engine", "uie"], "The device 'nonsense' cannot be used"),
        (["--seed", "-1"], "'--seed'"),
        (["--weight", "scierc=5"], "'scierc' is not among conll04"),
        (["--weight", "conll04=5", "--engine", "uie"], "--weight is an option of the engine usm"),
        (["--no-meta"], "--meta is an option of the engine metaner"),
        (["--encoder-rate", "1e38", "--head-rate", "1e38", "--steps", "4"], "step 2 gave loss nan"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(
    made_sets: None, monkeypatch: pytest.MonkeyPatch, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    options: list[str], wanted: str,
) -> None:  # fmt: skip
    sets = ["--data", "conll04"] if "ncbi_disease" not in options else []
    engine = ["--engine", "usm"] if "--engine" not in options else []
    common = ["--encoder", encoder, "--data-root", tmp_path, "--out", tmp_path / "out", "--batch", 2, "--development", 0]  # fmt: skip
    capsys.readouterr()
    assert run([str(each) for each in ("train", *common, *sets, *engine, "--steps", 1, *options)]) != 0
    found = capsys.readouterr().err
    assert wanted in found and "not foreseen" not in found and "Traceback" not in found
    assert not (tmp_path / "out" / "model").exists()


def test_a_training_of_one_set_needs_no_more_than_its_name(
    made_sets: None, monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the issue types it: the shipped weights are what it starts from, and the run has a folder of its own."""
    monkeypatch.setattr(sys.modules["workbench.extract.engines"], "CHECKPOINTS", folder.parent)
    folder.rename(folder.parent / "usm-mini")
    monkeypatch.chdir(tmp_path)
    common = ["--data-root", str(tmp_path), "--batch", "2", "--development", "0", "--steps", "1"]
    assert run(["train", "--engine", "usm", "--data", "conll04", *common]) == 0
    assert "usm from usm-mini, into runs/usm-conll04" in capsys.readouterr().err
    assert (tmp_path / "runs" / "usm-conll04" / "model" / "model.safetensors").is_file()
    assert run(["train", "--engine", "base", *common]) != 0
    assert "A base is trained from an encoder" in capsys.readouterr().err


def test_a_hub_that_is_not_reached_is_told_from_a_name_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lost = OSError("no such repository")
    assert "There is no USM model 'a/b'" in str(no_model("USM", "a/b", lost))
    wrapped = OSError("could not load")
    wrapped.__cause__ = ConnectionRefusedError("refused")
    said = str(no_model("USM", "a/b", wrapped))
    assert "the hub cannot be reached to look for it (refused)" in said and "no folder here" in said
    assert "There is no USM model" in str(no_model("USM", str(tmp_path), wrapped)), (
        "a folder is not looked for on the hub"
    )


def test_a_weight_is_of_a_set_that_is_learnt_from() -> None:
    assert parse_weights(["scierc=5"], ["conll04", "scierc"]) == (("scierc", 5.0),)
    with pytest.raises(EngineError, match="'scierc=5' came and 'scierc' is not among conll04: "):
        parse_weights(["scierc=5"], ["conll04"])


# ---------------------------------------------------------------------- commands of single modules
@pytest.mark.parametrize(
    ("main", "options", "wanted"),
    [
        (SHIP, ["--model", "/nope"], "no USM model '/nope'"),
        (SHIP, ["--data-root", "/nope"], "below '/nope'"),
        (SHIP, ["--data", "conll04", "wnut17x"], "no data set 'wnut17x'"),
        (SHIP, ["--data", "conll04", "uner_en_ewt"], "'uner_en_ewt' has none"),
        (SHIP, ["--data"], "no development texts"),
        (SHIP_UIE, ["--data", "conll04", "wnut17x"], "no data set 'wnut17x'"),
        (SHIP_UIE, ["--data", "uner_en_ewt"], "'uner_en_ewt' has none"),
        (SHIP_UIE, ["--model", "/nope"], "'/nope'"),
        (UNSEEN, ["--data", "nope"], "no training plan for 'nope'"),
        (UNSEEN, ["--data", "tasteset2"], "needs a set to learn from"),
        (UNSEEN, ["--device", "nonsense"], "The device 'nonsense' cannot be used"),
        (UNSEEN_SETS, ["--device", "nonsense"], "The device 'nonsense' cannot be used"),
        (FINETUNE, ["--device", "nonsense"], "The device 'nonsense' cannot be used"),
    ],
)
def test_a_command_ends_in_one_sentence(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str], main: Main, options: list[str], wanted: str
) -> None:  # fmt: skip
    if "/nope" not in options:
        request.getfixturevalue("made_sets")
    start = ["--model", request.getfixturevalue("folder")] if main in (SHIP, SHIP_UIE, FINETUNE) else ["--encoder", request.getfixturevalue("encoder")]  # fmt: skip
    arguments = [*start, "--data-root", tmp_path, "--out", tmp_path / "out", *options]
    assert main([str(each) for each in arguments]) == 1
    assert wanted in said(capsys)


@pytest.mark.parametrize(
    ("main", "option", "value"),
    [
        (SHIP, "--texts", "-1"), (SHIP_UIE, "--texts", "-1"), (SHIP, "--texts", "0"), (UNSEEN, "--seeds", "-1"), (UNSEEN_SETS, "--seed", "-1"), (FINETUNE, "--seed", "-1"),
        (silver.main, "--seed", "-1"),
    ],
)  # fmt: skip
def test_numbers_that_cannot_be_are_refused(
    main: Main, option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([option, value])
    assert stopped.value.code == 2 and f"argument {option}: a " in said(capsys)


@pytest.mark.parametrize("content", [b'{"settings": ', b"[1]", b"{}", b"\xe9"])
def test_a_damaged_result_is_one_sentence(
    made_sets: None, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    path = tmp_path / "out" / "conll04" / "result.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert finetune.main(["--model", str(folder), "--data-root", str(tmp_path), "--out", str(tmp_path / "out"), "--data", "conll04"]) == 1  # fmt: skip
    assert f"'{path}' cannot be read" in said(capsys) and path.read_bytes() == content


def test_a_model_is_shipped_with_what_development_texts_choose(
    made_sets: None, monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ship, "shipped_or", {"usm-tiny": str(folder)}.__getitem__)
    assert ship.main(["--model", "usm-tiny", "--data-root", str(tmp_path), "--data", "conll04", "--out", str(tmp_path / "made")]) == 0  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    engine = UsmEngine.load(str(tmp_path / "made"), "cpu")
    assert found["bytes"] > 0 and found["mode"] == engine.reading.mode and found["threshold"] == engine.reading.threshold  # fmt: skip


def test_sets_that_are_unknown_are_not_passed_over() -> None:
    assert with_development(["conll04", "uner_en_ewt", "aptner"]) == ["conll04"]
    with pytest.raises(ExtractError, match="no data set 'conll4'"):
        with_development(["conll04", "conll4"])
