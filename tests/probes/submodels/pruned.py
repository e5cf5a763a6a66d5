"""Models that are really smaller: a configuration with fewer layers, experts or choices, and the weights that stay.

Nothing here uses `probes`. Where a family's configuration cannot say what is left (a pattern of layers that is computed), the
layer's parameters are zeroed instead, which makes the layer of a residual network the identity (`zeroed`).

Letters: L layers, E experts.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_TOP_K = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k", "moe_k", "top_k_experts")
_LAYERS = ("num_hidden_layers", "num_layers", "n_layers", "encoder_layers", "decoder_layers", "num_decoder_layers")
_OWN_NUMBERS = ("attn_residual_add_idx", "mlp_residual_add_idx")
_FIRST_DENSE = ("first_k_dense_replace", "num_dense_layers")


def configurations(config: PreTrainedConfig) -> Iterator[PreTrainedConfig]:
    """A configuration and all configurations inside it."""
    yield config
    for value in vars(config).values():
        if isinstance(value, PreTrainedConfig):
            yield from configurations(value)


def set_everywhere(config: PreTrainedConfig, names: Sequence[str], old: int, new: int) -> int:
    """Change fields of these names from one value to another; the number changed."""
    changed = 0
    for part in configurations(config):
        for name in names:
            if vars(part).get(name) == old:
                setattr(part, name, new)
                changed += 1
    return changed


def with_top_k(model: PreTrainedModel, old: int, new: int) -> PreTrainedModel:
    """The same weights in a model configured with another top-k."""
    config = copy.deepcopy(model.config)
    assert set_everywhere(config, _TOP_K, old, new), "no field of the configuration states the top-k"
    other = type(model)(config).eval()
    state = model.state_dict()
    for name, tensor in other.state_dict().items():
        if tensor.shape != state[name].shape:  # the hash table of DeepSeek-V4: the first choices of a token
            state[name] = state[name][..., : tensor.shape[-1]]
    other.load_state_dict(state)
    return other


def with_experts(model: PreTrainedModel, experts: int, kept: Mapping[str, Sequence[int]]) -> PreTrainedModel:
    """A model with fewer experts at every site.

    Args:
        model: the whole model.
        experts: E, without identity experts.
        kept: path of the block -> ids that stay (real experts), the same number for all.
    """
    config = copy.deepcopy(model.config)
    number = len(next(iter(kept.values())))
    assert set_everywhere(config, _EXPERTS, experts, number), (
        "no field of the configuration states the number of experts"
    )
    other = type(model)(config).eval()
    state = model.state_dict()
    new = {}
    for name, tensor in other.state_dict().items():
        block = next((path for path in kept if name.startswith(path + ".")), None)
        old_name = name if block is None else renumbered(name, block, kept[block])
        new[name] = sliced(state[old_name], tensor.shape, experts, kept[block] if block is not None else ())
    other.load_state_dict(new)
    return other


def renumbered(name: str, block: str, kept: Sequence[int]) -> str:
    """The old name of a parameter of an expert that is a module of its own ("experts.expert_1.wi" -> "experts.expert_6.wi")."""
    inside = name[len(block) :]
    return block + re.sub(
        r"(\.experts\.(?:expert_)?)(\d+)\.", lambda found: f"{found[1]}{kept[int(found[2])]}.", inside
    )


def sliced(tensor: Tensor, shape: torch.Size, experts: int, kept: Sequence[int]) -> Tensor:
    """The rows or columns of the experts that stay, in the one axis whose length differs."""
    for axis, (old, new) in enumerate(zip(tensor.shape, shape, strict=True)):
        if old == new:
            continue
        if old - experts == new - len(kept):  # experts, then classes that are none
            rows = [*kept, *range(experts, old)]
        else:  # experts laid end to end
            size = old // experts
            rows = [expert * size + row for expert in kept for row in range(size)]
        tensor = tensor.index_select(axis, torch.tensor(rows))
    assert tensor.shape == shape
    return tensor.clone()


def with_layers(model: PreTrainedModel, path: str, kept: Sequence[int]) -> PreTrainedModel | None:
    """A model with fewer layers, None if its configuration cannot say which.

    Args:
        path: path of the list of layers; an encoder and a decoder of the same length keep the same layers.
    """
    total = len(model.get_submodule(path))  # type: ignore[arg-type]
    config = copy.deepcopy(model.config)
    owner = model.get_submodule(path.rpartition(".")[0]) if "." in path else model
    mine = [part for part in configurations(config) if type(part) is type(owner.config)]
    for part in mine:
        for name, value in list(vars(part).items()):
            if isinstance(value, (list, tuple)) and len(value) == total:
                setattr(part, name, [value[index] for index in kept])
            elif name in _FIRST_DENSE and isinstance(value, int):
                setattr(part, name, sum(index < value for index in kept))
            elif name in _LAYERS and value == total:
                setattr(part, name, len(kept))
    try:
        other = type(model)(config).eval()
    except (ValueError, IndexError, KeyError, TypeError):
        return None
    if len(other.get_submodule(path)) != len(kept):  # type: ignore[arg-type]
        return None
    for index, layer in enumerate(other.get_submodule(path)):  # type: ignore[arg-type]
        for name in _OWN_NUMBERS:  # Beam scales the residual by the number of the layer; layers keep theirs
            if hasattr(layer, name):
                setattr(layer, name, getattr(model.get_submodule(path)[kept[index]], name))  # type: ignore[index]
    state = model.state_dict()
    new = {}
    for name, tensor in other.state_dict().items():
        old = name
        for prefix in {path, *sibling_lists(model, path)}:
            found = re.match(rf"{re.escape(prefix)}\.(\d+)\.", name)
            if found:
                old = f"{prefix}.{kept[int(found[1])]}.{name[found.end() :]}"
        if old not in state or state[old].shape != tensor.shape:
            return None
        new[name] = state[old]
    other.load_state_dict(new)
    return other


def sibling_lists(model: PreTrainedModel, path: str) -> list[str]:
    """The list of layers of the other side of an encoder-decoder."""
    other = path.replace("decoder", "encoder.language_model" if "encoder.language_model" in path else "encoder")
    others = [path.replace("encoder", "decoder"), other, path.replace("encoder.language_model", "decoder")]
    names = {name for name, _ in model.named_modules()}
    return [name for name in others if name in names]


@torch.no_grad()
def zeroed(model: PreTrainedModel, paths: Sequence[str]) -> PreTrainedModel:
    """A copy whose layers at these paths have zeros for parameters."""
    other = copy.deepcopy(model)
    for path in paths:
        for parameter in other.get_submodule(path).parameters():
            parameter.zero_()
    return other
