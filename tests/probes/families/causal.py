"""Which tokens an expert really worked on: overwrite its weights, run the block again, see whose output changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from tests.probes.families.build import Inputs
from tests.probes.families.observe import Router, find_routers


@dataclass(frozen=True)
class Rerun:
    """A module that runs the experts of one block, and the arguments of its calls in a forward pass."""

    router: Router
    runner: nn.Module
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]]

    @torch.no_grad()
    def outputs(self) -> np.ndarray:
        """What the runner makes of its arguments [T, D], calls one after the other."""
        width = getattr(self.router.config, "hidden_size", 0)
        return np.concatenate([_rows(self.runner(*args, **kwargs), width) for args, kwargs in self.calls])

    def tokens_of(self, expert: int) -> np.ndarray:
        """bool [T]: tokens whose output changes when the weights of `expert` do."""
        before = self.outputs()
        with overwritten(self.router, expert):
            return np.any(self.outputs() != before, axis=-1)


def reruns(model: PreTrainedModel, inputs: Inputs) -> list[Rerun]:
    """One rerun for every router that ran; the model keeps no cache, so that a block may run twice."""
    model.config.use_cache = False
    made = [Rerun(router, _runner(model, router), []) for router in find_routers(model)]
    handles = [
        rerun.runner.register_forward_pre_hook(_recorder(rerun.calls), with_kwargs=True, prepend=True) for rerun in made
    ]
    try:
        with torch.no_grad():
            model(**inputs)
    finally:
        for handle in handles:
            handle.remove()
    return [rerun for rerun in made if rerun.calls]


def expert_count(router: Router) -> int:
    """How many experts of a router have weights of their own."""
    experts = _experts(router)
    if isinstance(experts, nn.ModuleDict):
        return sum(name.startswith("expert_") for name in experts)
    if isinstance(experts, nn.ModuleList):
        return len(experts)
    return len(next(_slices(router, experts)))


@contextmanager
def overwritten(router: Router, expert: int) -> Iterator[None]:
    """The weights of one expert replaced by noise inside the block."""
    generator = torch.Generator().manual_seed(expert)
    views = [tensor.data for tensor in _weights(router, expert)]
    kept = [view.clone() for view in views]
    try:
        for view in views:
            view.copy_(torch.randn(view.shape, generator=generator))
        yield
    finally:
        for view, old in zip(views, kept, strict=True):
            view.copy_(old)


def _weights(router: Router, expert: int) -> list[torch.Tensor]:
    experts = _experts(router)
    if isinstance(experts, nn.ModuleDict):
        return list(experts[f"expert_{expert}"].parameters())
    if isinstance(experts, nn.ModuleList):
        return list(experts[expert].parameters())
    return [stacked[expert] for stacked in _slices(router, experts)]


def _slices(router: Router, experts: nn.Module) -> Iterator[torch.Tensor]:
    """Tensors whose first axis is the expert."""
    name = type(router.parent).__name__
    if name == "DbrxFFN":
        for matrix in experts.parameters():
            yield matrix.data.view(router.field("ffn_config.moe_num_experts"), -1, matrix.shape[-1])
        return
    if type(router.module).__name__ == "DogeCDMoE":
        yield router.module.get_parameter("up_embed.weight").data
        return
    # The last projection first: it has one slice for every expert that computes (LongCat's identity experts do not).
    last_first = sorted(experts.named_parameters(), key=lambda named: "down" not in named[0])
    for _, tensor in last_first:
        if tensor.dim() > 1:  # Muse Spark keeps a norm beside the experts that all of them share
            yield tensor.data


def _experts(router: Router) -> nn.Module:
    if type(router.module).__name__ == "JetMoeTopKGating":
        return router.parent.get_submodule("output_linear")
    if type(router.module).__name__ == "DogeCDMoE":
        return router.module
    owner = router.module if hasattr(router.module, "experts") else router.parent
    return owner.get_submodule("experts")


def _runner(model: PreTrainedModel, router: Router) -> nn.Module:
    """The block; the attention around JetMoE's attention experts; Gemma's experts, which sit on a decoder layer."""
    if type(router.module).__name__ == "JetMoeTopKGating" and router.block.endswith(".experts"):
        return model.get_submodule(router.block.rsplit(".", 1)[0])
    block = model.get_submodule(router.block)
    return block.get_submodule("experts") if hasattr(block, "self_attn") else block


def _recorder(calls: list[tuple[tuple[Any, ...], dict[str, Any]]]) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append((tuple(_copy(value) for value in args), {key: _copy(value) for key, value in kwargs.items()}))

    return hook


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _rows(output: Any, width: int) -> np.ndarray:
    """A block's output as one row a token; some blocks return more than the hidden states, some flatten them."""
    output = output[0] if isinstance(output, tuple) else output
    return (output if output.dim() > 1 else output.reshape(-1, width)).flatten(0, -2).numpy()
