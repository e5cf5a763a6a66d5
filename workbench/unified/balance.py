"""Auxiliary-loss-free balancing: after a step, experts that had too few tokens become easier to choose.

b_i += u * sign(mean(c) - c_i), c_i the tokens sent to expert i in the full passes of the step (arXiv 2408.15664, algorithm 1).
The report's u of 1e-4 would do nothing within the few thousand steps of a small model: 0.02 here.
"""

from __future__ import annotations

import torch
from torch import nn

from workbench.unified.experts import Router


def routers(model: nn.Module) -> list[Router]:
    """The routers of a model, in layer order."""
    return [module for module in model.modules() if isinstance(module, Router)]


@torch.no_grad()
def update_bias(model: nn.Module, speed: float) -> float | None:
    """Move the bias of every router by its tally, and start the tally anew.

    Args:
        model: holds routers; under several processes their tallies are added up first.
        speed: u.

    Returns:
        The largest MaxVio of a layer, max_i(c_i) / mean(c) - 1; None if no full pass was counted.
    """
    found = routers(model)
    counts = torch.stack([router.counted for router in found])  # [L, E]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(counts)
    for router in found:
        router.counted.zero_()
    if float(counts.sum()) == 0:
        return None
    mean = counts.mean(1, keepdim=True)
    for router, step in zip(found, (mean - counts).sign() * speed, strict=True):
        router.bias += step
    return float((counts.max(1).values / mean[:, 0].clamp_min(1e-9) - 1).max())
