"""The sets: their splits never touch, clips move as their captions say, files are refused in a sentence."""

from __future__ import annotations

import gzip
import json
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest

from workbench.unified.data.clips import ClipMaker, moving_digits
from workbench.unified.data.pictures import digits, emoji, fashion, frame_grey
from workbench.unified.data.root import held_out, read_idx
from workbench.unified.data.speech import HELD_OUT_SPEAKER, at_speed, read_wav, spoken_digits, write_wav
from workbench.unified.data.stories import split_stories, stories
from workbench.unified.data.words import (
    CLIP_WORDINGS,
    DIGIT_WORDINGS,
    DIGITS,
    DIRECTIONS,
    GARMENT_WORDINGS,
    GARMENTS,
    SPEECH_WORDINGS,
    find_name,
)
from workbench.unified.segments import UnifiedError


def test_names_share_no_word_and_every_wording_is_read_back() -> None:
    assert len({*GARMENTS, *DIGITS, *DIRECTIONS}) == 24
    for wordings, names in ((GARMENT_WORDINGS, GARMENTS), (DIGIT_WORDINGS, DIGITS)):
        for number in range(len(wordings.captions)):
            for place, name in enumerate(names):
                assert find_name(wordings.write(number, name), names) == place
    for number in range(4):
        assert find_name(SPEECH_WORDINGS.write(number, "seven", "george"), DIGITS) == 7
        assert find_name(CLIP_WORDINGS.write(number, "two", "left"), DIRECTIONS) == 0
    assert find_name("Seven!", DIGITS) == 7 and find_name("seventeen", DIGITS) == -1


def test_pictures_are_framed_and_labelled(data_root: Path) -> None:
    made = fashion(data_root, "train")
    assert made.pixels.shape == (120, 3, 32, 32) and made.labels.tolist()[:11] == [*range(10), 0]
    assert fashion(data_root, "test").pixels.shape[0] == 40
    grey = np.arange(28 * 28, dtype=np.uint8).reshape(1, 28, 28)
    framed = frame_grey(grey)
    assert np.array_equal(framed[0, 1, 2:30, 2:30], grey[0]) and framed[0, :, :2].sum() == 0


def test_a_picture_without_a_name_is_left_out(data_root: Path, tmp_path: Path) -> None:
    """Nothing can be asked for or answered of it: an empty text ended a training at the step that drew it."""
    shutil.copytree(data_root / "noto_emoji", tmp_path / "noto_emoji")
    listing = tmp_path / "noto_emoji" / "names.json"
    names = json.loads(listing.read_text())
    whole = len(emoji(tmp_path, "train")) + len(emoji(tmp_path, "test"))
    names["emoji_7.png"]["name"], names["emoji_8.png"]["name"] = "", " "
    listing.write_text(json.dumps(names))
    left = emoji(tmp_path, "train"), emoji(tmp_path, "test")
    assert sum(map(len, left)) == whole - 2 and all(name.strip() for part in left for name in part.names)


def test_splits_are_disjoint(data_root: Path) -> None:
    assert len(digits(data_root, "train")) == 8000 and len(digits(data_root, "test")) == 60
    train, test = set(stories(data_root, "train")), set(stories(data_root, "test"))
    assert train and test and not train & test and len(train | test) == 120
    signs = set(emoji(data_root, "train").names), set(emoji(data_root, "test").names)
    assert not signs[0] & signs[1] and len(signs[0] | signs[1]) == 60
    parts = [spoken_digits(data_root, part) for part in ("train", "test", "held_out_speaker")]
    assert [len(part) for part in parts] == [40, 100, 70]
    assert set(parts[2].speakers) == {HELD_OUT_SPEAKER} and HELD_OUT_SPEAKER not in {
        *parts[0].speakers,
        *parts[1].speakers,
    }
    sounds = [{sound.tobytes() for sound in part.sounds} for part in parts]
    assert not sounds[0] & sounds[1] and not sounds[0] & sounds[2]


def test_the_held_out_share_is_what_it_says_and_never_moves() -> None:
    share = np.mean([held_out(f"item {number}") for number in range(4000)])
    assert share == pytest.approx(0.05, abs=0.015)
    assert [held_out(f"item {number}") for number in range(30)] == [held_out(f"item {number}") for number in range(30)]


def test_clips_move_as_they_say() -> None:
    grey = np.zeros((10, 28, 28), np.uint8)
    grey[:, 5:23, 5:23] = 200
    made = ClipMaker(grey, np.arange(10), 120, 3, 4).every()
    assert made.pixels.shape == (120, 4, 3, 32, 32)
    places = np.arange(32)
    seen = set()
    for clip, direction in zip(made.pixels[:, :, 0].astype(float), made.directions, strict=True):
        down = (clip.sum(2) * places).sum(1) / clip.sum((1, 2))
        right = (clip.sum(1) * places).sum(1) / clip.sum((1, 2))
        moved = {"left": -np.diff(right), "right": np.diff(right), "up": -np.diff(down), "down": np.diff(down)}
        assert (moved[DIRECTIONS[direction]] > 1.5).all()
        assert sum(abs(np.diff(way)).sum() > 0.01 for way in (down, right)) == 1
        assert np.ptp(clip.sum((1, 2))) == 0  # never leaves the picture
        seen.add(int(direction))
    assert seen == {0, 1, 2, 3}


def test_clips_of_a_seed_repeat_and_splits_use_their_own_digits(data_root: Path) -> None:
    one, two = moving_digits(data_root, "train", 20, 4), moving_digits(data_root, "train", 20, 4)
    assert np.array_equal(one.pixels, two.pixels)
    assert not np.array_equal(one.pixels, moving_digits(data_root, "train", 20, 5).pixels)
    assert not np.array_equal(one.digits, moving_digits(data_root, "test", 20, 4).digits)


def test_faster_is_shorter_and_higher() -> None:
    sound = np.sin(2 * np.pi * 400 * np.arange(8000) / 8000).astype(np.float32)
    fast = at_speed(sound, 1.25)
    assert len(fast) == pytest.approx(6400, abs=2)
    assert np.abs(np.fft.rfft(fast)).argmax() * 8000 / len(fast) == pytest.approx(500, abs=3)
    with pytest.raises(UnifiedError, match="speed above 0"):
        at_speed(sound, 0)


def test_stories_part_at_single_line_breaks() -> None:
    first, second = "a" * 100 + "\n\n" + "b" * 20, "c" * 90
    assert split_stories(f"{first}\n{second}\nshort") == [first, second]


def test_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnifiedError, match="missing"):
        read_idx(tmp_path / "none.gz")
    (tmp_path / "torn.gz").write_bytes(b"\x1f\x8b\x08torn")
    with pytest.raises(UnifiedError, match="unpacked"):
        read_idx(tmp_path / "torn.gz")
    with gzip.open(tmp_path / "short.gz", "wb") as file:
        file.write(b"\0\0\x08\x01\0\0\0\x09abc")
    with pytest.raises(UnifiedError, match="not a whole one"):
        read_idx(tmp_path / "short.gz")
    with wave.open(str(tmp_path / "fast.wav"), "wb") as sound:
        sound.setnchannels(2)
        sound.setsampwidth(2)
        sound.setframerate(44_100)
        sound.writeframes(b"\0" * 400)
    with pytest.raises(UnifiedError, match="2 channels of 16 bits at 44100"):
        read_wav(tmp_path / "fast.wav")
    (tmp_path / "no.wav").write_bytes(b"nothing")
    with pytest.raises(UnifiedError, match="broken"):
        read_wav(tmp_path / "no.wav")
    with pytest.raises(UnifiedError, match="'train', 'test'"):
        spoken_digits(tmp_path, "dev")


def test_wav_round_trip(tmp_path: Path) -> None:
    sound = np.linspace(-1, 1, 500, dtype=np.float32)
    write_wav(tmp_path / "x.wav", sound)
    assert np.allclose(read_wav(tmp_path / "x.wav"), sound, atol=1e-4)
