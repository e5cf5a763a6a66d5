"""Uni-RoPE: every token has a place (t, h, w), and the rotary channels of attention are shared out between the three.

Text and audio stand at t = h = w = their index; a visual token at (P + frame, P + h, P + w), P the index where it begins; cells of
every scale sit at their centres on the grid of the finest scale (ERNIE 5.0 report, section 2.2.3; VideoAR 2601.05966). The report
does not say how channels are split: here pair i turns with axis i mod 3, so that every axis has all speeds.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from workbench.unified.config import UnifiedConfig


def centres(n: int, finest: int) -> np.ndarray:
    """Places of n cells on a grid of `finest` cells, float32 [n]: (i + .5) * finest / n - .5."""
    return ((np.arange(n) + 0.5) * finest / n - 0.5).astype(np.float32)


def grid_places(n: int, finest: int, start: float, frame: int) -> np.ndarray:
    """Places (t, h, w) of the n * n cells of a scale, row by row.

    Args:
        n: cells a side.
        finest: cells a side of the common grid.
        start: P, the index where the picture or clip begins.
        frame: number of the frame, 0 for a picture.

    Returns:
        float32 [n * n, 3].
    """
    side = centres(n, finest)
    height, width = np.meshgrid(side, side, indexing="ij")
    return np.stack([np.full(n * n, start + frame, np.float32), start + height.ravel(), start + width.ravel()], 1)


class UniRope(nn.Module):
    """Cosines and sines of places.

    Args:
        config: head size and base of the frequencies.
    """

    def __init__(self, config: UnifiedConfig) -> None:
        super().__init__()
        self.dim = config.head_dim
        self.theta = config.rope_theta

    @torch.no_grad()
    def forward(self, places: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Angles of every channel.

        Args:
            places: float [B, T, 3].
            dtype: of the result.

        Returns:
            cos and sin, [B, 1, T, head size].
        """
        pairs = torch.arange(self.dim // 2, device=places.device)
        speed = self.theta ** (-pairs.float() * 2 / self.dim)
        angle = places.float()[..., pairs % 3] * speed
        angle = torch.cat([angle, angle], -1)[:, None]
        return angle.cos().to(dtype), angle.sin().to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the channels of queries or keys.

    Args:
        x: [B, heads, T, head size]; channel i turns with channel i + half.
        cos, sin: [B, 1, T, head size].
    """
    low, high = x.chunk(2, -1)
    return x * cos + torch.cat([-high, low], -1) * sin
