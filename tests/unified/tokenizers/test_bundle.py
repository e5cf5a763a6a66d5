"""The three tokenizers in one folder: trained by one call, read back the same, refused in a sentence when broken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unified.conftest import SMALL_PLAN
from workbench.unified.segments import UnifiedError
from workbench.unified.tokenizers.bundle import Tokenizers
from workbench.unified.tokenizers.train import METRICS, train_tokenizers


def test_report_tells_what_every_scale_and_level_carries(trained: tuple[Path, dict]) -> None:
    folder, report = trained
    for name in ("garments", "digits", "emoji", "clips"):
        assert 0 < report["image"][name]["psnr"] < 60 and len(report["image"][name]["bit_entropy"]) == 4
    for part in ("known_speakers", "held_out_speaker"):
        assert len(report["audio"][part]["code_entropy"]) == 2
    assert report["audio"]["known_speakers"]["n"] == 100 and report["audio"]["held_out_speaker"]["n"] == 70
    assert json.loads((folder / "report.json").read_text())["fingerprint"] == report["fingerprint"]
    rows = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    assert {row["part"] for row in rows} == {"pictures", "clips", "sounds"}
    losses = [row["loss"] for row in rows if row["part"] == "sounds"]
    assert losses[-1] < 0.9 * losses[0]


def test_a_saved_bundle_reads_back_the_same(tokenizers: Tokenizers, tmp_path: Path) -> None:
    tokenizers.save(tmp_path)
    again = Tokenizers.load(tmp_path)
    assert again.fingerprint() == tokenizers.fingerprint() and again.facts() == tokenizers.facts()
    clip = torch.rand(2, 3, 3, 32, 32)
    assert torch.equal(again.image.encode_video(clip).latent, tokenizers.image.encode_video(clip).latent)
    sound = np.sin(np.arange(4000) / 3).astype(np.float32)
    assert np.array_equal(again.audio.encode(sound, 8000), tokenizers.audio.encode(sound, 8000))
    assert not any(path.suffix in (".pt", ".bin", ".pkl") for path in tmp_path.rglob("*"))


def test_facts_describe_what_encoding_gives(tokenizers: Tokenizers) -> None:
    facts = tokenizers.facts()
    found = tokenizers.image.encode(torch.rand(1, facts["image_channels"], facts["image_size"], facts["image_size"]))
    assert found.features.shape[1:] == (facts["feature_channels"], facts["feature_grid"], facts["feature_grid"])
    assert found.latent.shape[1:] == (facts["image_bits"], facts["image_scales"][-1], facts["image_scales"][-1])
    codes = tokenizers.audio.encode(np.sin(np.arange(4000)).astype(np.float32), 8000)
    assert codes.shape[1] == facts["audio_levels"] and codes.max() < facts["audio_codebook"]
    assert facts["vocab_size"] == tokenizers.text.vocabulary


def test_a_folder_that_is_in_use_or_broken_is_refused(
    trained: tuple[Path, dict], data_root: Path, tmp_path: Path
) -> None:
    with pytest.raises(UnifiedError, match="already holds tokenizers"):
        train_tokenizers(data_root, trained[0], plan=SMALL_PLAN)
    Tokenizers.load(trained[0]).save(tmp_path)
    (tmp_path / "image" / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(UnifiedError, match="broken"):
        Tokenizers.load(tmp_path)
    (tmp_path / "image" / "model.safetensors").unlink()
    with pytest.raises(UnifiedError, match="missing"):
        Tokenizers.load(tmp_path)
    with pytest.raises(UnifiedError, match="data set 'fashion_mnist'"):
        train_tokenizers(tmp_path, tmp_path / "new")
