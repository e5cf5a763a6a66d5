"""Models that are neither a text backbone nor a shell around one: a talker, a diffusion model, a vision backbone."""

from __future__ import annotations

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from tests.probes.families.build import HIDDEN, Family, Inputs, find_class, random_tensor, tiny_config
from tests.probes.families.multimodal import GEMMA_TOWER
from tests.probes.families.prompts import (
    AUDIO,
    BEGIN,
    END,
    IMAGE,
    VIDEO,
    talker_inputs,
    text_only,
)
from tests.probes.families.text_of_multimodal import QWEN_ROPE

CANVAS = 6  # tokens that DiffusionGemma denoises at once


def families_apart() -> tuple[Family, ...]:
    return (
        Family(
            "qwen3_omni_moe_talker",
            "qwen3_omni_moe.modeling_qwen3_omni_moe:Qwen3OmniMoeTalkerForConditionalGeneration",
            _talker_config,
            talker_inputs,
            kind="multimodal",
            note="embeddings in; shared expert beside the routed ones",
        ),
        Family(
            "diffusion_gemma",
            "DiffusionGemmaForBlockDiffusion",
            _diffusion_config,
            _diffusion_inputs,
            kind="multimodal",
            note="text alone; encoder and decoder pass share their experts",
        ),
        Family(
            "vitpose_backbone",
            "VitPoseBackbone",
            lambda: find_class("VitPoseBackboneConfig")(
                image_size=(24, 16),
                patch_size=(8, 8),  # the patch embedding pads by 2 pixels: smaller patches do not fit its positions
                hidden_size=HIDDEN,
                num_hidden_layers=2,
                num_attention_heads=4,
                mlp_ratio=2,
                num_experts=3,
                part_features=8,
                out_indices=[-1],
            ),
            _pose_inputs,
            kind="vision",
            note="no router: the data set's number chooses one expert for the whole image",
        ),
    )


def _talker_config() -> PreTrainedConfig:
    package = "qwen3_omni_moe.configuration_qwen3_omni_moe"
    # shared_expert_intermediate_size and spatial_merge_size have no default in these classes.
    text = tiny_config(
        f"{package}:Qwen3OmniMoeTalkerTextConfig", rope_parameters=QWEN_ROPE, shared_expert_intermediate_size=16
    )
    return find_class(f"{package}:Qwen3OmniMoeTalkerConfig")(
        text_config=text.to_dict(),
        code_predictor_config={
            "vocab_size": 32,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "num_code_groups": 4,
        },
        thinker_hidden_size=HIDDEN,
        accept_hidden_layer=1,
        codec_eos_token_id=3,
        codec_pad_id=0,
        codec_bos_token_id=1,
        num_code_groups=4,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        audio_token_id=AUDIO,
        vision_start_token_id=BEGIN,
        spatial_merge_size=2,
    )


def _diffusion_config() -> PreTrainedConfig:
    text = tiny_config("diffusion_gemma.configuration_diffusion_gemma:DiffusionGemmaTextConfig")
    return find_class("DiffusionGemmaConfig")(
        text_config=text.to_dict(),
        image_token_id=IMAGE,
        boi_token_id=BEGIN,
        eoi_token_id=END,
        canvas_length=CANVAS,
        vision_config=dict(GEMMA_TOWER),
    )


def _diffusion_inputs(model: PreTrainedModel) -> Inputs:
    # Without a canvas the model draws one at random, and two runs would not see the same tokens.
    canvas = torch.randint(5, 90, (1, CANVAS), generator=torch.Generator().manual_seed(2))
    return {**text_only(model), "decoder_input_ids": canvas}


def _pose_inputs(model: PreTrainedModel) -> Inputs:
    return {"pixel_values": random_tensor(4, 3, 24, 16), "dataset_index": torch.tensor([0, 2, 1, 2])}
