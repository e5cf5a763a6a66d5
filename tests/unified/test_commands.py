"""The commands from end to end on small data: train, go on, read and make; what they can't serve is refused in one sentence."""

from __future__ import annotations

import json
import shutil
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from workbench.cli import run
from workbench.models.load import OWN_TYPES
from workbench.unified.config import MODEL_TYPE

SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_experts": 16,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 8,
    "shared_intermediate_size": 16,
}


def train_arguments(trained: tuple[Path, dict], data_root: Path, out: Path, steps: int) -> list[str]:
    return [
        "unified", "train", "--tokenizers", str(trained[0]), "--data-root", str(data_root), "--out", str(out),
        "--steps", str(steps), "--batch", "0.1", "--model-config", json.dumps(SIZES), "--device", "cpu", "--json",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(trained: tuple[Path, dict], data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "small"
    assert run(train_arguments(trained, data_root, out, 2)) == 0
    return out / "model"


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any], str]:
    """Exit status, the JSON object of the last line, and standard error."""
    status = run([*map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    return status, json.loads(out.splitlines()[-1]) if status == 0 else {}, err


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    status, _, err = call(capsys, *arguments)
    assert status == 1
    lines = [line for line in err.strip().splitlines() if line]
    assert len(lines) == 1 and "Traceback" not in err
    return lines[0]


def test_training_goes_on(
    trained: tuple[Path, dict], data_root: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = train_arguments(trained, data_root, checkpoint.parent, 3)
    assert "add --resume" in refused(capsys, *arguments[:-1])
    status, found, _ = call(capsys, *arguments[:-1], "--resume")
    assert status == 0 and found["steps"] == 3
    assert json.loads((checkpoint.parent / "run.json").read_text())["state"] == "finished"


def test_pictures_clips_and_speech_are_written(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("unified", "generate", "--checkpoint", checkpoint)
    _, found, _ = call(
        capsys, *common, "--make", "picture", "--prompt", "three", "--out", tmp_path / "a.png", "--count", 2
    )
    assert [Path(name).name for name in found["files"]] == ["a-1.png", "a-2.png"]
    with Image.open(tmp_path / "a-2.png") as picture:
        assert picture.size == (256, 256)
    call(capsys, *common, "--make", "clip", "--prompt", "three left", "--out", tmp_path / "a.gif", "--frames", 3)
    with Image.open(tmp_path / "a.gif") as clip:
        assert 1 <= clip.n_frames <= 3  # equal frames are joined by the format
    out = tmp_path / "a.wav"
    call(capsys, *common, "--make", "speech", "--prompt", "seven", "--out", out, "--max-tokens", 6, "--seed", 1)
    with wave.open(str(out)) as sound:
        assert sound.getframerate() == 8000 and sound.getnframes() > 0


def test_files_of_any_size_and_rate_are_read(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (57, 200, 3), dtype=np.uint8)).save(tmp_path / "wide.png")
    frames = [Image.fromarray(rng.integers(0, 256, (40, 40), dtype=np.uint8)) for _ in range(6)]
    frames[0].save(tmp_path / "moves.gif", save_all=True, append_images=frames[1:])
    with wave.open(str(tmp_path / "fast.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44100)
        file.writeframes((rng.normal(0, 3000, 44100).astype("<i2")).tobytes())
    for name in ("wide.png", "moves.gif", "fast.wav"):
        _, found, _ = call(
            capsys,
            "unified",
            "generate",
            "--checkpoint",
            checkpoint,
            "--file",
            tmp_path / name,
            "--max-tokens",
            3,
            "--greedy",
        )
        assert len(found["texts"]) == 1


def test_its_text_is_captured_like_any_model(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`workbench capture` and transformers' own generate, without a word about the unified model."""
    (tmp_path / "story.txt").write_text("once upon a time there was a cat", encoding="utf-8")
    status, found, err = call(
        capsys, "capture", "--model", checkpoint, "--input", tmp_path / "story.txt", "--out", tmp_path / "text.capture",
        "--generate", 4, "--device", "cpu",
    )  # fmt: skip
    assert status == 0, err
    assert found["sites"] == 4 and found["tokens"]["text"]["Text"] > 5
    assert list(OWN_TYPES) == [MODEL_TYPE]


def test_refusals(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ("unified", "generate", "--checkpoint", checkpoint)
    (tmp_path / "broken.gif").write_bytes(b"GIF89a no picture")
    (tmp_path / "broken.mp4").write_bytes(b"no clip")
    assert "no picture that can be read" in refused(capsys, *common, "--file", tmp_path / "broken.gif")
    assert "no clip that can be read" in refused(capsys, *common, "--file", tmp_path / "broken.mp4")
    assert "There is no picture" in refused(capsys, *common, "--file", tmp_path / "none.png")
    assert "Expected a picture, clip or sound" in refused(capsys, *common, "--file", tmp_path / "text.txt")
    assert "give both" in refused(capsys, *common, "--make", "picture", "--prompt", "three")
    assert "at least one part" in refused(capsys, *common)
    assert "temperature above 0" in refused(capsys, *common, "--prompt", "a", "--temperature", 0)
    assert "at most 1024 tokens" in refused(capsys, *common, "--prompt", "word " * 3000)
    assert "Expected a checkpoint" in refused(capsys, "unified", "generate", "--checkpoint", tmp_path, "--prompt", "a")
    for make, name, suffix in (("clip", "a.mp4", ".gif"), ("picture", "a", ".png"), ("speech", "a.mp3", ".wav")):
        said = refused(capsys, *common, "--make", make, "--prompt", "three", "--out", tmp_path / name)
        assert f"ends in {suffix}" in said and not (tmp_path / name).exists()
    assert "is printed" in refused(capsys, *common, "--prompt", "a", "--out", tmp_path / "a.txt")
    assert "--make text alone" in refused(
        capsys, *common, "--make", "picture", "--prompt", "a", "--file", tmp_path / "b.png", "--out", tmp_path / "a.png"
    )
    assert "JSON object" in refused(
        capsys, "unified", "train", "--tokenizers", checkpoint / "tokenizers", "--data-root", tmp_path, "--out", tmp_path / "x",
        "--model-config", "[1]",
    )  # fmt: skip


def test_a_broken_checkpoint_is_one_sentence(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in (("model.safetensors", b"junk"), ("config.json", b"{")):
        broken = tmp_path / name.replace(".", "-")
        shutil.copytree(checkpoint, broken)
        (broken / name).write_bytes(content)
        assert "Expected a whole checkpoint" in refused(
            capsys, "unified", "generate", "--checkpoint", broken, "--prompt", "a"
        )


def test_words_that_were_never_learned_are_named(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("unified", "generate", "--checkpoint", checkpoint, "--make")
    _, _, err = call(capsys, *common, "picture", "--prompt", "A handwritten three.", "--out", tmp_path / "a.png")
    assert "learned to make nothing" not in err
    status, _, err = call(capsys, *common, "picture", "--prompt", "a handwritten zyx", "--out", tmp_path / "a.png")
    assert status == 0 and "learned to make nothing of 'zyx'" in err
    _, _, err = call(capsys, *common, "clip", "--prompt", "three says left", "--out", tmp_path / "a.gif")
    assert "'says'" in err and "'left'" not in err  # a word of speech, not of clips


def test_a_run_begins_with_the_weights_of_another(
    trained: tuple[Path, dict], checkpoint: Path, data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        *train_arguments(trained, data_root, tmp_path / "run", 1)[:-1],
        "--learning-rate",
        "1e-6",
        "--seed",
        "7",
    ]
    status, found, err = call(capsys, *arguments, "--start", checkpoint)
    assert status == 0, err
    before, after = (load_file(folder / "model.safetensors") for folder in (checkpoint, Path(found["model"])))
    for name, value in before.items():  # a step of 1e-6 moves no weight further than bf16 rounds
        assert torch.allclose(
            value.float(), after[name].float(), atol=0.03 if name.endswith("bias") else 1e-4, rtol=0.01
        )
    arguments[arguments.index(str(tmp_path / "run"))] = str(tmp_path / "further")
    arguments[arguments.index(json.dumps(SIZES))] = json.dumps({**SIZES, "previous_frame": True})
    status, found, err = call(capsys, *arguments, "--start", checkpoint)
    assert status == 0, err
    path = load_file(Path(found["model"]) / "model.safetensors")["before_in.weight"]
    assert path.abs().max() <= 1.01e-6, "a path that the checkpoint lacks begins at 0"
    recipe = json.loads((tmp_path / "further" / "run.json").read_text())["training"]["recipe"]
    assert recipe["clip_frames"] == [1, 1, 2, 4], "a run that goes on has samples of its own"
    other = train_arguments(trained, data_root, tmp_path / "wide", 1)[:-1]
    other[other.index(json.dumps(SIZES))] = json.dumps({**SIZES, "hidden_size": 32})
    assert "sizes" in refused(capsys, *other, "--start", checkpoint)
    assert "found none" in refused(capsys, *other, "--start", tmp_path)
