"""Attention of the unified model: one for all modalities, rotary places, a mask given as dense booleans or as a flex mask.

Letters: B rows, T queries, D width, H heads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.unified.config import UnifiedConfig
from workbench.unified.positions import rotate


class Attention(nn.Module):
    """Multi-head attention with normalised queries and keys.

    Args:
        config: width, heads, norm.
        layer: its number, under which keys and values are cached.
    """

    def __init__(self, config: UnifiedConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads, self.head_dim = config.num_attention_heads, config.head_dim
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=False)
        self.out = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.query_norm = nn.RMSNorm(self.head_dim, eps=config.rms_norm_eps)
        self.key_norm = nn.RMSNorm(self.head_dim, eps=config.rms_norm_eps)

    def forward(self, hidden: Tensor, turn: tuple[Tensor, Tensor], mask: Any, cache: Any | None = None) -> Tensor:
        """Mix tokens.

        Args:
            hidden: [B, T, D].
            turn: cos and sin of the queries' places.
            mask: bool [B, 1, T, keys], or a flex block mask.
            cache: a transformers cache that keys and values are added to.

        Returns:
            [B, T, D].
        """
        rows, tokens, width = hidden.shape
        query, key, value = self.qkv(hidden).view(rows, tokens, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        query = rotate(self.query_norm(query), *turn)
        key = rotate(self.key_norm(key), *turn)
        if cache is not None:
            key, value = cache.update(key, value, self.layer)
        mixed = attend(query, key.to(query.dtype), value, mask)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(rows, tokens, width))
        return out


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Any) -> Tensor:
    """Scaled dot-product attention [B, H, T, head size] under either kind of mask."""
    if isinstance(mask, Tensor):
        return functional.scaled_dot_product_attention(query, key.to(query.dtype), value.to(query.dtype), mask)
    from torch.nn.attention.flex_attention import flex_attention

    run = compiled_flex() if query.is_cuda else flex_attention
    found: Tensor = run(query, key, value.to(query.dtype), block_mask=mask)
    return found


def compiled_flex() -> Any:
    """FlexAttention as a fused kernel; torch keeps what it has compiled."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)
