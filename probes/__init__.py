"""Probes watch a live model and write down what it does: `RoutingProbe` records which experts take which tokens.

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
    from probes.adapters import Adapter, Facts, Place, Routing
    from probes.errors import (
        BusyError,
        CompiledModelError,
        LabelError,
        NoExpertsError,
        NothingRecordedError,
        ProbeError,
        UnknownRouterError,
    )
    from probes.routing import RoutingProbe
    from probes.sites import FoundSite, find_sites

__all__ = [
    "Adapter",
    "BusyError",
    "CompiledModelError",
    "Facts",
    "FoundSite",
    "LabelError",
    "NoExpertsError",
    "NothingRecordedError",
    "Place",
    "ProbeError",
    "Routing",
    "RoutingProbe",
    "UnknownRouterError",
    "find_sites",
]

_HOME = {
    "Adapter": "probes.adapters",
    "Facts": "probes.adapters",
    "FoundSite": "probes.sites",
    "Place": "probes.adapters",
    "Routing": "probes.adapters",
    "RoutingProbe": "probes.routing",
    "find_sites": "probes.sites",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'probes' has no attribute '{name}'")
    return getattr(import_module(_HOME.get(name, "probes.errors")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
