"""What the model makes: pictures and clips of words, spoken words, each judged, set beside real data for distance and variety."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from workbench.unified.data.words import (
    CLIP_WORDINGS,
    DIGIT_WORDINGS,
    DIGITS,
    DIRECTIONS,
    GARMENT_WORDINGS,
    GARMENTS,
    SPEECH_WORDINGS,
)
from workbench.unified.evaluate.bench import Judges, TestData, sounds_for_judge
from workbench.unified.evaluate.judges import Judge, read
from workbench.unified.evaluate.scores import ceiling, confusions, frechet, share, variety
from workbench.unified.generate import Generator
from workbench.unified.sampling import Sampling

MADE = 500
"""Things made for each task when no limit is given."""


def make_pictures(
    generator: Generator, judges: Judges, data: TestData, name: str, count: int, settings: Sampling
) -> dict[str, Any]:
    """Word to picture on one set (``fashion`` or ``digits``), every class and wording by turns."""
    names, wordings = {"fashion": (GARMENTS, GARMENT_WORDINGS), "digits": (DIGITS, DIGIT_WORDINGS)}[name]
    wanted = np.arange(count) % len(names)
    prompts = [wordings.write(number // len(names), names[label]) for number, label in enumerate(wanted)]
    drawn = torch.from_numpy(generator.draw(prompts, settings=settings))
    pictures = data.pictures[name]
    real = torch.from_numpy(pictures.pixels)
    rebuilt = generator.tokenizers.image.reconstruct(real[:, None])[:, 0]
    judge = judges.by_name[name]
    said, seen = read(judge, drawn)
    judged_real, judged_rebuilt = read(judge, real), read(judge, rebuilt)
    return {
        **share(said[:, 0] == wanted),
        "ceiling": ceiling(judged_real[0][:, 0] == pictures.labels, judged_rebuilt[0][:, 0] == pictures.labels),
        "chance": 1 / len(names),
        **_beside(seen, wanted, judged_real[1], pictures.labels, judged_rebuilt[1]),
        "confusions": confusions(wanted.tolist(), said[:, 0].tolist(), names),
    }


def make_speech(generator: Generator, judges: Judges, data: TestData, count: int, settings: Sampling) -> dict[str, Any]:
    """Word and speaker to speech, judged on the sound that leaves the codec."""
    spoken = data.sounds["known_speakers"]
    speakers = sorted(set(spoken.speakers))
    wanted = np.arange(count) % len(DIGITS)
    prompts = [
        SPEECH_WORDINGS.write(number // 10, DIGITS[digit], speakers[number // 7 % len(speakers)])
        for number, digit in enumerate(wanted)
    ]
    audio = generator.tokenizers.audio
    said_codes = generator.speak(prompts, settings=settings)
    silent = np.zeros(1600, np.float32) + 1e-3  # a row that ended at once: a sound of nothing, judged like any other
    made = [audio.decode(codes) if len(codes) else silent for codes in said_codes]
    rebuilt = [audio.decode(codes) for codes in audio.encode_all(spoken.sounds)]
    judge = judges.by_name["sound"]
    said, seen = read(judge, sounds_for_judge(made))
    real, redrawn = read(judge, sounds_for_judge(spoken.sounds)), read(judge, sounds_for_judge(rebuilt))
    return {
        **share(said[:, 0] == wanted),
        "ceiling": ceiling(real[0][:, 0] == spoken.digits, redrawn[0][:, 0] == spoken.digits),
        "chance": 1 / len(DIGITS),
        **_beside(seen, wanted, real[1], spoken.digits, redrawn[1]),
        "confusions": confusions(wanted.tolist(), said[:, 0].tolist(), DIGITS),
    }


def make_clips(generator: Generator, judges: Judges, data: TestData, count: int, settings: Sampling) -> dict[str, Any]:
    """Caption to clip; right when the judge sees both the digit and the direction of the caption."""
    pixels, digits, directions = data.clips
    wanted, ways = np.arange(count) % len(DIGITS), np.arange(count) // 3 % len(DIRECTIONS)
    prompts = [
        CLIP_WORDINGS.write(number // 40, DIGITS[digit], DIRECTIONS[way])
        for number, (digit, way) in enumerate(zip(wanted, ways, strict=True))
    ]
    drawn = torch.from_numpy(generator.draw_clip(prompts, frames=pixels.shape[1], settings=settings))
    judge: Judge = judges.by_name["clip"]
    said, seen = read(judge, drawn)
    real = read(judge, torch.from_numpy(pixels))
    redrawn = read(judge, generator.tokenizers.image.reconstruct(torch.from_numpy(pixels)))
    both = [(found[0][:, 0] == digits) & (found[0][:, 1] == directions) for found in (real, redrawn)]
    return {
        **share((said[:, 0] == wanted) & (said[:, 1] == ways)),
        "ceiling": ceiling(*both),
        "chance": 1 / (len(DIGITS) * len(DIRECTIONS)),
        "digit": share(said[:, 0] == wanted)["accuracy"],
        "direction": share(said[:, 1] == ways)["accuracy"],
        **_beside(seen, wanted * 4 + ways, real[1], digits * 4 + directions, redrawn[1]),
        "confusions": confusions(wanted.tolist(), said[:, 0].tolist(), DIGITS),
    }


def moved(settings: Sampling, number: int) -> Sampling:
    """The same sampling with a seed of its own."""
    return replace(settings, seed=settings.seed + 1000 * number)


def _beside(
    made: np.ndarray, made_classes: np.ndarray, real: np.ndarray, real_classes: np.ndarray, rebuilt: np.ndarray
) -> dict[str, Any]:
    """Distance and variety of what was made, beside real and reconstructed test data.

    The distance between two halves of the real data says what no model can go below with so few items.
    """
    half = len(real) // 2
    return {
        "distance": {
            "made": frechet(made, real),
            "reconstructed": frechet(rebuilt, real),
            "real_halves": frechet(real[:half], real[half:]),
        },
        "variety": {"made": variety(made, made_classes), "real": variety(real, real_classes)},
    }
