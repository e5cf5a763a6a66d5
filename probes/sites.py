"""Find the sites of a model: every set of experts that a router chooses from, by module and not by configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from probes.adapter_base import Adapter, Facts, Place
from probes.adapters import built_in
from probes.errors import CompiledModelError, NoExpertsError, UnknownRouterError
from workbench.capture import Site

# Class names that mean a router or a set of experts; used only to notice one that no adapter knows.
_ROUTER_LIKE = re.compile(
    r"(Experts|MoeRouter|MoERouter|TopKRouter|TopkRouter|Top\dRouter|TopKGat\w*|MoEGate|MoeGate|NaiveMoe)$"
)
_SHARED = re.compile(r"shared", re.IGNORECASE)
_STACK_WORDS = ("thinker", "talker", "vision", "visual", "audio", "encoder", "decoder")


@dataclass(frozen=True)
class FoundSite:
    """A site of a live model: what the capture says of it, and how it is watched.

    Attributes:
        site: id, stack, layer, part, module, experts, top_k, identity_experts.
        path: dotted path of the module that the adapter recognised.
        owner: dotted path of the model whose forward call gives the token axis ("" for the root).
        adapter, facts: who reads it and what is known of it.
    """

    site: Site
    path: str
    owner: str
    adapter: Adapter
    facts: Facts


def find_sites(model: nn.Module, adapters: Sequence[Adapter] = ()) -> list[FoundSite]:
    """List the sites of a model without running it.

    Args:
        model: any torch module; a transformers model or one of your own.
        adapters: adapters of your own, asked before the built-in ones.

    Raises:
        CompiledModelError: if the model or a part of it is compiled.
        NoExpertsError: if it has no set of experts to choose from.
        UnknownRouterError: if a module looks like a router or experts and no adapter knows it.
    """
    refuse_compiled(model)
    asked = (*adapters, *built_in())
    found: list[tuple[Place, Adapter, Facts]] = []
    covered: set[int] = set()
    for place in places(model):
        if id(place.module) in covered:
            continue
        for adapter in asked:
            facts = adapter.find(place)
            if facts is not None:
                found.append((place, adapter, facts))
                covered.update(
                    id(part) for module in (place.module, facts.watch, *facts.covers) for part in module.modules()
                )
                break
    _refuse_unknown(model, covered, [adapter.name for adapter in asked], bool(found))
    if not found:
        raise NoExpertsError(
            f"A mixture-of-experts model was expected, but {type(model).__name__} has no set of experts that a router chooses "
            "from (it is dense): choose a model with routed experts."
        )
    return _named(model, found)


def places(model: nn.Module) -> Iterator[Place]:
    """Every module with its path and parent, in model order."""
    parents: dict[str, nn.Module] = {}
    for path, module in model.named_modules():
        parents[path] = module
        parent = parents.get(path.rpartition(".")[0]) if path else None
        yield Place(path, module, parent, model)


def refuse_compiled(model: nn.Module) -> None:
    """Raise CompiledModelError if hooks on any part of the model would be skipped in silence."""
    for path, module in model.named_modules():
        forward = module.__dict__.get("forward", None)
        compiled = (
            type(module).__name__ == "OptimizedModule"
            or getattr(module, "_compiled_call_impl", None) is not None
            or hasattr(forward, "_torchdynamo_orig_callable")
        )
        if compiled:
            where = f"its part '{path}' ({type(module).__name__})" if path else f"it ({type(module).__name__})"
            raise CompiledModelError(
                f"A model that runs its modules one by one was expected, but {where} is compiled and would skip the probe's "
                "hooks in silence: load the model again without torch.compile."
            )


def _refuse_unknown(model: nn.Module, covered: set[int], known: list[str], any_found: bool) -> None:
    for place in places(model):
        name = type(place.module).__name__
        if id(place.module) in covered or _SHARED.search(place.leaf) or _SHARED.search(name):
            continue
        listed = isinstance(place.module, (nn.ModuleList, nn.ModuleDict)) and len(place.module) > 1
        if _ROUTER_LIKE.search(name) or (
            place.leaf == "experts" and (listed or len(list(place.module.parameters())) > 0)
        ):
            raise UnknownRouterError(
                f"The module '{place.path}' of class {name} looks like a router or a set of experts, but none of the adapters "
                f"({', '.join(known)}) knows it: write an adapter for it and pass it with adapters=[...] (docs/probe.md)."
            )


# ---------------------------------------------------------------------- names
def _named(model: nn.Module, found: list[tuple[Place, Adapter, Facts]]) -> list[FoundSite]:
    owners = [owner_path(model, place.path) for place, _, _ in found]
    stacks = stack_names(model, list(dict.fromkeys(owners)))
    sites: list[FoundSite] = []
    used: set[str] = set()
    for (place, adapter, facts), owner in zip(found, owners, strict=True):
        stack, layer = stacks[owner], layer_number(place.path, owner)
        part = facts.part or "mlp"
        site_id = f"{stack}_{layer}_{part}"
        if site_id in used:  # a second set of experts in the same layer: tell it by the path
            part = re.sub(r"[^A-Za-z0-9]", "", place.path.rpartition(".")[0].rpartition(".")[2]) or part
            site_id = f"{stack}_{layer}_{part}"
        number = 2
        while site_id in used:
            site_id = f"{stack}_{layer}_{part}{number}"
            number += 1
        used.add(site_id)
        module = place.path.rpartition(".")[0] if place.leaf in ("experts", "gate", "router") else place.path
        site = Site(
            id=site_id,
            stack=stack,
            layer=layer,
            part=part,
            module=module,
            experts=facts.experts,
            top_k=facts.top_k,
            identity_experts=facts.identity_experts,
        )
        sites.append(FoundSite(site, place.path, owner, adapter, facts))
    return sites


def owner_path(model: nn.Module, path: str) -> str:
    """Path of the nearest model above a module (a transformers PreTrainedModel, else the root)."""
    from transformers import PreTrainedModel

    while path:
        path = path.rpartition(".")[0]
        if path and isinstance(model.get_submodule(path), PreTrainedModel):
            return path
    return ""


def layer_number(path: str, owner: str) -> int:
    """The first number in a path below its owner; 0 if there is none."""
    inside = path[len(owner) :]
    return next((int(part) for part in inside.split(".") if part.isdigit()), 0)


def stack_names(model: nn.Module, owners: list[str]) -> dict[str, str]:
    """A short unique name for the token axis of each owner: "text" where nothing else tells them apart."""
    names: dict[str, str] = {}
    both_sides = any("encoder" in owner.split(".") for owner in owners) and any(
        "decoder" in owner.split(".") for owner in owners
    )
    config = getattr(model, "config", None)
    encoder_decoder = bool(getattr(config, "is_encoder_decoder", False)) or both_sides
    for owner in owners:
        name = _stack_name(model, owner, encoder_decoder)
        candidate, number = name, 2
        while candidate in names.values():
            candidate = f"{name}{number}"
            number += 1
        names[owner] = candidate
    return names


def _stack_name(model: nn.Module, owner: str, encoder_decoder: bool) -> str:
    words = re.split(r"[._]", owner.lower())
    classes = type(model.get_submodule(owner)).__name__.lower() + " " + type(model).__name__.lower()
    if any(word in words for word in ("vision", "visual")) or "vitpose" in classes or "vision" in classes.split(" ")[0]:
        return "vision"
    if "audio" in words:
        return "audio"
    for word in ("thinker", "talker"):
        if word in words or word in classes:
            return word
    if encoder_decoder:
        for word in ("encoder", "decoder"):
            if word in words or word in classes.split(" ")[0]:
                return word
    return "text"
