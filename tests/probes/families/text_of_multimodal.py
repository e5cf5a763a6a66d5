"""Text backbones of multimodal families: 18, alone, without the shell around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.probes.families.build import VOCABULARY, Family
from tests.probes.families.text import LATENT, ONE_DENSE, causal_family

PLAIN_ROPE: Mapping[str, Any] = {"rope_type": "default", "rope_theta": 10000.0}
SECTION_ROPE: Mapping[str, Any] = {**PLAIN_ROPE, "mrope_section": [1, 1, 2]}
QWEN_ROPE: Mapping[str, Any] = {**SECTION_ROPE, "partial_rotary_factor": 1.0}
INDEXED: Mapping[str, Any] = {
    "layer_types": ["linear_attention", "indexed_attention", "linear_attention", "indexed_attention"]
}
_INKLING: Mapping[str, Any] = {
    "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 2,
    "swa_head_dim": 8,
    "d_rel": 4,
    "rel_extent": 16,
    "sliding_window_size": 8,
}

# name -> (stem of the configuration, model class, fields)
_TEXT: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "aria_text": ("AriaText", "AriaTextForCausalLM", {}),
    "deepseek_ocr2_text": ("DeepseekOcr2Text", "DeepseekOcr2TextModel", {**LATENT, **ONE_DENSE}),
    "unlimited_ocr_text": ("UnlimitedOcrText", "UnlimitedOcrTextModel", {**LATENT, **ONE_DENSE}),
    "dots3_note_text": (
        "Dots3NoteText",
        "Dots3NoteForCausalLM",
        {**LATENT, **ONE_DENSE, "shared_experts_intermediate_size": 16},
    ),
    "ernie4_5_vl_text": (
        "Ernie4_5_VLMoeText",
        "Ernie4_5_VLMoeTextModel",
        {"moe_intermediate_size": [16, 8], "rope_parameters": SECTION_ROPE, **ONE_DENSE},
    ),
    "gemma4_text": (
        "Gemma4Text",
        "Gemma4ForCausalLM",
        {"enable_moe_block": True, "vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 8},
    ),
    "glm4v_moe_text": ("Glm4vMoeText", "Glm4vMoeTextModel", {"rope_parameters": QWEN_ROPE}),
    "glm5_next_text": (
        "Glm5NextText",
        "Glm5NextTextModel",
        {**LATENT, **INDEXED, **ONE_DENSE, "qk_rope_head_dim": 0, "index_kpool": 4},
    ),
    "inkling_text": ("InklingText", "InklingForCausalLM", {**_INKLING, "vocab_size": VOCABULARY}),
    "inkling2_text": (
        "Inkling2Text",
        "Inkling2ForCausalLM",
        {**_INKLING, "unpadded_vocab_size": VOCABULARY, "n_layers_per_attn_res_block": 2},
    ),
    "llama4_text": ("Llama4Text", "Llama4ForCausalLM", {"intermediate_size_mlp": 48, "attention_chunk_size": 64}),
    "minimax_m3_vl_text": ("MiniMaxM3VLText", "MiniMaxM3VLForCausalLM", {"rotary_dim": 8, "index_block_size": 8}),
    "mistral_large4_text": (
        "MistralLarge4Text",
        "MistralLarge4TextModel",
        {**LATENT, **ONE_DENSE, "rope_parameters": PLAIN_ROPE},
    ),
    "muse_spark_text": ("MuseSparkText", "MuseSparkTextModel", {"moe_hidden_size": 16, **ONE_DENSE}),
    "qwen3_5_moe_text": ("Qwen3_5MoeText", "Qwen3_5MoeForCausalLM", {"rope_parameters": QWEN_ROPE}),
    "qwen3_vl_moe_text": ("Qwen3VLMoeText", "Qwen3VLMoeTextModel", {"rope_parameters": QWEN_ROPE}),
    "qwen4_exp_text": (
        "Qwen4ExpText",
        "Qwen4ExpForCausalLM",
        {
            **INDEXED,
            "indexer_n_heads": 2,
            "indexer_kv_heads": 1,
            "indexer_head_dim": 8,
            "indexer_budget": 8,
            "indexer_compress_ratio": 4,
            "hc_count": 2,
            "hc_lowrank": 8,
        },
    ),
    "step3p7_text": (
        "Step3p7Text",
        "Step3p7TextModel",
        {"share_expert_dim": 16, "num_sliding_attention_heads": 4, **ONE_DENSE},
    ),
}

_NOTES = {
    "gemma4_text": "router and experts sit on the decoder layer",
    "llama4_text": "weights multiply the experts' input",
}


def text_backbones_of_multimodal() -> tuple[Family, ...]:
    """All text backbones of multimodal families."""
    return tuple(
        causal_family(name, stem, fields, model, _NOTES.get(name, "")) for name, (stem, model, fields) in _TEXT.items()
    )


def text_config(name: str) -> dict[str, Any]:
    """The tiny text configuration of one of these families as a dictionary, for the shell around it."""
    from tests.probes.families.build import tiny_config

    stem, _, fields = _TEXT[name]
    return tiny_config(f"{stem}Config", **fields).to_dict()
