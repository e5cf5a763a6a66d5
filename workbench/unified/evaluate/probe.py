"""The baseline beside the model: a linear probe on what the tokenizers see, trained on the same training data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from workbench.unified.data.clips import ClipMaker
from workbench.unified.data.pictures import digits, fashion, mnist_grey
from workbench.unified.data.speech import spoken_digits
from workbench.unified.evaluate.bench import TestData, sounds_for_judge
from workbench.unified.evaluate.scores import ridge
from workbench.unified.tokenizers.bundle import Tokenizers

TRAINED_ON = 6000
"""Training items at most."""


def linear_probe(tokenizers: Tokenizers, data_root: Path, data: TestData) -> dict[str, float]:
    """Accuracy of a linear reading of the tokenizer's features (pictures, clips) and of the log-mel (sounds).

    Args:
        tokenizers: of the model.
        data_root: training data comes from here.
        data: test data.

    Returns:
        A share for every set: ``fashion``, ``digits``, ``known_speakers``, ``held_out_speaker``, ``clips`` (digit and direction both right).
    """
    found: dict[str, float] = {}
    for name, made in (("fashion", fashion), ("digits", digits)):
        train = made(data_root, "train").take(TRAINED_ON)
        test = data.pictures[name]
        said = ridge(
            _seen(tokenizers, train.pixels[:, None]),
            train.labels,
            _seen(tokenizers, test.pixels[:, None]),
            len(train.names),
        )
        found[name] = float(np.mean(said == test.labels))
    spoken = spoken_digits(data_root, "train")
    heard = _heard(sounds_for_judge(spoken.sounds))
    for name, test_sounds in data.sounds.items():
        said = ridge(heard, spoken.digits, _heard(sounds_for_judge(test_sounds.sounds)), 10)
        found[name] = float(np.mean(said == test_sounds.digits))
    pixels, numbers, directions = data.clips
    clips = ClipMaker(*mnist_grey(data_root, "train"), TRAINED_ON, (0, 4), pixels.shape[1]).every()
    train_seen, test_seen = _seen(tokenizers, clips.pixels), _seen(tokenizers, pixels)
    right = ridge(train_seen, clips.digits, test_seen, 10) == numbers
    right &= ridge(train_seen, clips.directions, test_seen, 4) == directions
    found["clips"] = float(np.mean(right))
    return found


@torch.no_grad()
def _seen(tokenizers: Tokenizers, pixels: np.ndarray) -> np.ndarray:
    """Features of clips uint8 [N, F, 3, 32, 32], averaged to 4 x 4 places a frame, float32 [N, F * 16 * Cf]."""
    parts = []
    for part in torch.from_numpy(pixels).split(256):
        features = tokenizers.image.encode_video(part).features
        pooled = functional.adaptive_avg_pool2d(features.flatten(0, 1), 4 if pixels.shape[1] == 1 else 2)
        parts.append(pooled.reshape(len(part), -1))
    return torch.cat(parts).numpy()


def _heard(mel: Tensor) -> np.ndarray:
    """Log-mel [N, frames, BANDS] averaged over eighths of the first 0.8 s, float32 [N, 8 * BANDS]."""
    return functional.adaptive_avg_pool1d(mel[:, :80].transpose(1, 2), 8).flatten(1).numpy()
