"""Models of the probe's own tests: a toy whose routing is known by hand, and tiny models of transformers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.probes.families.build import build
from tests.probes.families.catalogue import all_families


def tiny(name: str) -> Any:
    """The tiny model of a family."""
    return build(all_families()[name]).model


class ToyExperts(nn.Module):
    """Experts in the call form of transformers 5: expert e multiplies by e + 1."""

    def __init__(self, experts: int) -> None:
        super().__init__()
        self.num_experts = experts
        self.scale = nn.Parameter(torch.arange(1, experts + 1, dtype=torch.float32))

    def forward(self, hidden: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        return hidden * (self.scale[top_k_index] * top_k_weights).sum(-1, keepdim=True)


class ToyRouter(nn.Module):
    """Sends a token by its id alone, so that the route can be written down by hand: ids t and t + 1 modulo E, weights .75, .25."""

    def __init__(self, experts: int, shift: int) -> None:
        super().__init__()
        self.num_experts, self.top_k, self.shift = experts, 2, shift

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first = (tokens + self.shift) % self.num_experts
        ids = torch.stack([first, (first + 1) % self.num_experts], dim=-1)
        weights = torch.tensor([0.75, 0.25]).expand(len(tokens), 2)
        return torch.zeros(len(tokens), self.num_experts).scatter(1, ids, weights), weights, ids


class ToyBlock(nn.Module):
    def __init__(self, experts: int, shift: int) -> None:
        super().__init__()
        self.gate, self.experts = ToyRouter(experts, shift), ToyExperts(experts)

    def forward(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        flat = hidden.reshape(-1, hidden.shape[-1])
        _, weights, ids = self.gate(tokens.reshape(-1))
        return self.experts(flat, ids, weights).view_as(hidden)


class Toy(nn.Module):
    """Two layers of experts over token ids; layer 1 shifts its choice by 3."""

    def __init__(self, experts: int = 6) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 4)
        self.layers = nn.ModuleList([ToyBlock(experts, 0), ToyBlock(experts, 3)])

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor:
        hidden = self.embed(input_ids)
        for layer in self.layers:
            hidden = hidden + layer(hidden, input_ids)
        return hidden


class ListBlock(nn.Module):
    """The layout of transformers 4: a linear gate over a list of experts."""

    def __init__(self, experts: int = 4, top_k: int = 2, temperature: float = 1.0) -> None:
        super().__init__()
        self.gate = nn.Linear(8, experts, bias=False)
        self.experts = nn.ModuleList([nn.Linear(8, 8) for _ in range(experts)])
        self.top_k, self.temperature = top_k, temperature

    def forward(self, hidden: Tensor) -> Tensor:
        flat = hidden.reshape(-1, hidden.shape[-1])
        weights, ids = (self.gate(flat) * self.temperature).softmax(-1).topk(self.top_k, dim=-1)
        weights = weights / weights.sum(-1, keepdim=True)
        out = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            rows, place = (ids == number).nonzero(as_tuple=True)
            if len(rows):
                out = out.index_add(0, rows, expert(flat[rows]) * weights[rows, place, None])
        return out.view_as(hidden)


class ListModel(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.layers = nn.ModuleList([block])

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        hidden = self.embed(input_ids)
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden
