"""Which family scores how: a rule for every router class of transformers, from the table of families.

A rule names the fields of the configuration and the stored tensors that it needs; it never calls the model's code. Most
routers differ only in the fields of `TopK`; the others have a function of their own in `rules_apart`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from tests.probes.families import scores
from tests.probes.families.scores import Choice


class Stored(Protocol):
    """What a rule may read of a router (see `observe.Router`)."""

    def tensor(self, path: str) -> np.ndarray:
        """A stored tensor by dotted path below the router; a leading "^" starts at the block above it."""

    def field(self, path: str) -> Any:
        """A field of the configuration by dotted path."""


Rule = Callable[[Stored, Mapping[str, np.ndarray]], Choice]


@dataclass(frozen=True)
class TopK:
    """Linear logits, a score, the k best, their weights.

    Attributes:
        score: what the logits become (see `scores.score`), or the field that says it.
        k: field with the number of choices.
        matrix: tensor [E, D] of the linear map.
        constant: tensor [E] added to the logits.
        bias: tensor [E] added to the scores for the selection only.
        rank_groups_by: 0 for no groups, else how many experts of a group rank it; fill: score of experts left out.
        of_chosen: what the scores of the chosen experts become ("softmax", "sigmoid", "logits": nothing).
        normalise: True, False, or the field that says whether the weights are divided by their sum.
        floor: field with the smallest divisor.
        scale: field with a factor on the weights.
    """

    score: str = "softmax"
    k: str = "num_experts_per_tok"
    matrix: str = "weight"
    constant: str | None = None
    bias: str | None = None
    rank_groups_by: int = 0
    fill: float = -np.inf
    of_chosen: str = "logits"
    normalise: bool | str = False
    floor: str | None = None
    scale: str | None = None

    def __call__(self, stored: Stored, inputs: Mapping[str, np.ndarray]) -> Choice:
        logits = inputs["hidden"] @ stored.tensor(self.matrix).T
        if self.constant is not None:
            logits = logits + stored.tensor(self.constant)
        return self.choose(stored, logits)

    def choose(self, stored: Stored, logits: np.ndarray) -> Choice:
        """Ids and weights from the logits [T, E]."""
        kind = stored.field(self.score) if self.score == "scoring_func" else self.score
        values = scores.score(logits, kind)
        selection = values if self.bias is None else values + stored.tensor(self.bias).reshape(-1)
        if self.rank_groups_by:
            groups, kept = stored.field("n_group"), stored.field("topk_group")
            selection = scores.limit_to_groups(selection, groups, kept, self.rank_groups_by, self.fill)
        ids = scores.largest(selection, stored.field(self.k))
        weights = scores.score(scores.take(values, ids), self.of_chosen)
        if stored.field(self.normalise) if isinstance(self.normalise, str) else self.normalise:
            weights = scores.normalised(weights, 0.0 if self.floor is None else stored.field(self.floor))
        if self.scale is not None:
            weights = weights * stored.field(self.scale)
        return Choice(ids, weights)


_BIAS = "e_score_correction_bias"

# Softmax over all experts, weights as they are or divided by their sum (Shazeer et al. 2017, GShard, Mixtral).
_SOFTMAX_FLAG = TopK(normalise="norm_topk_prob")
_SOFTMAX_SUM = TopK(normalise=True)
# The k best logits, softmax over those.
_CHOSEN_SOFTMAX = TopK(score="logits", of_chosen="softmax")
# DeepSeek-V3: sigmoid, bias for the selection, groups ranked by their best two, weights normalised and scaled.
_DEEPSEEK_V3 = TopK(
    score="sigmoid", bias=_BIAS, rank_groups_by=2, normalise="norm_topk_prob", scale="routed_scaling_factor"
)
# Softmax with groups ranked by their best two (Mistral 4).
_MISTRAL = TopK(rank_groups_by=2, fill=0.0, normalise="norm_topk_prob", scale="routed_scaling_factor")
# Sigmoid and bias without groups (MiniMax-M2); the block holds the bias in some families ("^").
_SIGMOID_BIAS = TopK(score="sigmoid", bias=_BIAS, normalise=True)
_SIGMOID_OUTER_BIAS = replace(_SIGMOID_BIAS, bias="^" + _BIAS)
_ERNIE = TopK(bias="moe_statics.e_score_correction_bias", k="moe_k", normalise=True, floor="moe_norm_min")


def _top_k_rules() -> dict[str, Rule]:
    same: dict[Rule, str] = {
        _SOFTMAX_FLAG: "FlexOlmo Mellum Olmoe Qwen2Moe Qwen3Moe Qwen3Next Qwen4ExpText Qwen3OmniMoeThinkerText "
        "Qwen3OmniMoeTalkerText",
        _SOFTMAX_SUM: "MiniMax Mixtral Qwen3_5Moe Qwen3VLMoeText",
        _CHOSEN_SOFTMAX: "GraniteMoe GraniteMoeSWA GraniteMoeShared GraniteMoeHybrid",
        _SIGMOID_BIAS: "MiniMaxM3VL Step3p7",
        _ERNIE: "Ernie4_5_Moe Ernie4_5_VLMoeMoe",
    }
    rules = {f"{stem}TopKRouter": rule for rule, stems in same.items() for stem in stems.split()}
    lower_k: dict[Rule, str] = {
        _DEEPSEEK_V3: "ExaoneMoe Glm4Moe HYV4 SolarOpen Glm4MoeLite DeepseekV32 GlmMoeDsa Dots3NoteText Glm4vMoeText "
        "MiMoV2Flash Dots1 AXK1 DeepseekV3 NemotronH Glm5NextText",
        replace(_DEEPSEEK_V3, k="num_experts_per_token"): "BailingHybrid KimiLinear",
        replace(_DEEPSEEK_V3, fill=0.0): "AXK2",
        _MISTRAL: "Mistral4",
        replace(_MISTRAL, normalise=True): "MistralLarge4Text",
    }
    rules |= {f"{stem}TopkRouter": rule for rule, stems in lower_k.items() for stem in stems.split()}
    rules |= {
        "AfmoeTokenChoiceRouter": replace(
            _SIGMOID_BIAS, matrix="gate.weight", bias="^expert_bias", scale="route_scale"
        ),
        "AriaTextTopKRouter": replace(_CHOSEN_SOFTMAX, k="moe_topk"),
        "BeamTopKRouter": replace(_DEEPSEEK_V3, scale=None),
        "DeepseekV4TopKRouter": TopK(score="scoring_func", bias=_BIAS, normalise=True, scale="routed_scaling_factor"),
        "Dots3NoteVisionTopKRouter": replace(_SIGMOID_OUTER_BIAS, scale="router_scaling_factor"),
        "FlintTopKRouter": TopK(score="sigmoid", normalise="norm_topk_prob"),
        "GptOssTopKRouter": replace(_CHOSEN_SOFTMAX, constant="bias"),
        "HYV3TopKRouter": replace(_SIGMOID_OUTER_BIAS, scale="router_scaling_factor"),
        "HunYuanMoEV1Gate": replace(_SOFTMAX_SUM, matrix="wg.weight", k="moe_topk"),
        "Inkling2TopKRouter": TopK(score="scoring_func", bias=_BIAS, normalise=True, scale="routed_scaling_factor"),
        "JambaTopKRouter": TopK(),
        "JetMoeTopKGating": replace(_CHOSEN_SOFTMAX, matrix="layer.weight"),
        "Lfm2MoeTopKRouter": TopK(
            score="sigmoid", bias="^expert_bias", normalise="norm_topk_prob", scale="routed_scaling_factor"
        ),
        # Llama 4 multiplies the experts' input by the sigmoid of the chosen logits.
        "Llama4Router": TopK(score="logits", of_chosen="sigmoid"),
        "LongcatFlashTopkRouter": TopK(
            k="moe_topk", matrix="classifier.weight", bias=_BIAS, scale="routed_scaling_factor"
        ),
        "MiniMaxM2TopKRouter": _SIGMOID_OUTER_BIAS,
    }
    return rules


def all_rules() -> dict[str, Rule]:
    """Class name of a router (or of the block, where there is no router module) -> its rule."""
    from tests.probes.families.rules_apart import rules_apart

    return {**_top_k_rules(), **rules_apart()}
