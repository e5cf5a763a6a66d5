"""Whole multimodal models: 24 shells with vision (and audio) towers around a mixture-of-experts text model.

Qwen3-Omni's talker and DiffusionGemma, whose inputs are of another kind, are in `apart`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from tests.probes.families.build import HIDDEN, Family, Inputs, find_class, random_tensor, tiny_config
from tests.probes.families.prompts import (
    AUDIO,
    BEGIN,
    END,
    IMAGE,
    VIDEO,
    Pixels,
    patches,
    picture,
    single_frame_patches,
    square_patches,
    text_only,
    with_image,
)
from tests.probes.families.text import SPECIAL_FIELDS
from tests.probes.families.text_of_multimodal import QWEN_ROPE, text_config

Fields = dict[str, Any]

_IMAGE_VIDEO = {"image_token_id": IMAGE, "video_token_id": VIDEO}
_ALL_MEDIA = {**_IMAGE_VIDEO, "audio_token_id": AUDIO}
_VISION_MARKS = {**_IMAGE_VIDEO, "vision_start_token_id": BEGIN, "vision_end_token_id": END}
_IMAGE_MARKS = {**_IMAGE_VIDEO, "image_start_token_id": BEGIN, "image_end_token_id": END}

# Vision towers: 2 layers of width 16, patches of 4 x 4 pixels.
_TOWER = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 4}
_TOWER_16 = {**_TOWER, "image_size": 16}
_QWEN_TOWER = {
    "depth": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_heads": 2,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "out_hidden_size": HIDDEN,
    "num_position_embeddings": 64,
    "in_channels": 3,
}
_GLM_TOWER = {
    "depth": 2,
    "hidden_size": 16,
    "num_heads": 2,
    "image_size": 16,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "out_hidden_size": HIDDEN,
    "intermediate_size": 24,
    "in_channels": 3,
}
_KIMI_TOWER = {**_TOWER, "pos_emb_height": 8, "pos_emb_width": 8}
GEMMA_TOWER = {
    **_TOWER,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pooling_kernel_size": 2,
    "position_embedding_size": 64,
}
_SAM = {
    "hidden_size": 16,
    "output_channels": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 4,
    "window_size": 4,
    "global_attn_indexes": [1],
    "mlp_dim": 32,
    "downsample_channels": [16, 16],
    "intermediate_size": 32,
}
OMNI_AUDIO = {
    "num_mel_bins": 16,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "d_model": 16,
    "output_dim": HIDDEN,
    "downsample_hidden_size": 8,
}


def multimodal_families() -> tuple[Family, ...]:
    """All whole multimodal models with an image, or text alone where the table of the documentation says so."""
    return (*_qwen(), *_glm_and_ernie(), *_pictures(), *_patched(), *_ocr(), *_any_text_model())


def _shell(
    name: str,
    stem: str,
    text: Fields,
    fields: Fields,
    *,
    vision: Fields | None = None,
    image: Pixels | None = None,
    config: str | None = None,
    model: str | None = None,
    note: str = "",
) -> Family:
    """A shell with the classes `<stem>Config` and `<stem>ForConditionalGeneration` unless named otherwise."""
    parts: Fields = {"text_config": text, **fields}
    if vision is not None:
        parts["vision_config"] = dict(vision)
    return Family(
        name,
        model or f"{stem}ForConditionalGeneration",
        lambda: find_class(config or f"{stem}Config")(**parts),
        with_image(image) if image is not None else text_only,
        kind="multimodal",
        note=note or ("image in the prompt" if image is not None else "text alone"),
    )


def _of_text(stem: str, name: str) -> Fields:
    """The tiny configuration of a text family, for a shell that takes any text model."""
    fields: Mapping[str, Any] = SPECIAL_FIELDS[name][1] if name in SPECIAL_FIELDS else {}
    return tiny_config(f"{stem}Config", **fields).to_dict()


def _qwen() -> tuple[Family, ...]:
    deepstack = {**_QWEN_TOWER, "deepstack_visual_indexes": [0]}
    thinker = tiny_config(
        "qwen3_omni_moe.configuration_qwen3_omni_moe:Qwen3OmniMoeTextConfig", rope_parameters=QWEN_ROPE
    ).to_dict()
    return (
        _shell(
            "qwen3_vl_moe",
            "Qwen3VLMoe",
            text_config("qwen3_vl_moe_text"),
            _VISION_MARKS,
            vision=deepstack,
            image=patches,
        ),
        _shell(
            "qwen3_5_moe",
            "Qwen3_5Moe",
            text_config("qwen3_5_moe_text"),
            _VISION_MARKS,
            vision=_QWEN_TOWER,
            image=patches,
        ),
        _shell(
            "qwen4_exp", "Qwen4Exp", text_config("qwen4_exp_text"), _VISION_MARKS, vision=_QWEN_TOWER, image=patches
        ),
        _shell(
            "qwen3_omni_moe_thinker",
            "Qwen3OmniMoeThinker",
            thinker,
            {**_ALL_MEDIA, "audio_config": OMNI_AUDIO, "vision_start_token_id": BEGIN},
            vision=deepstack,
            image=patches,
        ),
    )


def _glm_and_ernie() -> tuple[Family, ...]:
    ernie_tower = {
        "depth": 2,
        "hidden_size": 16,
        "num_heads": 2,
        "patch_size": 4,
        "spatial_merge_size": 2,
        "temporal_merge_size": 2,
        "intermediate_size": 24,
    }
    return (
        _shell("glm4v_moe", "Glm4vMoe", text_config("glm4v_moe_text"), _IMAGE_MARKS, vision=_GLM_TOWER, image=patches),
        _shell(
            "glm5_next",
            "Glm5Next",
            text_config("glm5_next_text"),
            _IMAGE_MARKS,
            vision={**_GLM_TOWER, "projection_intermediate_size": 24},
            image=patches,
        ),
        _shell(
            "ernie4_5_vl_moe",
            "Ernie4_5_VLMoe",
            text_config("ernie4_5_vl_text"),
            _IMAGE_MARKS,
            vision=ernie_tower,
            image=single_frame_patches,
            note="image in the prompt; text and image tokens have experts of their own",
        ),
    )


def _pictures() -> tuple[Family, ...]:
    """Shells that take whole pictures."""
    llama_tower = {
        **_TOWER_16,
        "intermediate_size": 64,
        "vision_output_dim": 32,
        "projector_input_dim": 32,
        "projector_output_dim": 32,
        "pixel_shuffle_ratio": 0.5,
    }
    step_tower = {**_TOWER_16, "intermediate_size": 64, "mlp_ratio": 4.0, "max_position_embeddings": 16}
    return (
        _shell(
            "llama4",
            "Llama4",
            text_config("llama4_text"),
            {"image_token_index": IMAGE, "boi_token_index": BEGIN, "eoi_token_index": END},
            vision=llama_tower,
            image=picture,
        ),
        _shell(
            "aria",
            "Aria",
            text_config("aria_text"),
            {"image_token_index": IMAGE, "projector_patch_to_query_dict": {16: 4}},
            vision={"model_type": "idefics3_vision", **_TOWER_16},
            image=picture,
        ),
        _shell(
            "mistral_large4",
            "MistralLarge4",
            text_config("mistral_large4_text"),
            {"image_token_index": IMAGE},
            vision={"model_type": "pixtral", **_TOWER_16, "head_dim": 8},
            image=lambda: {**picture(), "image_sizes": torch.tensor([[16, 16]])},
        ),
        _shell(
            "step3p7",
            "Step3p7",
            text_config("step3p7_text"),
            {"image_token_id": IMAGE},
            vision=step_tower,
            image=picture,
        ),
    )


def _patched() -> tuple[Family, ...]:
    """Shells that take a list of patches of their own form."""
    kimi_text = _of_text("DeepseekV3", "deepseek_v3")
    dots_tower = {
        **_TOWER,
        "moe_intermediate_size": 8,
        "pyramid_num_routed": [-1, 4],
        "adapter_in_dim": 16,
        "adapter_out_dim": HIDDEN,
        "num_experts_per_tok": 2,
    }
    dots_audio = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "feature_size": 16,
        "downsample_hidden_size": 8,
        "adapter_input_size": 16,
        "adapter_out_dim": HIDDEN,
    }
    return (
        _shell(
            "gemma4",
            "Gemma4",
            text_config("gemma4_text"),
            _ALL_MEDIA,
            vision=GEMMA_TOWER,
            image=_gemma_pixels,
        ),
        _shell(
            "minimax_m3_vl",
            "MiniMaxM3VL",
            text_config("minimax_m3_vl_text"),
            {"image_token_index": IMAGE, "video_token_index": VIDEO, "projector_hidden_size": 24},
            vision={**_TOWER_16, "hidden_size": 24},
            image=patches,
            model="MiniMaxM3SparseForConditionalGeneration",
        ),
        _shell(
            "muse_spark",
            "MuseSpark",
            text_config("muse_spark_text"),
            {
                **_ALL_MEDIA,
                "out_hidden_size": 64,
                "projector_hidden_size": 24,
                "audio_config": {"hidden_sizes": (8, 8, 8, 8), "depths": (1, 1, 1, 1), "out_hidden_size": HIDDEN},
            },
            vision=_KIMI_TOWER,
            image=patches,
        ),
        _shell(
            "inkling",
            "Inkling",
            text_config("inkling_text"),
            {
                "image_token_id": IMAGE,
                "audio_token_id": AUDIO,
                "image_bos_token_id": BEGIN,
                "audio_bos_token_id": END,
                "audio_config": {"n_mel_bins": 4, "mel_vocab_size": 8, "text_hidden_size": HIDDEN},
            },
            vision={
                "text_hidden_size": HIDDEN,
                "patch_size": 8,
                "temporal_patch_size": 2,
                "hidden_size": 16,
                "n_layers": 2,
                "num_attention_heads": 2,
            },
            image=lambda: {"pixel_values": random_tensor(4, 2, 8, 8, 3)},
        ),
        _shell(
            "inkling2",
            "Inkling2",
            text_config("inkling2_text"),
            {"image_token_id": IMAGE},
            vision={**_TOWER, "text_hidden_size": HIDDEN, "projection_hidden_dim": 24, "posemb_grid_size": 8},
            image=lambda: {
                "pixel_values": random_tensor(4, 8, 8, 3),
                "image_grid_thw": torch.tensor([[1, 2, 2]]),
            },
        ),
        _shell(
            "kimi_k25",
            "Kimi_K25",
            kimi_text,
            {**_IMAGE_VIDEO, "projection_hidden_size": 16},
            vision=_KIMI_TOWER,
            image=square_patches,
        ),
        _shell(
            "dots3_note",
            "Dots3Note",
            text_config("dots3_note_text"),
            {**_ALL_MEDIA, "audio_config": dots_audio},
            vision=dots_tower,
            image=single_frame_patches,
            note="image in the prompt; the vision tower is a mixture of experts too",
        ),
    )


def _ocr() -> tuple[Family, ...]:
    encoder = {**_TOWER, "patch_size": 16, "num_key_value_heads": 2}
    del encoder["patch_size"]
    return (
        _shell(
            "deepseek_ocr2",
            "DeepseekOcr2",
            text_config("deepseek_ocr2_text"),
            {"image_token_id": IMAGE},
            vision={"sam_config": _SAM, "encoder_config": encoder},
        ),
        _shell(
            "unlimited_ocr",
            "UnlimitedOcr",
            text_config("unlimited_ocr_text"),
            {"image_token_id": IMAGE},
            vision={"sam_config": _SAM, "encoder_config": _TOWER_16},
        ),
    )


def _any_text_model() -> tuple[Family, ...]:
    """Shells that take the text model of another family."""
    nemotron = _of_text("NemotronH", "nemotron_h")
    return (
        _shell(
            "internvl_with_qwen3_moe",
            "InternVL",
            _of_text("Qwen3Moe", "qwen3_moe"),
            {"image_token_id": IMAGE},
            vision={**_TOWER, "image_size": [16, 16], "patch_size": [4, 4]},
            image=picture,
        ),
        _shell(
            "lfm2_vl_with_lfm2_moe",
            "Lfm2Vl",
            _of_text("Lfm2Moe", "lfm2_moe"),
            {"image_token_id": IMAGE, "projector_hidden_size": 24},
            vision={"model_type": "siglip2_vision_model", **_TOWER, "num_patches": 16},
            image=lambda: {
                "pixel_values": random_tensor(1, 16, 48),
                "spatial_shapes": torch.tensor([[4, 4]]),
                "pixel_attention_mask": torch.ones(1, 16, dtype=torch.long),
            },
        ),
        _shell(
            "nemotron_h_omni",
            "NemotronH_Omni_Reasoning_V3",
            nemotron,
            {**_ALL_MEDIA, "vision_hidden_size": 16, "projector_hidden_size": 24},
            vision={"model_type": "radio", "video_temporal_patch_size": 2, **_TOWER_16, "max_img_size": 32},
            config="NemotronH_Omni_Reasoning_V3_Config",
            model="NemotronH_Omni_Reasoning_V3",
        ),
        _shell(
            "nemotron3_5_transcribe",
            "Nemotron3_5Transcribe",
            nemotron,
            {
                "audio_token_id": AUDIO,
                "audio_config": {"asr_config": {**_TOWER, "num_mel_bins": 16}},
                "word_timestamp_config": {**_TOWER, "vocab_size": 32, "blank_token_id": 31},
            },
        ),
    )


def _gemma_pixels() -> Inputs:
    grid = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing="xy"), -1)
    return {"pixel_values": random_tensor(1, 16, 48), "image_position_ids": grid.reshape(1, 16, 2)}
