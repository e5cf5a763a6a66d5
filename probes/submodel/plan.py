"""From a description to one model: which layers, experts and top-k stay, and why it cannot be.

Letters: L layers of a stack, E experts of a site.
"""

from __future__ import annotations

import fnmatch
import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from torch import nn

from probes.errors import SubModelError
from probes.sites import FoundSite, find_sites
from probes.submodel.limits import Groups, LayerLimits, SiteLimits, layer_limits, site_limits
from probes.submodel.spec import KeepLayers, KeepShare, SubModel, by_name, is_pairs
from probes.submodel.stacks import Stack, find_stacks
from workbench.capture import Capture

Ranking: TypeAlias = Capture | Mapping[str, np.ndarray] | None


@dataclass(frozen=True)
class Plan:
    """A sub-model of one model, worked out.

    Attributes:
        layers: stack -> numbers of the layers that stay.
        experts: site id -> ids of the experts that stay, for the sites of layers that stay.
        top_k: site id -> experts a token, for the same sites.
        sub_model: the description that it came from.
    """

    layers: Mapping[str, tuple[int, ...]]
    experts: Mapping[str, tuple[int, ...]]
    top_k: Mapping[str, int]
    sub_model: SubModel = field(default_factory=SubModel, compare=False)

    def applied(self, model: nn.Module, *, lock_timeout: float = 60.0) -> AbstractContextManager[Plan]:
        """A block in which `model` runs as this sub-model and after which it is as it was, bit for bit.

        Args:
            model: the model that the plan was made for, or one of the same shape.
            lock_timeout: seconds to wait while another thread has the model.

        Raises:
            SubModelError: if the plan does not fit the model.
            BusyError: if the model already runs as a sub-model, or another thread holds it too long.
        """
        from probes.submodel.applied import applied

        return applied(self, model, lock_timeout)


def make_plan(sub: SubModel, model: nn.Module, ranking: Ranking) -> Plan:
    """Work out a sub-model for a model (see `SubModel.plan`)."""
    found = find_sites(model)
    layers = _plan_layers(sub, model, found, ranking)
    alive = [one for one in found if one.site.layer in layers.get(one.site.stack, (one.site.layer,))]
    _check_names(sub, found, alive)
    experts, top_k = {}, {}
    for one in alive:
        limits = site_limits(model, one)
        experts[one.site.id] = _plan_experts(_choice_for(sub.experts, one.site.id), one, limits, ranking)
        top_k[one.site.id] = _plan_top_k(_choice_for(sub.top_k, one.site.id), one, limits, experts[one.site.id])
    return Plan(layers, experts, top_k, sub)


def check_plan(plan: Plan, model: nn.Module, found: Sequence[FoundSite]) -> dict[str, Stack]:
    """The stacks of a model that a plan fits; raises SubModelError if it does not.

    The same rules as in `make_plan`, for a plan that was changed or made by hand.
    """
    known = {one.site.id: one for one in found}
    stacks = find_stacks(model, found) if plan.layers else {}
    for stack, kept in plan.layers.items():
        if stack not in stacks:
            raise SubModelError(
                f"The plan keeps layers of a stack '{stack}', which this model does not have: make the plan for it."
            )
        _check_layers(stacks[stack], kept, layer_limits(model, stacks[stack], stacks), plan.layers)
    for site_id in (*plan.experts, *plan.top_k):
        if site_id not in known:
            raise SubModelError(
                f"The plan names a site '{site_id}', which this model does not have: make the plan for this model."
            )
    for site_id, kept in plan.experts.items():
        one = known[site_id]
        limits = site_limits(model, one)
        _check_experts(one, kept, limits)
        _check_top_k(one, plan.top_k.get(site_id, one.site.top_k), limits, kept)
    return stacks


def _check_names(sub: SubModel, found: Sequence[FoundSite], alive: Sequence[FoundSite]) -> None:
    for axis, choice in (("experts", sub.experts), ("top_k", sub.top_k)):
        for name, _ in by_name(choice):
            if not any(fnmatch.fnmatchcase(one.site.id, name) for one in found):
                ids = [one.site.id for one in found]
                listed = ", ".join(ids if len(ids) <= 6 else (*ids[:3], "...", ids[-1]))
                raise SubModelError(
                    f"{axis} names the site '{name}', but this model has {listed}: use one of these or a pattern."
                )
            if not any(fnmatch.fnmatchcase(one.site.id, name) for one in alive):
                raise SubModelError(
                    f"{axis} names the site '{name}', but its layer is left out of the sub-model: keep the layer or leave out the site."
                )


def _choice_for(choice: Any, name: str) -> Any:
    """The choice of a site or stack: its own, else of a pattern, else the one for all."""
    if not is_pairs(choice):
        return choice
    named = dict(choice)
    if name in named:
        return named[name]
    return next((one for pattern, one in choice if fnmatch.fnmatchcase(name, pattern)), None)


# ---------------------------------------------------------------------- layers
def _plan_layers(
    sub: SubModel, model: nn.Module, found: Sequence[FoundSite], ranking: Ranking
) -> dict[str, tuple[int, ...]]:
    if sub.layers is None:
        try:
            return {name: tuple(range(len(stack.layers))) for name, stack in find_stacks(model, found).items()}
        except SubModelError:
            return {}  # a model without a list of layers keeps its only layer
    stacks = find_stacks(model, found)
    for name, _ in by_name(sub.layers):
        if not any(fnmatch.fnmatchcase(stack, name) for stack in stacks):
            raise SubModelError(
                f"layers names the stack '{name}', but this model has {', '.join(stacks)}: use one of these."
            )
    kept: dict[str, tuple[int, ...]] = {}
    limits = {name: layer_limits(model, stack, stacks) for name, stack in stacks.items()}
    only_towers = all(stack.is_tower for stack in stacks.values())
    for name, stack in stacks.items():
        choice = _choice_for(sub.layers, name)
        if choice is None or (stack.is_tower and not only_towers and not is_pairs(sub.layers)):
            kept[name] = tuple(range(len(stack.layers)))
        elif isinstance(choice, KeepLayers):
            kept[name] = _layers_by(choice, stack, limits[name], ranking)
        else:
            kept[name] = choice
    for name, stack in stacks.items():
        _check_layers(stack, kept[name], limits[name], kept)
    return kept


def _layers_by(choice: KeepLayers, stack: Stack, limits: LayerLimits, ranking: Ranking) -> tuple[int, ...]:
    total, number = len(stack.layers), choice.number
    if number > total:
        raise SubModelError(
            f"{number} layers of stack '{stack.name}' were asked for, but it has {total}: give a number from 1 to {total}."
        )
    if choice.how == "first":
        return tuple(range(number))
    fixed = sorted(limits.fixed)
    if len(fixed) > number:
        raise SubModelError(
            f"{number} layers of stack '{stack.name}' were asked for, but {len(fixed)} of its layers must stay: ask for at least {len(fixed)}."
        )
    free = [index for index in range(total) if index not in limits.fixed]
    wanted = number - len(fixed)
    if choice.how == "even":
        last = len(free) - 1
        chosen = [free[round(place * last / (wanted - 1)) if wanted > 1 else 0] for place in range(wanted)]
    else:
        values = _array(ranking, stack.name, total, "rank_layers(model, batches)")
        chosen = sorted(free, key=lambda index: (-values[index], index))[:wanted]
    return tuple(sorted({*fixed, *chosen}))


def _check_layers(
    stack: Stack, kept: tuple[int, ...], limits: LayerLimits, all_kept: Mapping[str, tuple[int, ...]]
) -> None:
    total = len(stack.layers)
    if not kept:
        raise SubModelError(f"At least one layer of stack '{stack.name}' must stay, but none does: keep one or more.")
    if kept[-1] >= total or kept[0] < 0:
        raise SubModelError(
            f"Layer {kept[-1]} of stack '{stack.name}' was asked for, but its layers are 0 to {total - 1}: name layers that there are."
        )
    inside = set(kept)
    for index, why in limits.fixed.items():
        if index not in inside:
            raise SubModelError(f"Layer {index} of stack '{stack.name}' cannot be left out, because {why}: keep it.")
    for index in kept:
        for source, what in limits.needs.get(index, ()):
            if source not in inside:
                raise SubModelError(
                    f"Layer {index} of stack '{stack.name}' takes {what} from layer {source}, which is left out: keep layer {source}, or "
                    f"leave out layer {index} too."
                )
    if limits.with_stack is not None and all_kept.get(limits.with_stack[0], kept) != kept:
        other, why = limits.with_stack
        raise SubModelError(
            f"Stacks '{stack.name}' and '{other}' must keep the same layers, because {why}: give them one choice."
        )


# ---------------------------------------------------------------------- experts
def _plan_experts(choice: Any, one: FoundSite, limits: SiteLimits, ranking: Ranking) -> tuple[int, ...]:
    site = one.site
    everyone = tuple(range(site.experts))
    if choice is None:
        return everyone
    identity = everyone[site.experts - site.identity_experts :]
    real = site.experts - site.identity_experts
    if isinstance(choice, KeepShare):
        if limits.experts is None:
            choice = _experts_by(choice, one, limits.groups, real, ranking)
        else:
            choice = everyone if choice.share == 1 else ()
    kept = tuple(sorted({*choice, *identity}))
    _check_experts(one, kept, limits)
    return kept


def _experts_by(
    choice: KeepShare, one: FoundSite, groups: Groups | None, real: int, ranking: Ranking
) -> tuple[int, ...]:
    site = one.site
    if choice.by == "random":
        generator = np.random.default_rng([choice.seed, zlib.crc32(site.id.encode())])
        values = generator.permutation(real).astype(np.float64)
    elif isinstance(ranking, Capture):
        values = _from_capture(ranking, one, choice.by)[:real]
    else:
        values = _array(ranking, site.id, site.experts, f'rank_experts(model, batches, by="{choice.by}")')[:real]
    # In groups of equal size the same number of each group stays, as a model built so would have it.
    number_of_groups = groups.number if groups is not None else 1
    size = real // number_of_groups
    number = max(1, int(np.floor(choice.share * size + 0.5)))
    kept: list[int] = []
    for group in range(number_of_groups):
        members = range(group * size, (group + 1) * size)
        kept += sorted(members, key=lambda expert: (-values[expert], expert))[:number]
    return tuple(sorted(kept))


def _from_capture(capture: Capture, one: FoundSite, by: str) -> np.ndarray:
    site = one.site
    if by == "norm":
        raise SubModelError(
            "A ranking by norm was asked for, but a capture holds no norms of the experts' outputs: pass "
            'rank_experts(model, batches, by="norm"), or rank by count or mass.'
        )
    known = {other.id: other for other in capture.sites}
    if site.id not in known or known[site.id].experts != site.experts:
        raise SubModelError(
            f"The ranking needs the {site.experts} experts of site {site.id}, but the capture does not have them: pass a capture of this model."
        )
    table = capture.count if by == "count" else capture.mass
    return table[capture.site_index(site.id)].sum(axis=0)[: site.experts].astype(np.float64)


def _array(ranking: Ranking, name: str, length: int, how: str) -> np.ndarray:
    values = None if ranking is None or isinstance(ranking, Capture) else ranking.get(name)
    if values is None:
        raise SubModelError(
            f"A ranking of '{name}' is needed to choose what stays, but none was given: pass ranking={how}."
        )
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (length,):
        raise SubModelError(
            f"The ranking of '{name}' must have {length} numbers, but its shape is {array.shape}: pass the one made with this model."
        )
    return np.nan_to_num(array, nan=-np.inf)


def _check_experts(one: FoundSite, kept: tuple[int, ...], limits: SiteLimits) -> None:
    site = one.site
    if kept == tuple(range(site.experts)):
        return
    if limits.experts is not None:
        raise SubModelError(
            f"The experts of site {site.id} cannot be dropped, because {limits.experts}: leave this site out of experts= by naming the others."
        )
    if not kept or kept[-1] >= site.experts:
        raise SubModelError(
            f"Expert {kept[-1] if kept else '-'} was asked for at site {site.id}, but its experts are 0 to {site.experts - 1}: name experts "
            "that there are."
        )
    if limits.groups is not None:
        size = site.experts // limits.groups.number
        for group in range(limits.groups.number):
            number = sum(expert // size == group for expert in kept)
            if 0 < number < limits.groups.least:
                raise SubModelError(
                    f"The router of site {site.id} scores a group by its {limits.groups.least} best experts, but group {group} keeps {number}: "
                    f"keep at least {limits.groups.least} of a group, or none."
                )


# ---------------------------------------------------------------------- top-k
def _plan_top_k(choice: int | None, one: FoundSite, limits: SiteLimits, kept: tuple[int, ...]) -> int:
    top_k = one.site.top_k if choice is None else choice
    _check_top_k(one, top_k, limits, kept)
    return top_k


def _check_top_k(one: FoundSite, top_k: int, limits: SiteLimits, kept: tuple[int, ...]) -> None:
    site = one.site
    if top_k != site.top_k:
        if limits.top_k is not None:
            raise SubModelError(
                f"The top-k of site {site.id} stays {site.top_k}, because {limits.top_k}: leave this site out of top_k= by naming the others."
            )
        if top_k < limits.lowest_k[0]:
            raise SubModelError(
                f"The top-k of site {site.id} is at least {limits.lowest_k[0]}, because {limits.lowest_k[1]}: ask for more than {top_k}."
            )
        if top_k > site.top_k:
            raise SubModelError(
                f"A sub-model chooses at most the {site.top_k} experts a token that site {site.id} was trained with, but {top_k} were asked "
                "for: give a smaller top_k."
            )
    reachable = _reachable(site.experts, kept, limits.groups)
    if top_k > reachable:
        raise SubModelError(
            f"Site {site.id} chooses {top_k} experts a token, but only {reachable} are left to choose from: keep more experts or give a "
            "smaller top_k."
        )


def _reachable(experts: int, kept: tuple[int, ...], groups: Groups | None) -> int:
    """Experts that a token can always choose from: all that stay, or those of the smallest groups that it may get."""
    if groups is None:
        return len(kept)
    size = experts // groups.number
    alive = sorted(
        number for group in range(groups.number) if (number := sum(expert // size == group for expert in kept))
    )
    return sum(alive[: groups.chosen])
