"""Choosing among predictions: temperature, nucleus, guidance; for tokens, bits of a scale, and codes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.unified.segments import UnifiedError


@dataclass(frozen=True)
class Sampling:
    """How predictions become choices."""

    temperature: float = 1.0
    top_p: float = (
        1.0  # smallest set of likeliest choices with this probability; bits surer than this are taken as they are
    )
    guidance: float = 1.0  # classifier-free guidance: 1 is none, above pulls away from the blank prompt
    greedy: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.temperature > 0 or not 0 < self.top_p <= 1 or not self.guidance >= 0:
            raise UnifiedError(
                "Expected a temperature above 0, a top-p above 0 and at most 1, and a guidance of 0 or more, got "
                f"{self.temperature:g}, {self.top_p:g} and {self.guidance:g}: change the settings."
            )


def guided(logits: Tensor, guidance: float) -> Tensor:
    """Rows of the prompt and, behind them, of the blank prompt, joined to rows that are pulled away from the blank.

    Args:
        logits: [2 B, ...].
        guidance: g; blank + g * (prompt - blank).

    Returns:
        [B, ...].
    """
    wanted, blank = logits.float().chunk(2)
    return blank + guidance * (wanted - blank)


def choose(logits: Tensor, settings: Sampling, chance: torch.Generator | None) -> Tensor:
    """One of the last axis for every row.

    Args:
        logits: [..., choices].
        settings: greedy, or temperature and nucleus.
        chance: source of randomness, on the device of the logits.

    Returns:
        int64 [...].
    """
    if settings.greedy:
        return logits.argmax(-1)
    shares = (logits.float() / settings.temperature).softmax(-1)
    if settings.top_p < 1:
        ranked, order = shares.sort(-1, descending=True)
        outside = ranked.cumsum(-1) - ranked >= settings.top_p  # the choice that crosses the bound is still inside
        shares = shares.masked_fill(torch.zeros_like(outside).scatter(-1, order, outside), 0)
    flat = shares.flatten(0, -2)
    return torch.multinomial(flat, 1, generator=chance).view(logits.shape[:-1])


def choose_bits(logits: Tensor, settings: Sampling, chance: torch.Generator | None) -> Tensor:
    """Every bit by itself, uint8 of the shape of the logits; two choices, so the nucleus keeps a bit surer than top-p as it is."""
    if settings.greedy:
        return (logits > 0).to(torch.uint8)
    share = (logits.float() / settings.temperature).sigmoid()
    if settings.top_p < 1:
        sure = torch.maximum(share, 1 - share) >= settings.top_p
        share = torch.where(sure, (share > 0.5).float(), share)
    return (torch.rand(share.shape, generator=chance, device=share.device) < share).to(torch.uint8)
