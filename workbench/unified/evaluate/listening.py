"""Does what is made hang on its prompt? The class that makes real test data likeliest, of the ten that the prompt could name.

Beside judging what was sampled, this says where a model fails: one that finds the class here and draws it badly samples badly; one that
does not find it never learned the word (what is made carries at most ln 10 = 2.3 nats about it, of hundreds).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from workbench.unified.batch import make_batch, to_device
from workbench.unified.data.words import (
    CLIP_WORDINGS,
    DIGIT_WORDINGS,
    DIGITS,
    DIRECTIONS,
    GARMENT_WORDINGS,
    GARMENTS,
    SPEECH_WORDINGS,
)
from workbench.unified.evaluate.bench import TestData
from workbench.unified.evaluate.scores import share
from workbench.unified.generate import Generator
from workbench.unified.segments import DrawnClip, DrawnPicture, Sample, Segment, Speech, Text

HEARD = 100
"""Items of each task: every one is scored under ten prompts."""


def listening(generator: Generator, data: TestData) -> dict[str, Any]:
    """Share of test items whose own class gives them the lowest loss of ten, by task (``fashion``, ``digits``, ``speech``, ``clips``)."""
    spoken, (pixels, digits, directions) = data.sounds["known_speakers"], data.clips
    codes = generator.tokenizers.audio.encode_all(spoken.sounds[:HEARD])
    found = {}
    for name, names, wordings in (("fashion", GARMENTS, GARMENT_WORDINGS), ("digits", DIGITS, DIGIT_WORDINGS)):
        pictures = data.pictures[name]
        found[name] = _share(
            generator,
            [DrawnPicture(one) for one in pictures.pixels[:HEARD]],
            [[wordings.write(0, x) for x in names]] * HEARD,
            pictures.labels,
        )
    found["speech"] = _share(
        generator,
        [Speech(one) for one in codes],
        [[SPEECH_WORDINGS.write(0, x, speaker) for x in DIGITS] for speaker in spoken.speakers[:HEARD]],
        spoken.digits,
    )
    found["clips"] = _share(
        generator,
        [DrawnClip(one) for one in pixels[:HEARD]],
        [[CLIP_WORDINGS.write(0, x, DIRECTIONS[way]) for x in DIGITS] for way in directions[:HEARD]],
        digits,
    )
    return found


def _share(
    generator: Generator, made: Sequence[Segment], prompts: Sequence[Sequence[str]], labels: np.ndarray
) -> dict[str, Any]:
    likeliest = [
        int(losses(generator, segment, written).argmin()) for segment, written in zip(made, prompts, strict=False)
    ]
    return {**share(np.array(likeliest) == labels[: len(likeliest)]), "chance": 1 / len(prompts[0])}


@torch.no_grad()
def losses(generator: Generator, made: Segment, prompts: Sequence[str]) -> np.ndarray:
    """Weighted mean loss of one thing under each of several prompts, float64 [prompts]."""
    text = generator.tokenizers.text
    samples = [Sample((Text(tuple(text.encode(prompt))), made), "prompt", end=False) for prompt in prompts]
    batch = to_device(make_batch(samples, generator.config, generator.tokenizers), generator.model.device)
    found = generator.model(**batch, use_cache=False, reduction=generator.reduction).losses
    summed = (found.token * found.weight).sum(1) / found.weight.sum(1)
    values: np.ndarray = summed.double().cpu().numpy()
    return values
