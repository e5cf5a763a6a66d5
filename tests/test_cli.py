"""The command line: every command, its JSON, and one sentence for every error."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_model import save_model
from workbench.capture import Capture
from workbench.cli import run

COMMANDS = ("app", "models", "convert", "capture", "info", "figures", "compare", "pictures", "causal", "doctor")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    torch.set_num_threads(1)
    return save_model(tmp_path_factory.mktemp("cli") / "tiny")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    for kind, text in (("cats", "the cat sat on a mat"), ("dogs", "a dog ran fast and sat")):
        (tmp_path / "texts" / kind).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "texts" / kind / f"{number}.txt").write_text(text)
    return tmp_path / "texts"


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    status = run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def last_object(out: str) -> dict[str, Any]:
    found = json.loads(out.strip().splitlines()[-1])
    assert isinstance(found, dict)
    return found


def one_sentence(err: str) -> str:
    """The error is the last line of standard error, whole, with no traceback before it."""
    assert "Traceback" not in err
    line = err.strip().splitlines()[-1]
    assert line.endswith(".")
    return line


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_with_an_example_and_needs_no_torch(command: str) -> None:
    code = (
        "import sys\nfrom workbench.cli import run\n"
        f"status = run(['{command}', '--help'])\n"
        "assert status == 0, status\nassert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Example" in done.stdout and f"workbench {command}" in done.stdout and "--json" in done.stdout


def test_capture_info_and_figures(capsys: pytest.CaptureFixture[str], model: Path, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "my.capture"
    status, said, err = call(
        capsys,
        "capture",
        "--model",
        model,
        "--input",
        texts,
        "--group-by",
        "folder",
        "--out",
        out,
        "--device",
        "cpu",
        "--json",
    )
    assert status == 0, err
    made = last_object(said)
    assert (
        made["groups"] == ["cats", "dogs"]
        and made["documents"] == 6
        and made["tokens"] == {"text": {"cats": 18, "dogs": 18}}
    )
    assert "memory" in err and "6 of 6 documents" in err
    Capture.load(out).validate()

    status, said, _ = call(capsys, "info", out)
    assert status == 0 and "cats: 18 tokens" in said and "2 sites of 4 experts, 2 chosen" in said
    status, said, _ = call(capsys, "info", out, "--json")
    assert last_object(said)["grouped_by"] == "folder" and len(said.strip().splitlines()) == 1

    status, said, err = call(capsys, "figures", out, "--out", tmp_path / "figures", "--json")
    assert status == 0, err
    for name in ("load", "heatmap", "overlap", "balance", "specialisation"):
        for form in ("png", "pdf", "svg", "csv", "parquet"):
            assert (tmp_path / "figures" / f"{name}.{form}").is_file(), name
    assert (tmp_path / "figures" / "report.html").is_file() and "report.html" in last_object(said)["files"]


def test_no_text_leaves_the_text_out(
    capsys: pytest.CaptureFixture[str], model: Path, texts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "quiet.capture.zip"
    status, _, err = call(
        capsys,
        "capture",
        "--model",
        model,
        "--input",
        texts,
        "--out",
        out,
        "--no-text",
        "--no-coactivation",
        "--streams",
        "predicted,loss",
    )
    assert status == 0, err
    capture = Capture.load(out)
    names = capture.read_tokens("text").column_names
    assert "piece" not in names and "predicted_id" not in names and "loss" in names and not capture.has("coactivation")


def test_existing_targets(capsys: pytest.CaptureFixture[str], model: Path, texts: Path, tmp_path: Path) -> None:
    arguments = ["capture", "--model", model, "--input", texts, "--no-tokens", "--out"]
    assert call(capsys, *arguments, tmp_path / "c")[0] == 0
    status, _, err = call(capsys, *arguments, tmp_path / "c")
    assert status == 1 and "exists already" in one_sentence(err)
    assert call(capsys, *arguments, tmp_path / "c", "--overwrite")[0] == 0
    status, _, err = call(capsys, *arguments, texts, "--overwrite")
    assert status == 1 and "is not a capture" in one_sentence(err) and len(list(texts.rglob("*.txt"))) == 6


def test_more_inputs_than_one_and_a_prompt(
    capsys: pytest.CaptureFixture[str], model: Path, texts: Path, tmp_path: Path
) -> None:
    files = sorted(texts.rglob("*.txt"))
    status, said, err = call(
        capsys, "capture", "--model", model, "--out", tmp_path / "c", "--group-by", "prompt", "--prompt", "hello", "--prompt", "you",
        "--json", "--input", *files,
    )  # fmt: skip
    assert status == 0, err
    assert last_object(said)["groups"] == ["hello", "you"] and last_object(said)["documents"] == 12


ERRORS = [
    (["capture", "--model", "MODEL", "--input", "gone.txt", "--out", "OUT"], "There is no file"),
    (["capture", "--model", "MODEL", "--input", "TEXTS", "--out", "OUT", "--group-by", "colour"], "--group-by must be"),
    (
        ["capture", "--model", "MODEL", "--input", "TEXTS", "--out", "OUT", "--batch-size", "0"],
        "--batch-size must be at least 1",
    ),
    (["capture", "--model", "MODEL", "--input", "TEXTS", "--out", "OUT", "--device", "tpu"], "--device must be"),
    (
        ["capture", "--model", "MODEL", "--input", "TEXTS", "--out", "OUT", "--streams", "mood"],
        "--streams takes scores",
    ),
    (
        ["capture", "--model", "MODEL", "--input", "TEXTS", "--out", "OUT", "--streams", "loss", "--no-tokens"],
        "leave one of the two out",
    ),
    (["capture", "--model", "MODEL", "--input", "TEXTS", "--out", "OUT", "--max-length", "100"], "has 64 positions"),
    (["capture", "--model", "./nowhere/at/all", "--input", "TEXTS", "--out", "OUT"], "no folder and no file"),
    (["capture", "--model", "MODEL", "--input", "TEXTS"], "--out"),
    (["info", "gone"], "gone"),
    (["figures", "gone", "--out", "OUT"], "gone"),
    (["convert", "gone", "--out", "OUT"], "there is none at"),
    (["nothing"], "nothing"),
]


@pytest.mark.parametrize(
    ("arguments", "words"), ERRORS, ids=[" ".join(arguments[:1]) + " " + words for arguments, words in ERRORS]
)
def test_errors_are_one_sentence(
    capsys: pytest.CaptureFixture[str], model: Path, texts: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    names = {"MODEL": str(model), "TEXTS": str(texts), "OUT": str(tmp_path / "out")}
    status, _, err = call(capsys, *[names.get(word, word) for word in arguments])
    assert status != 0 and words in one_sentence(err)
    assert not (tmp_path / "out").exists()


def test_a_model_that_does_not_fit_is_refused_with_numbers(
    capsys: pytest.CaptureFixture[str], model: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.models import memory

    monkeypatch.setattr(memory, "host_memory", lambda: 1_000_000)
    arguments = ["capture", "--model", model, "--input", texts, "--device", "cpu", "--out", tmp_path / "c"]
    status, _, err = call(capsys, *arguments)
    assert status == 1 and "MB" in one_sentence(err) and "--force" in one_sentence(err)
    assert call(capsys, *arguments, "--force")[0] == 0


def test_a_full_disk_is_one_sentence(
    capsys: pytest.CaptureFixture[str], model: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "c"))

    monkeypatch.setattr("workbench.capture.write.write_files", full)
    status, _, err = call(capsys, "capture", "--model", model, "--input", texts, "--out", tmp_path / "c")
    assert status == 1 and "full" in one_sentence(err) and not (tmp_path / "c").exists()


def test_interrupt_keeps_what_was_recorded(model: Path, tmp_path: Path) -> None:
    (tmp_path / "many.txt").write_text("the cat sat on a mat and dog ran fast\n" * 60_000)
    command = [
        sys.executable,
        "-m",
        "workbench.cli",
        "capture",
        "--model",
        str(model),
        "--input",
        str(tmp_path / "many.txt"),
        "--lines",
    ]
    command += ["--out", str(tmp_path / "c"), "--no-tokens", "--batch-size", "1", "--device", "cpu", "--json"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("Chosen"):
            break
    time.sleep(3)  # a few batches
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    result = last_object(out)
    assert result["stopped_early"] and "Stopped early" in result["notes"] and 0 < result["documents"] < 60_000
    assert "Stopped early" in Capture.load(tmp_path / "c").manifest.notes


def test_models_lists_the_embedded_one(capsys: pytest.CaptureFixture[str]) -> None:
    status, said, _ = call(capsys, "models", "--json")
    found = last_object(said)
    assert status == 0 and "mixtral" in found["families"] and isinstance(found["cached"], list)
    assert all(model["experts"] for model in found["embedded"])


def test_doctor(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        _, said, _ = call(capsys, "doctor", "--json", "--port", taken.getsockname()[1])
    findings = {finding["name"]: finding for finding in last_object(said)["findings"]}
    assert findings["python"]["status"] == findings["torch"]["status"] == findings["library"]["status"] == "ok"
    assert findings["port"]["status"] == "warn" and "next free" in findings["port"]["advice"]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "file"))
    status, said, err = call(capsys, "doctor", "--json")
    assert status == 1 and not last_object(said)["healthy"] and "library" in one_sentence(err)


def test_convert_asks_for_the_licence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import torch

    source = save_model(tmp_path / "old")
    from safetensors.torch import load_file

    torch.save(load_file(source / "model.safetensors"), source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()
    status, _, err = call(capsys, "convert", source, "--out", tmp_path / "new", "--json")
    assert status == 1 and "--yes" in one_sentence(err) and not (tmp_path / "new").exists()
    status, said, err = call(capsys, "convert", source, "--out", tmp_path / "new", "--json", "--yes")
    assert status == 0 and last_object(said)["tensors"] > 0 and "Licence" in err


def test_app_takes_the_next_free_port() -> None:
    from workbench.commands.app import AppError, free_port

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", port) > port
    with pytest.raises(AppError, match="no address"):
        free_port("no.such.address.invalid", 8501)
