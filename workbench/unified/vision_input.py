"""How a picture is read: features before quantising beside a second path, merged patch by patch with attention.

Attention patch merger (ERNIE 5.0 report, section 2.2.2): the K adjacent patches of both paths stand side by side, attend to each other, and
their mean is one token. The report's second path is a ViT; a small convolutional stem stands in for it here. A clip is read
frame by frame (K = 4 in the frame), not in groups of 4 frames as in the report: at this size, the mean over frames hides motion.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.unified.config import UnifiedConfig

PATCHES = 4  # K, adjacent patches of a token: 2 x 2
MERGE_HEADS = 4


class Stem(nn.Module):
    """Pixels [P, C, H, W] to features [P, Dv, g, g]."""

    def __init__(self, config: UnifiedConfig, width: int) -> None:
        super().__init__()
        self.grid = config.feature_grid
        self.first = nn.Conv2d(config.image_channels, width // 3, 3, 2, 1)
        self.second = nn.Conv2d(width // 3, width, 3, 2, 1)
        self.third = nn.Conv2d(width, width, 3, 1, 1, groups=width)
        self.norms = nn.ModuleList([nn.GroupNorm(1, width // 3), nn.GroupNorm(1, width)])

    def forward(self, pixels: Tensor) -> Tensor:
        x = functional.gelu(self.norms[0](self.first(pixels * 2 - 1)))
        x = functional.gelu(self.norms[1](self.second(x)))
        x = x + functional.gelu(self.third(x))
        return x if x.shape[-1] == self.grid else functional.adaptive_avg_pool2d(x, self.grid)


class VisionInput(nn.Module):
    """Tokens of pictures and frames that are read.

    Args:
        config: grid and channels of the features; Dv is half the width of the model, at least 48.
    """

    def __init__(self, config: UnifiedConfig) -> None:
        super().__init__()
        width = max(48, config.hidden_size // 2)
        width -= width % (3 * MERGE_HEADS)
        self.width = width
        self.stem = Stem(config, width)
        self.project = nn.Linear(config.feature_channels, width)
        self.place = nn.Embedding(2 * PATCHES, width)
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.mix = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, config.hidden_size)

    def forward(self, pixels: Tensor, features: Tensor) -> Tensor:
        """Merge both paths.

        Args:
            pixels: float [P, C, H, W] from 0 to 1.
            features: float [P, Cf, g, g], of the image tokenizer before its down-projection.

        Returns:
            [P * (g / 2)^2, D], row by row.
        """
        cnn = self.project(patches(features))
        semantic = patches(self.stem(pixels))
        both = self.norm(torch.cat([cnn, semantic], 1)) + self.place.weight
        count, tokens, width = both.shape
        query, key, value = self.qkv(both).view(count, tokens, 3, MERGE_HEADS, -1).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5)).softmax(-1)
        mixed = self.mix((weights @ value).transpose(1, 2).reshape(count, tokens, width))
        out: Tensor = self.out((both + mixed).mean(1))
        return out


def patches(grid: Tensor) -> Tensor:
    """[P, C, g, g] as groups of 2 x 2 neighbours, [P * (g / 2)^2, 4, C]."""
    count, channels, side, _ = grid.shape
    half = side // 2
    return (
        grid.view(count, channels, half, 2, half, 2)
        .permute(0, 2, 4, 3, 5, 1)
        .reshape(count * half * half, PATCHES, channels)
    )
