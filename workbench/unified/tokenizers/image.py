"""The tokenizer of pictures and clips: multi-scale sign bits by one causal convolutional network, a picture being a clip of one frame.

Trained on pictures first, then inflated: each convolution in time takes the picture's weights as its last tap and zeros before it,
so that an inflated tokenizer treats single pictures exactly as before (ERNIE 5.0 report, section 2.2.1). Nothing looks ahead in time, and
time is not shortened, so each frame has its own tokens and can be shown as soon as it is written.

The latent is normalised by batch without learned scale before it is quantised (otherwise the bits of the first scale collapse),
and the worth of a bit is learned a scale: both are ours. The semantic branch (a linear reading of the class from the quantised latent) stands in
for the report's regulariser towards a vision foundation model, which is not at hand.

Letters: N pictures or clips, F frames, C channels, Z bits a cell, M cells a side of the finest scale, g cells a side of the features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.unified.pyramid import from_bits, pyramid
from workbench.unified.segments import UnifiedError


@dataclass(frozen=True)
class ImageConfig:
    """Shape of the tokenizer of pictures and clips."""

    size: int = 32  # pixels on each side
    channels: int = 3  # of a picture
    bits: int = 32  # Z
    scales: tuple[int, ...] = (1, 2, 3, 4)  # cells a side of every scale; the last one is M
    patch: int = 4  # pixels on each side of what the first layer sees at once; g = size / patch
    fine_width: int = 64  # width on the grid of g x g
    width: int = 128  # width on the grid of M x M
    blocks: int = 1  # residual blocks on each of the two grids, in encoder and decoder alike
    taps: int = 1  # frames that a convolution in time sees: the present one and those before
    classes: int = 20  # classes of the semantic branch: ten garments, ten digits


class Encoded(NamedTuple):
    """What understanding and generation take from a picture (with an axis F after N for a clip).

    Attributes:
        latent: float32 [N, Z, M, M], normalised, before quantising.
        features: float32 [N, Cf, g, g], before the down-projection to bits.
    """

    latent: Tensor
    features: Tensor


class Drawn(NamedTuple):
    """One pass of training over frames.

    Attributes:
        pixels: float32 [N * F, C, size, size], as drawn from the bits.
        wanted: the pixels given, same shape.
        classes: float32 [N * F, classes], scores of the semantic branch.
        bits: a scale, uint8 [N * F, n * n, Z].
        pull: float32 [], mean squared distance of the latent from its bits.
    """

    pixels: Tensor
    wanted: Tensor
    classes: Tensor
    bits: list[Tensor]
    pull: Tensor


class CausalConv(nn.Module):
    """3 x 3 convolution in space over the present frame and the ones before it.

    Args:
        inputs, outputs: widths.
        taps: frames seen.
        stride: in space.
    """

    def __init__(self, inputs: int, outputs: int, taps: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.taps, self.stride = taps, stride
        flat = nn.Conv2d(inputs, outputs, 3)
        weight = torch.zeros(outputs, inputs, taps, 3, 3)
        weight[:, :, -1] = flat.weight.detach()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """[N * F, C, h, w] to [N * F, C', h', w'], each frame from itself and ``taps`` - 1 before it (zeros before the first)."""
        if frames == 1 or self.taps == 1:
            return functional.conv2d(x, self.weight[:, :, -1], self.bias, self.stride, 1)
        clips = x.unflatten(0, (-1, frames))
        seen = [x]
        for back in range(1, self.taps):
            earlier = functional.pad(clips, (0, 0, 0, 0, 0, 0, min(back, frames), 0))[:, :frames]
            seen.insert(0, earlier.flatten(0, 1))
        # The taps beside each other in the channels: one flat convolution does the work of one in three dimensions.
        weight = self.weight.transpose(1, 2).flatten(1, 2)
        return functional.conv2d(torch.cat(seen, 1), weight, self.bias, self.stride, 1)


class Block(nn.Module):
    """Residual block: normalise, convolve (in time too), normalise, convolve."""

    def __init__(self, width: int, taps: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.conv1, self.conv2 = CausalConv(width, width, taps), CausalConv(width, width)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """[N * F, C, h, w], same shape out."""
        y = self.conv1(functional.silu(self.norm1(x)), frames)
        return x + self.conv2(functional.silu(self.norm2(y)), frames)


class ImageTokenizer(nn.Module):
    """Pictures and clips to latents of sign bits and back; also the features that understanding reads.

    Args:
        config: its shape.

    Raises:
        UnifiedError: scales that don't fit the size.
    """

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        if config.size != 2 * config.patch * config.scales[-1]:
            raise UnifiedError(
                f"Expected a finest scale of {config.size / config.patch / 2:g} cells a side (half the grid of patches), but {config.scales[-1]} "
                "came: change scales, size or patch."
            )
        self.config = config
        fine, width, taps = config.fine_width, config.width, config.taps
        self.patch_in = nn.Conv2d(config.channels * config.patch**2, fine, 1)
        self.fine_in = nn.ModuleList(Block(fine, taps) for _ in range(config.blocks))
        self.narrow = CausalConv(fine, width, stride=2)
        self.coarse_in = nn.ModuleList(Block(width, taps) for _ in range(config.blocks))
        self.to_bits = nn.Conv2d(width, config.bits, 1)
        self.normalise = nn.BatchNorm2d(config.bits, affine=False, momentum=0.02)
        self.amplitudes = nn.Parameter(torch.linspace(0.9, 0.5, len(config.scales)))
        self.from_bits = nn.Conv2d(config.bits, width, 1)
        self.coarse_out = nn.ModuleList(Block(width, taps) for _ in range(config.blocks))
        self.widen = nn.Conv2d(width, 4 * fine, 1)
        self.fine_out = nn.ModuleList(Block(fine, taps) for _ in range(config.blocks))
        self.last = nn.GroupNorm(8, fine)
        self.patch_out = CausalConv(fine, config.channels * config.patch**2)
        self.semantic = nn.Linear(config.bits * config.scales[-1] ** 2, config.classes)

    @property
    def size(self) -> int:
        """Pixels on each side of a picture."""
        return self.config.size

    @property
    def channels(self) -> int:
        """Channels C of a picture."""
        return self.config.channels

    @property
    def bits(self) -> int:
        """Bits Z a cell."""
        return self.config.bits

    @property
    def scales(self) -> tuple[int, ...]:
        """Cells a side of every scale."""
        return self.config.scales

    @property
    def tokens(self) -> int:
        """Cells of all scales together: tokens of a picture or frame."""
        return sum(n * n for n in self.config.scales)

    @property
    def feature_channels(self) -> int:
        """Cf."""
        return self.config.fine_width

    @property
    def feature_grid(self) -> int:
        """g."""
        return self.config.size // self.config.patch

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Encoded:
        """Latent and features of pictures.

        Args:
            pixels: float [N, C, H, W], 0 to 1, or uint8.

        Raises:
            UnifiedError: pictures of another size.
        """
        found = self.encode_video(pixels[:, None])
        return Encoded(found.latent[:, 0], found.features[:, 0])

    @torch.no_grad()
    def encode_video(self, pixels: Tensor) -> Encoded:
        """Latent [N, F, Z, M, M] and features [N, F, Cf, g, g] of clips; a frame depends on no later one.

        Args:
            pixels: float [N, F, C, H, W], 0 to 1, or uint8.

        Raises:
            UnifiedError: frames of another size.
        """
        flat, frames = self._flat(pixels)
        features = self._features(flat, frames)
        latent = self._latent(features, frames)
        return Encoded(latent.unflatten(0, (-1, frames)), features.unflatten(0, (-1, frames)))

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Pixels float32 [N, C, H, W], 0 to 1, of sums of scales float32 [N, Z, M, M]."""
        return self.decode_video(latent[:, None])[:, 0]

    @torch.no_grad()
    def decode_video(self, latent: Tensor) -> Tensor:
        """Pixels float32 [N, F, C, H, W], 0 to 1, of sums of scales float32 [N, F, Z, M, M]; a frame depends on no later one."""
        frames = latent.shape[1]
        return self._draw(latent.flatten(0, 1), frames).clamp(0, 1).unflatten(0, (-1, frames))

    @torch.no_grad()
    def reconstruct(self, pixels: Tensor) -> Tensor:
        """Clips through the bits and back, uint8 [N, F, C, H, W] to uint8 of the same shape."""
        latent = self.encode_video(pixels).latent
        found = pyramid(latent.flatten(0, 1), self.scales, self.amplitudes)
        total = from_bits(found.bits, self.scales, self.amplitudes).unflatten(0, latent.shape[:2])
        return (self.decode_video(total) * 255).round().to(torch.uint8)

    def forward(self, pixels: Tensor) -> Drawn:
        """One pass of training; pixels as in :meth:`encode_video`."""
        flat, frames = self._flat(pixels)
        latent = self._latent(self._features(flat, frames), frames)
        found = pyramid(latent, self.scales, self.amplitudes, straight_through=True)
        pull = (latent - found.total.detach()).square().mean()
        return Drawn(self._draw(found.total, frames), flat, self.semantic(found.total.flatten(1)), found.bits, pull)

    def _flat(self, pixels: Tensor) -> tuple[Tensor, int]:
        wanted = (self.config.channels, self.config.size, self.config.size)
        if pixels.ndim != 5 or tuple(pixels.shape[2:]) != wanted:
            raise UnifiedError(
                f"Expected pictures of {wanted[1]} x {wanted[2]} pixels with {wanted[0]} channels, but an array "
                f"{list(pixels.shape)} came: scale them to that size first."
            )
        values = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
        return values.flatten(0, 1), pixels.shape[1]

    def _features(self, flat: Tensor, frames: int) -> Tensor:
        x = self.patch_in(functional.pixel_unshuffle(flat - 0.5, self.config.patch))
        for block in self.fine_in:
            x = block(x, frames)
        return x

    def _latent(self, x: Tensor, frames: int) -> Tensor:
        x = self.narrow(x, frames)
        for block in self.coarse_in:
            x = block(x, frames)
        return self.normalise(self.to_bits(x))

    def _draw(self, total: Tensor, frames: int) -> Tensor:
        x = self.from_bits(total)
        for block in self.coarse_out:
            x = block(x, frames)
        x = functional.pixel_shuffle(self.widen(x), 2)
        for block in self.fine_out:
            x = block(x, frames)
        return functional.pixel_shuffle(self.patch_out(functional.silu(self.last(x)), frames), self.config.patch) + 0.5


def inflate(tokenizer: ImageTokenizer, taps: int) -> ImageTokenizer:
    """A tokenizer of clips from one of pictures: the same on single frames, with weights of zero for the frames before.

    Args:
        tokenizer: with at most as many taps.
        taps: frames that a convolution in time sees from now on.
    """
    made = ImageTokenizer(replace(tokenizer.config, taps=taps))
    own = made.state_dict()
    for name, value in tokenizer.state_dict().items():
        if own[name].shape == value.shape:
            own[name] = value.clone()
        else:  # the weight of a convolution in time: the taps before the last ones stay zero
            grown = torch.zeros_like(own[name])
            grown[:, :, -value.shape[2] :] = value
            own[name] = grown
    made.load_state_dict(own)
    return made
