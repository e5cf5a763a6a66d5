"""ZLPR loss (zero-bounded log-sum-exp and pairwise rank-based; arXiv 2208.02955): a link is accepted above 0."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.extract.usm.config import LINKS
from workbench.extract.usm.model import Scores

_NEVER = -1e4
PAIRS = ("H2H", "T2T", "H2L", "T2L")
"""Links of relations, arguments and polarities alone; those from a label to a span serve mentions too."""


def zlpr(scores: Tensor, target: Tensor) -> Tensor:
    """log(1 + Σ over positives e^-s) + log(1 + Σ over negatives e^s), over the last axis.

    Args:
        scores: [..., N].
        target: same shape: 1 positive, 0 negative, -1 left out.

    Returns:
        [...]; 0 where nothing is positive or negative.
    """
    zero = torch.zeros_like(scores[..., :1])
    positive = torch.cat((zero, torch.where(target == 1, -scores, _NEVER)), -1)
    negative = torch.cat((zero, torch.where(target == 0, scores, _NEVER)), -1)
    return positive.logsumexp(-1) + negative.logsumexp(-1)


def summed(losses: dict[str, Tensor], pair_weight: float = 1.0) -> Tensor:
    """The loss to descend, a scalar: the sum over the links, those of `PAIRS` times `pair_weight`."""
    return torch.stack([value * (pair_weight if name in PAIRS else 1.0) for name, value in losses.items()]).sum()


def link_loss(scores: Scores, targets: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
    """Loss of each of the seven link matrices, a scalar by name: the mean over the samples in which it has a cell that counts."""
    losses: dict[str, Tensor] = {}
    names = iter(LINKS)
    for found, wanted in zip((scores.tokens, scores.from_label, scores.to_label), targets, strict=True):
        each = zlpr(found.flatten(2), wanted.flatten(2))  # [B, matrices]
        counts = (wanted.flatten(2) >= 0).any(-1)
        for column in range(each.shape[1]):
            here = counts[:, column]
            losses[next(names)] = (each[:, column] * here).sum() / here.sum().clamp_min(1)
    return losses
