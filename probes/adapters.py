"""What a router chose, read from the modules of each family: one small adapter for each shape of mixture of experts.

In transformers 5 nearly every family calls `experts(hidden, top_k_index, top_k_weights)`; `ExpertsCall` reads these three
just before they are used, so what is recorded is what runs. The other adapters cover the few other shapes.

Letters: T tokens, K chosen experts, E experts.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from probes.adapter_base import DROPPED, SKIPPED, Adapter, Facts, Place, Routing, child, choices, detached, number
from probes.score import Promise, promise_of


# ---------------------------------------------------------------------- the common shape
class ExpertsCall(Adapter):
    """`experts(hidden, top_k_index, top_k_weights)`: all but a handful of the families of transformers 5."""

    name = "experts(hidden, ids, weights)"

    def find(self, place: Place) -> Facts | None:
        if place.leaf != "experts" or not three_arguments(place.module):
            return None
        module, block = place.module, place.parent
        router = child(block, "router", "gate")
        stated = [
            number(holder, name)
            for holder in (module, router, block)
            for name in ("total_experts", "num_experts", "n_routed_experts", "num_local_experts")
        ]
        experts = max((value for value in stated if value), default=0)
        top_k = choices(place, router, block, module)
        if not experts or not top_k:
            return None
        identity = number(module, "zero_expert_num") or 0
        return Facts(
            experts=experts,
            top_k=top_k,
            watch=module,
            # Where router and experts sit directly on a decoder layer (Gemma 4), its input is not the router's.
            block=None if "Layer" in type(block).__name__ else block,
            router=router,
            identity_experts=identity,
            covers=tuple(part for part in (router,) if part is not None),
            promise=promise_of(place.root, block, router),
        )

    def read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, facts: Facts) -> Routing | None:
        ids, weights = executed(args, kwargs)
        return Routing(ids, detached(weights))


def three_arguments(module: nn.Module) -> bool:
    """Whether the module's forward takes (hidden, ids, weights)."""
    try:
        names = list(inspect.signature(type(module).forward).parameters)[1:4]
    except (TypeError, ValueError):
        return False
    return len(names) == 3 and "ind" in names[1] and "weight" in names[2]


def executed(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Ids and weights of a call of experts, given by position or by name."""
    if len(args) > 2:
        return args[1], args[2]
    given = list(args[1:]) + [value for name, value in kwargs.items() if "ind" in name]
    return given[0], next(value for name, value in kwargs.items() if "weight" in name)


# ---------------------------------------------------------------------- the other shapes
class ErnieVL(ExpertsCall):
    """ERNIE 4.5 VL: text and vision experts side by side; the parent splits the tokens between them."""

    name = "Ernie4_5_VLMoeMoeBlock"

    def find(self, place: Place) -> Facts | None:
        holder = place.path.split(".")[-2:-1]
        if holder not in (["text_moe"], ["vision_moe"]) or place.leaf != "experts":
            return None
        facts = super().find(place)
        if facts is None:
            return None
        parent = place.root.get_submodule(place.path.rpartition(".")[0].rpartition(".")[0])
        return replace(facts, part=holder[0].removesuffix("_moe"), split=parent, block=None)

    def seen(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], facts: Facts) -> Tensor | None:
        kinds = args[1] if len(args) > 1 else kwargs.get("moe_mm_token_type_ids")
        if kinds is None:
            return None
        vision = kinds.bool().reshape(-1)
        return vision if facts.part == "vision" else ~vision


class Switch(Adapter):
    """Switch Transformers: a one-hot choice [T, 1, E] after the capacity limit, and its probability."""

    name = "SwitchTransformersTop1Router"

    def find(self, place: Place) -> Facts | None:
        if type(place.module).__name__ != "SwitchTransformersExperts":
            return None
        router = child(place.parent, "router")
        return Facts(
            experts=int(place.module.num_experts),  # type: ignore[arg-type]
            top_k=1,
            watch=place.module,
            router=router,
            covers=(router,) if router is not None else (),
            promise=promise_of(place.root, place.parent, router),
            may_lose=True,
        )

    def read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, facts: Facts) -> Routing | None:
        chosen, weights = args[1], args[2]
        taken = chosen.reshape(chosen.shape[0], -1)
        ids = taken.argmax(dim=-1, keepdim=True)
        kept = taken.amax(dim=-1, keepdim=True) > 0
        return Routing(ids.masked_fill(~kept, DROPPED), detached(weights).masked_fill(~kept, 0))


class Nllb(Adapter):
    """NLLB-MoE: gates [T, E], zero but for at most two experts; the capacity limit zeroes them.

    transformers 5.23 then runs experts 0 and 1 whatever was chosen: the router's choice is recorded, and flagged.
    """

    name = "NllbMoeTop2Router"

    def find(self, place: Place) -> Facts | None:
        if type(place.module).__name__ != "NllbMoeExperts":
            return None
        router = child(place.parent, "router")
        return Facts(
            experts=int(place.module.num_experts),  # type: ignore[arg-type]
            top_k=2,
            watch=place.module,
            router=router,
            covers=(router,) if router is not None else (),
            promise=promise_of(place.root, place.parent, router),
            may_lose=True,
            flags=(
                (
                    "executed_differs",
                    "transformers 5.23 runs experts 0 and 1 of NLLB-MoE whatever the router chose; the router's choice is recorded",
                ),
            ),
        )

    def read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, facts: Facts) -> Routing | None:
        weights, ids = detached(args[2]).topk(2, dim=-1)
        return Routing(ids.masked_fill(weights <= 0, DROPPED), weights)


class Llama4(Adapter):
    """Llama 4: experts run densely on weighted input; the router returns sigmoid scores that are 0 off the top-k."""

    name = "Llama4Router"
    when = "after"

    def find(self, place: Place) -> Facts | None:
        if type(place.module).__name__ != "Llama4Router":
            return None
        experts = child(place.parent, "experts")
        return Facts(
            experts=int(place.module.num_experts),  # type: ignore[arg-type]
            top_k=int(place.module.top_k),  # type: ignore[arg-type]
            watch=place.module,
            router=place.module,
            covers=(experts,) if experts is not None else (),
            promise=promise_of(place.root, place.parent, place.module),
        )

    def read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, facts: Facts) -> Routing | None:
        scores, logits = output
        # A sigmoid of a low logit can round to 0, so the choice is taken from the logits that made it.
        ids = logits.detach().topk(facts.top_k_now, dim=1).indices
        return Routing(ids, scores.detach().gather(1, ids))


class JetMoe(Adapter):
    """JetMoe: the router returns the choices sorted by expert; attention is routed by the same class."""

    name = "JetMoeTopKGating"
    when = "after"

    def find(self, place: Place) -> Facts | None:
        if type(place.module).__name__ != "JetMoeTopKGating":
            return None
        return Facts(
            experts=int(place.module.num_experts),  # type: ignore[arg-type]
            top_k=int(place.module.top_k),  # type: ignore[arg-type]
            watch=place.module,
            router=place.module,
            part="attention" if "attention" in place.path else "mlp",
            covers=(place.parent,) if place.parent is not None else (),
            promise=promise_of(place.root, place.parent, place.module),
        )

    def read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, facts: Facts) -> Routing | None:
        order, _, gates, sizes, _ = output
        sizes = torch.as_tensor(sizes, device=order.device)
        by_expert = torch.repeat_interleave(
            torch.arange(len(sizes), device=order.device), sizes, output_size=len(order)
        )
        ids = torch.empty_like(by_expert).scatter_(0, order, by_expert)
        weights = torch.empty_like(gates.detach()).scatter_(0, order, gates.detach())
        return Routing(ids.view(-1, facts.top_k_now), weights.view(-1, facts.top_k_now))


class Zaya(ExpertsCall):
    """ZAYA: the class E means "no expert"; the router rewrites it to id 0 with weight 0 before the experts see it."""

    name = "ZayaRouter"

    def find(self, place: Place) -> Facts | None:
        if type(place.module).__name__ != "ZayaExperts":
            return None
        facts = super().find(place)
        return None if facts is None else replace(facts, may_lose=True)

    def read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, facts: Facts) -> Routing | None:
        ids, weights = executed(args, kwargs)
        weights = detached(weights)
        return Routing(ids.masked_fill((weights == 0) & (ids == 0), SKIPPED), weights)


class Doge(Adapter):
    """Doge: product keys without a router module; the block returns the two halves of the scores, [2, T, sqrt(E)].

    Selection is repeated from these scores as the block does it. The block reshapes instead of splitting the halves, so
    the choice of a token depends on other tokens; that is flagged.
    """

    name = "DogeCDMoE"
    when = "after"

    def find(self, place: Place) -> Facts | None:
        if type(place.module).__name__ != "DogeCDMoE":
            return None
        return Facts(
            experts=int(place.module.num_experts),  # type: ignore[arg-type]
            top_k=int(place.module.top_k),  # type: ignore[arg-type]
            watch=place.module,
            covers=(place.module,),
            promise=promise_of(place.root, place.module, None),
            flags=(
                (
                    "mixes_tokens",
                    "the Doge block of transformers mixes scores of different tokens, so a token's experts depend on its batch",
                ),
            ),
        )

    def read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, facts: Facts) -> Routing | None:
        halves = output[1].detach()
        keys = halves.shape[-1]
        (scores_x, scores_y), (index_x, index_y) = halves.topk(keys, dim=-1)
        scores = (scores_x.unsqueeze(-1) + scores_y.unsqueeze(-2)).flatten(-2)
        index = (index_x.unsqueeze(-1) * keys + index_y.unsqueeze(-2)).flatten(-2)
        best, position = scores.topk(facts.top_k_now, dim=-1)
        return Routing(index.gather(-1, position), best.softmax(dim=-1))


class VitPose(Adapter):
    """ViTPose: the caller names one expert for a whole image; there is no router and no weight."""

    name = "VitPoseNaiveMoe"

    def find(self, place: Place) -> Facts | None:
        if type(place.module).__name__ != "VitPoseNaiveMoe":
            return None
        return Facts(
            experts=len(place.module),  # type: ignore[arg-type]
            top_k=1,
            watch=place.module,
            token_axis="images",
            promise=Promise(score="none: the caller names the expert (dataset_index)", rule="sum 1", total=1.0),
            flags=(("one_choice_an_image", "an expert is named for a whole image, so a row of this site is an image"),),
        )

    def read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, facts: Facts) -> Routing | None:
        indices = args[1] if len(args) > 1 else kwargs["indices"]
        ids = indices.reshape(-1, 1).expand(args[0].shape[0], 1)
        return Routing(ids, torch.ones_like(ids, dtype=torch.float32))


def built_in() -> tuple[Adapter, ...]:
    """Fresh built-in adapters, the special ones first."""
    from probes.fallback import GateAndExperts, ReturningGate

    return (
        ErnieVL(),
        Switch(),
        Nllb(),
        Llama4(),
        JetMoe(),
        Zaya(),
        Doge(),
        VitPose(),
        ExpertsCall(),
        ReturningGate(),
        GateAndExperts(),
    )
