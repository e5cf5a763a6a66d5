"""Probes watch a live model and write down what it does: `RoutingProbe` records which experts take which tokens; `SubModel`
makes it run with fewer layers, fewer experts or a smaller top-k.

    from probes import RoutingProbe
    with RoutingProbe(model, tokens=True, processor=tokenizer) as probe:
        model(input_ids=ids, attention_mask=mask)
    capture = probe.capture()

Importing this package costs nothing: torch loads with the first name that is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probes.adapter_base import Adapter, Facts, Place, Routing
    from probes.errors import (
        BusyError,
        CompiledModelError,
        LabelError,
        NoExpertsError,
        NothingRecordedError,
        ProbeError,
        SubModelError,
        UnknownRouterError,
    )
    from probes.routing import RoutingProbe
    from probes.sites import FoundSite, find_sites
    from probes.submodel.plan import Plan
    from probes.submodel.rank import rank_experts, rank_layers
    from probes.submodel.spec import KeepLayers, KeepShare, SubModel

__all__ = [
    "Adapter",
    "BusyError",
    "CompiledModelError",
    "Facts",
    "FoundSite",
    "KeepLayers",
    "KeepShare",
    "LabelError",
    "NoExpertsError",
    "NothingRecordedError",
    "Place",
    "Plan",
    "ProbeError",
    "Routing",
    "RoutingProbe",
    "SubModel",
    "SubModelError",
    "UnknownRouterError",
    "find_sites",
    "rank_experts",
    "rank_layers",
]

_HOME = {
    "Adapter": "probes.adapter_base",
    "Facts": "probes.adapter_base",
    "FoundSite": "probes.sites",
    "KeepLayers": "probes.submodel.spec",
    "KeepShare": "probes.submodel.spec",
    "Place": "probes.adapter_base",
    "Plan": "probes.submodel.plan",
    "Routing": "probes.adapter_base",
    "RoutingProbe": "probes.routing",
    "SubModel": "probes.submodel.spec",
    "find_sites": "probes.sites",
    "rank_experts": "probes.submodel.rank",
    "rank_layers": "probes.submodel.rank",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'probes' has no attribute '{name}'")
    return getattr(import_module(_HOME.get(name, "probes.errors")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
