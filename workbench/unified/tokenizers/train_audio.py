"""Training of the audio tokenizer: log-mel through three residual codes and back, the spoken digit from the first code alone."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from workbench.unified.data.speech import Utterances, at_speed
from workbench.unified.segments import UnifiedError
from workbench.unified.tokenizers.audio import AudioConfig, AudioTokenizer
from workbench.unified.tokenizers.sound import BANDS, FLOOR, RATE, log_mel, prepare
from workbench.unified.tokenizers.train_image import Report, schedule


@dataclass(frozen=True)
class AudioPlan:
    """How the audio tokenizer is trained."""

    steps: int = 2200
    batch: int = 32  # sounds a step
    learning_rate: float = 1e-3  # highest
    warm_up: int = 50  # steps
    semantic: float = 0.3  # weight of the digit loss
    commitment: float = 0.25  # weight of the distance between latent and code
    speeds: tuple[float, ...] = (0.8, 0.86, 0.93, 1.0, 1.07, 1.15, 1.24)  # copies of every sound: further voices
    tilt: float = 1.0  # nats between the lowest and the highest band, at most: another microphone or throat
    noise: float = 0.15  # of a band's spread


def train_audio(
    utterances: Utterances, config: AudioConfig, plan: AudioPlan, seed: int, report: Report | None = None
) -> AudioTokenizer:
    """Train on spoken digits of the known speakers.

    Args:
        utterances: training part only.
        config: shape.
        plan: length and weights.
        seed: of weights and draws.
        report: told every 50 steps.

    Raises:
        UnifiedError: no sound to train on.
    """
    if not len(utterances):
        raise UnifiedError(
            "Expected sounds to train the audio tokenizer on, but none came: name a data root that holds some."
        )
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tokenizer = AudioTokenizer(config)
    mels = [
        log_mel(torch.from_numpy(prepare(at_speed(sound, speed), RATE)))
        for speed in plan.speeds
        for sound in utterances.sounds
    ]
    labels = np.tile(utterances.digits, len(plan.speeds))
    every = torch.cat(mels)
    tokenizer.mean.copy_(every.mean(0))
    tokenizer.spread.copy_(every.std(0).clamp_min(1e-3))
    optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=plan.learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    tokenizer.train()
    start = time.perf_counter()
    for step in range(plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * schedule(step, plan.steps, min(plan.warm_up, plan.steps))
        which = rng.integers(len(mels), size=plan.batch)
        mel, keep = pad([mels[i] for i in which], config.stride)
        mel = vary(tokenizer.normalised(mel), plan)
        coded = tokenizer(mel, keep)
        weight = keep.repeat_interleave(config.stride, 1)[..., None].float()
        apart = (coded.mel - mel) * weight
        cells = weight.sum() * BANDS
        semantic = functional.cross_entropy(coded.classes, torch.from_numpy(labels[which]), label_smoothing=0.1)
        distance = apart.abs().sum() / cells + apart.square().sum() / cells
        (distance + plan.semantic * semantic + plan.commitment * coded.commitment).backward()
        torch.nn.utils.clip_grad_norm_(tokenizer.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if report is not None and ((step + 1) % 50 == 0 or step + 1 == plan.steps):
            measures = {"loss": float(distance.detach()), "semantic": float(semantic.detach())}
            report("sounds", step + 1, plan.steps, {**measures, "seconds": time.perf_counter() - start})
    return tokenizer.eval()


def vary(mel: Tensor, plan: AudioPlan) -> Tensor:
    """Another microphone and some noise: a slope over the bands, a loudness and noise, each sound its own.

    Args:
        mel: normalised log-mel float32 [N, frames, BANDS].
        plan: how much.
    """
    slope = (torch.rand(len(mel), 1, 1) - 0.5) * plan.tilt * torch.linspace(-1, 1, BANDS)
    loudness = (torch.rand(len(mel), 1, 1) - 0.5) * plan.tilt
    return mel + slope + loudness + torch.randn_like(mel) * plan.noise * torch.rand(len(mel), 1, 1)


def pad(mels: list[Tensor], stride: int) -> tuple[Tensor, Tensor]:
    """Log-mels of several lengths in one batch.

    Args:
        mels: float32 [frames, BANDS] each.
        stride: frames a step.

    Returns:
        float32 [N, T * stride, BANDS], silence at the end, and bool [N, T] of the steps that are no padding.
    """
    steps = [max(-(-len(mel) // stride), 2) for mel in mels]
    made = torch.full((len(mels), max(steps) * stride, BANDS), float(np.log(FLOOR)))
    for row, mel in zip(made, mels, strict=True):
        row[: len(mel)] = mel
    return made, torch.arange(max(steps))[None] < torch.tensor(steps)[:, None]


@torch.no_grad()
def measure_audio(tokenizer: AudioTokenizer, utterances: Utterances) -> dict[str, Any]:
    """Distance of the log-mel, digits read from the first code, and the use of the codes, on sounds that were not trained on.

    Returns:
        ``mel_distance`` (mean absolute, in units of a band's spread), ``digit_accuracy`` (first code alone), ``codes_used``
        and ``code_entropy`` (bits) of every level, and ``n``.
    """
    apart, right = [], []
    codes = []
    for sound, digit in zip(utterances.sounds, utterances.digits, strict=True):
        mel, keep = pad([log_mel(torch.from_numpy(prepare(sound, RATE)))], tokenizer.config.stride)
        mel = tokenizer.normalised(mel)
        coded = tokenizer(mel, keep)
        apart.append(float((coded.mel - mel).abs().mean()))
        right.append(int(coded.classes.argmax()) == int(digit))
        codes.append(coded.codes[0])
    every = torch.cat(codes)
    used = [torch.bincount(every[:, level], minlength=tokenizer.codebook).float() for level in range(tokenizer.levels)]
    shares = [(count / count.sum()).clamp_min(1e-12) for count in used]
    return {
        "mel_distance": float(np.mean(apart)),
        "digit_accuracy": float(np.mean(right)),
        "codes_used": [int((count > 0).sum()) for count in used],
        "code_entropy": [float(-(share * share.log2()).sum()) for share in shares],
        "n": len(utterances),
    }
