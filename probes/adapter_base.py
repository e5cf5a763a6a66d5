"""What every adapter is, and what it says: the routing of a call, the facts of a set of experts, and helpers to find both.

An adapter for a model of one's own is a subclass of `Adapter`, passed as `RoutingProbe(model, adapters=[MyAdapter()])`
(docs/probe.md). The adapters of the families of transformers are in `probes.adapters`.

Letters: T tokens, K chosen experts, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from probes.score import Promise

DROPPED = -1  # a choice that a capacity limit dropped
SKIPPED = -2  # a choice of no expert at all
TOP_K_NAMES = ("top_k", "num_experts_per_tok", "topk", "moe_top_k")  # attributes that state it on a module


class Routing(NamedTuple):
    """What one call of a router decided.

    Attributes:
        ids: integer [T, K], chosen experts; DROPPED or SKIPPED where a choice led to none.
        weights: float [T, K], their gate weights.
        logits: float [T, E] or None, all scores of the router.
    """

    ids: Tensor
    weights: Tensor
    logits: Tensor | None = None


@dataclass(frozen=True)
class Place:
    """A module of the model as an adapter sees it when asked whether it knows it."""

    path: str
    module: nn.Module
    parent: nn.Module | None
    root: nn.Module

    @property
    def leaf(self) -> str:
        return self.path.rsplit(".", 1)[-1]


@dataclass(frozen=True)
class Facts:
    """What an adapter knows about a set of experts before any token runs.

    Attributes:
        experts: number of experts to choose from, identity experts included.
        top_k: choices a token.
        watch: the module whose calls show the routing.
        block: the module that holds router and experts; watched for a fused kernel that calls neither, if `router` is given.
        router: module that returns the logits, for `scores=True` and for fused blocks.
        part: name of this set inside its layer, if the path does not tell.
        identity_experts: zero-compute experts among `experts`.
        covers: modules that belong to this site and need no adapter of their own.
        token_axis: "tokens" (a row a token), "images" (a row an image of the batch).
        states_top_k: module that states the top-k of this moment, where that is not `watch` (a sub-model may lower it).
        split: module whose call says which tokens this set sees, or None if it sees all (see `Adapter.seen`).
        promise: what the gate weights of a token add up to.
        may_lose: whether a choice can be dropped or skipped.
        witnesses: the experts in order, where the rows they receive are the only proof of the choice.
        flags: (kind, detail) pairs that a reader of the capture has to know.
    """

    experts: int
    top_k: int
    watch: nn.Module
    block: nn.Module | None = None
    router: nn.Module | None = None
    part: str | None = None
    identity_experts: int = 0
    covers: tuple[nn.Module, ...] = ()
    token_axis: Literal["tokens", "images"] = "tokens"
    split: nn.Module | None = None
    promise: Promise = field(default_factory=Promise)
    may_lose: bool = False
    witnesses: tuple[nn.Module, ...] = ()
    flags: tuple[tuple[str, str], ...] = ()
    states_top_k: nn.Module | None = None

    @property
    def top_k_now(self) -> int:
        """Choices a token at this moment: `top_k`, or fewer while the model runs as a sub-model."""
        return number(self.states_top_k or self.watch, *TOP_K_NAMES) or self.top_k


class Adapter:
    """Reads the routing of one kind of module.

    `when` says whether `read` is asked before the watched module runs (output is then None) or after.
    """

    name = "adapter"
    when: Literal["before", "after"] = "before"

    def find(self, place: Place) -> Facts | None:
        """The facts if this adapter knows the module at `place`, else None."""
        raise NotImplementedError

    def read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any, facts: Facts) -> Routing | None:
        """The routing of one call of the watched module; None if this call routes nothing."""
        raise NotImplementedError

    def seen(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], facts: Facts) -> Tensor | None:
        """bool [T], which tokens of a call of `facts.split` this set of experts sees; None for all."""
        return None


# ---------------------------------------------------------------------- what adapters share
def child(module: nn.Module | None, *names: str) -> nn.Module | None:
    """The first of the named submodules that there is."""
    for name in names:
        found = getattr(module, name, None)
        if isinstance(found, nn.Module):
            return found
    return None


def number(module: Any, *names: str) -> int | None:
    """The first of the named attributes that is a positive whole number."""
    for name in names:
        value = getattr(module, name, None)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def choices(place: Place, *holders: Any) -> int | None:
    """Top-k as the modules state it, else as the nearest configuration does."""
    for holder in holders:
        found = number(holder, *TOP_K_NAMES)
        if found:
            return found
    for holder in (*holders, place.root):
        config = getattr(holder, "config", None)
        for part in (config, getattr(config, "text_config", None)):
            found = number(part, "num_experts_per_tok", "top_k_experts", "moe_topk", "moe_top_k", "moe_k", "top_k")
            if found:
                return found
    return None


def logits_of(output: Any, experts: int) -> Tensor | None:
    """Full router scores [T, >= E] in whatever a router returned: its first floating tensor with a column an expert."""
    found = output if isinstance(output, (tuple, list)) else (output,)
    # Llama4's dense scores are 0 off the top-k; its logits come second and are the ones wanted: prefer the later of two.
    wide = [
        x for x in found if isinstance(x, Tensor) and x.is_floating_point() and x.dim() >= 2 and x.shape[-1] >= experts
    ]
    if not wide:
        return None
    same = [x for x in wide if x.shape[-1] == wide[0].shape[-1]]
    return same[-1].detach().reshape(-1, same[-1].shape[-1])


def detached(tensor: Tensor) -> Tensor:
    return tensor.detach() if tensor.requires_grad else tensor
