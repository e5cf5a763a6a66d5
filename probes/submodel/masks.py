"""Experts that are not there: their scores are minus infinity where the router makes them and where it chooses.

Masking the scores lets softmax and normalisation run over the experts that stay, as in a model built with these alone; masking
the choice keeps selection biases (which are added after the score function) and groups that are filled with zeros from bringing
a dropped expert back. No parameter and no buffer is touched.

Letters: T tokens, E experts, C columns of the router's scores (E, and classes that are no experts: shared, identity, skip).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from probes.adapters import executed
from probes.errors import SubModelError
from probes.sites import FoundSite
from probes.submodel.patches import Patches, forward_name

_PRODUCTS = ("linear", "matmul", "__matmul__", "mm", "addmm")


class Absent:
    """The experts that a site does not have: a mask over the columns of its scores.

    Args:
        experts: E, identity experts included.
        kept: ids that stay.
        columns: C >= E; columns beyond E always stay.
        score: the weight [C, D] that makes the scores; told from other weights of the same shape by identity.
        alone: whether no other weight of the router has this shape.
    """

    def __init__(self, experts: int, kept: Sequence[int], columns: int, score: Tensor, alone: bool) -> None:
        self.experts, self.columns = experts, columns
        self.score, self.alone = score, alone
        absent = torch.ones(columns, dtype=torch.bool)
        absent[list(kept)] = False
        absent[experts:] = False
        self._absent: dict[torch.device, Tensor] = {torch.device("cpu"): absent}

    def on(self, device: torch.device) -> Tensor:
        """bool [C], True for columns of absent experts."""
        if device not in self._absent:
            self._absent[device] = self._absent[torch.device("cpu")].to(device)
        return self._absent[device]

    def is_score(self, arguments: Sequence[Any]) -> bool:
        """Whether a matrix product with these arguments makes the scores."""
        return self.alone or any(argument is self.score for argument in arguments)

    def cover(self, values: Tensor) -> Tensor:
        """Scores [..., C], [..., E] or, by groups, [..., G, E / G], with minus infinity for absent experts."""
        absent = self.on(values.device)
        if values.shape[-1] == self.columns:
            return values.masked_fill(absent, -torch.inf)
        if values.shape[-1] == self.experts:
            return values.masked_fill(absent[: self.experts], -torch.inf)
        if values.dim() > 2 and values.shape[-2] * values.shape[-1] == self.experts:
            return values.masked_fill(absent[: self.experts].view(values.shape[-2:]), -torch.inf)
        return values


class Cover(TorchFunctionMode):
    """While active, scores and choices of one router are made without the absent experts.

    Attributes:
        scored: how many times scores were covered.
    """

    def __init__(self, absent: Absent, scores: bool) -> None:
        super().__init__()
        self._absent, self._scores = absent, scores
        self.scored = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "topk":
            if args:
                args = (self._absent.cover(args[0]), *args[1:])
            elif "input" in given:
                given["input"] = self._absent.cover(given["input"])
            return func(*args, **given)
        output = func(*args, **given)
        if not self._scores or name not in _PRODUCTS or output.shape[-1] != self._absent.columns:
            return output
        if not self._absent.is_score((*args, *given.values())):
            return output
        self.scored += 1
        return self._absent.cover(output)


def mask_experts(patches: Patches, found: FoundSite, block: nn.Module, kept: Sequence[int]) -> None:
    """Make the router of a site choose among `kept` alone.

    Raises:
        SubModelError: from a forward pass in which the router was passed by (a fused kernel) or its scores were not found.
    """
    router = found.facts.router
    if router is None:
        raise SubModelError(
            f"A router was expected at site {found.site.id}, but none is known: its experts cannot be dropped."
        )
    site = found.site
    absent = _absent_of(router, site.experts, kept)
    returns_choice: list[bool] = []
    asked = [0]
    router_name = forward_name(router)
    router_forward: Callable[..., Any] = getattr(router, router_name)

    def masked_router(*args: Any, **kwargs: Any) -> Any:
        asked[0] += 1
        with Cover(absent, scores=True) as cover:
            output = router_forward(*args, **kwargs)
        if not cover.scored:
            raise SubModelError(
                f"The router of site {site.id} ({type(router).__name__}) makes its scores in a way that is not known, so its experts cannot "
                "be dropped: leave this site out of experts=."
            )
        if not returns_choice:
            parts = output if isinstance(output, (tuple, list)) else (output,)
            returns_choice.append(any(isinstance(part, Tensor) and not part.is_floating_point() for part in parts))
        return output

    patches.attribute(router, router_name, masked_router)
    if "Layer" in type(block).__name__ or block is router:  # Gemma 4: router and experts sit on the decoder layer
        return
    block_name = forward_name(block)
    block_forward: Callable[..., Any] = getattr(block, block_name)

    def masked_block(*args: Any, **kwargs: Any) -> Any:
        before = asked[0]
        if returns_choice and returns_choice[0]:
            output = block_forward(*args, **kwargs)
        else:  # the choice may be made in the block, from scores that the router returned
            with Cover(absent, scores=False):
                output = block_forward(*args, **kwargs)
        if asked[0] == before:
            raise SubModelError(
                f"The block of site {site.id} ({type(block).__name__}) runs as one fused kernel that passes its router by: load the model "
                "without kernels (use_kernels=False)."
            )
        return output

    patches.attribute(block, block_name, masked_block)


def _absent_of(router: nn.Module, experts: int, kept: Sequence[int]) -> Absent:
    """The mask for a router: its score weight is its last matrix with at least a row a real expert."""
    matrices = [tensor for tensor in router.parameters() if tensor.dim() == 2]
    score = next((tensor for tensor in reversed(matrices) if tensor.shape[0] >= experts), None)
    if score is None:
        raise SubModelError(
            f"A router with a row of scores an expert was expected, but {type(router).__name__} has none: its experts cannot be dropped."
        )
    same = [tensor for tensor in matrices if tensor.shape[0] == score.shape[0]]
    return Absent(experts, kept, int(score.shape[0]), score, alone=len(same) == 1)


def check_width(patches: Patches, found: FoundSite, top_k: int) -> None:
    """Fail a forward pass in which the experts of a site receive another number of choices than the plan says."""
    site = found.site

    def check(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids, _ = executed(args, kwargs)
        if ids.shape[-1] != top_k:
            raise SubModelError(
                f"Site {site.id} was to choose {top_k} experts a token, but its router chose {ids.shape[-1]}: leave this site out of top_k=."
            )

    patches.hook(found.facts.watch.register_forward_pre_hook(check, with_kwargs=True))
