"""Captures whose sets of experts of one layer are taken together: text and vision experts of ERNIE 4.5 VL as one set.

Each set has expert numbers of its own, so the numbers are placed one behind the other, never added. That is right only where a
token goes to one of the sets; attention and MLP experts of one layer both see every token and are left apart.
"""

from __future__ import annotations

import numpy as np

from workbench.capture.capture import Capture
from workbench.capture.schema import LOAD_DIMS, Site

USUAL_PARTS = ("mlp", "attention")


def has_named_parts(capture: Capture) -> bool:
    """Whether a layer has more than one named set of experts."""
    return any(len(members) > 1 for members in _layers(capture))


def join_parts(capture: Capture) -> Capture:
    """The same counts with one site a layer where that had named sets; token rows and co-activation are left out.

    A joined site has the part "mlp" and the experts of its sets in the capture's order; identity experts are counted in the
    last set only, as they come last.
    """
    if not has_named_parts(capture):
        return capture
    layers = _layers(capture)
    sites, experts = [], []
    for members in layers:
        parts = [capture.sites[index] for index in members]
        first = parts[0]
        experts.append(sum(site.experts for site in parts))
        if len(parts) == 1:
            sites.append(first)
            continue
        sites.append(
            Site(
                id=f"{first.stack}_{first.layer}_mlp",
                stack=first.stack,
                layer=first.layer,
                module=first.module,
                experts=experts[-1],
                top_k=max(site.top_k for site in parts),
                identity_experts=parts[-1].identity_experts,
            )
        )
    load: dict[str, np.ndarray] = {}
    for name, dims in LOAD_DIMS.items():
        values = capture.table(name).values
        if "expert" not in dims:
            load[name] = np.stack([values[:, members].sum(axis=1) for members in layers], axis=1)
            continue
        shape = (values.shape[0], len(layers), *values.shape[2:4], max(experts))
        joined = np.zeros(shape, dtype=values.dtype)
        for at, members in enumerate(layers):
            place = 0
            for index in members:
                own = capture.sites[index].experts
                joined[:, at, ..., place : place + own] = values[:, index, ..., :own]
                place += own
        load[name] = joined
    manifest = capture.manifest.model_copy(update={"sites": tuple(sites), "streams": ("load",), "sampling": {}})
    return Capture(manifest, load, path=capture.path)


def _layers(capture: Capture) -> list[list[int]]:
    """Places of the sites that belong together, in order of appearance."""
    found: dict[tuple[str, int, str], list[int]] = {}
    for index, site in enumerate(capture.sites):
        part = site.part if site.part in USUAL_PARTS else ""
        found.setdefault((site.stack, site.layer, part), []).append(index)
    return list(found.values())
