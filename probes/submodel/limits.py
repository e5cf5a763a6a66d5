"""What each family resists: the reason why an axis of a site or a layer of a stack cannot be cut, in words.

Facts are read off the modules; families are named only where their code leaves no sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from probes.adapter_base import child, number
from probes.sites import FoundSite
from probes.submodel.stacks import Stack


@dataclass(frozen=True)
class Groups:
    """A router that first chooses groups of experts.

    Attributes:
        number, chosen: groups there are, groups a token may choose from.
        least: experts that a group must keep if it keeps any.
    """

    number: int
    chosen: int
    least: int


@dataclass(frozen=True)
class SiteLimits:
    """What a site allows.

    Attributes:
        experts: why its experts cannot be dropped, or None.
        top_k: why its top-k cannot be changed, or None.
        lowest_k: smallest top-k that its code can run, and why.
        groups: its groups, if its router has them.
    """

    experts: str | None = None
    top_k: str | None = None
    lowest_k: tuple[int, str] = (1, "")
    groups: Groups | None = None


@dataclass(frozen=True)
class LayerLimits:
    """What a stack allows.

    Attributes:
        fixed: layer -> why it cannot be left out.
        needs: layer -> (earlier layer that it reads from, what it reads).
        with_stack: another stack that must keep the same layers, and why.
    """

    fixed: Mapping[int, str] = field(default_factory=dict)
    needs: Mapping[int, tuple[tuple[int, str], ...]] = field(default_factory=dict)
    with_stack: tuple[str, str] | None = None


def block_of(model: nn.Module, found: FoundSite) -> nn.Module:
    """The module that holds the router and the experts of a site."""
    return model.get_submodule(found.path.rpartition(".")[0])


# ---------------------------------------------------------------------- sites
def site_limits(model: nn.Module, found: FoundSite) -> SiteLimits:
    """Limits of one site."""
    adapter, router, block = found.adapter.name, found.facts.router, block_of(model, found)
    router_name = type(router).__name__
    if adapter == "DogeCDMoE":
        return SiteLimits(
            experts="Doge's experts are the cells of a grid of product keys, and no single one can be masked"
        )
    if adapter == "NllbMoeTop2Router":
        return SiteLimits(
            experts="transformers 5.23 runs experts 0 and 1 of NLLB-MoE whatever its router chooses",
            top_k="NLLB-MoE's router is written for two experts a token",
        )
    if adapter == "VitPoseNaiveMoe":
        return SiteLimits(
            experts="ViTPose has no router: the caller names the expert of an image",
            top_k="ViTPose has no router: the caller names the expert of an image",
        )
    if adapter == "SwitchTransformersTop1Router":
        return SiteLimits(top_k="Switch Transformers' router is written for one expert a token")
    if router_name == "ZayaRouter":
        return SiteLimits(top_k="ZAYA's router is written for one expert a token")
    if router_name == "PhimoeTopKRouter":
        return SiteLimits(top_k="PhiMoE's sparse mixer is written for two experts a token")
    if type(block).__name__ == "JetMoeMoA":
        return SiteLimits(top_k="the top-k of JetMoE's attention experts is its number of head groups")
    if router_name == "LongcatFlashTopkRouter":
        return SiteLimits(
            lowest_k=(2, "LongCat-Flash's experts lose the axis of a single choice"), groups=_groups(router)
        )
    if hasattr(router, "tid2eid"):
        return SiteLimits(experts="its router sends a token by a fixed table of token ids (DeepSeek-V4 hash layers)")
    if router is None:
        return SiteLimits(experts="no router module of its own is known, whose scores could be masked")
    return SiteLimits(groups=_groups(router))


def _groups(router: nn.Module | None) -> Groups | None:
    groups, chosen = number(router, "num_group", "n_group"), number(router, "topk_group")
    if not groups or groups < 2 or not chosen or getattr(router, "topk_method", None) == "greedy":
        return None
    # A group counts by the sum of its two best scores, or, in the DeepSeek-V2 line, by its best.
    return Groups(groups, min(chosen, groups), 1 if hasattr(router, "topk_method") else 2)


# ---------------------------------------------------------------------- layers
def layer_limits(model: nn.Module, stack: Stack, stacks: Mapping[str, Stack]) -> LayerLimits:
    """Limits of one stack."""
    fixed: dict[int, str] = dict(_declared(model, stack))
    needs: dict[int, list[tuple[int, str]]] = {}
    last_full: int | None = None
    boundary: int | None = None
    stored: dict[Any, int] = {}
    for index, layer in enumerate(stack.layers):
        kind = type(layer).__name__
        if kind == "SwitchTransformersBlock" and index == 0:
            fixed[0] = "it makes the position bias of all later layers"
        attention = child(layer, "self_attn", "attention", "self_attention")
        if getattr(attention, "skip_topk", False):
            if last_full is not None:
                needs.setdefault(index, []).append((last_full, "the keys that its indexer chose"))
        elif getattr(attention, "indexer", None) is not None:
            last_full = index
        sharing = _kv_group(attention)
        if getattr(attention, "is_kv_shared_layer", False):
            source = stored.get(sharing)
            if source is not None:
                needs.setdefault(index, []).append((source, "its keys and values"))
        elif getattr(attention, "store_full_length_kv", False):
            stored[sharing] = index
        if getattr(layer, "is_block_boundary", False):
            boundary = index
            if index == 0:
                fixed[0] = "it stores the embeddings, which all later layers read again"
        elif boundary is not None:
            needs.setdefault(index, []).append((boundary, "the start of its block"))
    return LayerLimits(
        fixed,
        {index: tuple(sources) for index, sources in needs.items()},
        _tied(model, stack, stacks),
    )


def _declared(model: nn.Module, stack: Stack) -> Mapping[int, str]:
    """Layers that a model says must stay: its method `fixed_layers()` -> {layer: why} (docs/submodel.md)."""
    for holder in (model.get_submodule(stack.owner), model):
        ask = getattr(holder, "fixed_layers", None)
        if callable(ask):
            found: Mapping[int, str] = ask()
            return found
    return {}


def _kv_group(attention: nn.Module | None) -> Any:
    """What a layer that shares keys and values must have in common with their source."""
    return (
        getattr(attention, "layer_type", None),
        getattr(attention, "use_rope", None),
        getattr(attention, "is_sliding", None),
    )


def _tied(model: nn.Module, stack: Stack, stacks: Mapping[str, Stack]) -> tuple[str, str] | None:
    if type(model.get_submodule(stack.owner)).__name__.startswith("DiffusionGemma") and stack.name in (
        "encoder",
        "decoder",
    ):
        other = "decoder" if stack.name == "encoder" else "encoder"
        if other in stacks:
            return other, "DiffusionGemma's decoder reads the keys and values of the same layer of its encoder"
    return None
