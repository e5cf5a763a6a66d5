"""The mixture-of-experts feed-forward: a router that sees no modality, routed experts, a shared one, no token dropped.

Gate: sigmoid scores, made to add up to 1 over the chosen. The balancing bias is added for the choice alone and is in no
weight, output or gradient (auxiliary-loss-free balancing, Wang et al. 2024, arXiv 2408.15664; DeepSeek-V3 section 2.1.2). ERNIE 5.0
states the balancing and the shared expert, not the gate: the sigmoid is our choice.

Letters: N tokens, D width, E experts, K chosen experts, F width inside an expert.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.unified.config import UnifiedConfig
from workbench.unified.segments import UnifiedError


@dataclass
class Reduction:
    """A pass with less than the whole model (elastic training, sub-models).

    Attributes:
        top_k: experts a token, None for all that the model is made for.
        experts: a layer, bool [E] of the experts that there are; None for all.
        layers: layers that run; None for all.
    """

    top_k: int | None = None
    experts: dict[int, Tensor] | None = None
    layers: frozenset[int] | None = None

    @property
    def reduced(self) -> bool:
        return self.top_k is not None or self.experts is not None or self.layers is not None


class Router(nn.Module):
    """Chooses K of E experts for every token from its hidden state alone.

    Attributes:
        bias: float32 buffer [E], the balancing bias.
        counted: float32 buffer [E], tokens sent to each expert since the last update of the bias; not saved.
    """

    bias: Tensor
    counted: Tensor
    gate_promise = ("sigmoid + selection bias", "sum")  # what the routing probe says and checks of the weights

    def __init__(self, config: UnifiedConfig) -> None:
        super().__init__()
        self.num_experts, self.top_k = config.num_experts, config.num_experts_per_tok
        self.weight = nn.Parameter(torch.empty(config.num_experts, config.hidden_size))
        self.register_buffer("bias", torch.zeros(config.num_experts, dtype=torch.float32))
        self.register_buffer("counted", torch.zeros(config.num_experts, dtype=torch.float32), persistent=False)

    def forward(self, hidden: Tensor, top_k: int | None = None, present: Tensor | None = None) -> Tensor:
        """Scores before the sigmoid, float32 [N, E]; the choice is made by :meth:`choose`."""
        return functional.linear(hidden.float(), self.weight.float())

    def choose(self, logits: Tensor, top_k: int, present: Tensor | None) -> tuple[Tensor, Tensor]:
        """The choice of every token.

        Args:
            logits: float32 [N, E].
            top_k: K.
            present: bool [E], experts that there are, or None for all.

        Returns:
            Ids int64 [N, K] and weights float32 [N, K] that add up to 1.
        """
        scores = logits.sigmoid()
        wish = scores.detach() + self.bias
        if present is not None:
            wish = wish.masked_fill(~present, -torch.inf)
        ids = wish.topk(top_k, -1).indices
        weights = scores.gather(1, ids)
        return ids, weights / weights.sum(-1, keepdim=True).clamp_min(1e-9)

    @torch.no_grad()
    def count(self, ids: Tensor, real: Tensor | None) -> None:
        """Add a pass to the tally that the bias follows; padding (False in `real` [N]) is left out."""
        chosen = ids if real is None else ids[real]
        self.counted += torch.bincount(chosen.flatten(), minlength=self.num_experts).float()


class Experts(nn.Module):
    """E small SwiGLU networks, computed for the tokens that chose them.

    Weights are stored stacked: `gate_up` [E, D, 2F] and `down` [E, F, D].
    """

    def __init__(self, config: UnifiedConfig) -> None:
        super().__init__()
        self.num_experts = config.num_experts
        self.implementation = config.experts_implementation
        inner, width = config.moe_intermediate_size, config.hidden_size
        self.gate_up = nn.Parameter(torch.empty(config.num_experts, width, 2 * inner))
        self.down = nn.Parameter(torch.empty(config.num_experts, inner, width))

    def forward(self, hidden: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Weighted sum of the chosen experts.

        Args:
            hidden: [N, D].
            top_k_index: int64 [N, K].
            top_k_weights: [N, K].

        Returns:
            [N, D].
        """
        return implementation(self.implementation, hidden)(
            hidden, top_k_index, top_k_weights.to(hidden.dtype), self.gate_up, self.down
        )


Compute = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def by_loop(hidden: Tensor, ids: Tensor, weights: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """An expert after the other, the plainest way; what the others are tested against."""
    out = torch.zeros_like(hidden)
    for expert in range(gate_up.shape[0]):
        rows, slots = torch.where(ids == expert)
        if len(rows):
            inner = glu(hidden[rows] @ gate_up[expert])
            out = out.index_add(0, rows, (inner @ down[expert]) * weights[rows, slots, None])
    return out


def by_split(hidden: Tensor, ids: Tensor, weights: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """Tokens sorted by expert and split; weights unbound once (indexing them is the slow part of the plain loop)."""
    order, rows, counts = sorted_by_expert(ids, gate_up.shape[0])
    parts = hidden[rows].split(counts.tolist())
    done = [
        glu(part @ up) @ low if len(part) else part
        for part, up, low in zip(parts, gate_up.unbind(), down.unbind(), strict=True)
    ]
    return summed(torch.cat(done), order, rows, weights, hidden)


def by_grouped_mm(hidden: Tensor, ids: Tensor, weights: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """Tokens sorted by expert, one grouped matrix product for all experts."""
    order, rows, counts = sorted_by_expert(ids, gate_up.shape[0])
    ends = counts.cumsum(0).to(torch.int32)
    inner = glu(grouped_mm()(hidden[rows], gate_up.to(hidden.dtype), offs=ends))
    return summed(grouped_mm()(inner, down.to(hidden.dtype), offs=ends), order, rows, weights, hidden)


def sorted_by_expert(ids: Tensor, experts: int) -> tuple[Tensor, Tensor, Tensor]:
    """Order of the N * K choices by expert, the token of each, and how many each expert has [E]."""
    flat = ids.flatten()
    order = flat.argsort(stable=True)
    return order, order // ids.shape[1], torch.bincount(flat, minlength=experts)


def summed(outputs: Tensor, order: Tensor, rows: Tensor, weights: Tensor, like: Tensor) -> Tensor:
    """Outputs of the sorted choices, weighted and added up by token."""
    return torch.zeros_like(like).index_add(0, rows, outputs * weights.flatten()[order, None])


def glu(x: Tensor) -> Tensor:
    """SwiGLU of the two halves."""
    gate, up = x.chunk(2, -1)
    return functional.silu(gate) * up


def grouped_mm() -> Callable[..., Tensor]:
    """torch's grouped matrix product, under its public name where there is one."""
    found: Callable[..., Tensor] | None = getattr(functional, "grouped_mm", None) or getattr(torch, "_grouped_mm", None)
    if found is None:
        raise UnifiedError(
            "This torch has no grouped matrix product: set experts_implementation to 'split', or install torch 2.9 or newer."
        )
    return found


IMPLEMENTATIONS: dict[str, Compute] = {"loop": by_loop, "split": by_split, "grouped_mm": by_grouped_mm}


def implementation(name: str, hidden: Tensor) -> Compute:
    """The way of this name; "auto" is the fastest of benchmarks/unified_experts.py for the tokens at hand."""
    if name == "auto":
        name = "grouped_mm" if hasattr(functional, "grouped_mm") or hasattr(torch, "_grouped_mm") else "split"
    if name not in IMPLEMENTATIONS:
        raise UnifiedError(f"Expected auto, {', '.join(IMPLEMENTATIONS)} as experts_implementation, got '{name}'.")
    return IMPLEMENTATIONS[name]


class SharedExpert(nn.Module):
    """The SwiGLU network that every token passes."""

    def __init__(self, config: UnifiedConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.hidden_size, 2 * config.shared_intermediate_size, bias=False)
        self.down = nn.Linear(config.shared_intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.down(glu(self.gate_up(hidden)))
        return out


class MoeBlock(nn.Module):
    """Router, routed experts and shared expert of one layer."""

    def __init__(self, config: UnifiedConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.top_k = config.num_experts_per_tok
        self.router = Router(config)
        self.experts = Experts(config)
        self.shared = SharedExpert(config)

    def forward(self, hidden: Tensor, real: Tensor | None = None, reduction: Reduction | None = None) -> Tensor:
        """Feed-forward of every token.

        Args:
            hidden: [B, T, D].
            real: bool [B, T], not padding; None if there is none.
            reduction: experts and top-k of a smaller model; such a pass does not feed the balancing bias.

        Returns:
            [B, T, D].
        """
        flat = hidden.flatten(0, 1)
        top_k, present = self.top_k, None
        if reduction is not None:
            top_k = reduction.top_k or top_k
            present = (reduction.experts or {}).get(self.layer)
        ids, weights = self.router.choose(self.router(flat), top_k, present)
        if self.training and (reduction is None or not reduction.reduced):
            self.router.count(ids, None if real is None else real.flatten())
        routed = self.experts(flat, ids, weights)
        return (routed + self.shared(flat)).view_as(hidden)
