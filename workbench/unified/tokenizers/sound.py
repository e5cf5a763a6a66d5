"""Sound to log-mel and back: 40 bands at 8 kHz, and Griffin-Lim to find the phases again.

Mel scale: O'Shaughnessy's formula, 2595 log10(1 + f / 700). Phases: Griffin and Lim 1984 with the momentum of Perraudin, Balazs and
Soendergaard 2013. The way back needs no trained network and no further package.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from workbench.unified.segments import UnifiedError

RATE = 8000
"""Samples a second."""
WINDOW = 256
HOP = 80
"""Samples between two frames: 10 ms."""
BANDS = 40
LOWEST, HIGHEST = 60.0, 3800.0
"""Hz."""
FLOOR = 1e-4
"""Smallest energy of a band, before the logarithm: sounds are scaled to a peak of 1."""
LONGEST = 30
"""Seconds of one sound that are read."""


@functools.lru_cache(maxsize=1)
def filters() -> Tensor:
    """Triangles of the mel bands, float32 [BANDS, WINDOW // 2 + 1], each with a sum of 1."""

    def mel(hertz: np.ndarray) -> np.ndarray:
        return 2595 * np.log10(1 + hertz / 700)

    edges = np.linspace(mel(np.array(LOWEST)), mel(np.array(HIGHEST)), BANDS + 2)
    places = mel(np.linspace(0, RATE / 2, WINDOW // 2 + 1))
    rising = (places[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - places[None]) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.clip(np.minimum(rising, falling), 0, None)
    # The lowest bands are narrower than the distance of two frequencies: each keeps at least the nearest one.
    for band in np.flatnonzero(triangles.sum(1) == 0):
        triangles[band, np.abs(places - edges[band + 1]).argmin()] = 1.0
    return torch.tensor(triangles / triangles.sum(1, keepdims=True), dtype=torch.float32)


def prepare(sound: np.ndarray, rate: int) -> np.ndarray:
    """A sound of any rate as float32 [samples] at 8 kHz with a peak of 1.

    Args:
        sound: float [samples], or [channels, samples], of which the mean is taken.
        rate: its samples a second.

    Raises:
        UnifiedError: an empty, silent, endless or senseless sound.
    """
    from math import gcd

    from scipy.signal import resample_poly

    values = np.asarray(sound, np.float32)
    values = values.mean(0) if values.ndim == 2 else values
    if rate < 1000 or rate > 400_000:
        raise UnifiedError(
            f"Expected a sound of 1,000 to 400,000 samples a second, but {rate} came: give the true rate of the file."
        )
    if values.ndim != 1 or len(values) < rate // 100:
        raise UnifiedError("Expected a sound of at least 10 ms, but a shorter one came: record it again.")
    if len(values) > LONGEST * rate:
        raise UnifiedError(
            f"Expected a sound of at most {LONGEST} s, but one of {len(values) / rate:.0f} s came: cut it."
        )
    if not np.isfinite(values).all():
        raise UnifiedError("Expected a sound of finite numbers, but some are not: record it again.")
    peak = float(np.abs(values).max())
    if peak < 1e-4:
        raise UnifiedError("Expected a sound, but this one is silent: record it again.")
    if rate != RATE:
        common = gcd(rate, RATE)
        values = resample_poly(values, RATE // common, rate // common).astype(np.float32)
    return values / max(float(np.abs(values).max()), 1e-6)


def log_mel(sound: Tensor) -> Tensor:
    """Log energies of the bands.

    Args:
        sound: float32 [..., samples] at 8 kHz.

    Returns:
        float32 [..., samples // HOP, BANDS].
    """
    spectrum = torch.stft(sound, WINDOW, HOP, window=_window(), center=True, pad_mode="constant", return_complex=True)
    energy = filters() @ spectrum.abs()
    return energy.clamp_min(FLOOR).log().transpose(-1, -2)[..., : max(sound.shape[-1] // HOP, 1), :]


def to_sound(mel: Tensor, rounds: int = 48, momentum: float = 0.99, seed: int = 0) -> Tensor:
    """A sound with these log energies.

    Args:
        mel: float32 [frames, BANDS].
        rounds: of Griffin-Lim.
        momentum: of its fast form.
        seed: of the first phases.

    Returns:
        float32 [frames * HOP], peak at most 1.
    """
    magnitude = _spread() @ mel.exp().T  # the bands back on the frequencies
    magnitude = torch.cat([magnitude, magnitude[:, -1:]], 1)
    generator = torch.Generator().manual_seed(seed)
    angle = torch.rand(magnitude.shape, generator=generator) * 2 * torch.pi
    phase, before = torch.polar(torch.ones_like(magnitude), angle), torch.zeros_like(magnitude, dtype=torch.complex64)
    length = len(mel) * HOP
    for _ in range(rounds):
        sound = torch.istft(magnitude * phase, WINDOW, HOP, window=_window(), length=length)
        rebuilt = torch.stft(
            sound, WINDOW, HOP, window=_window(), center=True, pad_mode="constant", return_complex=True
        )
        moved = rebuilt - momentum / (1 + momentum) * before
        phase = moved / moved.abs().clamp_min(1e-8)
        before = rebuilt
    sound = torch.istft(magnitude * phase, WINDOW, HOP, window=_window(), length=length)
    return sound / sound.abs().max().clamp_min(1.0)


@functools.lru_cache(maxsize=1)
def _spread() -> Tensor:
    """Bands to frequencies, float32 [WINDOW // 2 + 1, BANDS]: each frequency takes the bands that hear it, by their share."""
    heard = filters() / filters().amax(1, keepdim=True)
    return (heard / heard.sum(0).clamp_min(1e-6)).T.contiguous()


def _window() -> Tensor:
    return torch.hann_window(WINDOW)
