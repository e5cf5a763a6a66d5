"""Run a loaded model as a sub-model inside a block, and put everything back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from probes.adapters import ExpertsCall
from probes.locks import acquire, release
from probes.sites import find_sites, refuse_compiled
from probes.submodel.layers import leave_out
from probes.submodel.limits import block_of
from probes.submodel.masks import check_width, mask_experts
from probes.submodel.patches import Patches
from probes.submodel.plan import Plan, check_plan
from probes.submodel.topk import set_top_k


@contextmanager
def applied(plan: Plan, model: nn.Module, lock_timeout: float) -> Iterator[Plan]:
    """See `Plan.applied`."""
    refuse_compiled(model)
    acquire(model, lock_timeout, "sub-model")
    patches = Patches()
    try:
        _change(patches, plan, model)
        yield plan
    finally:
        try:
            patches.restore()
        finally:
            release(model, "sub-model")


def _change(patches: Patches, plan: Plan, model: nn.Module) -> None:
    found = find_sites(model)
    stacks = check_plan(plan, model, found)
    for name, kept in plan.layers.items():
        for index, layer in enumerate(stacks[name].layers):
            if index not in kept:
                leave_out(patches, layer)
    for one in found:
        site = one.site
        if site.id not in plan.experts and site.id not in plan.top_k:
            continue
        block = block_of(model, one)
        kept = plan.experts.get(site.id, tuple(range(site.experts)))
        top_k = plan.top_k.get(site.id, site.top_k)
        if top_k != site.top_k:
            set_top_k(patches, one, block, top_k)
            if isinstance(one.adapter, ExpertsCall):
                check_width(patches, one, top_k)
        if len(kept) < site.experts:
            mask_experts(patches, one, block, kept)
    if hasattr(model, "_valid_auto_compile_criteria"):
        # generate() compiles decode steps with a static cache on a GPU; a compiled step could outlive the block.
        patches.attribute(model, "_valid_auto_compile_criteria", _never)


def _never(*_: object, **__: object) -> bool:
    return False
