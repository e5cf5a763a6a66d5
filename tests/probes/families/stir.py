"""Make a tiny model's routers decisive, so that a check of its routing can fail.

Freshly built routers have near-equal scores, selection biases of 0 and scales of 1: a reference that forgot the bias would
agree. Stirring gives all of them random values of the size of the scores.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel

from tests.probes.families.rules import all_rules

# Tensors named so hold a bias for the selection, a factor on weights or on the router's input.
_BIASES = ("e_score_correction_bias", "expert_bias", "balancing_biases")
_FACTORS = ("per_expert_scale", "global_scale", "router_states_scale", "scale")


@torch.no_grad()
def stir(model: PreTrainedModel, seed: int = 0) -> None:
    """Widen router weights, and randomise selection biases, scales and the hash table, in place."""
    generator = torch.Generator().manual_seed(seed + 1)
    rules = all_rules()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if name.rsplit(".", 1)[-1] in _BIASES:
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    for module in model.modules():
        if type(module).__name__ in rules:
            _stir_router(module, generator)
        # transformers 5.23 leaves the experts of Qwen3-Omni's talker as the memory happened to be.
        if type(module).__name__ == "Qwen3OmniMoeTalkerTextExperts":
            for tensor in module.parameters():
                tensor.copy_(0.02 * torch.randn(tensor.shape, generator=generator))


def _stir_router(router: nn.Module, generator: torch.Generator) -> None:
    whole_block = hasattr(router, "router_gate") or hasattr(router, "experts")
    for name, tensor in router.named_parameters():
        last = name.rsplit(".", 1)[-1]
        if last in _FACTORS:
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif whole_block and not name.startswith("router_gate"):
            continue
        elif last == "bias":
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
        elif tensor.dim() == 2:
            spread = tensor.shape[1] ** -0.5
            tensor.copy_(2 * spread * torch.randn(tensor.shape, generator=generator))
    for name, table in router.named_buffers():
        if name != "tid2eid":  # the hash table of DeepSeek-V4: distinct experts for every token id
            continue
        experts = router.get_parameter("weight").shape[0]
        rows = [torch.randperm(experts, generator=generator)[: table.shape[1]] for _ in range(table.shape[0])]
        table.copy_(torch.stack(rows))
