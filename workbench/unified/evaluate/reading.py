"""What the model reads: the word for a picture or a sound, the caption of a clip, and how well it foresees text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workbench.unified.data.pools import StoryPool
from workbench.unified.data.stories import stories
from workbench.unified.data.words import DIGITS, DIRECTIONS, find_name
from workbench.unified.evaluate.bench import Judges, TestData, sounds_for_judge
from workbench.unified.evaluate.judges import read
from workbench.unified.evaluate.scores import ceiling, confusions, share
from workbench.unified.generate import Generator
from workbench.unified.segments import Clip, Picture, Segment, Sound, Text
from workbench.unified.tokenizers.sound import RATE

MAX_TOKENS = 24


def read_pictures(generator: Generator, judges: Judges, data: TestData, name: str) -> dict[str, Any]:
    """Picture to word on one set (``fashion`` or ``digits``); right when the first class name in the answer is the true one."""
    pictures = data.pictures[name]
    answers = _answers(generator, [(Picture(pixels),) for pixels in pictures.pixels])
    said = [find_name(answer, pictures.names) for answer in answers]
    rebuilt = generator.tokenizers.image.reconstruct(torch.from_numpy(pictures.pixels[:, None]))[:, 0]
    judge = judges.by_name[name]
    return {
        **share(np.array(said) == pictures.labels),
        "ceiling": ceiling(
            read(judge, torch.from_numpy(pictures.pixels))[0][:, 0] == pictures.labels,
            read(judge, rebuilt)[0][:, 0] == pictures.labels,
        ),
        "chance": 1 / len(pictures.names),
        "confusions": confusions(pictures.labels.tolist(), said, pictures.names),
    }


def read_sounds(generator: Generator, judges: Judges, data: TestData, part: str) -> dict[str, Any]:
    """Speech to word on one part (``known_speakers`` or ``held_out_speaker``)."""
    spoken = data.sounds[part]
    audio = generator.tokenizers.audio
    codes = audio.encode_all(spoken.sounds, RATE)
    said = [find_name(answer, DIGITS) for answer in _answers(generator, [(Sound(one),) for one in codes])]
    rebuilt = [audio.decode(one) for one in codes]
    judge = judges.by_name["sound"]
    return {
        **share(np.array(said) == spoken.digits),
        "ceiling": ceiling(
            read(judge, sounds_for_judge(spoken.sounds))[0][:, 0] == spoken.digits,
            read(judge, sounds_for_judge(rebuilt))[0][:, 0] == spoken.digits,
        ),
        "chance": 1 / len(DIGITS),
        "confusions": confusions(spoken.digits.tolist(), said, DIGITS),
    }


def read_clips(generator: Generator, judges: Judges, data: TestData) -> dict[str, Any]:
    """Clip to caption; right when digit and direction are both right, each also given by itself."""
    pixels, digits, directions = data.clips
    answers = _answers(generator, [(Clip(one),) for one in pixels])
    digit = np.array([find_name(answer, DIGITS) for answer in answers])
    direction = np.array([find_name(answer, DIRECTIONS) for answer in answers])
    rebuilt = generator.tokenizers.image.reconstruct(torch.from_numpy(pixels))
    judge = judges.by_name["clip"]
    real, redrawn = (read(judge, given)[0] for given in (torch.from_numpy(pixels), rebuilt))
    return {
        **share((digit == digits) & (direction == directions)),
        "ceiling": ceiling(
            (real[:, 0] == digits) & (real[:, 1] == directions),
            (redrawn[:, 0] == digits) & (redrawn[:, 1] == directions),
        ),
        "chance": 1 / (len(DIGITS) * len(DIRECTIONS)),
        "digit": share(digit == digits)["accuracy"],
        "direction": share(direction == directions)["accuracy"],
        "confusions": confusions(digits.tolist(), digit.tolist(), DIGITS),
    }


def text_bits(generator: Generator, data_root: Path, limit: int | None) -> tuple[float, int]:
    """Bits a byte of held-out stories, and the number of pieces.

    Stories are cut into the pieces of training, each read from a fresh start; the end of a story counts as something to foresee.

    Args:
        generator: model and tokenizers.
        data_root: where the stories are.
        limit: at most so many pieces.
    """
    pool = StoryPool(stories(data_root, "test"), generator.tokenizers.text)
    samples = [pool.make(number, 0) for number in range(min(limit or len(pool), len(pool)))]
    nats, _ = generator.score(samples)
    texts = [part.ids for sample in samples for part in sample.segments if isinstance(part, Text)]
    size = sum(len(generator.tokenizers.text.decode(ids).encode()) for ids in texts)
    return float(nats.sum()) / math.log(2) / max(size, 1), len(samples)


def _answers(generator: Generator, prompts: Sequence[Sequence[Segment]]) -> list[str]:
    return generator.answer(prompts, max_tokens=MAX_TOKENS)
