"""A whole evaluation of a small untrained model on the tests' own data: keys, counts, ceilings and chance."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unified.toy import sizes
from workbench.unified import UnifiedConfig, UnifiedForCausalLM
from workbench.unified.checkpoint import export
from workbench.unified.evaluate import bench, evaluate, probe
from workbench.unified.evaluate.bench import JUDGES, Judges, provide_judges, train_judges
from workbench.unified.evaluate.judges import JudgePlan, blur_pictures, blur_sounds, read
from workbench.unified.tokenizers.bundle import Tokenizers

PLAN = JudgePlan(steps=50, garment_steps=50, batch=20)
LEAVES = {
    "image_to_word": ("fashion", "digits"),
    "speech_to_word": ("known_speakers", "held_out_speaker"),
    "clip_to_caption": (),
    "word_to_image": ("fashion", "digits"),
    "word_to_speech": (),
    "caption_to_clip": (),
}


@pytest.fixture(scope="module")
def checkpoint(tokenizers: Tokenizers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = UnifiedForCausalLM(UnifiedConfig(**{**tokenizers.facts(), **sizes()}))
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    export(model, tokenizers, folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def little_data() -> Iterator[None]:
    """Judges and probe learn from a few hundred clips here; everything else is as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "TRAIN_CLIPS", 400)
        patch.setattr(probe, "TRAINED_ON", 400)
        yield


@pytest.fixture(scope="module")
def judges(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judges")
    train_judges(data_root, 4, plan=PLAN).save(folder)
    return folder


@pytest.fixture(scope="module")
def result(checkpoint: Path, data_root: Path, judges: Path) -> dict:
    said: list[str] = []
    found = evaluate(checkpoint, data_root, 10, 0, said.append, judges=judges)
    assert "Reading pictures" in said and not any("judge" in words for words in said)
    return found


def test_exactly_the_keys_that_other_programs_read(result: dict) -> None:
    for name, parts in LEAVES.items():
        entries = [result[name][part] for part in parts] if parts else [result[name]]
        assert not parts or set(result[name]) == set(parts)
        for entry in entries:
            assert {"accuracy", "ceiling", "chance", "n"} <= set(entry)
            assert entry["n"] == 10 and 0 <= entry["accuracy"] <= 1
            assert set(entry["ceiling"]) == {"real", "reconstructed"}
    assert result["word_to_image"]["digits"]["chance"] == 0.1 and result["caption_to_clip"]["chance"] == 1 / 40
    assert set(result["listening"]) == {"fashion", "digits", "speech", "clips"}
    for entry in result["listening"].values():
        assert entry["n"] == 10 and entry["chance"] == 0.1 and 0 <= entry["accuracy"] < 0.6
    assert result["text_bits_per_byte"] > 2  # an untrained model foresees nothing
    assert json.loads(json.dumps(result)) == result


def test_judges_see_what_is_there_and_an_untrained_model_shows_nothing(result: dict) -> None:
    assert result["image_to_word"]["fashion"]["ceiling"]["real"] >= 0.9  # a bar at the place of its class
    assert result["speech_to_word"]["known_speakers"]["ceiling"]["real"] >= 0.7
    for name in ("fashion", "digits"):
        assert result["image_to_word"][name]["accuracy"] < 0.5 and result["word_to_image"][name]["accuracy"] < 0.5
    assert result["linear_probe"]["fashion"] > 0.5


def test_made_things_stand_beside_real_ones(result: dict) -> None:
    for entry in (*result["word_to_image"].values(), result["word_to_speech"], result["caption_to_clip"]):
        assert {"made", "reconstructed", "real_halves"} == set(entry["distance"]) and {"made", "real"} == set(
            entry["variety"]
        )


def test_judges_are_kept_and_those_of_the_checkpoint_come_first(
    judges: Path, data_root: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.unified.evaluate import run

    kept = Judges.load(judges, 4)
    assert kept is not None
    told: list[str] = []
    assert provide_judges(data_root, judges, 4, told.append).fingerprint() == kept.fingerprint() and not told
    kept.save(checkpoint / JUDGES)
    assert run._judges(checkpoint, data_root, None, told.append, None).fingerprint() == kept.fingerprint()
    (judges / "clip.safetensors").write_bytes(b"torn")
    assert Judges.load(judges, 4) is None


def test_a_judge_reads_the_same_after_saving(judges: Path, data_root: Path, tmp_path: Path) -> None:
    made = train_judges(data_root, 4, plan=JudgePlan(steps=3, garment_steps=3, batch=8))
    made.save(tmp_path)
    again = Judges.load(tmp_path, 4)
    assert again is not None and again.fingerprint() == made.fingerprint()
    items = torch.rand(6, 3, 32, 32)
    assert np.allclose(read(made.by_name["fashion"], items)[1], read(again.by_name["fashion"], items)[1], atol=0.02)


def test_spoiling_keeps_shape_and_range_and_differs_by_item() -> None:
    generator = torch.Generator().manual_seed(0)
    clips = torch.rand(5, 4, 3, 32, 32)
    soft = blur_pictures(clips, generator)
    assert soft.shape == clips.shape and float(soft.min()) >= 0 and float(soft.max()) <= 1
    assert not torch.allclose(soft, clips)
    assert blur_sounds(torch.randn(3, 96, 40), generator).shape == (3, 96, 40)
