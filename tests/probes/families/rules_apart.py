"""Rules of the routers that are not a linear map and its k best (see `rules`)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from tests.probes.families import scores
from tests.probes.families.rules import Rule, Stored, TopK
from tests.probes.families.scores import Choice

Inputs = Mapping[str, np.ndarray]
_BIAS = "e_score_correction_bias"


def rules_apart() -> dict[str, Rule]:
    return {
        "Cohere2MoeTopKRouter": cohere,
        "DbrxRouter": dbrx,
        "DeepseekOcr2TextTopkRouter": deepseek_v2,
        "DeepseekV2TopkRouter": deepseek_v2,
        "DeepseekV4HashRouter": deepseek_v4_hash,
        "DiffusionGemmaTextRouter": gemma,
        "DogeCDMoE": doge,
        "Gemma4TextRouter": gemma,
        "InklingTopkRouter": inkling,
        "Kolibri1TopKRouter": kolibri,
        "LagunaTopKRouter": laguna,
        "MuseSparkTopkRouter": muse_spark,
        "NllbMoeTop2Router": nllb,
        "OpenAIPrivacyFilterTopKRouter": privacy_filter,
        "PhimoeTopKRouter": phimoe,
        "SwitchTransformersTop1Router": switch,
        "UnlimitedOcrTextTopkRouter": deepseek_v2,
        "VitPoseBackboneMoeMLP": vitpose,
        "ZayaRouter": zaya,
    }


def _logits(stored: Stored, inputs: Inputs, matrix: str = "weight") -> np.ndarray:
    return inputs["hidden"] @ stored.tensor(matrix).T


def cohere(stored: Stored, inputs: Inputs) -> Choice:
    """Softmax or sigmoid of the k best logits, as the configuration says."""
    kind = stored.field("expert_selection_fn")
    divide = kind == "sigmoid" and bool(stored.field("norm_topk_prob"))
    return TopK(score="logits", of_chosen=kind, normalise=divide)(stored, inputs)


def dbrx(stored: Stored, inputs: Inputs) -> Choice:
    """Softmax, k best, divided by their p-norm."""
    shares = scores.softmax(_logits(stored, inputs, "layer.weight"))
    ids = scores.largest(shares, stored.field("ffn_config.moe_top_k"))
    weights = scores.take(shares, ids)
    power = stored.field("ffn_config.moe_normalize_expert_weights")
    if power is not None:
        weights = weights / (np.abs(weights) ** power).sum(axis=-1, keepdims=True) ** (1.0 / power)
    return Choice(ids, weights)


def deepseek_v2(stored: Stored, inputs: Inputs) -> Choice:
    """Softmax and scale; groups ranked by their best expert where the configuration limits them."""
    grouped = stored.field("topk_method") == "group_limited_greedy"
    return TopK(rank_groups_by=int(grouped), fill=0.0, scale="routed_scaling_factor")(stored, inputs)


def deepseek_v4_hash(stored: Stored, inputs: Inputs) -> Choice:
    """A stored table names the experts of every token id; the gate only weighs them."""
    ids = stored.tensor("tid2eid").astype(np.int64)[inputs["token_ids"].reshape(-1)]
    values = scores.score(_logits(stored, inputs), stored.field("scoring_func"))
    weights = scores.normalised(scores.take(values, ids)) * stored.field("routed_scaling_factor")
    return Choice(ids, weights)


def gemma(stored: Stored, inputs: Inputs) -> Choice:
    """Softmax of the normalised and scaled input, weights divided by their sum, then a factor for every expert."""
    hidden = scores.rms_norm(inputs["hidden"], stored.field("rms_norm_eps"))
    hidden = hidden * stored.tensor("scale") / math.sqrt(hidden.shape[-1])
    choice = TopK(k="top_k_experts", normalise=True).choose(stored, hidden @ stored.tensor("proj.weight").T)
    return Choice(choice.ids, choice.weights * stored.tensor("per_expert_scale")[choice.ids])


def doge(stored: Stored, inputs: Inputs) -> Choice:
    """Product keys; the weights add up to 1 with or without `norm_topk_prob`."""
    return scores.product_keys(_logits(stored, inputs, "router_gate.weight"), stored.field("num_experts_per_tok"))


def inkling(stored: Stored, inputs: Inputs) -> Choice:
    """Sigmoid and bias select; routed and shared experts share one softmax of the log of their sigmoids."""
    logits = _logits(stored, inputs)
    shared = stored.field("n_shared_experts")
    routed, always_on = logits[:, :-shared], logits[:, -shared:]
    ids = scores.largest(scores.sigmoid(routed) + stored.tensor(_BIAS), stored.field("num_experts_per_tok"))
    opened = scores.sigmoid(np.hstack([scores.take(routed, ids), always_on]))
    weights = scores.normalised(opened)[:, : ids.shape[1]]
    return Choice(ids, weights * stored.field("route_scale") * stored.tensor("global_scale"))


def kolibri(stored: Stored, inputs: Inputs) -> Choice:
    """The bias is added to the logits, not to the scores."""
    logits = _logits(stored, inputs)
    ids = scores.largest(logits + stored.tensor(_BIAS), stored.field("num_experts_per_tok"))
    weights = scores.sigmoid(scores.take(logits, ids))
    return Choice(ids, scores.normalised(weights) if stored.field("norm_topk_prob") else weights)


def laguna(stored: Stored, inputs: Inputs) -> Choice:
    """Logits capped by a hyperbolic tangent, sigmoid, bias."""
    logits = _logits(stored, inputs)
    cap = stored.field("moe_router_logit_softcapping")
    if cap > 0:
        logits = cap * np.tanh(logits / cap)
    return TopK(score="sigmoid", bias=_BIAS, normalise=True).choose(stored, logits)


def muse_spark(stored: Stored, inputs: Inputs) -> Choice:
    """Logits times a constant, sigmoid, bias, weights normalised and scaled."""
    logits = _logits(stored, inputs) * stored.field("output_multiplier")
    return TopK(score="sigmoid", bias=_BIAS, normalise=True, scale="routed_scaling_factor").choose(stored, logits)


def nllb(stored: Stored, inputs: Inputs) -> Choice:
    """Top two with a capacity that is a share of all tokens of the call."""
    logits = _logits(stored, inputs, "classifier.weight")
    return scores.nllb_top_two(logits, math.ceil(stored.field("moe_eval_capacity_token_fraction") * len(logits)))


def privacy_filter(stored: Stored, inputs: Inputs) -> Choice:
    """As gpt-oss, with weights that add up to 1 / k."""
    choice = TopK(score="logits", of_chosen="softmax", constant="bias")(stored, inputs)
    return Choice(choice.ids, choice.weights / choice.ids.shape[1])


def phimoe(stored: Stored, inputs: Inputs) -> Choice:
    return scores.sparse_mixer(_logits(stored, inputs), stored.field("router_jitter_noise"))


def switch(stored: Stored, inputs: Inputs) -> Choice:
    logits = inputs["shaped"] @ stored.tensor("classifier.weight").T
    return scores.switch_top_one(logits, stored.field("expert_capacity"))


def vitpose(stored: Stored, inputs: Inputs) -> Choice:
    """The number of the data set that an image comes from is its expert, for all patches."""
    ids = np.repeat(inputs["indices"].reshape(-1), inputs["shaped"].shape[1])[:, None]
    return Choice(ids, np.ones(ids.shape))


def zaya(stored: Stored, inputs: Inputs) -> Choice:
    """A small network with the last layer's router state added; class E is "skip": no expert, no weight."""
    hidden = inputs["hidden"] @ stored.tensor("down_proj.weight").T + stored.tensor("down_proj.bias")
    if "router_states" in inputs:
        hidden = hidden + inputs["router_states"] * stored.tensor("router_states_scale")
    hidden = scores.rms_norm(hidden, stored.field("rms_norm_eps")) * stored.tensor("router_mlp.norm.weight")
    for layer in ("fc1", "fc2"):
        weight, bias = stored.tensor(f"router_mlp.{layer}.weight"), stored.tensor(f"router_mlp.{layer}.bias")
        hidden = scores.gelu(hidden @ weight.T + bias)
    shares = scores.softmax(hidden @ stored.tensor("router_mlp.out_proj.weight").T)
    ids = (shares + stored.tensor("balancing_biases")).argmax(axis=-1)[:, None]
    skipped = ids == stored.field("num_experts")
    return Choice(np.where(skipped, -1, ids), np.where(skipped, 0.0, scores.take(shares, ids)))
