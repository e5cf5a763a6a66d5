"""A layer of the unified model, and the head that looks one text token further."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from workbench.unified.attention import Attention
from workbench.unified.config import UnifiedConfig
from workbench.unified.experts import MoeBlock, Reduction, glu


class Layer(nn.Module):
    """Attention and mixture of experts, each behind a norm and beside a residual."""

    def __init__(self, config: UnifiedConfig, number: int) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.attention = Attention(config, number)
        self.moe_norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.moe = MoeBlock(config, number)

    def forward(
        self,
        hidden: Tensor,
        turn: tuple[Tensor, Tensor],
        mask: Any,
        cache: Cache | None,
        real: Tensor | None,
        reduction: Reduction | None,
    ) -> Tensor:
        hidden = hidden + self.attention(self.attention_norm(hidden), turn, mask, cache)
        out: Tensor = hidden + self.moe(self.moe_norm(hidden), real, reduction)
        return out


class NextButOne(nn.Module):
    """Multi-token prediction: the text token after the next, from the hidden state and the next token (DeepSeek-V3 section 2.2,
    a feed-forward in place of its attention block)."""

    def __init__(self, config: UnifiedConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.norms = nn.ModuleList([nn.RMSNorm(width, eps=config.rms_norm_eps) for _ in range(3)])
        self.join = nn.Linear(2 * width, width, bias=False)
        self.gate_up = nn.Linear(width, 2 * width, bias=False)
        self.down = nn.Linear(width, width, bias=False)

    def forward(self, hidden: Tensor, following: Tensor) -> Tensor:
        x = self.join(torch.cat([self.norms[0](hidden), self.norms[1](following)], -1))
        out: Tensor = x + self.down(glu(self.gate_up(self.norms[2](x))))
        return out
