"""The tokenizer of sound: log-mel frames to three residual codes, 25 times a second, and back to sound.

Residual vector quantisation (Zeghidour et al. 2021, SoundStream, section III-C) with codebooks that follow a moving average, and a new draw
for codes that nobody uses. The first code is semantic: its vectors, pooled over the sound, must name the spoken digit. The ERNIE 5.0
report (section 2.3) aligns it to a speech encoder; none is at hand here, so the labels of the digits take its place.

Letters: N sounds, T steps, A levels, Q codes a level.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.unified.segments import UnifiedError
from workbench.unified.tokenizers.sound import BANDS, FLOOR, HOP, RATE, log_mel, prepare, to_sound

SHORTEST_STEPS = 2


@dataclass(frozen=True)
class AudioConfig:
    """Shape of the tokenizer of sound."""

    levels: int = 3  # A
    codebook: int = 128  # Q
    stride: int = 4  # mel frames of 10 ms a step: 25 steps a second
    width: int = 128
    code_width: int = 64
    classes: int = 10  # of the semantic branch: the spoken digits


class Coded(NamedTuple):
    """One pass of training.

    Attributes:
        mel: float32 [N, T * stride, BANDS], normalised log-mel as drawn from the codes.
        classes: float32 [N, classes], scores from the first level alone.
        commitment: float32 [], how far the latents are from their codes.
        codes: int64 [N, T, A].
    """

    mel: Tensor
    classes: Tensor
    commitment: Tensor
    codes: Tensor


class ResidualBlock(nn.Module):
    """Two convolutions in time with a way around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.conv1, self.conv2 = nn.Conv1d(width, width, 3, padding=1), nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, T], same shape out."""
        return x + self.conv2(functional.silu(self.conv1(functional.silu(self.norm(x)))))


class ResidualQuantiser(nn.Module):
    """A levels of Q vectors each; a level codes what the levels before it left.

    Args:
        levels, codebook, width: A, Q and length of a vector.
        decay: of the moving averages.
        idle: batches after which an unused code is drawn anew.
    """

    vectors: Tensor  # [A, Q, width]
    counts: Tensor  # [A, Q], moving average of the use
    sums: Tensor  # [A, Q, width]

    def __init__(self, levels: int, codebook: int, width: int, decay: float = 0.97, idle: float = 0.03) -> None:
        super().__init__()
        self.decay, self.idle = decay, idle
        self.register_buffer("vectors", torch.randn(levels, codebook, width) * 0.1)
        self.register_buffer("counts", torch.ones(levels, codebook), persistent=False)
        self.register_buffer("sums", self.vectors.clone(), persistent=False)

    def forward(self, latent: Tensor, keep: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Quantise.

        Args:
            latent: float32 [N, T, width].
            keep: bool [N, T]; False is padding, which moves no codebook.

        Returns:
            The quantised latent and its first level (both with the gradient passed straight through), the commitment loss, and
            the codes int64 [N, T, A].
        """
        left, total, codes = latent, torch.zeros_like(latent), []
        first = latent
        commitment = latent.new_zeros(())
        for level in range(len(self.vectors)):
            chosen = self.nearest(left.detach(), level)
            if self.training:
                self._follow(left.detach()[keep], chosen[keep], level)
            value = self.vectors[level][chosen]
            commitment = commitment + (left - value).square()[keep].mean()
            total = total + value
            left = left - value
            codes.append(chosen)
            if level == 0:
                first = latent + (total - latent).detach()
        return latent + (total - latent).detach(), first, commitment, torch.stack(codes, -1)

    def nearest(self, latent: Tensor, level: int) -> Tensor:
        """Number of the nearest vector of a level, int64 [...], for latents float32 [..., width]."""
        table = self.vectors[level]
        return (table.square().sum(-1) - 2 * latent @ table.T).argmin(-1)

    def decode(self, codes: Tensor) -> Tensor:
        """Sum of the vectors of codes int64 [..., A], float32 [..., width]."""
        total = self.vectors[0][codes[..., 0]]
        for level in range(1, codes.shape[-1]):
            total = total + self.vectors[level][codes[..., level]]
        return total

    @torch.no_grad()
    def _follow(self, latents: Tensor, chosen: Tensor, level: int) -> None:
        hot = functional.one_hot(chosen, self.vectors.shape[1]).to(latents.dtype)
        self.counts[level].mul_(self.decay).add_(hot.sum(0), alpha=1 - self.decay)
        self.sums[level].mul_(self.decay).add_(hot.T @ latents, alpha=1 - self.decay)
        self.vectors[level] = self.sums[level] / self.counts[level].clamp_min(1e-5)[:, None]
        idle = self.counts[level] < self.idle
        if bool(idle.any()):
            drawn = latents[torch.randint(len(latents), (int(idle.sum()),))]
            self.vectors[level][idle] = drawn
            self.sums[level][idle] = drawn
            self.counts[level][idle] = 1.0


class AudioTokenizer(nn.Module):
    """Sounds to codes and back.

    Args:
        config: its shape.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = config
        width, stride = config.width, config.stride
        self.register_buffer("mean", torch.zeros(BANDS))
        self.register_buffer("spread", torch.ones(BANDS))
        self.encoder = nn.Sequential(
            nn.Conv1d(BANDS, width, 5, padding=2),
            ResidualBlock(width),
            nn.Conv1d(width, width, stride, stride),
            ResidualBlock(width),
            ResidualBlock(width),
            nn.Conv1d(width, config.code_width, 1),
        )
        self.quantiser = ResidualQuantiser(config.levels, config.codebook, config.code_width)
        self.decoder = nn.Sequential(
            nn.Conv1d(config.code_width, width, 3, padding=1),
            ResidualBlock(width),
            ResidualBlock(width),
            nn.ConvTranspose1d(width, width, stride, stride),
            ResidualBlock(width),
            nn.Conv1d(width, BANDS, 5, padding=2),
        )
        self.semantic = nn.Sequential(
            nn.Dropout(0.2),
            nn.Conv1d(config.code_width, width, 3, padding=1),
            nn.SiLU(),
            nn.Dropout(0.4),
            nn.Conv1d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Dropout(0.2),
        )
        self.semantic_out = nn.Linear(width, config.classes)

    @property
    def levels(self) -> int:
        """Codes A of a step."""
        return self.config.levels

    @property
    def codebook(self) -> int:
        """Codes Q to choose from, at every level."""
        return self.config.codebook

    @property
    def sample_rate(self) -> int:
        """Samples a second of the sounds that :meth:`decode` makes."""
        return RATE

    @property
    def rate(self) -> float:
        """Steps a second."""
        return RATE / HOP / self.config.stride

    def normalised(self, mel: Tensor) -> Tensor:
        """Log-mel [..., BANDS] with mean 0 and spread 1 in every band over the training data."""
        return (mel - self.mean) / self.spread

    def forward(self, mel: Tensor, keep: Tensor) -> Coded:
        """One pass of training.

        Args:
            mel: normalised log-mel float32 [N, T * stride, BANDS].
            keep: bool [N, T]; False is padding.
        """
        latent = self.encoder(mel.transpose(1, 2)).transpose(1, 2)
        value, first, commitment, codes = self.quantiser(latent, keep)
        heard = self.semantic(first.transpose(1, 2)).masked_fill(~keep[:, None], 0).sum(-1) / keep.sum(-1, keepdim=True)
        drawn = self.decoder(value.transpose(1, 2)).transpose(1, 2)
        return Coded(drawn, self.semantic_out(heard), commitment, codes)

    @torch.no_grad()
    def encode(self, sound: np.ndarray, rate: int = RATE) -> np.ndarray:
        """Codes of a sound.

        Args:
            sound: float32 [samples], one channel (or [channels, samples]).
            rate: its samples a second; another than 8,000 is resampled.

        Returns:
            int16 [T, A]; level 0 is semantic.

        Raises:
            UnifiedError: a sound that is empty, silent or too long.
        """
        return self.encode_all([sound], rate)[0]

    @torch.no_grad()
    def encode_all(self, sounds: Sequence[np.ndarray], rate: int = RATE, batch: int = 64) -> list[np.ndarray]:
        """Codes of many sounds, those of equal length together; the same as one by one.

        Args:
            sounds: as in :meth:`encode`.
            rate: samples a second of all of them.
            batch: sounds at once.
        """
        ready = [self._filled(log_mel(torch.from_numpy(prepare(sound, rate)))) for sound in sounds]
        made: list[np.ndarray] = [np.zeros((0, self.levels), np.int16)] * len(ready)
        order = sorted(range(len(ready)), key=lambda place: len(ready[place]))
        for _, same in itertools.groupby(order, key=lambda place: len(ready[place])):
            places = list(same)
            for start in range(0, len(places), batch):
                part = places[start : start + batch]
                latent = self.encoder(torch.stack([ready[place] for place in part]).transpose(1, 2)).transpose(1, 2)
                codes = self.quantiser(latent, torch.ones(latent.shape[:2], dtype=torch.bool))[3]
                for place, found in zip(part, codes.numpy().astype(np.int16), strict=True):
                    made[place] = found
        return made

    def _filled(self, mel: Tensor) -> Tensor:
        """Normalised log-mel of a whole number of steps, silence at the end."""
        steps = max(-(-len(mel) // self.config.stride), SHORTEST_STEPS)
        quiet = mel.new_full((steps * self.config.stride - len(mel), BANDS), float(np.log(FLOOR)))
        return self.normalised(torch.cat([mel, quiet]))

    @torch.no_grad()
    def mel(self, codes: np.ndarray) -> Tensor:
        """Log-mel float32 [T * stride, BANDS] of codes.

        Raises:
            UnifiedError: codes of another form.
        """
        given = np.asarray(codes)
        if given.ndim != 2 or given.shape[1] != self.levels or not len(given):
            raise UnifiedError(
                f"Expected codes [steps, {self.levels}], but an array {list(given.shape)} came: use codes of this tokenizer."
            )
        if given.min() < 0 or given.max() >= self.codebook:
            raise UnifiedError(
                f"Expected codes from 0 to {self.codebook - 1}, but others came: use codes of this tokenizer."
            )
        value = self.quantiser.decode(torch.from_numpy(given.astype(np.int64)))
        return self.decoder(value.T[None])[0].T * self.spread + self.mean

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Sound float32 [samples] at :attr:`sample_rate` of codes [T, A]."""
        return to_sound(self.mel(codes)).numpy()
