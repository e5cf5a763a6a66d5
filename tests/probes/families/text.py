"""Backbones of text: 52 families, the configuration fields that each needs beyond the common small sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.probes.families.build import (
    EXPERTS,
    HIDDEN,
    TOP_K,
    Family,
    encoder_decoder_inputs,
    text_inputs,
    tiny_config,
)

ONE_DENSE: Mapping[str, Any] = {"mlp_layer_types": ["dense", "sparse", "sparse", "sparse"]}
HYBRID: Mapping[str, Any] = {
    "layer_types": ["linear_attention", "full_attention", "linear_attention", "full_attention"]
}
# One key-value head a query head, as multi-head latent attention has it.
LATENT: Mapping[str, Any] = {"num_key_value_heads": 4}

# Families whose tiny model needs nothing of its own: name -> stem of the configuration and model classes.
_PLAIN = {
    "afmoe": "Afmoe",
    "beam": "Beam",
    "ernie4_5_moe": "Ernie4_5_Moe",
    "exaone_moe": "ExaoneMoe",
    "flex_olmo": "FlexOlmo",
    "flint": "Flint",
    "glm4_moe": "Glm4Moe",
    "gpt_oss": "GptOss",
    "granitemoe": "GraniteMoe",
    "granitemoe_swa": "GraniteMoeSWA",
    "granitemoeshared": "GraniteMoeShared",
    "hunyuan_v1_moe": "HunYuanMoEV1",
    "hy_v3": "HYV3",
    "hy_v4": "HYV4",
    "jetmoe": "JetMoe",
    "kolibri1": "Kolibri1",
    "laguna": "Laguna",
    "mellum": "Mellum",
    "mimo_v2_flash": "MiMoV2Flash",
    "minimax": "MiniMax",
    "minimax_m2": "MiniMaxM2",
    "mixtral": "Mixtral",
    "olmoe": "Olmoe",
    "phimoe": "Phimoe",
    "qwen2_moe": "Qwen2Moe",
    "qwen3_moe": "Qwen3Moe",
    "qwen3_next": "Qwen3Next",
    "solar_open": "SolarOpen",
}

# Families with fields of their own: name -> (stem, fields).
SPECIAL_FIELDS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "cohere2_moe": ("Cohere2Moe", {"num_shared_experts": 1}),
    "dots1": ("Dots1", {"n_shared_experts": 1}),
    "axk1": ("AXK1", {**LATENT, **ONE_DENSE}),
    "axk2": ("AXK2", {**LATENT, **ONE_DENSE}),
    "glm4_moe_lite": ("Glm4MoeLite", {**LATENT, **ONE_DENSE}),
    "deepseek_v32": ("DeepseekV32", {**LATENT, **ONE_DENSE}),
    "glm_moe_dsa": ("GlmMoeDsa", {**LATENT, **ONE_DENSE}),
    "deepseek_v2": ("DeepseekV2", {**LATENT, "topk_method": "group_limited_greedy"}),
    "deepseek_v3": ("DeepseekV3", LATENT),
    "longcat_flash": (
        "LongcatFlash",
        {**LATENT, "num_layers": 2, "zero_expert_num": 2, "expert_ffn_hidden_size": 16, "ffn_hidden_size": 48},
    ),
    "deepseek_v4": (
        "DeepseekV4",
        {
            "head_dim": 16,
            "o_groups": 2,
            "o_lora_rank": 8,
            "num_key_value_heads": 1,
            "mlp_layer_types": ["hash_moe", "moe", "moe", "moe"],
        },
    ),
    # A square number of experts: product keys are a grid of 4 x 4.
    "doge": ("Doge", {"is_moe": True, "num_experts": 16}),
    "bailing_hybrid": ("BailingHybrid", {**LATENT, **HYBRID, **ONE_DENSE}),
    "kimi_linear": ("KimiLinear", {**LATENT, **HYBRID, **ONE_DENSE}),
    "granitemoehybrid": (
        "GraniteMoeHybrid",
        {**HYBRID, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 16},
    ),
    "jamba": (
        "Jamba",
        {
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "use_mamba_kernels": False,
            "mamba_dt_rank": 4,
            "mamba_d_state": 4,
        },
    ),
    "lfm2_moe": ("Lfm2Moe", {"layer_types": ["conv", "full_attention", "conv", "full_attention"]}),
    "mistral4": (
        "Mistral4",
        {
            **LATENT,
            "rope_parameters": {
                "rope_type": "yarn",
                "type": "yarn",
                "rope_theta": 10000.0,
                "factor": 2.0,
                "original_max_position_embeddings": 128,
                "max_position_embeddings": 256,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "mscale_all_dim": 1.0,
                "mscale": 1.0,
                "llama_4_scaling_beta": 0.1,
                "partial_rotary_factor": 1.0,
            },
        },
    ),
    "nemotron_h": (
        "NemotronH",
        {
            "mamba_num_heads": 8,
            "mamba_head_dim": 8,
            "ssm_state_size": 8,
            "n_groups": 2,
            "chunk_size": 16,
            "moe_shared_expert_intermediate_size": 16,
            "use_mamba_kernels": False,
            "num_hidden_layers": None,
            "layers_block_type": ["linear_attention", "moe", "full_attention", "moe"],
        },
    ),
    "zaya": ("Zaya", {"num_experts_per_tok": 1}),
    "dbrx": (
        "Dbrx",
        {
            "d_model": HIDDEN,
            "n_heads": 4,
            "n_layers": 3,
            "max_seq_len": 256,
            # The class default clip_qkv=None crashes in clamp, and rope_theta has no default.
            "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
            "ffn_config": {
                "hidden_size": HIDDEN,
                "ffn_hidden_size": 16,
                "moe_num_experts": EXPERTS,
                "moe_top_k": TOP_K,
            },
        },
    ),
}

_NOTES = {
    "cohere2_moe": "shared expert added",
    "deepseek_v4": "first layer routed by token id",
    "doge": "4 x 4 product keys",
    "jetmoe": "attention experts too",
    "longcat_flash": "two identity experts",
    "zaya": "skip class, one expert a token",
}


def causal_family(name: str, stem: str, fields: Mapping[str, Any], model: str | None = None, note: str = "") -> Family:
    """A family with classes `<stem>Config` and, unless said otherwise, `<stem>ForCausalLM`."""
    return Family(
        name,
        model or f"{stem}ForCausalLM",
        lambda: tiny_config(f"{stem}Config", **fields),
        text_inputs,
        note=note or _NOTES.get(name, ""),
    )


def text_families() -> tuple[Family, ...]:
    """All backbones of text families."""
    plain = [causal_family(name, stem, {}) for name, stem in _PLAIN.items()]
    special = [causal_family(name, stem, fields) for name, (stem, fields) in SPECIAL_FIELDS.items()]
    return (*plain, *special, *_others())


def _others() -> tuple[Family, ...]:
    return (
        causal_family(
            "openai_privacy_filter",
            "OpenAIPrivacyFilter",
            {},
            "OpenAIPrivacyFilterForTokenClassification",
            "token classifier, attends both ways",
        ),
        Family(
            "nllb_moe",
            "NllbMoeForConditionalGeneration",
            lambda: tiny_config(
                "NllbMoeConfig",
                d_model=HIDDEN,
                encoder_layers=2,
                decoder_layers=2,
                encoder_ffn_dim=48,
                decoder_ffn_dim=48,
                encoder_attention_heads=4,
                decoder_attention_heads=4,
                encoder_sparse_step=2,
                decoder_sparse_step=2,
                encoder_layerdrop=0.0,
                decoder_layerdrop=0.0,
                moe_token_dropout=0.2,
                moe_eval_capacity_token_fraction=0.2,
                pad_token_id=1,
            ),
            encoder_decoder_inputs,
            note="encoder-decoder, capacity small enough to drop choices",
        ),
        Family(
            "switch_transformers",
            "SwitchTransformersForConditionalGeneration",
            lambda: tiny_config(
                "SwitchTransformersConfig",
                d_model=HIDDEN,
                d_kv=8,
                d_ff=48,
                num_layers=2,
                num_decoder_layers=2,
                num_sparse_encoder_layers=1,
                num_sparse_decoder_layers=1,
                num_heads=4,
                expert_capacity=3,
            ),
            encoder_decoder_inputs,
            note="encoder-decoder, capacity small enough to drop choices",
        ),
    )
