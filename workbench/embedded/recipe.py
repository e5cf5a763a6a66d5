"""What is trained and how: one frozen recipe, the model it describes, its learning rate and its balance loss.

Architecture: Qwen3-MoE of transformers. Chosen over OLMoE, whose router is the same (softmax, then top-k), because its gate weights
of the chosen experts sum to 1 (``norm_topk_prob``), so that gate weights can be compared across tokens, and because
grouped-query attention leaves more of 8 MB to the experts.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from workbench.embedded import KINDS
from workbench.embedded.corpus import EmbeddedError

if TYPE_CHECKING:
    import torch
    from transformers import Qwen3MoeForCausalLM


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result, besides the data and the number of steps."""

    kinds: tuple[str, ...] = KINDS
    seed: int = 0
    vocabulary: int = 3072  # tokens
    context: int = 512  # T, tokens of a row
    rows: int = 1  # rows of each kind in a step
    width: int = 128  # D
    layers: int = 6  # L
    heads: int = 4
    key_value_heads: int = 2
    head_width: int = 32
    experts: int = 32  # E
    top_k: int = 4  # K
    expert_width: int = 40
    spread: float = 0.02  # standard deviation of the first weights
    learning_rate: float = 4e-3  # highest
    warm_up: int = 100  # steps
    decay_share: float = 0.5  # the last half: most of the late gain is the decay
    weight_decay: float = 0.1  # matrices only
    clip: float = 1.0  # norm of the gradient
    balance: float = 0.02  # weight of the balance loss, mean over layers

    def __post_init__(self) -> None:
        if not 0 < self.top_k <= self.experts:
            raise EmbeddedError(
                f"Expected between 1 and {self.experts} chosen experts, but top-k is {self.top_k}: lower it."
            )
        if self.context < 8:
            raise EmbeddedError(f"Expected a context of 8 tokens or more, but it is {self.context}: raise it.")
        if self.vocabulary < 258:
            raise EmbeddedError(
                f"Expected a vocabulary of at least 258 (bytes and two special tokens), but it is {self.vocabulary}: raise it."
            )

    def to_json(self) -> dict[str, Any]:
        """The recipe as plain JSON values."""
        return {**asdict(self), "kinds": list(self.kinds)}

    @staticmethod
    def from_json(values: dict[str, Any]) -> Recipe:
        """The recipe that :meth:`to_json` wrote."""
        return Recipe(**{**values, "kinds": tuple(values["kinds"])})


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
    # grouped_mm was the fastest way to run the experts on one CPU thread: 3,522 tokens/s in training against 3,052 for
    # the loop over experts and 231 for batched_mm (5 rows of 512 tokens, this size).
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
