"""Training of the image tokenizer: pictures first, then inflated to clips.

Loss: absolute plus squared difference of the pixels, and the class of labelled frames read from the quantised latent (small weight).
The amplitudes learn by the same loss; a small pull of the latent towards its own bits keeps the two close.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from workbench.unified.pyramid import pyramid
from workbench.unified.segments import UnifiedError
from workbench.unified.tokenizers.image import ImageConfig, ImageTokenizer, inflate

Report = Callable[[str, int, int, dict[str, float]], None]
"""Called with what is trained, steps done, steps in all, and the measures of the moment."""


@dataclass(frozen=True)
class Source:
    """Frames of one kind and how often they are drawn.

    Attributes:
        pixels: uint8 [N, F, C, 32, 32]; pictures have one frame.
        labels: int64 [N] for the semantic branch, -1 without.
        share: of a batch.
    """

    pixels: np.ndarray
    labels: np.ndarray
    share: float


@dataclass(frozen=True)
class ImagePlan:
    """How the image tokenizer is trained."""

    steps: int = 1500  # on pictures
    clip_steps: int = 300  # after inflation, on clips and pictures by turns
    batch: int = 64  # pictures a step
    clip_batch: int = 16  # clips a step
    learning_rate: float = 2e-3  # highest
    warm_up: int = 100  # steps
    semantic: float = 0.02  # weight of the class loss
    pull: float = 0.02  # weight of the distance between latent and bits
    taps: int = 2  # frames that a convolution in time sees after inflation


def train_image(
    pictures: list[Source],
    clips: list[Source],
    config: ImageConfig,
    plan: ImagePlan,
    seed: int,
    report: Report | None = None,
) -> ImageTokenizer:
    """Train on pictures, inflate, train on.

    Args:
        pictures: sources of single frames; training data only.
        clips: sources of clips; none leaves the inflated tokenizer as it is.
        config: shape; its taps are those of the first stage.
        plan: lengths and weights.
        seed: of weights and draws.
        report: told every 50 steps.

    Raises:
        UnifiedError: no picture to train on.
    """
    if not any(len(source.labels) for source in pictures):
        raise UnifiedError(
            "Expected pictures to train the image tokenizer on, but none came: name a data root that holds some."
        )
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tokenizer = ImageTokenizer(config)
    _stage(tokenizer, [(pictures, plan.batch)], plan, plan.steps, plan.learning_rate, rng, "pictures", report)
    tokenizer = inflate(tokenizer, max(plan.taps, config.taps))
    if clips and plan.clip_steps:
        by_turns = [(clips, plan.clip_batch), (pictures, plan.batch)]
        _stage(tokenizer, by_turns, plan, plan.clip_steps, plan.learning_rate / 2, rng, "clips", report)
    return tokenizer.eval()


def schedule(step: int, steps: int, warm_up: int) -> float:
    """Factor of the learning rate: linear warm-up, constant, then a cosine to 0 over the last half."""
    if step < warm_up:
        return (step + 1) / warm_up
    half = steps / 2
    return 1.0 if step < half else 0.5 * (1 + math.cos(math.pi * (step - half) / max(steps - half, 1)))


def _stage(
    tokenizer: ImageTokenizer,
    by_turns: list[tuple[list[Source], int]],
    plan: ImagePlan,
    steps: int,
    rate: float,
    rng: np.random.Generator,
    name: str,
    report: Report | None,
) -> None:
    optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.01)
    tokenizer.train()
    start = time.perf_counter()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * schedule(step, steps, min(plan.warm_up, steps))
        sources, size = by_turns[step % len(by_turns)]
        pixels, labels = _draw(sources, size, rng)
        loss, measures = _loss(tokenizer, pixels, labels, plan)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tokenizer.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if report is not None and ((step + 1) % 50 == 0 or step + 1 == steps):
            report(name, step + 1, steps, {**measures, "seconds": time.perf_counter() - start})


def _draw(sources: list[Source], size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    total = sum(source.share for source in sources)
    counts = rng.multinomial(size, [source.share / total for source in sources])
    pixels, labels = [], []
    for source, count in zip(sources, counts, strict=True):
        which = rng.integers(len(source.labels), size=count)
        pixels.append(source.pixels[which])
        labels.append(source.labels[which])
    return torch.from_numpy(np.concatenate(pixels)), torch.from_numpy(np.concatenate(labels))


def _loss(
    tokenizer: ImageTokenizer, pixels: Tensor, labels: Tensor, plan: ImagePlan
) -> tuple[Tensor, dict[str, float]]:
    drawn = tokenizer(pixels)
    apart = drawn.pixels - drawn.wanted
    squared = apart.square().mean()
    semantic = functional.cross_entropy(drawn.classes, labels.repeat_interleave(pixels.shape[1]), ignore_index=-1)
    semantic = semantic if bool((labels >= 0).any()) else squared.new_zeros(())
    loss = apart.abs().mean() + 4 * squared + plan.semantic * semantic + plan.pull * drawn.pull
    return loss, {
        "loss": float(loss.detach()),
        "psnr": psnr(float(squared.detach())),
        "semantic": float(semantic.detach()),
    }


def psnr(squared: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared difference of pixels from 0 to 1."""
    return -10 * math.log10(max(squared, 1e-10))


@torch.no_grad()
def measure_image(tokenizer: ImageTokenizer, pixels: np.ndarray, batch: int = 256) -> dict[str, Any]:
    """PSNR and the use of the bits on frames that were not trained on.

    Args:
        tokenizer: in evaluation mode.
        pixels: uint8 [N, F, C, 32, 32].
        batch: clips at once.

    Returns:
        ``psnr`` (dB, mean over frames), ``bit_entropy`` (a scale, bits), ``amplitudes`` and ``frames``.
    """
    scores, bits = [], []
    for start in range(0, len(pixels), batch):
        given = torch.from_numpy(pixels[start : start + batch])
        latent = tokenizer.encode_video(given).latent
        found = pyramid(latent.flatten(0, 1), tokenizer.scales, tokenizer.amplitudes)
        drawn = tokenizer.decode_video(found.total.unflatten(0, latent.shape[:2]))
        squared = (drawn - given.float() / 255).square().flatten(2).mean(-1).flatten()
        scores += [psnr(value) for value in squared.tolist()]
        bits.append(found.bits)
    return {
        "psnr": float(np.mean(scores)),
        "bit_entropy": [float(bit_entropy(torch.cat([b[k] for b in bits]))) for k in range(len(tokenizer.scales))],
        "amplitudes": [float(value) for value in tokenizer.amplitudes],
        "frames": len(scores),
    }


def bit_entropy(bits: Tensor) -> Tensor:
    """Mean entropy of the bits of a scale over cells and channels, in bits (1 is best); bits [N, n * n, Z] of 0 and 1."""
    share = bits.float().mean(0).clamp(1e-6, 1 - 1e-6)
    return -(share * share.log2() + (1 - share) * (1 - share).log2()).mean()
