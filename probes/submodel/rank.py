"""How much experts and layers matter on inputs of the user's own: the rankings that a sub-model is chosen by.

Letters: B rows, T tokens, D width, L layers, E experts, K choices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from probes.adapters import ExpertsCall, executed
from probes.errors import SubModelError
from probes.routing import RoutingProbe
from probes.sites import FoundSite, find_sites
from probes.submodel.stacks import find_stacks

# Arguments of one forward call by name, or its input ids [B, T] alone.
Batch: TypeAlias = Mapping[str, Any] | Tensor


def rank_experts(
    model: nn.Module, batches: Iterable[Batch], by: Literal["count", "mass", "norm"] = "count"
) -> dict[str, np.ndarray]:
    """Score every expert of every site on calibration inputs; more is more important.

    Args:
        model: a model that the routing probe supports.
        batches: arguments of forward calls; padding named by `attention_mask` [B, T] is left out.
        by: "count" (tokens that chose the expert), "mass" (sum of its gate weights), "norm" (mean over the tokens that chose it
            of gate weight x L2 norm of its output; REAP, Lasby et al. 2025, arXiv 2510.13999, section 3).

    Returns:
        Site id -> float64 [E]. An expert that no token chose has 0.

    Raises:
        SubModelError: if there is no batch, or the family hides the outputs of single experts (norm).
    """
    if by == "norm":
        return _by_norm(model, batches)
    if by not in ("count", "mass"):
        raise SubModelError(f"Experts are ranked by count, mass or norm here, but '{by}' came: use one of these.")
    with torch.no_grad(), RoutingProbe(model, coactivation=False) as probe:
        _run(model, batches)
    capture = probe.capture()
    table = capture.count if by == "count" else capture.mass
    return {
        site.id: table[index].sum(axis=0)[: site.experts].astype(np.float64) for index, site in enumerate(capture.sites)
    }


def rank_layers(model: nn.Module, batches: Iterable[Batch]) -> dict[str, np.ndarray]:
    """Score every layer by how much it turns the hidden states: block influence, 1 - mean cosine of its input and output.

    ShortGPT, Men et al. 2024, arXiv 2403.03853, section 3.1, equation 1. Streams of hyper-connections count as one long vector.

    Args:
        model, batches: as in `rank_experts`.

    Returns:
        Stack -> float64 [L].
    """
    found = find_sites(model)
    stacks = find_stacks(model, found)
    sums = {name: np.zeros(len(stack.layers)) for name, stack in stacks.items()}
    counts = {name: np.zeros(len(stack.layers)) for name, stack in stacks.items()}
    keep = _Keep()
    handles = []

    def watch(name: str, index: int) -> Callable[..., None]:
        def after(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            before = args[0] if args else kwargs["hidden_states"]
            later = output[0] if isinstance(output, (tuple, list)) else output
            left, right = keep.rows(before), keep.rows(later)
            cosine = torch.nn.functional.cosine_similarity(left.double(), right.double(), dim=-1)
            sums[name][index] += float((1 - cosine).sum())
            counts[name][index] += len(cosine)

        return after

    for name, stack in stacks.items():
        handles += [
            layer.register_forward_hook(watch(name, index), with_kwargs=True)
            for index, layer in enumerate(stack.layers)
        ]
    try:
        with torch.no_grad():
            _run(model, batches, keep)
    finally:
        for handle in handles:
            handle.remove()
    return {name: sums[name] / np.maximum(counts[name], 1) for name in stacks}


class _Keep:
    """Which rows of the running batch are no padding, bool [B, T]; None for all."""

    def __init__(self) -> None:
        self.mask: Tensor | None = None

    def rows(self, values: Tensor) -> Tensor:
        """The rows [n, ...] of values [B, T, ...] or [B T, ...] that are no padding, their other axes made one."""
        mask = self.mask
        if values.dim() > 2 and mask is not None and values.shape[:2] == mask.shape:
            return values.flatten(2)[mask.to(values.device)] if values.dim() > 3 else values[mask.to(values.device)]
        if values.dim() == 2 and mask is not None and len(values) == mask.numel():
            return values[mask.reshape(-1).to(values.device)]
        return values.flatten(0, 1).flatten(1) if values.dim() > 2 else values


def _run(model: nn.Module, batches: Iterable[Batch], keep: _Keep | None = None) -> None:
    ran = False
    for batch in batches:
        given = {"input_ids": batch} if isinstance(batch, Tensor) else dict(batch)
        mask = given.get("attention_mask")
        if keep is not None:
            keep.mask = mask.bool() if isinstance(mask, Tensor) and mask.dim() == 2 else None
        model(**given)
        ran = True
    if not ran:
        raise SubModelError("A ranking needs at least one batch of inputs, but none came: pass a list of batches.")


def _by_norm(model: nn.Module, batches: Iterable[Batch]) -> dict[str, np.ndarray]:
    found = find_sites(model)
    for one in found:
        if not isinstance(one.adapter, ExpertsCall):
            raise SubModelError(
                f"A ranking by norm needs the output of single experts, which {one.adapter.name} of site {one.site.id} does not show: rank by "
                "count or mass."
            )
    sums = {one.site.id: np.zeros(one.site.experts) for one in found}
    counts = {one.site.id: np.zeros(one.site.experts) for one in found}
    keep = _Keep()
    handles = [
        one.facts.watch.register_forward_pre_hook(
            _norms_of(one, keep, sums[one.site.id], counts[one.site.id]), with_kwargs=True
        )
        for one in found
    ]
    try:
        with torch.no_grad():
            _run(model, batches, keep)
    finally:
        for handle in handles:
            handle.remove()
    return {site: sums[site] / np.maximum(counts[site], 1) for site in sums}


def _norms_of(one: FoundSite, keep: _Keep, sums: np.ndarray, counts: np.ndarray) -> Callable[..., None]:
    # A second choice of weight 0 beside the one asked for, where a single choice cannot be run (LongCat-Flash).
    doubled = type(one.facts.watch).__name__ == "LongcatFlashExperts"

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids, weights = executed(args, kwargs)
        hidden = args[0] if args else next(value for name, value in kwargs.items() if "hidden" in name)
        for choice in range(ids.shape[-1]):
            chosen = ids[:, choice : choice + 1]
            ones = torch.ones_like(weights[:, choice : choice + 1])
            if doubled:
                chosen, ones = chosen.repeat(1, 2), torch.cat([ones, torch.zeros_like(ones)], dim=1)
            output = module.forward(hidden, chosen.contiguous(), ones)
            output = output[0] if isinstance(output, tuple) else output
            norm = output.reshape(len(ids), -1).double().norm(dim=-1) * weights[:, choice].double()
            rows = keep.rows(torch.stack([ids[:, choice].double(), norm], dim=-1))
            number, value = rows[:, 0].long().cpu().numpy(), rows[:, 1].cpu().numpy()
            np.add.at(sums, number, value)
            np.add.at(counts, number, 1)

    return before
