"""The audio tokenizer and the way back to sound."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench.unified.segments import UnifiedError
from workbench.unified.tokenizers.audio import ResidualQuantiser
from workbench.unified.tokenizers.bundle import Tokenizers
from workbench.unified.tokenizers.sound import BANDS, HOP, RATE, filters, log_mel, prepare, to_sound


def tone(hertz: float, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def loudest(sound: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(spectrum.argmax() * RATE / len(sound))


@pytest.mark.parametrize("hertz", [250.0, 700.0, 1500.0])
def test_log_mel_and_back_keeps_the_pitch(hertz: float) -> None:
    sound = to_sound(log_mel(torch.from_numpy(tone(hertz)))).numpy()
    assert len(sound) == 4000 and np.abs(sound).max() <= 1
    assert loudest(sound) == pytest.approx(hertz, rel=0.15)  # a band is about so wide


def test_every_band_hears_something_and_weighs_the_same() -> None:
    assert filters().shape == (BANDS, 129) and bool((filters().sum(1) - 1).abs().max() < 1e-5)
    assert log_mel(torch.zeros(800)).shape == (800 // HOP, BANDS)


def test_another_rate_is_resampled_and_channels_are_mixed() -> None:
    assert loudest(prepare(tone(700, rate=44_100), 44_100)) == pytest.approx(700, rel=0.02)
    both = np.stack([tone(700), tone(700)])
    assert np.allclose(prepare(both, RATE), prepare(tone(700), RATE), atol=1e-6)


@pytest.mark.parametrize(
    ("sound", "rate", "words"),
    [
        (np.zeros(4000, np.float32), RATE, "silent"),
        (np.zeros(10, np.float32), RATE, "at least 10 ms"),
        (np.ones(RATE * 31, np.float32), RATE, "at most 30 s"),
        (np.ones(4000, np.float32), 7, "samples a second"),
        (np.full(4000, np.nan, np.float32), RATE, "finite"),
    ],
)
def test_a_sound_that_cannot_be_read_is_refused(sound: np.ndarray, rate: int, words: str) -> None:
    with pytest.raises(UnifiedError, match=words):
        prepare(sound, rate)


def test_codes_of_a_sound_and_back(tokenizers: Tokenizers) -> None:
    audio = tokenizers.audio
    codes = audio.encode(tone(700), RATE)
    assert codes.dtype == np.int16 and codes.shape == (13, 2)  # 50 frames of 10 ms, four a step, the last one filled up
    assert np.array_equal(codes, audio.encode(tone(700, rate=16_000), 16_000)[:13]) or len(codes) == 13
    sound = audio.decode(codes)
    assert len(sound) == 13 * 4 * HOP and np.isfinite(sound).all() and 0.01 < np.abs(sound).max() <= 1
    with pytest.raises(UnifiedError, match="codes"):
        audio.decode(codes[:, :1])
    with pytest.raises(UnifiedError, match="from 0 to 15"):
        audio.decode(codes * 0 + 16)


def test_residual_codes_are_the_nearest_ones_level_by_level() -> None:
    torch.manual_seed(0)
    quantiser = ResidualQuantiser(2, 4, 3).eval()
    latent = torch.randn(1, 5, 3)
    value, first, _, codes = quantiser(latent, torch.ones(1, 5, dtype=torch.bool))
    for step in range(5):
        left = latent[0, step]
        for level in range(2):
            distances = [float((left - quantiser.vectors[level][code]).square().sum()) for code in range(4)]
            assert int(codes[0, step, level]) == int(np.argmin(distances))
            left = left - quantiser.vectors[level][codes[0, step, level]]
    assert torch.allclose(value, quantiser.decode(codes), atol=1e-6)
    assert torch.allclose(first, quantiser.vectors[0][codes[..., 0]], atol=1e-6)


def test_an_unused_code_is_drawn_anew_and_padding_moves_nothing() -> None:
    torch.manual_seed(0)
    quantiser = ResidualQuantiser(1, 4, 2, decay=0.5)
    far = torch.tensor([50.0, 50.0])
    quantiser.vectors[0, 3] = -far
    quantiser.counts.fill_(0.02)
    latent = torch.randn(1, 8, 2)
    latent[0, 4:] = 1000.0  # padding
    keep = torch.tensor([[True] * 4 + [False] * 4])
    quantiser(latent, keep)
    assert float(quantiser.vectors.abs().max()) < 50
