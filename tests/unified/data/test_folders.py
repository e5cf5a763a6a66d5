"""The user's own folders: captions beside the files, a listing, WebDataset shards; what does not fit is refused."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unified.small_data import tone
from workbench.unified.data.folders import fit, read_captioned
from workbench.unified.data.mixture import Mixture
from workbench.unified.data.speech import write_wav
from workbench.unified.segments import UnifiedError
from workbench.unified.tokenizers.bundle import Tokenizers

pytest.importorskip("av", reason="sounds and clips are decoded by the package av")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    Image.new("RGB", (90, 60), (250, 10, 10)).save(tmp_path / "red.png")
    (tmp_path / "red.txt").write_text("A Red Wall\n")
    write_wav(tmp_path / "hum.wav", tone(3, 1, rng))
    (tmp_path / "hum.txt").write_text("a hum")
    (tmp_path / "alone.png").write_bytes((tmp_path / "red.png").read_bytes())
    return tmp_path


def test_captions_beside_the_files(folder: Path, tokenizers: Tokenizers) -> None:
    found = {item.kind: item for item in read_captioned(folder, tokenizers)}
    assert set(found) == {"image", "audio"}
    assert found["image"].caption == "a red wall" and found["image"].values.shape == (3, 32, 32)
    assert found["image"].values[:, 5, 5].tolist() == [250, 10, 10]
    assert found["audio"].values.shape[1] == tokenizers.audio.levels


def test_a_listing_and_its_mistakes(folder: Path, tokenizers: Tokenizers) -> None:
    listing = folder / "captions.jsonl"
    listing.write_text(json.dumps({"file": "alone.png", "caption": "Alone"}) + "\n\n")
    assert [item.caption for item in read_captioned(folder, tokenizers)] == ["alone"]
    for row, words in (
        ('{"file": "../up.png", "caption": "x"}', "leads out"),
        ('{"file": "alone.png"}', "line 1"),
        ('{"file": "none.png", "caption": "x"}', "missing"),
        ('{"file": "red.txt", "caption": "x"}', "none by its suffix"),
    ):
        listing.write_text(row + "\n")
        with pytest.raises(UnifiedError, match=words):
            read_captioned(folder, tokenizers)


def test_a_webdataset_shard(folder: Path, tokenizers: Tokenizers, tmp_path_factory: pytest.TempPathFactory) -> None:
    shards = tmp_path_factory.mktemp("shards")
    with tarfile.open(shards / "part-000.tar", "w") as archive:
        archive.add(folder / "red.png", "0001.png")
        archive.add(folder / "red.txt", "0001.txt")
        archive.add(folder / "hum.wav", "0002.wav")
        (folder / "x.json").write_text(json.dumps({"caption": "Humming"}))
        archive.add(folder / "x.json", "0002.json")
        archive.add(folder / "alone.png", "0003.png")
    assert sorted(item.caption for item in read_captioned(shards, tokenizers)) == ["a red wall", "humming"]
    (shards / "part-001.tar").write_bytes(b"torn" * 200)
    with pytest.raises(UnifiedError, match="no whole tar"):
        read_captioned(shards, tokenizers)


def test_nothing_with_a_caption_is_said_so(tmp_path: Path, tokenizers: Tokenizers) -> None:
    with pytest.raises(UnifiedError, match="none has a caption"):
        read_captioned(tmp_path, tokenizers)
    with pytest.raises(UnifiedError, match="no folder"):
        read_captioned(tmp_path / "nowhere", tokenizers)


def test_own_files_take_every_fourth_turn_of_their_tasks(folder: Path, tokenizers: Tokenizers, data_root: Path) -> None:
    mixture = Mixture(tokenizers, data_root, 1, folders=(folder,))
    captions = [tokenizers.text.decode(mixture.draw("image_to_word", n).segments[1].ids) for n in range(40)]
    assert [n for n, caption in enumerate(captions) if caption == "a red wall"] == list(range(3, 40, 4))
    assert tokenizers.text.decode(mixture.draw("word_to_speech", 3).segments[0].ids) == "a hum"


def test_the_middle_square_is_kept() -> None:
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[:, 32:96] = 200
    assert fit(wide).shape == (3, 32, 32) and fit(wide).min() == 200
    assert fit(np.full((8, 8, 3), 7, np.uint8)).tolist()[0][0][0] == 7
