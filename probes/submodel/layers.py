"""Layers that are left out: they return what they were given, and keep their place in the cache.

The list of layers, the configuration and the numbers of the layers stay as they are, because models look up masks, rotary
tables and cache slots by them. What the rest of the model asks of a cache (how long is it, how wide is the mask) it asks of the
first attention layer, which may be one that is left out; so a layer that is left out writes keys and values of width one.

Letters: B rows, T tokens of a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from probes.submodel.patches import Patches

# Layers that return more than their hidden state: class -> names of the arguments that take the place of the rest.
_RETURNS: dict[str, tuple[str, ...]] = {
    "SwitchTransformersBlock": ("position_bias", "encoder_decoder_position_bias"),
    "ZayaDecoderLayer": ("prev_router_hidden_states",),
    "HYV4DecoderLayer": ("prev_topk_indices",),
    "GlmMoeDsaDecoderLayer": ("prev_topk_indices",),
    "Glm5NextTextDecoderLayer": ("prev_topk_indices",),
    "MistralLarge4TextDecoderLayer": ("prev_topk_indices",),
}
_CACHES = ("past_key_values", "past_key_value", "cache_params", "cache")


class LeftOut:
    """The forward of a layer that is left out; also the mark by which others know such a layer.

    Args:
        layer: the layer.
        names: parameter names of its own forward, in order.
    """

    def __init__(self, layer: nn.Module, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._rest = _RETURNS.get(type(layer).__name__)
        # The number of the layer itself is no slot: LongCat-Flash has two attentions a layer, at slots 2i and 2i + 1.
        inside = (module for module in layer.modules() if module is not layer)
        numbers = (getattr(module, "layer_idx", getattr(module, "layer", None)) for module in inside)
        self._slots = tuple(sorted({number for number in numbers if isinstance(number, int)}))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = dict(zip(self._names, args, strict=False)) | kwargs
        hidden = args[0] if args else kwargs[self._names[0]]
        cache = next((given[name] for name in _CACHES if given.get(name) is not None), None)
        if cache is not None:
            for slot in self._slots:
                keep_place(cache, slot, hidden)
        if self._rest is None:
            return hidden
        return hidden, *(given.get(name) for name in self._rest)


def leave_out(patches: Patches, layer: nn.Module) -> None:
    """Make a layer return what it is given."""
    import inspect

    names = list(inspect.signature(type(layer).forward).parameters)[1:]
    patches.attribute(layer, "forward", LeftOut(layer, names))
    if getattr(layer, "is_block_boundary", False):  # Inkling 2: the model would store the state before this layer
        patches.attribute(layer, "is_block_boundary", False)


def is_left_out(module: nn.Module) -> bool:
    """Whether a layer is left out at this moment."""
    return isinstance(module.__dict__.get("forward"), LeftOut)


def keep_place(cache: Any, slot: int, hidden: Tensor) -> None:
    """Write keys and values of width one for the tokens of a call, hidden [B, T, ...], into a slot of a cache."""
    cache = getattr(cache, "self_attention_cache", cache)
    layers = getattr(cache, "layers", None)
    if layers is None:
        return
    if slot < len(layers):
        kind = type(layers[slot])
        # State-space slots and slots that a later layer only reads have no length.
        if kind.__name__ == "DummyLayer" or not hasattr(layers[slot], "get_seq_length"):
            return
    nothing = torch.zeros(hidden.shape[0], 1, hidden.shape[1], 1, dtype=hidden.dtype, device=hidden.device)
    cache.update(nothing, nothing, slot)
