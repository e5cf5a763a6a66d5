"""Inputs of multimodal models: a short text with one image in it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel

from tests.probes.families.build import HIDDEN, Inputs, random_tensor

# Placeholder ids, above every id that `text_inputs` draws.
IMAGE, VIDEO, AUDIO, BEGIN, END = 100, 101, 102, 103, 104
BEFORE, AFTER = [5, 6, 7, 8, 9], [10, 11, 12]

Pixels = Callable[[], Inputs]


def patches(channels: int = 3 * 2 * 4 * 4) -> Inputs:
    """One image of 4 x 4 patches in the form of the Qwen vision towers (two frames a patch)."""
    return {"pixel_values": random_tensor(16, channels), "image_grid_thw": torch.tensor([[1, 4, 4]])}


def single_frame_patches() -> Inputs:
    """One image of 4 x 4 patches, one frame a patch."""
    return patches(3 * 4 * 4)


def square_patches() -> Inputs:
    """One image of 4 x 4 patches whose pixels keep their channel, height and width axes."""
    return {"pixel_values": random_tensor(16, 3, 4, 4), "image_grid_thw": torch.tensor([[1, 4, 4]])}


def picture() -> Inputs:
    """One image of 16 x 16 pixels."""
    return {"pixel_values": random_tensor(1, 3, 16, 16)}


def text_only(model: PreTrainedModel) -> Inputs:
    """The prompt without an image."""
    ids = torch.tensor([BEFORE + AFTER])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def with_image(pixels: Pixels) -> Callable[[PreTrainedModel], Inputs]:
    """Maker of a prompt with as many placeholders as the vision tower makes vectors for the image."""

    def inputs(model: PreTrainedModel) -> Inputs:
        image = pixels()
        ids = torch.tensor([BEFORE + [IMAGE] * _vectors(model, image) + AFTER])
        made = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **image}
        accepted = inspect.signature(model.forward).parameters
        for name in ("mm_token_type_ids", "moe_mm_token_type_ids"):
            if name in accepted:
                made[name] = (ids == IMAGE).long()
        return made

    return inputs


def talker_inputs(model: PreTrainedModel) -> Inputs:
    """The talker of Qwen3-Omni reads embeddings, and the thinker's ids beside them."""
    ids = torch.tensor([BEFORE])
    return {
        "inputs_embeds": random_tensor(1, len(BEFORE), HIDDEN),
        "attention_mask": torch.ones_like(ids),
        "talker_input_ids": ids,
    }


def _vectors(model: PreTrainedModel, image: Inputs) -> int:
    """How many vectors the tower makes of the image."""
    owner: Any = model if hasattr(model, "get_image_features") else model.model
    with torch.no_grad():
        features = owner.get_image_features(**image)
    if getattr(features, "pooler_output", None) is not None:
        features = features.pooler_output
    else:
        features = getattr(features, "last_hidden_state", features)
    parts = features if isinstance(features, (tuple, list)) else [features]
    return sum(part.reshape(-1, part.shape[-1]).shape[0] for part in parts)
