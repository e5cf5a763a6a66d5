"""The residual pyramid of a picture: what each scale adds, as sign bits, and what the next scale starts from.

One formula for the tokenizer and for the model's inputs and targets. The residual of a scale is what the coarser scales have
left; with flipped bits the later targets are those of the residual that the flips left, so that the model learns to correct
its own mistakes (bit-wise self-correction: Infinity, Han et al. 2025, `flip_requant`; ERNIE 5.0 report, section 2.2.3).

Letters: N pictures, Z bits a cell, n cells a side of a scale, M cells a side of the finest scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Pyramid(NamedTuple):
    """A picture in scales.

    Attributes:
        bits: a scale, uint8 [N, n * n, Z], row by row; 1 is the positive sign.
        inputs: a scale but the first, float [N, n * n, Z]: the sum of the coarser scales on this scale's grid.
        total: float [N, Z, M, M], the sum of all scales.
    """

    bits: list[Tensor]
    inputs: list[Tensor]
    total: Tensor


def pyramid(
    latent: Tensor,
    scales: Sequence[int],
    amplitudes: Tensor,
    flips: Sequence[Tensor] | None = None,
    *,
    straight_through: bool = False,
) -> Pyramid:
    """Split a latent into scales of sign bits.

    Args:
        latent: float [N, Z, M, M], before quantising.
        scales: cells a side, ascending; the last is M.
        amplitudes: float [S], what a bit of each scale is worth.
        flips: a scale, bool [N, n * n, Z]: these bits are read with the wrong sign by everything after them; targets stay right.
        straight_through: let gradients pass the sign as if it were not there (training of the tokenizer).

    Returns:
        Bits to predict, inputs of the scales after the first, and the finished sum.
    """
    finest = scales[-1]
    total = torch.zeros_like(latent)
    bits: list[Tensor] = []
    inputs: list[Tensor] = []
    for k, n in enumerate(scales):
        residual = shrink((latent - total).detach() if straight_through else latent - total, n)
        positive = residual > 0
        bits.append(positive.flatten(2).transpose(1, 2).to(torch.uint8))
        if flips is not None:
            positive = positive ^ flips[k].transpose(1, 2).reshape(residual.shape)
        value = signs(positive, residual.dtype) * amplitudes[k]
        total = total + grow(value, finest)
        if k + 1 < len(scales):
            inputs.append(cells(shrink(total, scales[k + 1])))
    if straight_through:
        # Only here, after the last scale: inside the loop the finest residual would cancel the coarser amplitudes' gradients.
        total = total + latent - latent.detach()
    return Pyramid(bits, inputs, total)


def from_bits(bits: Sequence[Tensor], scales: Sequence[int], amplitudes: Tensor) -> Tensor:
    """The sum of the scales that these bits stand for.

    Args:
        bits: a scale, [N, n * n, Z] of 0 and 1; fewer scales than there are give the sum so far.
        scales, amplitudes: as in :func:`pyramid`.

    Returns:
        float [N, Z, M, M].
    """
    count, _, width = bits[0].shape
    total = amplitudes.new_zeros(count, width, scales[-1], scales[-1])
    for k, given in enumerate(bits):
        grid = given.bool().transpose(1, 2).reshape(count, width, scales[k], scales[k])
        total = total + grow(signs(grid, amplitudes.dtype) * amplitudes[k], scales[-1])
    return total


def signs(positive: Tensor, dtype: torch.dtype) -> Tensor:
    """+1 for true, -1 for false."""
    return positive.to(dtype) * 2 - 1


def shrink(grid: Tensor, n: int) -> Tensor:
    """[N, Z, M, M] averaged over areas to [N, Z, n, n]."""
    return grid if grid.shape[-1] == n else functional.adaptive_avg_pool2d(grid, n)


def cells_of_scales(total: Tensor, scales: Sequence[int]) -> Tensor:
    """A finished picture on the grid of each of these scales, [N, cells of all, Z]."""
    return torch.cat([cells(shrink(total, n)) for n in scales], 1)


def grow(grid: Tensor, n: int) -> Tensor:
    """[N, Z, m, m] interpolated to [N, Z, n, n], cell centres aligned."""
    return (
        grid if grid.shape[-1] == n else functional.interpolate(grid, size=(n, n), mode="bilinear", align_corners=False)
    )


def cells(grid: Tensor) -> Tensor:
    """[N, Z, n, n] as a row a cell, [N, n * n, Z]."""
    return grid.flatten(2).transpose(1, 2)
