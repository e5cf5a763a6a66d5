"""What is taken out of a model: a sub-model's plan turned into a cut that one configuration can describe.

A checkpoint has one number of experts and one top-k for all layers, and whole groups of experts where the router works in
groups; a plan may ask for more than that, and is then refused in one sentence.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.elastic.errors import CarveError
from workbench.elastic.families import FamilyRule, rule_of
from workbench.elastic.names import layer_of_module
from workbench.models.families import EXPERT_FIELDS, LAYER_FIELDS, TOP_K_FIELDS

if TYPE_CHECKING:
    from torch import nn

    from probes import Plan

# Lists of module paths in a quantised model's configuration.
_MODULE_LISTS = ("modules_to_not_convert", "ignored_layers", "ignore", "llm_int8_skip_modules")
# Written by a checkpoint's own tools beside the field that transformers reads.
_ALSO_TOP_K = ("experts_per_token",)


@dataclass(frozen=True)
class Cut:
    """Which layers and experts are left.

    Attributes:
        family: model type.
        layers: numbers of the layers left, as the old model counts.
        layers_before: how many there were.
        experts: old layer -> numbers of its experts left, ascending; only layers that have experts.
        experts_before: experts of a layer before.
        top_k: experts a token afterwards.
        groups: (groups left, groups a token may choose from), or None where the router has no groups.
    """

    family: str
    layers: tuple[int, ...]
    layers_before: int
    experts: Mapping[int, tuple[int, ...]]
    experts_before: int
    top_k: int
    groups: tuple[int, int] | None = None

    @property
    def experts_left(self) -> int:
        """Experts of a layer afterwards."""
        return len(next(iter(self.experts.values()))) if self.experts else self.experts_before

    def new_number(self, layer: int) -> int | None:
        """The new number of an old layer, or None if it is gone."""
        return self.layers.index(layer) if layer in self.layers else None


def text_config(config: Any) -> Any:
    """The part of a configuration that describes the text layers."""
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def make_cut(model: nn.Module, plan: Plan) -> Cut:
    """The cut of a plan, checked against what one configuration can say.

    Args:
        model: the full model; it may be without weights (on the meta device).
        plan: from `SubModel.plan(model)`.

    Raises:
        CarveError: if the family cannot be carved, or the plan is not even enough.
        SubModelError: if the plan leaves out a layer that must stay.
    """
    from probes import find_sites
    from probes.submodel.plan import check_plan

    config: Any = model.config
    rule = rule_of(str(config.model_type))
    text = text_config(config)
    before = int(text.num_hidden_layers)
    found = find_sites(model)
    sites = [one.site for one in found]
    stack = sites[0].stack
    others = [name for name, layers in plan.layers.items() if name != stack and _is_cut(model, name, layers)]
    if others:
        raise CarveError(
            f"Layers of the stack '{others[0]}' would be taken out, but only the text layers of '{config.model_type}' can be: keep all of its layers."
        )
    layers = tuple(sorted(plan.layers.get(stack, tuple(range(before)))))
    if not layers:
        raise CarveError("A model with no layers was asked for: keep at least one.")
    kept = {site.layer: tuple(sorted(plan.experts.get(site.id, range(site.experts)))) for site in sites}
    kept = {layer: experts for layer, experts in kept.items() if layer in layers}
    top_k = {plan.top_k.get(site.id, site.top_k) for site in sites if site.layer in layers} or {sites[0].top_k}
    _same("experts", {len(experts) for experts in kept.values()})
    _same("top-k", top_k)
    groups = _groups(rule, text, kept)
    check_plan(plan, model, found)  # a plan written by hand may leave out a layer that must stay
    return Cut(str(config.model_type), layers, before, kept, sites[0].experts, next(iter(top_k)), groups)


def _is_cut(model: nn.Module, stack: str, layers: Sequence[int]) -> bool:
    """Whether a stack beside the text would lose layers; a list that leaves none out is no cut."""
    return list(layers) != list(range(len(layers)))


def _same(what: str, values: set[int]) -> None:
    if len(values) > 1:
        raise CarveError(
            f"A checkpoint has one number of {what} for all its layers, but this sub-model has between {min(values)} and {max(values)}: "
            "give every layer the same."
        )


def _groups(rule: FamilyRule, config: Any, kept: Mapping[int, tuple[int, ...]]) -> tuple[int, int] | None:
    """(groups left, groups a token chooses from): every group is left with the same number of experts, or is gone."""
    count = getattr(config, "n_group", None) or 1
    grouped = rule.groups is not None and getattr(config, "topk_method", "group_limited_greedy") != "greedy"
    if not grouped or count <= 1 or not kept:
        return None
    size = _experts_of(config) // count
    left: set[int] = set()
    for layer, experts in kept.items():
        sizes = {group: sum(expert // size == group for expert in experts) for group in range(count)}
        present = {number for number in sizes.values() if number}
        least = 2 if rule.groups == "sum of 2" and size > 1 else 1
        if len(present) != 1 or min(present) < least:
            raise CarveError(
                f"This router first chooses among groups of {size} experts, so a carved layer keeps the same number of experts (at least {least}) in every "
                f"group that it keeps, but layer {layer} would keep {', '.join(str(number) for number in sizes.values())}: list experts by whole groups."
            )
        left.add(sum(1 for number in sizes.values() if number))
    _same("groups of experts", left)
    groups = left.pop()
    return groups, min(int(config.topk_group), groups)


def _experts_of(config: Any) -> int:
    return next(int(getattr(config, name)) for name in EXPERT_FIELDS if getattr(config, name, None))


def new_config(raw: Mapping[str, Any], config: Any, cut: Cut) -> dict[str, Any]:
    """The smaller model's `config.json`.

    Args:
        raw: the old one, as parsed JSON.
        config: the old one as transformers understands it, defaults filled in.
        cut: what is left.

    Raises:
        CarveError: if the family's configuration has no words for the layers that are left.
    """
    rule = rule_of(cut.family)
    new = copy.deepcopy(dict(raw))
    part = new[rule.nested] if rule.nested is not None and rule.nested in new else new
    effective = text_config(config)
    part |= _numbers(part, effective, cut)
    for field in rule.per_layer:
        entries = getattr(effective, field, None)
        if isinstance(entries, list) and len(entries) == cut.layers_before:
            part[field] = [entries[layer] for layer in cut.layers]
    sparse = [layer in cut.experts for layer in cut.layers]
    part |= rule.schedule({**effective.to_dict(), **part}, cut.layers, sparse)
    if "num_nextn_predict_layers" in part:
        part["num_nextn_predict_layers"] = (
            0  # layers for predicting ahead lie behind the last one; transformers runs none
        )
    for place in (new, part):
        if isinstance(place.get("quantization_config"), dict):
            place["quantization_config"] = _renamed_lists(place["quantization_config"], cut)
    return new


def _numbers(part: Mapping[str, Any], effective: Any, cut: Cut) -> dict[str, Any]:
    """Counts under every name that the file has for them, and under the one that transformers writes."""
    aliases = getattr(type(effective), "attribute_map", None) or {}
    found: dict[str, Any] = {}
    for fields, value in (
        (LAYER_FIELDS, len(cut.layers)),
        (EXPERT_FIELDS, cut.experts_left),
        ((*TOP_K_FIELDS, *_ALSO_TOP_K), cut.top_k),
    ):
        own = [name for name in fields if name not in aliases and hasattr(effective, name)]
        found |= {name: value for name in fields if name in part or name in own[:1]}
    if cut.groups is not None:
        found |= {"n_group": cut.groups[0], "topk_group": cut.groups[1]}
    return found


def _renamed_lists(quantization: dict[str, Any], cut: Cut) -> dict[str, Any]:
    """Module paths of the layers left under their new numbers; those of removed layers go."""
    new = dict(quantization)
    for field in _MODULE_LISTS:
        if not isinstance(new.get(field), list):
            continue
        paths = []
        for path in new[field]:
            found = layer_of_module(str(path))
            number = None if found is None else cut.new_number(found[1])
            if found is None:
                paths.append(path)
            elif number is not None:
                paths.append(f"{found[0]}{number}{found[2]}")
        new[field] = paths
    return new
