"""Which architectures route: the model types of transformers 5.23 that have routed experts, and how a config says so.

Read from plain JSON, so that listing models needs neither torch nor transformers. The list was made by walking every
`modeling_*.py` of transformers 5.23 for routers and experts; `tests/models/test_models.py` holds it against the installed version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

# model_type of every backbone with routed experts, as the configuration spells it.
BACKBONES = (
    "afmoe", "aria_text", "axk1", "axk2", "bailing_hybrid", "beam", "cohere2_moe", "dbrx", "deepseek_ocr2_text", "deepseek_v2",
    "deepseek_v3", "deepseek_v32", "deepseek_v4", "doge", "dots1", "dots3_note_text", "ernie4_5_moe", "ernie4_5_vl_moe_text",
    "exaone_moe", "flex_olmo", "flint", "gemma4_text", "glm4_moe", "glm4_moe_lite", "glm4v_moe_text", "glm5_next_text",
    "glm_moe_dsa", "gpt_oss", "granitemoe", "granitemoe_swa", "granitemoehybrid", "granitemoeshared", "hunyuan_v1_moe", "hy_v3",
    "hy_v4", "inkling2_text", "inkling_text", "jamba", "jetmoe", "kimi_linear", "kolibri1", "laguna", "lfm2_moe", "llama4_text",
    "longcat_flash", "mellum", "mimo_v2_flash", "minimax", "minimax_m2", "minimax_m3_vl_text", "mistral4", "mistral_large4_text",
    "mixtral", "muse_spark_text", "nemotron_h", "nllb-moe", "olmoe", "openai_privacy_filter", "phimoe", "qwen2_moe",
    "qwen3_5_moe_text", "qwen3_moe", "qwen3_next", "qwen3_vl_moe_text", "qwen4_exp_text", "solar_open", "step3p5",
    "switch_transformers", "unlimited_ocr_text", "zaya",
)  # fmt: skip
# Multimodal models and shells around these backbones.
MULTIMODAL = (
    "aria", "deepseek_ocr2", "diffusion_gemma", "dots3_note", "ernie4_5_vl_moe", "gemma4", "glm4v_moe", "glm5_next", "inkling_mm_model",
    "inkling2", "kimi_k25", "llama4", "minimax_m3_vl", "mistral_large4", "muse_spark", "nemo_speechlm", "nemotron_h_omni",
    "qwen3_5_moe", "qwen3_omni_moe", "qwen3_vl_moe", "qwen4_exp", "step3p7", "unlimited_ocr", "vitpose", "vitpose_backbone",
)  # fmt: skip
# Dense unless their configuration asks for experts.
DENSE_BY_DEFAULT = frozenset(
    {"gemma4", "gemma4_text", "diffusion_gemma", "doge", "vitpose", "vitpose_backbone", "hunyuan_v1_moe"}
)
_SWITCHES = {"gemma4_text": "enable_moe_block", "doge": "is_moe"}  # these say False where the experts are off

EXPERT_FIELDS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
TOP_K_FIELDS = ("num_experts_per_tok", "moe_topk", "moe_k", "moe_top_k", "top_k_experts", "num_selected_experts")
LAYER_FIELDS = ("num_hidden_layers", "n_layers", "num_layers", "encoder_layers")


class Experts(NamedTuple):
    """What a configuration says about its experts; None where it does not say."""

    experts: int | None
    top_k: int | None
    layers: int | None


def families() -> tuple[str, ...]:
    """Model types with routed experts, backbones and multimodal models, in alphabetical order."""
    return tuple(sorted({*BACKBONES, *MULTIMODAL}))


def experts_of(config: Mapping[str, Any]) -> Experts | None:
    """Experts, choices a token and layers that a configuration names, or None if it describes a dense model.

    Args:
        config: the parsed `config.json`, nested sub-configurations included.
    """
    implied: Experts | None = None
    for part in _parts(config):
        family = str(part.get("model_type", ""))
        switch = _SWITCHES.get(family)
        if switch is not None and not part.get(switch, False):
            continue
        count = _largest(part, EXPERT_FIELDS)
        if count is not None and count > 1:
            # DBRX keeps its experts in a sub-configuration (ffn_config) beside the number of layers.
            return Experts(
                count, _largest(part, TOP_K_FIELDS), _largest(part, LAYER_FIELDS) or _largest(config, LAYER_FIELDS)
            )
        if count is None and implied is None and family in BACKBONES and family not in DENSE_BY_DEFAULT:
            implied = Experts(None, _largest(part, TOP_K_FIELDS), _largest(part, LAYER_FIELDS))
    return implied


def _parts(config: Mapping[str, Any], depth: int = 0) -> Iterator[Mapping[str, Any]]:
    yield config
    if depth < 4:
        for value in config.values():
            if isinstance(value, Mapping):
                yield from _parts(value, depth + 1)


def _largest(part: Mapping[str, Any], fields: tuple[str, ...]) -> int | None:
    """The first of these fields that holds a number, or the largest of a list with one entry a layer."""
    for field in fields:
        value = part.get(field)
        if isinstance(value, bool):
            continue
        if isinstance(value, int):
            return value
        if isinstance(value, list) and value and all(isinstance(item, int) for item in value):
            return max(value)
    return None
