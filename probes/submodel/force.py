"""Experts that every token gets: put first where a router chooses, with the weight that the router gives them anyway.

Only the choice is changed, `topk` over the experts of the site; the numbers that it returns are the router's own. So a forced
expert with a small score gets a small gate weight, and takes the place of the weakest of the k that would have been chosen.

Letters: T tokens, E experts, C columns of the router's scores, K choices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from probes.adapters import ExpertsCall, executed
from probes.errors import SubModelError
from probes.locks import acquire, release
from probes.sites import FoundSite, find_sites, refuse_compiled
from probes.submodel.limits import block_of, site_limits
from probes.submodel.patches import Patches, forward_name


class Prefer(TorchFunctionMode):
    """While active, `topk` over the experts of a site chooses these first.

    Attributes:
        asked: how many times a choice was made.
    """

    def __init__(self, experts: int, columns: int, forced: Sequence[int]) -> None:
        super().__init__()
        self._widths = {experts, columns}
        self._forced = list(forced)
        self.asked = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        values = args[0] if args else given.get("input")
        if getattr(func, "__name__", "") != "topk" or not isinstance(values, Tensor):
            return func(*args, **given)
        if values.shape[-1] not in self._widths:
            return func(*args, **given)
        self.asked += 1
        raised = values.clone()
        raised[..., self._forced] = torch.inf
        if args:
            found = func(raised, *args[1:], **given)
        else:
            found = func(**{**given, "input": raised})
        return type(found)((values.gather(-1, found.indices), found.indices))


@contextmanager
def forced(model: nn.Module, experts: Mapping[str, Sequence[int]], *, lock_timeout: float = 60.0) -> Iterator[None]:
    """A block in which every token gets these experts; afterwards the model is as it was.

    Args:
        model: a mixture-of-experts model that the routing probe supports; may run as a sub-model at the same time.
        experts: site id -> ids, at most the site's top-k.
        lock_timeout: seconds to wait while another thread has the model.

    Raises:
        SubModelError: for an unknown site or id, more experts than top-k, or (from a forward pass) a router whose choice is
            not made by `topk`.
    """
    refuse_compiled(model)
    acquire(model, lock_timeout, "forced")
    patches = Patches()
    try:
        known = {found.site.id: found for found in find_sites(model)}
        for name, ids in experts.items():
            if name not in known:
                raise SubModelError(f"There is no site '{name}' in this model: choose among {', '.join(known)}.")
            limits = site_limits(model, known[name])
            if limits.experts is not None:
                raise SubModelError(f"No expert of site {name} can be forced, because {limits.experts}: leave it out.")
            _force(patches, known[name], block_of(model, known[name]), sorted({int(expert) for expert in ids}))
        yield
    finally:
        try:
            patches.restore()
        finally:
            release(model, "forced")


def _force(patches: Patches, found: FoundSite, block: nn.Module, ids: Sequence[int]) -> None:
    site, router = found.site, found.facts.router
    if not ids:
        return
    if ids[0] < 0 or ids[-1] >= site.experts:
        raise SubModelError(
            f"Experts {', '.join(map(str, ids))} were to be forced at site {site.id}, but its experts are 0 to {site.experts - 1}: name "
            "experts that there are."
        )
    if len(ids) > site.top_k:
        raise SubModelError(
            f"{len(ids)} experts were to be forced at site {site.id}, but a token gets {site.top_k}: force fewer."
        )
    assert router is not None  # site_limits names sites without one
    columns = max((tensor.shape[0] for tensor in router.parameters() if tensor.dim() == 2), default=site.experts)
    asked = [0]

    def wrapped(forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            with Prefer(site.experts, int(columns), ids) as prefer:
                output = forward(*args, **kwargs)
            asked[0] += prefer.asked
            return output

        return run

    patches.attribute(router, forward_name(router), wrapped(getattr(router, forward_name(router))))
    if block is not router and "Layer" not in type(block).__name__:
        patches.attribute(block, forward_name(block), wrapped(getattr(block, forward_name(block))))

    def check(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        wanted = torch.tensor(ids)
        chosen, _ = executed(args, kwargs)
        there = (chosen.unsqueeze(-1) == wanted.to(chosen.device)).any(dim=-2).all()
        if not bool(there):
            raise SubModelError(_REFUSED.format(site=site.id, router=type(router).__name__))

    def check_asked(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not asked[0]:
            raise SubModelError(_REFUSED.format(site=site.id, router=type(router).__name__))

    if isinstance(found.adapter, ExpertsCall):
        patches.hook(found.facts.watch.register_forward_pre_hook(check, with_kwargs=True))
    else:
        patches.hook(block.register_forward_hook(check_asked))


_REFUSED = (
    "The router of site {site} ({router}) chooses its experts in a way that is not known, so none can be forced there: "
    "leave this site out."
)
