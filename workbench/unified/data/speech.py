"""Spoken digits at 8 kHz: six speakers, of whom one is never trained on; faster and slower copies make further voices."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.unified.data.root import set_folder
from workbench.unified.data.words import DIGITS
from workbench.unified.segments import UnifiedError

RATE = 8000
"""Samples a second."""
TEST_INDEX = 5
"""Recordings 0 to 4 of each speaker and digit are for testing (the data set's own split)."""
HELD_OUT_SPEAKER = "theo"
"""Never trained on, by no tokenizer, model or judge."""


@dataclass(frozen=True)
class Utterances:
    """Spoken digits.

    Attributes:
        sounds: float32 [samples] each, -1 to 1.
        digits: int64 [N].
        speakers: name of the speaker of each.
    """

    sounds: tuple[np.ndarray, ...]
    digits: np.ndarray
    speakers: tuple[str, ...]

    names = DIGITS

    def __len__(self) -> int:
        return len(self.sounds)

    def take(self, most: int | None, seed: int = 0) -> Utterances:
        """At most so many utterances, drawn without order."""
        if most is None or most >= len(self):
            return self
        chosen = np.random.default_rng(seed).permutation(len(self))[:most]
        return Utterances(
            tuple(self.sounds[i] for i in chosen), self.digits[chosen], tuple(self.speakers[i] for i in chosen)
        )


def read_wav(path: Path) -> np.ndarray:
    """One-channel 16-bit sound at 8 kHz, float32 [samples].

    Raises:
        UnifiedError: another rate or form, or a broken file.
    """
    try:
        with wave.open(str(path)) as file:
            form = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError, OSError) as fault:
        raise UnifiedError(f"Expected a wav file, but '{path.name}' is broken: fetch it again.") from fault
    if form != (1, 2, RATE):
        raise UnifiedError(
            f"Expected one channel of 16 bits at {RATE} samples a second, but '{path.name}' has {form[0]} channels of {8 * form[1]} "
            f"bits at {form[2]}: resample it first."
        )
    return np.frombuffer(raw, "<i2").astype(np.float32) / 32768


def write_wav(path: Path, sound: np.ndarray) -> None:
    """Write float32 [samples] at 8 kHz as 16-bit wav."""
    data = (np.clip(sound, -1, 1) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(data.tobytes())


def spoken_digits(root: Path, part: str) -> Utterances:
    """Free Spoken Digit Dataset.

    Args:
        root: data root.
        part: ``train`` (known speakers, recordings from 5), ``test`` (known speakers, recordings 0 to 4) or
            ``held_out_speaker`` (every recording of the speaker who is never trained on).

    Raises:
        UnifiedError: an unknown part, or no such recordings.
    """
    if part not in ("train", "test", "held_out_speaker"):
        raise UnifiedError(
            f"Expected the part 'train', 'test' or 'held_out_speaker', but '{part}' came: name one of them."
        )
    folder = set_folder(root, "fsdd") / "recordings"
    sounds, numbers, speakers = [], [], []
    for path in sorted(folder.glob("*.wav")):
        pieces = path.stem.split("_")
        if len(pieces) != 3:
            continue
        digit, speaker, index = pieces
        if _part(speaker, int(index)) == part:
            sounds.append(read_wav(path))
            numbers.append(int(digit))
            speakers.append(speaker)
    if not sounds:
        raise UnifiedError(
            f"Expected recordings in '{folder}', but none is of the part '{part}': fetch the data set again."
        )
    return Utterances(tuple(sounds), np.array(numbers, np.int64), tuple(speakers))


def joined(first: Utterances, second: Utterances) -> Utterances:
    """The utterances of both, one after the other."""
    return Utterances(
        first.sounds + second.sounds, np.append(first.digits, second.digits), first.speakers + second.speakers
    )


def speaker_names(root: Path) -> frozenset[str]:
    """Everyone whose recordings lie below a data root, in whatever part, and the held-out speaker in any case."""
    paths = (set_folder(root, "fsdd") / "recordings").glob("*_*_*.wav")
    return frozenset({HELD_OUT_SPEAKER, *(path.stem.split("_")[1].lower() for path in paths)})


def at_speed(sound: np.ndarray, factor: float) -> np.ndarray:
    """The sound played ``factor`` times as fast, which also raises its pitch: another voice.

    Args:
        sound: float32 [samples].
        factor: above 0; 1 changes nothing.
    """
    if factor <= 0:
        raise UnifiedError(f"Expected a speed above 0, but {factor} came: give a number such as 0.9.")
    places = np.arange(0, len(sound) - 1, factor)
    return np.interp(places, np.arange(len(sound)), sound).astype(np.float32)


def _part(speaker: str, index: int) -> str:
    if speaker == HELD_OUT_SPEAKER:
        return "held_out_speaker"
    return "test" if index < TEST_INDEX else "train"
