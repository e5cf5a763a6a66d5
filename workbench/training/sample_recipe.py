"""The tiny model of the sample runs: a Qwen3-MoE, its learning rate, its balance loss, and one step of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import Qwen3MoeForCausalLM

KINDS = ("prose", "dialogue", "code", "tables", "german")
"""The kinds of text, in the order of every table; each is a folder of sample_data/inputs/kinds."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result, besides the data and the number of steps."""

    kinds: tuple[str, ...] = KINDS
    seed: int = 0
    vocabulary: int = 1024  # tokens
    context: int = 128  # T, tokens of a row
    rows: int = 1  # rows of each kind in a step
    width: int = 48  # D
    layers: int = 3  # L
    heads: int = 2
    key_value_heads: int = 1
    head_width: int = 24
    experts: int = 8  # E
    top_k: int = 2  # K
    expert_width: int = 24
    spread: float = 0.05  # standard deviation of the first weights
    learning_rate: float = 3e-3  # highest
    warm_up: int = 20  # steps
    decay_share: float = 0.5  # the last half: most of the late gain is the decay
    weight_decay: float = 0.1
    clip: float = 1.0  # norm of the gradient
    balance: float = 0.02  # weight of the balance loss, mean over layers


def build_model(recipe: Recipe, boundary: int, pad: int) -> Qwen3MoeForCausalLM:
    """A model with random weights drawn from the recipe's seed.

    Args:
        recipe: sizes and seed.
        boundary: id of the token that begins and ends a text.
        pad: id of the padding token.
    """
    import torch
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    undeclared: dict[str, Any] = {"head_dim": recipe.head_width}  # read by the model, not declared by the class
    config = Qwen3MoeConfig(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.width,
        intermediate_size=recipe.expert_width * recipe.top_k,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.key_value_heads,
        max_position_embeddings=recipe.context,
        moe_intermediate_size=recipe.expert_width,
        num_experts=recipe.experts,
        num_experts_per_tok=recipe.top_k,
        norm_topk_prob=True,
        initializer_range=recipe.spread,
        router_aux_loss_coef=recipe.balance,
        tie_word_embeddings=True,
        bos_token_id=boundary,
        eos_token_id=boundary,
        pad_token_id=pad,
        **undeclared,
    )
    torch.manual_seed(recipe.seed)
    # grouped_mm runs the experts faster on one CPU thread than the loop over experts and batched_mm.
    return Qwen3MoeForCausalLM._from_config(config, experts_implementation="grouped_mm")


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Warm-up, constant, linear decay to 0 over the last part.

    Args:
        recipe: highest rate, warm-up and share of the decay.
        step: number of the step, from 0.
        steps: steps in all.
    """
    warm = min(1.0, (step + 1) / max(1, recipe.warm_up))
    tail = max(1, round(steps * recipe.decay_share))
    return recipe.learning_rate * min(warm, 1.0, (steps - step) / tail)


def balance_loss(router_logits: tuple[torch.Tensor, ...], experts: int, top_k: int) -> torch.Tensor:
    """The family's auxiliary loss (Switch Transformer, eq. 4-6), each layer by itself, mean over layers.

    transformers' function pools the layers before it compares load with probability, so a layer may be out of balance while
    the pool is even; it is therefore called with one layer at a time. The sum runs over the whole batch (all kinds
    together), so that an expert may serve one kind only.

    Args:
        router_logits: L tensors [tokens, E].
        experts: E.
        top_k: K.

    Returns:
        A scalar; K at perfect balance.
    """
    import torch
    from transformers.models.qwen3_moe.modeling_qwen3_moe import load_balancing_loss_func

    losses = [torch.as_tensor(load_balancing_loss_func((layer,), experts, top_k)) for layer in router_logits]
    return torch.stack(losses).mean()


def train_step(
    model: Qwen3MoeForCausalLM, optimizer: torch.optim.Optimizer, recipe: Recipe, ids: torch.Tensor, rate: float
) -> dict[str, float]:
    """One step of the optimiser.

    Args:
        model: in training mode.
        optimizer: over its parameters.
        recipe: balance weight and clipping.
        ids: int64 [kinds x rows, T], kinds in order.
        rate: learning rate of the step.

    Returns:
        Mean loss and loss by kind (nats a token), balance loss (K when even) and norm of the gradient, under the names of the
        training log.
    """
    import torch
    from torch.nn import functional

    for group in optimizer.param_groups:
        group["lr"] = rate
    result = model(input_ids=ids, output_router_logits=True, use_cache=False)
    logits = result.logits[:, :-1].float()
    by_token = functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    by_kind = by_token.view(len(recipe.kinds), -1).mean(1)
    loss = by_kind.mean()
    balance = balance_loss(result.router_logits, recipe.experts, recipe.top_k)
    (loss + recipe.balance * balance).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {
        "loss": loss.item(),
        **{f"loss/{kind}": value for kind, value in zip(recipe.kinds, by_kind.tolist(), strict=True)},
        "loss/balance": balance.item(),
        "grad_norm": float(norm),
    }
