"""The image tokenizer: bits and back, causality in time, inflation, refusals."""

from __future__ import annotations

import pytest
import torch

from workbench.unified.pyramid import from_bits, pyramid
from workbench.unified.segments import UnifiedError
from workbench.unified.tokenizers.image import ImageConfig, ImageTokenizer, inflate
from workbench.unified.tokenizers.train_image import ImagePlan, Source, bit_entropy, measure_image, train_image

SMALL = ImageConfig(bits=6, fine_width=16, width=16)


def tokenizer(taps: int = 1, seed: int = 0) -> ImageTokenizer:
    torch.manual_seed(seed)
    made = ImageTokenizer(ImageConfig(bits=6, fine_width=16, width=16, taps=taps)).eval()
    with torch.no_grad():  # what training would leave: other statistics than 0 and 1, and taps that are not zero
        made.normalise.running_mean.normal_()
        made.normalise.running_var.uniform_(0.5, 2)
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def test_bits_say_all_that_the_decoder_needs() -> None:
    made = tokenizer()
    pixels = torch.rand(3, 3, 32, 32)
    latent = made.encode(pixels).latent
    found = pyramid(latent, made.scales, made.amplitudes)
    assert [tuple(bits.shape) for bits in found.bits] == [(3, n * n, 6) for n in (1, 2, 3, 4)]
    assert torch.allclose(from_bits(found.bits, made.scales, made.amplitudes), found.total, atol=1e-5)
    drawn = (made.decode(found.total) * 255).round().to(torch.uint8)
    assert torch.equal(drawn, made.reconstruct(pixels[:, None])[:, 0])


def test_each_scale_brings_the_sum_nearer_to_the_latent() -> None:
    made = tokenizer()
    latent = torch.randn(8, 6, 4, 4)
    bits = pyramid(latent, made.scales, made.amplitudes).bits
    apart = [
        float((from_bits(bits[: k + 1], made.scales, made.amplitudes) - latent).detach().square().mean())
        for k in range(len(bits))
    ]
    assert apart == sorted(apart, reverse=True)


def test_every_amplitude_and_the_encoder_learn() -> None:
    made = tokenizer().train()
    made(torch.rand(4, 1, 3, 32, 32)).pixels.square().mean().backward()
    assert made.amplitudes.grad is not None and bool((made.amplitudes.grad != 0).all())
    assert made.patch_in.weight.grad is not None and float(made.patch_in.weight.grad.abs().sum()) > 0


@pytest.mark.parametrize("taps", [2, 3])
def test_no_frame_depends_on_a_later_one(taps: int) -> None:
    made = tokenizer(taps)
    clip = torch.rand(2, 5, 3, 32, 32)
    other = clip.clone()
    other[:, 3:] = torch.rand(2, 2, 3, 32, 32)
    one, two = made.encode_video(clip), made.encode_video(other)
    for a, b in zip(one, two, strict=True):
        assert torch.allclose(a[:, :3], b[:, :3], atol=1e-5)
        assert not torch.allclose(a[:, 3:], b[:, 3:], atol=1e-3)
    latent = torch.randn(2, 5, 6, 4, 4)
    changed = latent.clone()
    changed[:, 4] += 1
    drawn, redrawn = made.decode_video(latent), made.decode_video(changed)
    assert torch.allclose(drawn[:, :4], redrawn[:, :4], atol=1e-5)
    assert not torch.allclose(drawn[:, 4], redrawn[:, 4], atol=1e-4)


def test_frames_do_see_the_one_before() -> None:
    made = tokenizer(2)
    clip = torch.rand(1, 3, 3, 32, 32)
    other = clip.clone()
    other[:, 0] = 0
    assert not torch.allclose(made.encode_video(clip).latent[:, 1], made.encode_video(other).latent[:, 1], atol=1e-4)


def test_flat_convolution_equals_one_in_three_dimensions() -> None:
    conv = tokenizer(3).fine_in[0].conv1
    clip = torch.randn(2, 4, 16, 8, 8)
    past = torch.cat([torch.zeros(2, 2, 16, 8, 8), clip], 1).transpose(1, 2)
    expected = torch.nn.functional.conv3d(past, conv.weight, conv.bias, padding=(0, 1, 1)).transpose(1, 2)
    assert torch.allclose(conv(clip.flatten(0, 1), 4).unflatten(0, (2, 4)), expected, atol=1e-5)


def test_inflated_equals_flat_on_single_pictures_and_on_frames() -> None:
    flat = tokenizer()
    inflated = inflate(flat, 2).eval()
    clip = torch.rand(2, 3, 3, 32, 32)
    assert torch.allclose(inflated.encode(clip[:, 0]).latent, flat.encode(clip[:, 0]).latent, atol=1e-5)
    one = torch.stack([flat.encode(clip[:, frame]).latent for frame in range(3)], 1)
    assert torch.allclose(inflated.encode_video(clip).latent, one, atol=1e-5)


def test_pictures_of_another_size_are_refused_in_a_sentence() -> None:
    with pytest.raises(UnifiedError, match="32 x 32 pixels with 3 channels"):
        tokenizer().encode(torch.rand(1, 3, 28, 28))
    with pytest.raises(UnifiedError, match="finest scale of 4"):
        ImageTokenizer(ImageConfig(scales=(1, 2, 3)))


def test_entropy_of_bits_by_hand() -> None:
    bits = torch.tensor([[[0, 1]], [[1, 1]]])  # first channel half and half, second always 1
    assert float(bit_entropy(bits)) == pytest.approx(0.5, abs=1e-4)


def test_training_draws_nearer_and_repeats_with_its_seed() -> None:
    import numpy as np

    from tests.unified.small_data import shape

    rng = np.random.default_rng(0)
    labels = np.arange(60) % 10
    grey = np.pad(np.stack([shape(int(n), rng) for n in labels]), ((0, 0), (2, 2), (2, 2)))
    pictures = [Source(np.repeat(grey[:, None, None], 3, 2), labels, 1.0)]
    clips = [Source(np.repeat(np.repeat(grey[:, None, None], 3, 2), 2, 1), np.full(60, -1), 1.0)]
    plan = ImagePlan(steps=40, clip_steps=10, batch=16, clip_batch=4, warm_up=5)
    before = measure_image(tokenizer(), pictures[0].pixels)["psnr"]
    told: list[tuple[str, int]] = []
    made = train_image(pictures, clips, SMALL, plan, 3, lambda name, done, steps, measures: told.append((name, done)))
    found = measure_image(made, pictures[0].pixels)
    assert found["psnr"] > before + 3 and len(found["bit_entropy"]) == 4 and found["frames"] == 60
    assert told[-1] == ("clips", 10) and made.config.taps == 2
    again = train_image(pictures, clips, SMALL, plan, 3)
    assert all(torch.equal(a, b) for a, b in zip(made.state_dict().values(), again.state_dict().values(), strict=True))
