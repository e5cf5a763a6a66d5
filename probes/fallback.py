"""Routers outside transformers 5: a gate that returns its choice, and the older layout of a linear gate over a list of experts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from probes.adapter_base import TOP_K_NAMES, Adapter, Facts, Place, Routing, child, choices, detached, number
from probes.score import Promise


def listed_experts(block: nn.Module | None) -> nn.Module | None:
    """The `experts` of a block if they are a list or dictionary of at least two modules."""
    experts = child(block, "experts")
    return experts if isinstance(experts, (nn.ModuleList, nn.ModuleDict)) and len(experts) > 1 else None


class ReturningGate(Adapter):
    """A gate beside a list of experts that itself returns ids and weights [T, K], as remote code of the DeepSeek line does."""

    name = "gate returning (ids, weights) beside a list of experts"
    when = "after"

    def find(self, place: Place) -> Facts | None:
        experts = listed_experts(place.parent)
        if experts is None or isinstance(place.module, nn.Linear) or place.leaf not in ("gate", "router"):
            return None
        top_k = choices(place, place.module, place.parent)
        if top_k is None or top_k > len(experts):  # type: ignore[arg-type]
            return None
        return Facts(
            experts=len(experts),  # type: ignore[arg-type]
            top_k=top_k,
            watch=place.module,
            router=place.module,
            covers=(experts,),
            states_top_k=place.module if number(place.module, *TOP_K_NAMES) else place.parent,
        )

    def read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, facts: Facts) -> Routing | None:
        parts = [part for part in (output if isinstance(output, (tuple, list)) else ()) if isinstance(part, Tensor)]
        fits = [part for part in parts if part.dim() >= 2 and part.shape[-1] == facts.top_k_now]
        ids = next((part for part in fits if not part.is_floating_point()), None)
        weights = next((part for part in fits if part.is_floating_point()), None)
        if ids is None or weights is None:
            return None
        return Routing(ids.reshape(-1, facts.top_k_now), detached(weights).reshape(-1, facts.top_k_now))


class GateAndExperts(Adapter):
    """A linear gate beside a list of experts (transformers 4): softmax, top-k and the usual normalisation of the gate's logits.

    The block's own choice is not visible, so it is repeated here and flagged "recomputed"; the rows that every expert then
    really receives are compared with it (see `probes.routing`), and a difference fails the capture.
    """

    name = "linear gate beside a list of experts"
    when = "after"

    def find(self, place: Place) -> Facts | None:
        experts = listed_experts(place.parent)
        if experts is None or not isinstance(place.module, nn.Linear) or place.leaf not in ("gate", "router"):
            return None
        if place.module.out_features != len(experts):  # type: ignore[arg-type]
            return None
        top_k = choices(place, place.parent, place.module)
        if top_k is None or top_k > len(experts):  # type: ignore[arg-type]
            return None
        normalised = getattr(place.parent, "norm_topk_prob", True)
        rule = "sum 1" if normalised else "not normalised, sum at most 1"
        return Facts(
            experts=len(experts),  # type: ignore[arg-type]
            top_k=top_k,
            watch=place.module,
            router=place.module,
            covers=(experts,),
            states_top_k=place.parent,
            promise=Promise("softmax (assumed)", rule, 1.0 if normalised else None, 1.0, signed=False),
            witnesses=tuple(experts.values() if isinstance(experts, nn.ModuleDict) else experts),  # type: ignore[arg-type]
            flags=(
                (
                    "recomputed",
                    "softmax and top-k are repeated from the gate's logits and checked against the experts' input",
                ),
            ),
        )

    def read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, facts: Facts) -> Routing | None:
        logits = output.detach().reshape(-1, facts.experts)
        weights, ids = torch.topk(logits.float().softmax(dim=-1), facts.top_k_now, dim=-1)
        if facts.promise.total is not None:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        return Routing(ids, weights, logits)
