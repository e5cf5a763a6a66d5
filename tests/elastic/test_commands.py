"""`workbench sweep`, `budget` and `carve` from the command line: one JSON object last, errors in one sentence, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.elastic.curve_factory import save_curve
from tests.tiny_model import save_model
from workbench.analysis.curve import load_curve
from workbench.cli import run
from workbench.models import LoadOptions, load_model

ROOT = Path(__file__).resolve().parents[2]


def texts(folder: Path) -> Path:
    for group, words in (("pets", "the cat sat on a mat"), ("talk", "hello there how are you")):
        (folder / group).mkdir(parents=True)
        for number in range(3):
            (folder / group / f"{number}.txt").write_text(f"{words} and the dog ran fast {words}" * (number + 1))
    return folder


def result(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    return dict(json.loads(capsys.readouterr().out.strip().splitlines()[-1]))


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(arguments) == 1
    said = capsys.readouterr()
    assert len(said.err.strip().splitlines()[-1:]) == 1 and "Traceback" not in said.err
    return said.err.strip().splitlines()[-1]


def test_from_sweep_to_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, inputs, out = str(save_model(tmp_path / "model")), str(texts(tmp_path / "texts")), tmp_path / "sweep"
    common = ["--model", model, "--input", inputs, "--group-by", "folder", "--max-length", "32", "--rounds", "1", "--decode-steps", "2", "--latency-length", "8"]  # fmt: skip
    grid = [
        "--layers",
        "all first:1",
        "--experts",
        "all",
        "--experts",
        "share:0.5:mass",
        "--top-k",
        "2 1",
        "--calibrate-every",
        "3",
    ]
    assert run(["sweep", *common, *grid, "--out", str(out), "--json"]) == 0
    told = result(capsys)
    assert (
        told["rows"] == told["points"] == 8
        and told["documents"] == 4
        and told["shared"] is True
        and told["left_out"] == {}
    )
    curve = load_curve(out)
    assert curve.groups == ["all inputs", "pets", "talk"] and (curve.rows["measured"] == "gathered").all()
    cheapest = int(curve.rows["bytes_stored"].min())
    assert run(["budget", str(out), "--bytes", f"{cheapest}B", "--group", "talk", "--json"]) == 0
    chosen = result(capsys)
    assert chosen["candidates"] == 2 and str(chosen["sub_model"]).startswith("layers=first:1 experts=share:0.5:mass")
    # The curve's own exact form of it needs no ranking.
    exact = str(curve.rows.set_index("sub_model").loc[str(chosen["sub_model"]), "exact"])
    assert run(["carve", "--model", model, "--sub-model", exact, "--out", str(tmp_path / "small"), "--json"]) == 0
    assert result(capsys)["layers"] == 1
    small = load_model(str(tmp_path / "small"), LoadOptions(device="cpu")).model
    assert sum(parameter.numel() for parameter in small.parameters()) == curve.rows["parameters_stored"].min()


def test_a_recovery_lowers_the_held_out_loss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, inputs = str(save_model(tmp_path / "model")), str(texts(tmp_path / "texts"))
    arguments = [
        "carve",
        "--model",
        model,
        "--sub-model",
        "layers=first:1 experts=0,2 top_k=1",
        "--out",
        str(tmp_path / "small"),
    ]
    assert (
        run(
            [*arguments, "--recover", "25", "--recover-rate", "0.01", "--input", inputs, "--max-length", "32", "--json"]
        )
        == 0
    )
    told = result(capsys)
    recovery = told["recovery"]
    assert isinstance(recovery, dict) and recovery["held_out"] == 1 and recovery["documents"] == 5
    assert recovery["loss_after"] < recovery["loss_before"] - 0.3
    card = (tmp_path / "small" / "README.md").read_text()
    assert "fine-tuned for 25 steps on 5 documents" in card
    config = json.loads((tmp_path / "small" / "config.json").read_text())
    assert config["num_local_experts"] == 2 and config["dtype"] == "float32"
    assert "lack" not in failed(
        capsys, "carve", "--model", model, "--sub-model", "top_k=1", "--out", str(tmp_path / "x"), "--recover", "3"
    )
    assert not (tmp_path / "x").exists()


def test_a_ranking_from_a_capture_loads_no_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, inputs = str(save_model(tmp_path / "model")), str(texts(tmp_path / "texts"))
    assert (
        run(
            [
                "capture",
                "--model",
                model,
                "--input",
                inputs,
                "--max-length",
                "32",
                "--out",
                str(tmp_path / "c.capture"),
                "--json",
            ]
        )
        == 0
    )
    capsys.readouterr()
    arguments = ["carve", "--model", model, "--sub-model", "experts=share:0.5:count", "--out", str(tmp_path / "small")]
    assert run([*arguments, "--ranking", str(tmp_path / "c.capture"), "--json"]) == 0
    kept = result(capsys)["experts_kept"]
    from workbench.capture import Capture

    capture = Capture.load(tmp_path / "c.capture")
    for site in capture.sites:
        count = capture.count[capture.site_index(site.id)].sum(axis=0)
        best = sorted(sorted(range(4), key=lambda expert: (-count[expert], expert))[:2])
        assert isinstance(kept, dict) and kept[str(site.layer)] == best


def test_errors_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_curve(tmp_path / "curve")
    assert "exactly one of them" in failed(capsys, "budget", str(tmp_path / "curve"))
    assert "exactly one of them" in failed(capsys, "budget", str(tmp_path / "curve"), "--ms", "3", "--active", "3")
    assert "decode or prefill" in failed(capsys, "budget", str(tmp_path / "curve"), "--ms", "3", "--time", "night")
    assert "a size such as" in failed(capsys, "budget", str(tmp_path / "curve"), "--bytes", "lots")
    assert "No measured sub-model is within" in failed(capsys, "budget", str(tmp_path / "curve"), "--ms", "0.1")
    assert "there is no curve.parquet" in failed(capsys, "budget", str(tmp_path / "gone"), "--ms", "1")
    model = str(save_model(tmp_path / "model"))
    said = failed(capsys, "carve", "--model", model, "--sub-model", "layers=first:0", "--out", str(tmp_path / "x"))
    assert "zero layers" in said
    said = failed(capsys, "carve", "--model", model, "--sub-model", " ", "--out", str(tmp_path / "x"))
    assert "--sub-model is empty" in said and not (tmp_path / "x").exists()
    said = failed(capsys, "carve", "--model", model, "--sub-model", "experts=1", "--out", str(tmp_path / "x"))
    assert "only 1 are left" in said
    said = failed(
        capsys, "carve", "--model", str(tmp_path / "no"), "--sub-model", "top_k=1", "--out", str(tmp_path / "x")
    )
    assert not (tmp_path / "x").exists()
    inputs = str(texts(tmp_path / "texts"))
    said = failed(
        capsys, "sweep", "--model", model, "--sub-model", "experts=1", "--input", inputs, "--out", str(tmp_path / "s")
    )
    assert "only 1 are left" in said and not (tmp_path / "s").exists()
    said = failed(
        capsys, "sweep", "--model", model, "--calibrate-every", "1", "--input", inputs, "--out", str(tmp_path / "s")
    )
    assert "at least 2" in said


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to another process")
def test_ctrl_c_keeps_what_was_found(tmp_path: Path) -> None:
    model, inputs, out = str(save_model(tmp_path / "model")), str(texts(tmp_path / "texts")), tmp_path / "sweep"
    arguments = ["sweep", "--model", model, "--input", inputs, "--max-length", "32", "--layers", "all first:1", "--rounds", "100000", "--latency-length", "8"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench.cli", *arguments, "--out", str(out), "--json"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    _wait_for(out, '"time"')
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=120)
    told = json.loads(said.strip().splitlines()[-1])
    assert process.returncode == 0 and told["stopped_early"] is True and told["rows"] == 2, errors
    assert len(load_curve(out).rows) == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to another process")
def test_pressed_twice_it_stops_at_once_and_says_what_is_kept(tmp_path: Path) -> None:
    model, inputs, out = str(save_model(tmp_path / "model")), str(texts(tmp_path / "texts")), tmp_path / "sweep"
    # One batch of the clock takes long here, so that the second press comes within it.
    arguments = ["sweep", "--model", model, "--input", inputs, "--max-length", "32", "--rounds", "2", "--latency-length", "8", "--decode-steps", "1000000"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench.cli", *arguments, "--out", str(out)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    _wait_for(out, '"loss"')
    time.sleep(3)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(1)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130 and errors.strip().splitlines()[-1].startswith(
        "Stopped at once. What was found is kept in"
    ), errors
    assert len(load_curve(out).rows) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process without telling it")
def test_a_carve_that_is_told_to_end_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM, by which time limits and machines that shut down end a program."""
    model = str(save_model(tmp_path / "model"))
    arguments = [
        "carve",
        "--model",
        model,
        "--sub-model",
        "top_k=1",
        "--out",
        str(tmp_path / "out" / "small"),
        "--recover",
        "100000",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench.cli", *arguments, "--input", str(texts(tmp_path / "texts")), "--max-length", "32"], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    for _ in range(2400):
        if list((tmp_path / "out").glob(".small.*/model.safetensors")):
            break
        time.sleep(0.1)
    process.terminate()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and "nothing was kept" in errors.strip().splitlines()[-1], errors
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no lock that ends with its process")
def test_what_a_killed_carve_left_goes_with_the_next_one(tmp_path: Path) -> None:
    model, folder = str(save_model(tmp_path / "model")), tmp_path / "out"
    arguments = ["carve", "--model", model, "--sub-model", "top_k=1", "--out", str(folder / "small")]
    recovery = ["--recover", "100000", "--input", str(texts(tmp_path / "texts")), "--max-length", "32"]
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench.cli", *arguments, *recovery], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    for _ in range(2400):
        if list(folder.glob(".small.*/model.safetensors")):
            break
        time.sleep(0.1)
    other = [*arguments[:-1], str(folder / "other")]
    assert run(other) == 0  # beside a living one, into the same parent
    assert len(list(folder.glob(".small.*/model.safetensors"))) == 1
    process.kill()
    process.wait()
    assert len(list(folder.glob(".small.*"))) == 1  # a killed program cannot clean up
    assert run(arguments) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["other", "small"]


def _wait_for(out: Path, words: str) -> None:
    """Until the journal of a sweep holds these words."""
    for _ in range(2400):
        if (out / "journal.jsonl").is_file() and words in (out / "journal.jsonl").read_text():
            return
        time.sleep(0.1)
    raise AssertionError(f"the journal holds no {words}")
