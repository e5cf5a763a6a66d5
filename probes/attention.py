"""Attention of chosen rows in one layer, from any transformers model, without keeping whole maps.

A forward hook on the innermost attention module takes the weights the module returns, keeps the rows that were asked for and lets the rest
go. Weights exist only under the "eager" implementation, so it is set for the pass and put back: with another one transformers returns
none, in silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from probes.errors import ProbeError

MOST_BYTES = 256 * 2**20
_ATTENTION = re.compile(r"(Attention|MLA)\d*$")


@dataclass(frozen=True)
class AttentionRows:
    """Attention of some positions.

    Attributes:
        layer, heads: as taken. layers, heads_in_all: what there is to choose from.
        weights: float32 [heads, rows, columns]. A row sums to 1, or to less in a model with attention sinks.
    """

    layer: int
    heads: tuple[int, ...]
    layers: int
    heads_in_all: int
    weights: NDArray[np.float32]


def attention_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The innermost attention modules by name, in the order of the model: wrappers around them repeat the same weights."""
    named = [(name, module) for name, module in model.named_modules() if _ATTENTION.search(type(module).__name__)]
    ids = {id(module) for _, module in named}
    return [
        (name, module)
        for name, module in named
        if not any(id(child) in ids for child in module.modules() if child is not module)
    ]


def estimated_bytes(heads: int, length: int, batch: int = 1) -> int:
    """Bytes of one layer's attention map in float32, which exists for a moment while the layer runs."""
    return batch * heads * length * length * 4


def attention_rows(
    model: nn.Module,
    run: Callable[[], Any],
    rows: Sequence[int],
    *,
    length: int,
    layer: int | None = None,
    heads: Sequence[int] | None = None,
    sample: int = 0,
    most_bytes: int = MOST_BYTES,
) -> AttentionRows:
    """Run a forward pass and take attention of some positions.

    Args:
        model: a transformers model.
        run: does one forward pass of it.
        rows: positions that look.
        length: positions of the pass, for the estimate.
        layer: from 0; None: the last. heads: from 0; None: all.
        sample: row of the batch.
        most_bytes: a larger map is refused before anything runs.

    Raises:
        ProbeError: no such layer, head or position, a map that would be too large or whose size is not known, or a model that gives no
            attention weights.
    """
    modules = attention_modules(model)
    if not modules:
        raise ProbeError(
            f"{type(model).__name__} has no attention module that is known: its attention cannot be shown."
        )
    chosen = len(modules) - 1 if layer is None else layer
    if not 0 <= chosen < len(modules):
        raise ProbeError(
            f"The model has the attention layers 0 to {len(modules) - 1}, not {chosen}: choose one of them."
        )
    if outside := [row for row in rows if not 0 <= row < length]:
        raise ProbeError(f"The pass has the positions 0 to {length - 1}, not {outside[0]}: choose among them.")
    in_all = _heads(model, modules[chosen][1])
    if not in_all:
        raise ProbeError(
            f"{type(model).__name__} does not state how many heads its attention has, so its size cannot be estimated beforehand: its attention cannot be shown."
        )
    size = estimated_bytes(in_all, length)
    if size > most_bytes:
        raise ProbeError(
            f"Attention over {length:,} positions and {in_all} heads would take {size / 2**20:,.0f} MiB, and {most_bytes / 2**20:,.0f} MiB are allowed: "
            "explain a result in a shorter text, or with fewer labels."
        )
    kept: list[Tensor] = []

    def take(module: nn.Module, arguments: Any, output: Any) -> None:
        weights = _weights(output)
        if weights is not None:
            kept.append(weights[sample, :, list(rows)].detach().float().cpu())

    handle = modules[chosen][1].register_forward_hook(take)
    before = getattr(getattr(model, "config", None), "_attn_implementation", None)
    switch = before not in (None, "eager") and hasattr(model, "set_attn_implementation")
    try:
        if switch:
            model.set_attn_implementation("eager")  # type: ignore[operator]
        with torch.no_grad():
            run()
    finally:
        handle.remove()
        if switch:
            model.set_attn_implementation(before)  # type: ignore[operator]
    if not kept:
        raise ProbeError(
            f"{type(modules[chosen][1]).__name__} returned no attention weights: this model does not give them under its eager implementation."
        )
    found = kept[-1]
    every = tuple(range(found.shape[0])) if heads is None else tuple(heads)
    if bad := [head for head in every if not 0 <= head < found.shape[0]]:
        raise ProbeError(f"The layer has the heads 0 to {found.shape[0] - 1}, not {bad[0]}: choose among them.")
    return AttentionRows(chosen, every, len(modules), found.shape[0], found[list(every)].numpy().astype(np.float32))


def _heads(model: nn.Module, module: nn.Module) -> int:
    """Attention heads that a module has by its own configuration, else by that of the model's text part; 0 where none states any."""
    whole = getattr(model, "config", None)
    text = whole.get_text_config() if whole is not None and hasattr(whole, "get_text_config") else None
    for config in (getattr(module, "config", None), text, whole):
        if heads := int(getattr(config, "num_attention_heads", 0) or 0):
            return heads
    return 0


def _weights(output: Any) -> Tensor | None:
    """The last four-dimensional float tensor of a module's output: T5 returns a position bias of that shape before the weights."""
    if not isinstance(output, tuple | list):
        return None
    for value in reversed(output):
        if isinstance(value, Tensor) and value.ndim == 4 and value.is_floating_point():
            return value
    return None
