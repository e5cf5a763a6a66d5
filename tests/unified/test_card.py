"""The card: every figure of it stands in the files that it was made from, and half a set of files is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.unified.card import card, main
from workbench.unified.card_training import CURVES, curves
from workbench.unified.segments import UnifiedError


def entry(accuracy: float, made: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {
        "accuracy": accuracy, "interval": [accuracy - 0.05, accuracy + 0.05], "n": 200, "chance": 0.1,
        "ceiling": {"real": 0.987, "reconstructed": 0.943},
        "confusions": [{"true": "coat", "said": "pullover", "n": 17}],
    }  # fmt: skip
    if made:
        found["distance"] = {"made": 12.34, "reconstructed": 0.56, "real_halves": 0.078}
        found["variety"] = {"made": 3.21, "real": 6.54}
    return found


def result() -> dict[str, Any]:
    clip = {"digit": 0.777, "direction": 0.888}
    return {
        "image_to_word": {"fashion": entry(0.811), "digits": entry(0.922)},
        "speech_to_word": {"known_speakers": entry(0.933), "held_out_speaker": entry(0.744)},
        "clip_to_caption": {**entry(0.655), **clip},
        "word_to_image": {"fashion": entry(0.511, True), "digits": entry(0.522, True)},
        "word_to_speech": entry(0.533, True),
        "caption_to_clip": {**entry(0.544, True), **clip},
        "listening": {
            name: entry(value)
            for name, value in (("fashion", 0.891), ("digits", 0.912), ("speech", 0.923), ("clips", 0.334))
        },
        "text_bits_per_byte": 1.987,
        "text_pieces": 250,
        "linear_probe": {"fashion": 0.7, "digits": 0.8, "known_speakers": 0.6, "held_out_speaker": 0.5, "clips": 0.4},
        "sampling": {"temperature": 0.7, "guidance": 1.5, "seed": 0},
    }


def run_folder(folder: Path, steps: int = 1000) -> Path:
    folder.mkdir()
    config = {
        "num_attention_heads": 6, "num_hidden_layers": 7, "hidden_size": 192, "num_experts": 64, "moe_intermediate_size": 48,
        "num_experts_per_tok": 4, "shared_intermediate_size": 192, "vocab_size": 1024, "image_size": 32, "image_scales": [1, 2, 3, 4],
        "image_bits": 32, "audio_levels": 3,
    }  # fmt: skip
    recipe = {
        "phases": [{"until": 0.25, "samples": {"text": 2, "image_to_word": 7}, "shares": {"text": 3.0}}], "learning_rate": 0.002, "warmup": 60, "decay": 0.5, "bias_speed": 0.02,
        "elastic": {"depth": 0.25}, "seed": 0,
    }  # fmt: skip
    described = {
        "model": {"parameters": 15016992, "config": config},
        "training": {"recipe": recipe},
        "total_steps": steps,
    }
    (folder / "run.json").write_text(json.dumps(described))
    rows = [
        {"step": n + 1, "tokens": 2800 * (n + 1), "loss": 3 - n / steps, "loss/text": 5 - n / steps}
        for n in range(steps)
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + '\n{"step": 1001, "lo')
    return folder


TOKENIZERS = {
    "text": {"vocabulary": 1024, "characters_a_token": 3.06, "documents": 251},
    "image": {"garments": {"psnr": 23.2, "bit_entropy": [0.95, 0.96, 0.97, 0.98]}},
    "audio": {
        "known_speakers": {
            "digit_accuracy": 0.964,
            "n": 250,
            "codes_used": [128, 127, 126],
            "code_entropy": [6.8, 6.7, 6.6],
        }
    },
}


def test_every_figure_is_in_the_card(tmp_path: Path) -> None:
    text = card(result(), run_folder(tmp_path / "run"), TOKENIZERS, "omni-mini", untrained=result())
    for figure in (
        "81.1%",
        "92.2%",
        "93.3%",
        "74.4%",
        "65.5%",
        "51.1%",
        "54.4%",
        "98.7% / 94.3%",
        "1.99 bits",
        "coat as pullover (17)",
    ):
        assert figure in text, figure
    for figure in (
        "12.3 / 0.56 / 0.078",
        "3.2 / 6.5",
        "15,016,992",
        "1,000 steps",
        "2.80 million",
        "23.2 dB",
        "96.4%",
        "77.7%",
        "33.4%",
        "until 25% of the steps text 2, image_to_word 7 (pulling harder: text 3)",
    ):
        assert figure in text, figure
    assert "twin without elastic training was not trained" in text


def test_curves_are_means_of_their_steps(tmp_path: Path) -> None:
    runs = {"elastic": run_folder(tmp_path / "a"), "plain": run_folder(tmp_path / "b", 100)}
    head, *rows = curves(runs).splitlines()
    assert head == "run,step,tokens,loss,loss/text"
    assert len(rows) == 200 + 100
    name, step, tokens, loss, _ = rows[0].split(",")
    assert (name, step, tokens) == ("elastic", "5", "14000") and float(loss) == pytest.approx(3 - 2 / 1000)


def test_a_run_that_went_on_says_from_what(tmp_path: Path) -> None:
    """Its commands, its length and its curves stand behind those of the run before."""
    before = curves({"elastic": run_folder(tmp_path / "first", 800), "plain": run_folder(tmp_path / "twin", 800)})
    run = run_folder(tmp_path / "run")
    described = json.loads((run / "run.json").read_text())
    described["training"]["recipe"] |= {"start": "0123", "seed": 1, "model": {"previous_frame": True}, "clip_frames": [1, 2]}  # fmt: skip
    (run / "run.json").write_text(json.dumps(described))
    text = card(result(), run, TOKENIZERS, "omni-mini", earlier=before)
    for part in (
        "| training | 800 steps, 2.24 million tokens; then 1,000 steps, 2.80 million tokens",
        "--out first --steps 800 --seed 0\n",
        "--out run --start first/model --steps 1000 --seed 1 --model-config '{\"previous_frame\": true}'\n",
        "The last command: samples a step",
        "Clips to be made have 1, 2 frames",
    ):
        assert part in text, part
    with pytest.raises(UnifiedError, match="--earlier"):
        card(result(), run, TOKENIZERS, "omni-mini")
    rows = curves({"further": run}, before).splitlines()
    assert rows[: len(before.splitlines())] == before.splitlines()
    assert rows[-1].split(",")[:2] == ["further", "1000"] and len(rows) == len(before.splitlines()) + 200


def test_the_command_puts_the_shipped_folder_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_folder(tmp_path / "run")
    for folder, file in ((run / "model", "model.safetensors"), (tmp_path / "judges", "clip.safetensors")):
        folder.mkdir()
        (folder / file).write_bytes(b"weights")
    (tmp_path / "tokenizers").mkdir()
    (tmp_path / "tokenizers" / "report.json").write_text(json.dumps(TOKENIZERS))
    (tmp_path / "result.json").write_text(json.dumps(result()))
    (tmp_path / "licence").write_text("terms")
    given = [
        "--results",
        "result.json",
        "--run",
        "run",
        "--tokenizers",
        "tokenizers",
        "--judges",
        "judges",
        "--licence",
        "licence",
        "--ship",
        "omni",
    ]
    given = [word if word.startswith("--") else str(tmp_path / word) for word in given]
    assert main(given) == 0, capsys.readouterr().err
    shipped = {
        path.relative_to(tmp_path / "omni").as_posix() for path in (tmp_path / "omni").rglob("*") if path.is_file()
    }
    assert shipped == {"model.safetensors", "judges/clip.safetensors", "README.md", CURVES, "LICENSE"}
    assert main(given) == 1 and "is there already" in capsys.readouterr().err


def test_half_a_result_is_refused(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    broken = result()
    del broken["word_to_speech"]["distance"]
    with pytest.raises(UnifiedError, match="'distance' is missing"):
        card(broken, run, TOKENIZERS, "omni-mini")
    (run / "metrics.jsonl").write_text("")
    with pytest.raises(UnifiedError, match="metrics of a run"):
        card(result(), run, TOKENIZERS, "omni-mini")
