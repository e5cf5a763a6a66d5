"""The shipped sample inputs: every modality is there and opens, and the command that makes them gives the same ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workbench.inputs import read_inputs
from workbench.inputs.files import CAPTIONS
from workbench.unified.data.clips import DIGIT_SIDE
from workbench.unified.data.folders import clip, listed_captions, picture
from workbench.unified.data.speech import read_wav
from workbench.unified.data.words import DIGITS, DIRECTIONS, GARMENTS
from workbench.unified.samples import VOWELS, vowel, write_samples
from workbench.unified.segments import UnifiedError

ROOT = Path(__file__).resolve().parents[2] / "sample_data" / "inputs"


def test_every_modality_is_there_with_its_notice() -> None:
    folder = ROOT / "unified"
    counts = {path.name: len(list(path.iterdir())) for path in folder.iterdir() if path.is_dir()}
    assert counts == {"texts": 4, "pictures": 30, "sounds": 5, "clips": 8}
    assert sum(path.name.startswith("garment-") for path in (folder / "pictures").iterdir()) == 20
    assert "Zalando SE" in (ROOT / "licences" / "MIT-fashion-mnist.txt").read_text(encoding="utf-8")
    assert "MIT-fashion-mnist.txt" in (ROOT / "README.md").read_text(encoding="utf-8")
    for path in (folder / "pictures").iterdir():
        assert picture(path).shape == (3, 32, 32) and path.stem.split("-")[1] in (*GARMENTS, *DIGITS)
    for path in (folder / "sounds").iterdir():
        assert 0.5 < np.abs(read_wav(path)).max() <= 1


def test_every_picture_and_clip_has_its_caption_and_the_list_is_no_document() -> None:
    folder = ROOT / "unified"
    captions = listed_captions(folder)
    assert set(captions) == {*(folder / "pictures").iterdir(), *(folder / "clips").iterdir()}
    for path, caption in captions.items():
        words = set(caption.split())
        assert words <= {*GARMENTS, *DIGITS, *DIRECTIONS} and words <= set(path.stem.split("-"))
        assert len(words) == (2 if path.suffix == ".mp4" else 1)
    read = read_inputs([folder])
    assert len(read.documents) == 47 and not any("captions" in document.id for document in read.documents)


def test_clips_show_what_their_names_say() -> None:
    pytest.importorskip("av")
    for path in (ROOT / "unified" / "clips").iterdir():
        seen = clip(path).astype(float)[:, 0]
        assert seen.shape == (4, 32, 32)
        _, digit, direction = path.stem.split("-")
        assert digit in DIGITS and direction in DIRECTIONS
        places, weights = np.arange(32), seen.clip(40) - 40  # compression leaves a faint ground
        down, right = (weights.sum(2) * places).sum(1), (weights.sum(1) * places).sum(1)
        moved = np.diff((down if direction in ("up", "down") else right) / weights.sum((1, 2)))
        assert (np.sign(moved) == (1 if direction in ("down", "right") else -1)).all()


def test_a_vowel_is_loudest_at_its_formants() -> None:
    sound = vowel(*VOWELS["i"])
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    hertz = np.fft.rfftfreq(len(sound), 1 / 8000)
    low = hertz[(hertz < 1000)][spectrum[hertz < 1000].argmax()]
    assert low == pytest.approx(270, abs=70) and np.abs(sound).max() == pytest.approx(0.8)


def test_the_command_writes_them_once(data_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("av")
    assert write_samples(data_root, tmp_path / "new") == 48
    assert (tmp_path / "new" / CAPTIONS).read_text() == (ROOT / "unified" / CAPTIONS).read_text()
    mine = np.asarray(Image.open(tmp_path / "new" / "pictures" / "digit-three.png"))
    assert np.array_equal(mine, np.asarray(Image.open(ROOT / "unified" / "pictures" / "digit-three.png")))
    assert np.count_nonzero(mine) <= DIGIT_SIDE**2
    with pytest.raises(UnifiedError, match="not empty"):
        write_samples(data_root, tmp_path / "new")
