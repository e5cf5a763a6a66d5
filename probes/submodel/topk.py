"""A smaller top-k: set where the router of each family reads it."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from probes.adapter_base import TOP_K_NAMES, number
from probes.errors import SubModelError
from probes.sites import FoundSite
from probes.submodel.patches import Patches, forward_name


def set_top_k(patches: Patches, found: FoundSite, block: nn.Module, top_k: int) -> None:
    """Make a site choose `top_k` experts a token.

    Raises:
        SubModelError: if nothing that states the top-k is known at this site.
    """
    site, router = found.site, found.facts.router
    holders = list({id(module): module for module in (router, block, found.facts.watch) if module is not None}.values())
    changed = False
    for holder in holders:
        for name in TOP_K_NAMES:
            if number(holder, name) == site.top_k:
                patches.attribute(holder, name, top_k)
                changed = True
    config = getattr(router, "config", None)
    if not changed and number(config, "top_k_experts") == site.top_k:  # Gemma 4 reads its configuration at every call
        own = copy.copy(config)
        own.top_k_experts = top_k  # type: ignore[union-attr]
        patches.attribute(router, "config", own)  # type: ignore[arg-type]
        changed = True
    if type(block).__name__ == "OpenAIPrivacyFilterMLP":  # undoes the router's division by the top-k, under this name
        patches.attribute(block, "num_experts", top_k)
    if router is not None and hasattr(router, "tid2eid"):
        _narrow_table(patches, router, top_k)
    if not changed:
        raise SubModelError(
            f"The top-k of site {site.id} was expected on its router or block, but neither states it: leave this site out of top_k=."
        )


def _narrow_table(patches: Patches, router: nn.Module, top_k: int) -> None:
    """DeepSeek-V4's hash layers take as many experts as their table [V, K] has columns: the first `top_k` while the router runs."""
    name = forward_name(router)
    forward = getattr(router, name)

    def narrow(*args: Any, **kwargs: Any) -> Any:
        table = router._buffers["tid2eid"]
        router._buffers["tid2eid"] = table[:, :top_k]  # type: ignore[index]
        try:
            return forward(*args, **kwargs)
        finally:
            router._buffers["tid2eid"] = table

    patches.attribute(router, name, narrow)
