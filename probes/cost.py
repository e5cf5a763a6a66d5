"""What a sub-model costs: parameters that it stores and parameters that a token uses, counted module by module.

Stored: everything but layers that are left out, and weights and router rows of experts that are left out. Active: of what is
stored, everything but the experts that a token does not choose; embedding tables and heads count whole. A parameter that
several modules share counts once, and stays if one of them stays. Bytes are those of the parameters as they are loaded.

Letters: E experts, K choices a token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor, nn

from probes.errors import SubModelError
from probes.sites import FoundSite, find_sites
from probes.submodel.limits import block_of
from probes.submodel.plan import Plan, check_plan


@dataclass(frozen=True)
class Cost:
    """Parameters of a sub-model.

    Attributes:
        parameters_stored, parameters_active: numbers.
        bytes_stored, bytes_active: the same in bytes.
        full_parameters, full_bytes: of the whole model.
    """

    parameters_stored: int
    parameters_active: int
    bytes_stored: int
    bytes_active: int
    full_parameters: int
    full_bytes: int

    @property
    def share_stored(self) -> float:
        """Stored parameters over those of the whole model."""
        return self.parameters_stored / self.full_parameters


def cost(model: nn.Module, plan: Plan | None = None) -> Cost:
    """Count what a plan stores and what a token uses; without a plan, of the whole model.

    Args:
        model: the loaded model, not inside an `applied` block (its top-k is read).
        plan: from `SubModel.plan`.

    Raises:
        SubModelError: if the plan does not fit the model, or the weights of an expert cannot be told from the others'.
    """
    found = find_sites(model)
    kept_of = _kept_shares(model, found, plan)
    whole: dict[int, Tensor] = {id(tensor): tensor for tensor in model.parameters()}
    stored: dict[int, Fraction] = dict.fromkeys(whole, Fraction(0))
    active: dict[int, Fraction] = dict.fromkeys(whole, Fraction(0))
    for module in _modules_that_stay(model, found, plan):
        for tensor in module.parameters(recurse=False):
            keep, use = kept_of.get(id(tensor), (Fraction(1), Fraction(1)))
            stored[id(tensor)] = max(stored[id(tensor)], keep)
            active[id(tensor)] = max(active[id(tensor)], use)

    def total(share: Mapping[int, Fraction], size: int) -> int:
        unit = (tensor.numel() * (tensor.element_size() if size else 1) * share[key] for key, tensor in whole.items())
        return int(sum(unit, Fraction(0)))

    ones = dict.fromkeys(whole, Fraction(1))
    return Cost(
        parameters_stored=total(stored, 0),
        parameters_active=total(active, 0),
        bytes_stored=total(stored, 1),
        bytes_active=total(active, 1),
        full_parameters=total(ones, 0),
        full_bytes=total(ones, 1),
    )


def _modules_that_stay(model: nn.Module, found: list[FoundSite], plan: Plan | None) -> Iterator[nn.Module]:
    """Every module outside the layers that are left out; one that is shared stays with either of its homes."""
    gone: list[str] = []
    if plan is not None:
        stacks = check_plan(plan, model, found)
        for name, kept in plan.layers.items():
            stack = stacks[name]
            gone += [f"{stack.path}.{index}" for index in range(len(stack.layers)) if index not in kept]
    for path, module in model.named_modules(remove_duplicate=False):
        if not any(path == top or path.startswith(top + ".") for top in gone):
            yield module


def _kept_shares(model: nn.Module, found: list[FoundSite], plan: Plan | None) -> dict[int, tuple[Fraction, Fraction]]:
    """Parameter -> shares of it that stay and that a token uses, for parameters that belong to the experts of a site."""
    shares: dict[int, tuple[Fraction, Fraction]] = {}
    for one in found:
        site = one.site
        kept = site.experts if plan is None else len(plan.experts.get(site.id, range(site.experts)))
        top_k = site.top_k if plan is None else plan.top_k.get(site.id, site.top_k)
        identity = site.identity_experts
        real, all_real = kept - identity, site.experts - identity
        for tensor, rows in expert_tensors(model, one):
            # Identity experts hold rows of some tensors (LongCat's score rows); the others have a row a real expert.
            with_identity = rows == site.experts
            stay = Fraction(kept if with_identity else real, rows)
            use = Fraction(min(top_k, real), rows if not with_identity else site.experts)
            shares[id(tensor)] = (stay, min(use, stay))
        for tensor, columns in router_tensors(model, one):
            stay = Fraction(columns - (all_real - real), columns)
            shares[id(tensor)] = (stay, stay)
    return shares


def expert_tensors(model: nn.Module, one: FoundSite) -> list[tuple[Tensor, int]]:
    """Parameters that hold the experts of a site side by side, each with the number of experts in it.

    Raises:
        SubModelError: if a parameter cannot be divided by the number of experts.
    """
    site, watch = one.site, one.facts.watch
    if hasattr(watch, "down_embed") and hasattr(watch, "up_embed"):  # Doge: an expert is a row of two tables
        return [(tensor, site.experts) for part in (watch.down_embed, watch.up_embed) for tensor in part.parameters()]  # type: ignore[union-attr]
    experts = experts_module(model, one)
    real = site.experts - site.identity_experts
    listed = [child for name, child in experts.named_children() if isinstance(child, nn.Module)]
    if isinstance(experts, (nn.ModuleList, nn.ModuleDict)) and len(listed) == real:
        # Each expert is a module: a tensor of one expert is 1 of `real` equal ones, so its share is that of the set.
        return [(tensor, real) for child in listed for tensor in child.parameters()]
    found: list[tuple[Tensor, int]] = []
    for name, tensor in experts.named_parameters():
        rows = tensor.shape[0] if tensor.dim() else 0
        if rows in (real, site.experts):
            found.append((tensor, rows))
        elif tensor.dim() == 1:
            continue  # a norm, scale or bias that all experts share
        elif rows and rows % real == 0:
            found.append((tensor, real))
        else:
            raise SubModelError(
                f"The parameter '{name}' of the experts of site {site.id} was expected to hold {real} experts side by side, but its shape is "
                f"{tuple(tensor.shape)}: the parameters of a sub-model of this family cannot be counted."
            )
    return found


def experts_module(model: nn.Module, one: FoundSite) -> nn.Module:
    """The module that holds the weights of a site's experts."""
    block = block_of(model, one)
    kind = type(one.facts.watch).__name__
    if one.path.rpartition(".")[2] == "experts":
        return model.get_submodule(one.path)
    experts = getattr(block, "experts", None)
    return experts if isinstance(experts, nn.Module) else one.facts.watch if "Experts" in kind else block


def router_tensors(model: nn.Module, one: FoundSite) -> list[tuple[Tensor, int]]:
    """Parameters of a site's router with a row a score, each with its number of scores."""
    router = one.facts.router
    if router is None:
        return []
    real = one.site.experts - one.site.identity_experts
    matrices = [tensor for tensor in router.parameters() if tensor.dim() == 2 and tensor.shape[0] >= real]
    if not matrices:
        return []
    score = matrices[-1]
    columns = int(score.shape[0])
    # Biases of the choice may carry an axis of length 1 (ERNIE 4.5).
    beside = block_of(model, one).parameters(recurse=False)  # AFMoE keeps the bias of the choice on its block
    others = [part for part in (*router.parameters(), *beside) if max(part.shape, default=0) == part.numel()]
    fitting = [tensor for tensor in others if tensor.numel() in (real, columns)]
    return [(score, columns), *((tensor, tensor.numel()) for tensor in fitting)]
