"""Elastic training: in some steps a smaller model runs, so that smaller models can be cut out later (ERNIE 5.0 report, section 3.3)."""

from __future__ import annotations

import numpy as np
import torch

from workbench.unified.config import UnifiedConfig
from workbench.unified.experts import Reduction
from workbench.unified.train.order import ELASTIC
from workbench.unified.train.recipe import Recipe


def draw_reduction(recipe: Recipe, config: UnifiedConfig, step: int) -> Reduction | None:
    """The smaller model of a step, None for the full one; the same on every process.

    Args:
        recipe: seed and shares of the axes.
        config: layers, experts, top-k.
        step: from 0.
    """
    if recipe.elastic is None:
        return None
    wish = recipe.elastic
    rng = np.random.default_rng([recipe.seed, ELASTIC, step])
    deep, wide, sparse = rng.random(3)
    found = Reduction()
    removable = np.arange(1, config.first_audio_layer)
    if deep < wish.depth and len(removable):
        gone = set(rng.permutation(removable)[: rng.integers(1, len(removable) + 1)].tolist())
        found.layers = frozenset(range(config.num_hidden_layers)) - gone
    if wide < wish.width:
        keep = max(config.num_experts_per_tok, round(config.num_experts * wish.width_part))
        found.experts = {}
        for layer in range(config.num_hidden_layers):
            present = torch.zeros(config.num_experts, dtype=torch.bool)
            present[torch.from_numpy(rng.permutation(config.num_experts)[:keep])] = True
            found.experts[layer] = present
    if sparse < wish.sparsity and config.num_experts_per_tok > 1:
        found.top_k = int(rng.integers(1, config.num_experts_per_tok))
    return found if found.reduced else None
