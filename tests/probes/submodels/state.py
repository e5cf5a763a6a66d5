"""Everything that a model is made of, to compare before and after."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import Tensor, nn


def state_of(model: nn.Module, without: set[str] | None = None) -> dict[str, Any]:
    """Bytes and places of all tensors, identity of every attribute and hook of every module, and the configuration.

    Args:
        without: keys to leave out.
    """
    found: dict[str, Any] = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, dict) and name.startswith("_"):  # parameters, buffers, submodules, hooks
                found[f"{path}:{name}"] = [(key, id(one)) for key, one in value.items()]
            else:
                found[f"{path}:{name}"] = id(value)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        found[f"tensor {name}"] = (tensor.data_ptr(), _digest(tensor), tensor.requires_grad)
    config = getattr(model, "config", None)
    found["config"] = json.dumps(config.to_dict(), default=str, sort_keys=True) if config is not None else None
    return {key: value for key, value in found.items() if key not in (without or ())}


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
