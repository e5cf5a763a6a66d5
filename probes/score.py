"""What a family promises about its gate weights: the score function, and what a token's weights add up to.

Read off `modeling_*.py` of transformers 5.23, one line a family; numbers (scale, top-k, flags) come from the modules themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Promise:
    """What a router promises of the gate weights of one token.

    Attributes:
        score: the score function in words, None if the family is not known.
        rule: what the weights of a token add up to, in words.
        total: the sum of a token's weights, if it is a constant.
        at_most: an upper bound of that sum, if there is one.
        signed: whether a weight may be negative.
    """

    score: str | None = None
    rule: str | None = None
    total: float | None = None
    at_most: float | None = None
    signed: bool = True


SOFTMAX = "softmax"
SOFTMAX_BIAS = "softmax + selection bias"
SOFTMAX_GROUPS = "softmax, group-limited"
SIGMOID = "sigmoid"
SIGMOID_BIAS = "sigmoid + selection bias"
SIGMOID_GROUPS = "sigmoid + selection bias, group-limited"
OVER_SELECTED = "softmax over the selected logits"
CONFIGURED = "configured"  # config.scoring_func

# Folder in transformers.models -> (score function, rule). Rules: "sum" normalised, "flag" normalised if norm_topk_prob,
# "part" a part of a softmax (sum at most 1), "each" every weight at most 1, "free" no bound. A scale in the router multiplies.
FAMILIES: dict[str, tuple[str, str]] = {
    "afmoe": (SIGMOID_BIAS, "sum"),
    "aria": (OVER_SELECTED, "sum"),
    "axk1": (SIGMOID_GROUPS, "flag"),
    "axk2": (SIGMOID_GROUPS, "flag"),
    "bailing_hybrid": (SIGMOID_GROUPS, "flag"),
    "beam": (SIGMOID_GROUPS, "flag"),
    "cohere2_moe": ("softmax or sigmoid over the selected logits (expert_selection_fn)", "free"),
    "dbrx": (SOFTMAX, "free"),
    "deepseek_ocr2": (SOFTMAX_GROUPS, "part"),
    "deepseek_v2": (SOFTMAX_GROUPS, "part"),
    "deepseek_v3": (SIGMOID_GROUPS, "flag"),
    "deepseek_v32": (SIGMOID_GROUPS, "flag"),
    "deepseek_v4": (CONFIGURED, "sum"),
    "diffusion_gemma": ("softmax x per-expert scale", "free"),
    "doge": ("product keys, softmax over the selected scores", "sum"),
    "dots1": (SIGMOID_GROUPS, "flag"),
    "dots3_note": (SIGMOID_GROUPS, "flag"),
    "ernie4_5_moe": (SOFTMAX_BIAS, "sum"),
    "ernie4_5_vl_moe": (SOFTMAX_BIAS, "sum"),
    "exaone_moe": (SIGMOID_GROUPS, "flag"),
    "flex_olmo": (SOFTMAX, "flag"),
    "flint": (SIGMOID, "flag"),
    "gemma4": ("softmax x per-expert scale", "free"),
    "glm4_moe": (SIGMOID_GROUPS, "flag"),
    "glm4_moe_lite": (SIGMOID_GROUPS, "flag"),
    "glm4v_moe": (SIGMOID_GROUPS, "flag"),
    "glm5_next": (SIGMOID_GROUPS, "flag"),
    "glm_moe_dsa": (SIGMOID_GROUPS, "flag"),
    "gpt_oss": (OVER_SELECTED, "sum"),
    "granitemoe": (OVER_SELECTED, "sum"),
    "granitemoe_swa": (OVER_SELECTED, "sum"),
    "granitemoehybrid": (OVER_SELECTED, "sum"),
    "granitemoeshared": (OVER_SELECTED, "sum"),
    "hunyuan_v1_moe": (SOFTMAX, "sum"),
    "hy_v3": (SIGMOID_BIAS, "sum"),
    "hy_v4": (SIGMOID_GROUPS, "flag"),
    "inkling": ("sigmoid + selection bias; softmax over selected and shared experts", "free"),
    "inkling2": (CONFIGURED, "sum"),
    "jamba": (SOFTMAX, "part"),
    "jetmoe": (OVER_SELECTED, "sum"),
    "kimi_linear": (SIGMOID_GROUPS, "flag"),
    "kolibri1": ("logits + selection bias; sigmoid over the selected logits", "flag"),
    "laguna": (SIGMOID_BIAS, "sum"),
    "lfm2_moe": (SIGMOID_BIAS, "flag"),
    "llama4": ("sigmoid over the selected logits", "each"),
    "longcat_flash": (SOFTMAX_BIAS, "part"),
    "mellum": (SOFTMAX, "flag"),
    "mimo_v2_flash": (SIGMOID_GROUPS, "flag"),
    "minimax": (SOFTMAX, "sum"),
    "minimax_m2": (SIGMOID_BIAS, "sum"),
    "minimax_m3_vl": (SIGMOID_BIAS, "sum"),
    "mistral4": (SOFTMAX_GROUPS, "flag"),
    "mistral_large4": (SOFTMAX_GROUPS, "sum"),
    "mixtral": (SOFTMAX, "sum"),
    "muse_spark": (SIGMOID_BIAS, "sum"),
    "nemotron_h": (SIGMOID_GROUPS, "flag"),
    "nllb_moe": ("softmax, top 2 with a capacity limit", "sum"),
    "olmoe": (SOFTMAX, "flag"),
    "openai_privacy_filter": (OVER_SELECTED, "sum"),
    "phimoe": ("SparseMixer: two masked softmaxes in turn", "each"),
    "qwen2_moe": (SOFTMAX, "flag"),
    "qwen3_5_moe": (SOFTMAX, "sum"),
    "qwen3_moe": (SOFTMAX, "flag"),
    "qwen3_next": (SOFTMAX, "flag"),
    "qwen3_omni_moe": (SOFTMAX, "flag"),
    "qwen3_vl_moe": (SOFTMAX, "sum"),
    "qwen4_exp": (SOFTMAX, "flag"),
    "solar_open": (SIGMOID_GROUPS, "flag"),
    "step3p7": (SIGMOID_BIAS, "sum"),
    "switch_transformers": ("softmax, top 1 with a capacity limit", "part"),
    "unlimited_ocr": (SOFTMAX_GROUPS, "part"),
    "zaya": (SOFTMAX_BIAS, "part"),
}
SCALES = ("routed_scaling_factor", "route_scale", "router_scaling_factor")


def family_folder(module: Any) -> str | None:
    """The folder in transformers.models that a module's class comes from, else None."""
    path = type(module).__module__.split(".")
    if path[:2] == ["transformers", "models"] and len(path) > 2:
        return path[2]
    return None


def promise_of(root: Any, block: Any, router: Any) -> Promise:
    """What the router of this block promises; an empty promise for a family that is not in the table."""
    folder = family_folder(router) or family_folder(block)
    stated = getattr(router, "gate_promise", None)
    if folder is None and isinstance(stated, tuple) and len(stated) == 2:
        # A model of one's own says it itself: (score function, rule), words of this table (docs/probe.md).
        return _promise(str(stated[0]), str(stated[1]), 1.0, int(_attribute("top_k", router, block) or 1))
    if folder not in FAMILIES:
        return Promise()
    score, rule = FAMILIES[folder]
    top_k = _attribute("top_k", router, block)
    scale = next((float(value) for name in SCALES if (value := getattr(router, name, None)) is not None), 1.0)
    if score == CONFIGURED:
        score = f"{_attribute('score_fn', router) or _configured(root, router)} + selection bias"
    if folder == "dots3_note" and "Vision" in type(router).__name__:
        score, rule = SIGMOID_BIAS, "sum"
    if folder == "openai_privacy_filter":
        scale = 1 / float(top_k or 1)
    if folder == "cohere2_moe":
        softmax = getattr(router, "expert_selection_fn", None) == "softmax"
        score, rule = (OVER_SELECTED, "sum") if softmax else ("sigmoid over the selected logits", "flag")
    if folder == "dbrx":
        power = getattr(block, "moe_normalize_expert_weights", None)
        rule = "sum" if power == 1 else "part" if power is None else "free"
    if rule == "flag":
        normalised = bool(_attribute("norm_topk_prob", router, block))
        rule = "sum" if normalised else "part" if score.startswith("softmax") else "each"
    return _promise(score, rule, scale, int(top_k or 1))


def _promise(score: str, rule: str, scale: float, top_k: int) -> Promise:
    times = "" if scale == 1 else f" x {scale:g}"
    signed = "per-expert scale" in score
    if rule == "sum":
        return Promise(score, f"sum 1{times}", total=scale, signed=signed)
    if rule == "part":
        return Promise(score, f"not normalised, sum at most 1{times}", at_most=scale, signed=signed)
    if rule == "each":
        return Promise(score, f"not normalised, each at most 1{times}", at_most=scale * top_k, signed=signed)
    return Promise(score, "not normalised" if not signed else "sum 1, then x a learned scale an expert", signed=signed)


def _attribute(name: str, *holders: Any) -> Any:
    return next((value for holder in holders if (value := getattr(holder, name, None)) is not None), None)


def _configured(root: Any, router: Any) -> str:
    for holder in (router, root):
        config = getattr(holder, "config", None)
        for part in (config, getattr(config, "text_config", None)):
            value = getattr(part, "scoring_func", None)
            if value:
                return str(value)
    return "configured score function"
