"""Take the routers' inputs by plain hooks of the tests' own, and compute what they must have chosen.

Nothing here reads the probe, nor a router's or an experts module's output.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from tests.probes.families.build import Inputs
from tests.probes.families.rules import Rule, all_rules
from tests.probes.families.scores import Choice

# Families whose block is the router: the class is in the rules under the block's name.
_BLOCK_IS_ROUTER = ("DogeCDMoE", "VitPoseBackboneMoeMLP")


@dataclass
class Router:
    """One router of a model, what it was given, and what its rule makes of it.

    Attributes:
        block: dotted path of the module that holds the router and its experts.
        calls: for each forward call the inputs by name ("hidden" float64 [T, D], "shaped" with all its axes, ...).
    """

    block: str
    module: nn.Module
    parent: nn.Module
    config: PreTrainedConfig
    rule: Rule
    calls: list[dict[str, np.ndarray]] = field(default_factory=list)

    def tensor(self, path: str) -> np.ndarray:
        owner: Any = self.module
        if path.startswith("^"):
            owner, path = self.parent, path[1:]
        for part in path.split("."):
            owner = getattr(owner, part)
        array = owner.detach().numpy()
        return array.astype(np.float64) if array.dtype.kind == "f" else array

    def field(self, path: str) -> Any:
        value: Any = self.config
        for part in path.split("."):
            value = getattr(value, part)
        return value

    def choices(self) -> list[Choice]:
        """The choice of every call."""
        return [self.rule(self, call) for call in self.calls]


def find_routers(model: PreTrainedModel) -> list[Router]:
    """Every router of the model in module order, by class name."""
    rules = all_rules()
    found = []
    for path, module in model.named_modules():
        name = type(module).__name__
        if name not in rules:
            continue
        parent_path = path.rsplit(".", 1)[0]
        block = path if name in _BLOCK_IS_ROUTER else parent_path
        found.append(Router(block, module, model.get_submodule(parent_path), _config_of(model, path), rules[name]))
    return found


def _config_of(model: PreTrainedModel, path: str) -> PreTrainedConfig:
    """Configuration of the innermost pretrained model around a module; of its text part, if it has parts."""
    parts = path.split(".")
    for depth in range(len(parts), -1, -1):
        owner = model.get_submodule(".".join(parts[:depth]))
        if isinstance(owner, PreTrainedModel):
            return getattr(owner.config, "text_config", None) or owner.config
    raise LookupError(f"{path} lies in no pretrained model")


@contextmanager
def watched(model: PreTrainedModel) -> Iterator[list[Router]]:
    """Routers whose `calls` are filled while the block runs."""
    routers = find_routers(model)
    handles = [
        router.module.register_forward_pre_hook(_recorder(router), with_kwargs=True, prepend=True) for router in routers
    ]
    try:
        yield routers
    finally:
        for handle in handles:
            handle.remove()


def _recorder(router: Router) -> Any:
    names = {"hidden_states": "hidden", "hidden_state": "hidden", "input_ids": "token_ids"}
    signature = inspect.signature(type(router.module).forward)

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        bound = signature.bind(module, *args, **kwargs).arguments
        call: dict[str, np.ndarray] = {}
        for name, value in bound.items():
            if isinstance(value, torch.Tensor):
                array = value.detach().clone().numpy()
                call[names.get(name, name)] = array.astype(np.float64) if array.dtype.kind == "f" else array
        call["shaped"] = call["hidden"]
        for name in ("hidden", "router_states"):
            if name in call:
                call[name] = call[name].reshape(-1, call[name].shape[-1])
        router.calls.append(call)

    return hook


def expected_routing(model: PreTrainedModel, inputs: Inputs) -> dict[str, Choice]:
    """Block path -> what one forward pass chose, calls of the same block one after the other."""
    with watched(model) as routers, torch.no_grad():
        model(**inputs)
    result = {}
    for router in routers:
        choices = router.choices()
        if choices:
            result[router.block] = Choice(
                np.concatenate([choice.ids for choice in choices]),
                np.concatenate([choice.weights for choice in choices]),
            )
    return result
