"""A tiny unified model with tokenizers and data that need no training: pictures are random, codes and words follow a rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from workbench.unified import UnifiedConfig, UnifiedForCausalLM
from workbench.unified.segments import (
    TASKS,
    Clip,
    DrawnClip,
    DrawnPicture,
    Picture,
    Sample,
    Segment,
    Sound,
    Speech,
    Text,
)

SIZE, CHANNELS, BITS, FEATURES, GRID, SCALES = 8, 1, 4, 6, 4, (1, 2, 3)
LEVELS, CODES, VOCABULARY = 2, 8, 40


class Encoded(NamedTuple):
    latent: Tensor
    features: Tensor


class ToyImages:
    """Random fixed projections of the pixels."""

    size, channels, bits, feature_channels, feature_grid, scales = SIZE, CHANNELS, BITS, FEATURES, GRID, SCALES

    def __init__(self) -> None:
        chance = torch.Generator().manual_seed(5)
        pixels = CHANNELS * SIZE * SIZE
        self.to_latent = torch.randn(pixels, BITS * SCALES[-1] ** 2, generator=chance) / 3
        self.to_features = torch.randn(pixels, FEATURES * GRID * GRID, generator=chance) / 3
        self.amplitudes = torch.tensor([1.0, 0.6, 0.4])

    def encode(self, pixels: Tensor) -> Encoded:
        flat = pixels.flatten(1) - 0.5
        return Encoded(
            (flat @ self.to_latent).view(-1, BITS, SCALES[-1], SCALES[-1]),
            (flat @ self.to_features).view(-1, FEATURES, GRID, GRID),
        )

    def encode_video(self, pixels: Tensor) -> Encoded:
        found = self.encode(pixels.flatten(0, 1))
        return Encoded(*(part.unflatten(0, pixels.shape[:2]) for part in found))

    def decode(self, latent: Tensor) -> Tensor:
        return torch.sigmoid(latent.flatten(1) @ self.to_latent.T).view(-1, CHANNELS, SIZE, SIZE)

    def decode_video(self, latent: Tensor) -> Tensor:
        return self.decode(latent.flatten(0, 1)).unflatten(0, latent.shape[:2])


class ToyText:
    vocabulary = VOCABULARY

    def encode(self, text: str) -> list[int]:
        return [16 + sum(map(ord, word)) % (VOCABULARY - 16) for word in text.split()]

    def decode(self, ids: Any) -> str:
        return " ".join(str(int(number)) for number in ids if number >= 16)

    def save_pretrained(self, folder: Path) -> None:
        (folder / "words.txt").write_text("toy", encoding="utf-8")


class ToyAudio:
    levels, codebook, rate, sample_rate = LEVELS, CODES, 25.0, 8000


class ToyTokenizers:
    def __init__(self) -> None:
        self.image, self.text, self.audio = ToyImages(), ToyText(), ToyAudio()

    def facts(self) -> dict[str, Any]:
        return {
            "vocab_size": VOCABULARY,
            "image_size": SIZE,
            "image_channels": CHANNELS,
            "image_bits": BITS,
            "image_scales": list(SCALES),
            "feature_channels": FEATURES,
            "feature_grid": GRID,
            "audio_levels": LEVELS,
            "audio_codebook": CODES,
        }

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "toy.json").write_text("{}", encoding="utf-8")


class ToyData:
    """Samples of every task, a pure function of task and number."""

    tasks = TASKS

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def fingerprint(self) -> str:
        return f"toy {self.seed}"

    def draw(self, task: str, number: int) -> Sample:
        rng = np.random.default_rng([self.seed, TASKS.index(task), number])
        return Sample(segments(task, rng), task)

    def held_out(self, task: str, number: int) -> Sample:
        return self.draw(task, 10_000 + number)


def segments(task: str, rng: np.random.Generator) -> tuple[Segment, ...]:
    def text(count: int, learn: bool) -> Text:
        return Text(tuple(rng.integers(16, VOCABULARY, count).tolist()), learn)

    frame = (CHANNELS, SIZE, SIZE)
    picture = rng.integers(0, 256, frame, dtype=np.uint8)
    clip = rng.integers(0, 256, (3, *frame), dtype=np.uint8)
    codes = rng.integers(0, CODES, (int(rng.integers(2, 6)), LEVELS)).astype(np.int16)
    made: dict[str, tuple[Segment, ...]] = {
        "text": (text(9, True),),
        "image_to_word": (Picture(picture), text(2, True)),
        "speech_to_word": (Sound(codes), text(2, True)),
        "clip_to_caption": (Clip(clip), text(3, True)),
        "word_to_image": (text(2, False), DrawnPicture(picture)),
        "word_to_speech": (text(2, False), Speech(codes)),
        "caption_to_clip": (text(3, False), DrawnClip(clip)),
    }
    return made[task]


def sizes() -> dict[str, Any]:
    """Sizes of the tiny model, tokenizers aside."""
    return {
        "hidden_size": 24,
        "num_hidden_layers": 5,
        "num_attention_heads": 2,
        "num_experts": 16,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 8,
        "shared_intermediate_size": 16,
    }


def toy_model(seed: int = 0, **changes: Any) -> UnifiedForCausalLM:
    """A tiny random model in evaluation mode; its weights are larger than at a real start, so that differences show."""
    torch.manual_seed(seed)
    return UnifiedForCausalLM(
        UnifiedConfig(**{**ToyTokenizers().facts(), **sizes(), "initializer_range": 0.2, **changes})
    ).eval()


def toy_samples(count: int = 2) -> list[Sample]:
    data = ToyData()
    return [data.draw(task, number) for task in TASKS for number in range(count)]
