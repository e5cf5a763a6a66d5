"""Judges: small convolutional networks that say what a generated picture, sound or clip shows.

Each is trained on real training data only, never on anything generated or reconstructed, and with blur, noise and small shifts: a judge that
never saw a soft edge punishes the tokenizer instead of the model. What a judge scores on real and on reconstructed test data is
the ceiling that stands beside every figure.

Letters: N items, F frames, C channels, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.unified.data.words import DIGITS, DIRECTIONS
from workbench.unified.tokenizers.sound import BANDS

FEATURES = 64
"""D: what a judge sees before it decides; the distance between real and generated data is measured there."""
MEL_FRAMES = 96
"""Of 10 ms: sounds are cut or padded to about a second for the judge."""


@dataclass(frozen=True)
class JudgePlan:
    """How a judge is trained."""

    steps: int = 1000
    garment_steps: int = 2500  # garments are hardest to tell apart
    batch: int = 64
    learning_rate: float = 2e-3  # highest; falls by a cosine
    seed: int = 1234  # not the tokenizers' or the model's


class Judge(nn.Module):
    """Base of the judges: features, then one or more readings.

    Args:
        heads: number of classes of every reading.
    """

    def __init__(self, heads: tuple[int, ...]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(FEATURES, classes) for classes in heads)

    def features(self, x: Tensor) -> Tensor:
        """[N, ...] to float32 [N, D]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> list[Tensor]:
        """Scores of every reading, float32 [N, classes]."""
        seen = self.features(x)
        return [head(seen) for head in self.heads]


class PictureJudge(Judge):
    """Reads one of ten classes from a picture, float32 [N, C, 32, 32] from 0 to 1, in grey."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__((classes,))
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(48, 96, 3, padding=1), nn.BatchNorm2d(96), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Dropout(0.2), nn.Linear(96 * 16, FEATURES), nn.ReLU(),
        )  # fmt: skip

    def features(self, x: Tensor) -> Tensor:
        return self.body(x.mean(1, keepdim=True) - 0.3)


class SoundJudge(Judge):
    """Reads the digit from log-mel float32 [N, frames, BANDS]."""

    def __init__(self) -> None:
        super().__init__((len(DIGITS),))
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(48, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d((4, 2)),
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * (MEL_FRAMES // 16) * (BANDS // 8), FEATURES), nn.ReLU(),
        )  # fmt: skip

    def features(self, x: Tensor) -> Tensor:
        return self.body((x[:, None] + 5) / 3)


class ClipJudge(Judge):
    """Reads digit and direction from a clip, float32 [N, F, C, 32, 32] from 0 to 1."""

    def __init__(self, frames: int) -> None:
        super().__init__((len(DIGITS), len(DIRECTIONS)))
        self.body = nn.Sequential(
            nn.Conv2d(frames, 48, 3, 2, 1), nn.BatchNorm2d(48), nn.ReLU(),
            nn.Conv2d(48, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 96, 3, padding=1), nn.BatchNorm2d(96), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Dropout(0.2), nn.Linear(96 * 16, FEATURES), nn.ReLU(),
        )  # fmt: skip

    def features(self, x: Tensor) -> Tensor:
        return self.body(x.mean(2) - 0.1)


def train_judge(
    judge: Judge,
    items: Tensor,
    labels: Tensor,
    spoil: Callable[[Tensor, torch.Generator], Tensor],
    plan: JudgePlan,
    steps: int | None = None,
) -> None:
    """Train in place, leaving it ready to use.

    Args:
        judge: fresh.
        items: real training items, [M, ...], uint8 pixels or float32 log-mel.
        labels: int64 [M, readings].
        spoil: blur and noise for a batch.
        plan: length and seed.
        steps: instead of the plan's.
    """
    steps = steps or plan.steps
    generator = torch.Generator().manual_seed(plan.seed)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=plan.learning_rate, weight_decay=0.02)
    course = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    judge.train()
    for _ in range(steps):
        which = torch.randint(len(items), (plan.batch,), generator=generator)
        given = items[which]
        given = given.float() / 255 if given.dtype == torch.uint8 else given
        scores = judge(spoil(given, generator))
        loss = torch.stack([functional.cross_entropy(s, labels[which, i]) for i, s in enumerate(scores)]).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        course.step()
    judge.eval().requires_grad_(False)


@torch.no_grad()
def read(judge: Judge, items: Tensor, batch: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """What a judge says.

    Args:
        judge: trained.
        items: as in training, without spoiling.
        batch: items at once.

    Returns:
        Classes int64 [N, readings] and features float32 [N, D].
    """
    said, seen = [], []
    for part in items.split(batch):
        values = part.float() / 255 if part.dtype == torch.uint8 else part
        features = judge.features(values)
        said.append(torch.stack([head(features).argmax(-1) for head in judge.heads], 1))
        seen.append(features)
    return torch.cat(said).numpy(), torch.cat(seen).numpy()


def blur_pictures(x: Tensor, generator: torch.Generator) -> Tensor:
    """Blur of a random strength, noise and a shift of up to one pixel, each picture (or all frames of a clip) its own.

    Args:
        x: float32 [N, C, H, W] or [N, F, C, H, W], 0 to 1.
        generator: of the draw.
    """
    flat = x.flatten(1, -3)
    soft = functional.avg_pool2d(functional.pad(flat, (1, 1, 1, 1), mode="replicate"), 3, 1)
    softer = functional.avg_pool2d(functional.pad(soft, (1, 1, 1, 1), mode="replicate"), 3, 1)
    shape = (len(x), 1, 1, 1)
    amount = torch.rand(shape, generator=generator) * 2
    mixed = torch.where(amount < 1, flat + amount * (soft - flat), soft + (amount - 1) * (softer - soft))
    clean = torch.rand(shape, generator=generator) < 0.3
    mixed = torch.where(clean, flat, mixed)
    noise = torch.randn(flat.shape[0], 1, *flat.shape[2:], generator=generator) * 0.05
    mixed = mixed + noise * torch.rand(shape, generator=generator)
    down, right = torch.randint(-1, 2, (2,), generator=generator).tolist()
    return torch.roll(mixed, (down, right), (-2, -1)).clamp(0, 1).reshape(x.shape)


def blur_sounds(x: Tensor, generator: torch.Generator) -> Tensor:
    """Blur over time and bands, noise, another loudness and a shift in time.

    Args:
        x: float32 [N, frames, BANDS], log-mel.
        generator: of the draw.
    """
    soft = functional.avg_pool2d(functional.pad(x[:, None], (1, 1, 1, 1), mode="replicate"), 3, 1)[:, 0]
    shape = (len(x), 1, 1)
    mixed = x + torch.rand(shape, generator=generator) * (soft - x)
    mixed = mixed + torch.randn(x.shape, generator=generator) * 0.3 * torch.rand(shape, generator=generator)
    mixed = mixed + (torch.rand(shape, generator=generator) - 0.5)
    return torch.roll(mixed, int(torch.randint(0, 12, (1,), generator=generator)), 1)


def fixed_length(mel: Tensor) -> Tensor:
    """Log-mel [frames, BANDS] cut or padded with its quietest value to what the sound judge takes."""
    cut = mel[:MEL_FRAMES]
    return functional.pad(cut, (0, 0, 0, MEL_FRAMES - len(cut)), value=float(np.log(1e-4)))
