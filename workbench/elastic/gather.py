"""A sub-model with its weights gathered: a smaller model in memory whose other layers and experts are really absent.

This is what latency and memory are measured on; running the full model with experts masked would measure the full model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.elastic.cut import Cut, make_cut, new_config
from workbench.elastic.errors import CarveError
from workbench.elastic.names import renumber, understand

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from probes import Plan


def carve_in_memory(model: PreTrainedModel, plan: Plan) -> PreTrainedModel:
    """Build the smaller model of a plan next to the full one, on its device and in its number format.

    Args:
        model: the full model, loaded; it is not changed. Weights that are left whole are shared with it, not copied.
        plan: from `SubModel.plan(model)`.

    Returns:
        A model of the same class in evaluation mode; its logits are those of the sub-model.

    Raises:
        CarveError: if the family cannot be carved, the model is quantised or spread over devices, or the plan is uneven.
    """
    from accelerate import init_empty_weights

    if getattr(model, "is_quantized", False) or getattr(model.config, "quantization_config", None):
        raise CarveError(
            "Weights are gathered from plain tensors, but this model is quantised: load it without --quantize, or measure it masked."
        )
    if len({parameter.device for parameter in model.parameters()}) > 1 or model.device.type == "meta":
        raise CarveError(
            "Weights are gathered on one device, but this model is spread over several: load it without --device-map, or measure it masked."
        )
    cut = make_cut(model, plan)
    settings = new_config(model.config.to_dict(), model.config, cut)
    config = type(model.config).from_dict(settings)
    config._attn_implementation = model.config._attn_implementation
    if getattr(model.config, "_experts_implementation", None) is not None:
        config._experts_implementation = model.config._experts_implementation
    with init_empty_weights(include_buffers=False):  # buffers that are no weights (rotary tables) are computed as usual
        small = type(model)._from_config(config, dtype=model.dtype)
    state = gathered(model.state_dict(), cut)
    missing, unexpected = small.load_state_dict(state, strict=False, assign=True)
    small.tie_weights()
    empty = [name for name, parameter in small.named_parameters() if parameter.device.type == "meta"]
    if empty or unexpected:
        raise CarveError(
            f"The smaller model of '{cut.family}' and the weights that are left do not fit together ({[*empty, *unexpected, *missing][0]} first): "
            "please report the model and the sub-model."
        )
    for parameter in small.parameters():
        parameter.requires_grad_(False)
    small = small.to(model.device)
    if getattr(model, "generation_config", None) is not None:
        small.generation_config = model.generation_config
    return small.eval()


def gathered(state: dict[str, torch.Tensor], cut: Cut) -> dict[str, torch.Tensor]:
    """The tensors of a state dict that are left, under their new names; cut ones are new tensors, whole ones the old.

    Raises:
        CarveError: if a tensor inside a block of experts is of no known kind, or has no axis of experts.
    """
    import torch

    from workbench.elastic.carve import expert_axis

    found: dict[str, Any] = {}
    for name, tensor in state.items():
        named = understand(name)
        if not named.known:
            raise CarveError(
                f"The tensor '{name}' is of no kind that carving '{cut.family}' knows: please report the model."
            )
        if named.layer is None:
            found[name] = tensor
            continue
        number = cut.new_number(named.layer)
        if number is None:
            continue
        experts = cut.experts.get(named.layer)
        if experts is None or named.kind == "dense":
            found[renumber(name, number)] = tensor
        elif named.kind == "expert":
            if named.expert in experts:
                found[renumber(name, number, experts.index(named.expert))] = tensor
        elif len(experts) == cut.experts_before:
            found[renumber(name, number)] = tensor
        else:
            axis = expert_axis(tuple(tensor.shape), name, cut)
            found[renumber(name, number)] = tensor.index_select(axis, torch.tensor(experts, device=tensor.device))
    return found
