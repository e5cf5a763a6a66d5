"""All families, by name."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from tests.probes.families.build import Family


@cache
def all_families() -> dict[str, Family]:
    """Name -> family: 70 backbones, 26 whole multimodal models, the vision backbone without a router."""
    from tests.probes.families.apart import families_apart
    from tests.probes.families.multimodal import multimodal_families
    from tests.probes.families.text import text_families
    from tests.probes.families.text_of_multimodal import text_backbones_of_multimodal

    families = (*text_families(), *text_backbones_of_multimodal(), *multimodal_families(), *families_apart())
    named = {family.name: family for family in families}
    if len(named) != len(families):
        raise ValueError("two families have the same name: rename one of them")
    return named


# One family for every adapter of the probe and every shape of router; the rest carries the marker `full`.
QUICK = (
    "qwen3_moe",  # softmax over all
    "gpt_oss",  # softmax over the chosen, router with a constant
    "deepseek_v3",  # sigmoid, bias, groups
    "deepseek_v4",  # routed by token id
    "phimoe",  # sparse mixer
    "inkling_text",  # shared experts in the softmax
    "longcat_flash",  # identity experts
    "gemma4_text",  # router on the decoder layer
    "nemotron_h",  # experts in a mixer
    "dbrx",  # selection in the block
    "jetmoe",
    "llama4_text",
    "zaya",
    "doge",
    "nllb_moe",
    "switch_transformers",
    "ernie4_5_vl_moe",
    "dots3_note",  # a vision tower with experts
    "diffusion_gemma",  # two passes
    "vitpose_backbone",
)


def quick_or_full(quick: tuple[str, ...] = QUICK, without: tuple[str, ...] = ()) -> list[Any]:
    """A test parameter a family, marked `full` unless it is one of `quick`."""
    return [
        pytest.param(name, id=name, marks=() if name in quick else pytest.mark.full)
        for name in all_families()
        if name not in without
    ]
