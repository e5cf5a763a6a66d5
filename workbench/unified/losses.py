"""Losses of a next group of tokens, a number a position: text, next text but one, bits of a scale, residual audio levels.

Scale weights follow Infinity's `reweight_loss_by_scale`, sqrt(last area / area) made to average 1 over the cells of a picture (the ERNIE 5.0
report names a re-weighting toward early scales, no formula). The balance between tasks is **ours**, a stand-in for the report's
"posterior-based" rescaling, which has no formula either: every task's mean loss is divided by its own moving average, so that
all tasks pull with the same strength.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from workbench.unified.segments import TASKS


class Losses(NamedTuple):
    """Losses of a forward pass.

    Attributes:
        token: float32 [B, T], nats of each position (bits: mean over the bits of a cell; audio: mean over levels), 0 without target.
        weight: float32 [B, T], 0 where there is no target.
        ahead: float32 [B, T], loss of the text token after the next, 0 without.
        has_ahead: bool [B, T].
        right: float32 [B, T], share of a position's predictions (a token, the bits of a cell, the levels of a step) whose
            likeliest value is the target, 0 without one; None in training.
    """

    token: Tensor
    weight: Tensor
    ahead: Tensor
    has_ahead: Tensor
    right: Tensor | None = None


def scale_weights(scales: Sequence[int]) -> list[float]:
    """Weight of a cell of each scale; their mean over all cells is 1."""
    raw = [scales[-1] / n for n in scales]
    mean = sum(weight * n * n for weight, n in zip(raw, scales, strict=True)) / sum(n * n for n in scales)
    return [weight / mean for weight in raw]


def bit_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy of the bits of each cell.

    Args:
        logits: [n, Z].
        labels: [n, Z] of 0 and 1.

    Returns:
        float32 [n], nats a bit.
    """
    return functional.binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="none").mean(-1)


def task_means(losses: Losses, task: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean loss of every task.

    Args:
        losses: of a pass.
        task: int [B, T], number in TASKS; -1 is padding.

    Returns:
        Means float32 [tasks] (0 where a task is absent), and the summed weights [tasks].
    """
    index = task.clamp(0, len(TASKS)).flatten()
    weight = losses.weight.flatten()
    total = torch.zeros(len(TASKS) + 1, device=weight.device)
    summed = total.index_add(0, index, losses.token.flatten() * weight)
    weights = total.index_add(0, index, weight)
    return (summed / weights.clamp_min(1e-9))[: len(TASKS)], weights[: len(TASKS)]


class TaskBalance:
    """Moving averages of the tasks' losses, by which they are divided.

    Args:
        decay: of the average.

    Attributes:
        average: float [tasks], 0 before a task was seen.
        shares: float [tasks], how much each task pulls; equal until set.
    """

    def __init__(self, decay: float = 0.98) -> None:
        self.decay = decay
        self.average = torch.zeros(len(TASKS))
        self.shares = torch.ones(len(TASKS))

    def combine(self, means: Tensor, present: Tensor) -> Tensor:
        """The loss to descend.

        Args:
            means: [tasks], with gradients.
            present: bool [tasks].

        Returns:
            A scalar: the weighted mean over tasks of loss / moving average.
        """
        now = means.detach().float().cpu()
        here = present.cpu()
        fresh = here & (self.average == 0)
        self.average = torch.where(fresh, now, self.average)
        moved = self.decay * self.average + (1 - self.decay) * now
        self.average = torch.where(here, moved, self.average)
        scale = (self.shares * here / self.average.clamp_min(1e-3)).to(means.device)
        return (means * scale).sum() / (self.shares * here).sum().clamp_min(1e-9).to(means.device)
