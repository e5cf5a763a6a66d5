"""Which sub-models are tried of a family, what they are compared with, and what each family refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from probes import SubModel, find_sites
from probes.submodel.stacks import find_stacks
from tests.probes.families.build import Built, build
from tests.probes.families.catalogue import QUICK as QUICK_ROUTES
from tests.probes.families.catalogue import all_families
from tests.probes.families.test_decode import decodable
from tests.probes.submodels import pruned

# A family for every adapter and shape of router, without the one whose tiny model takes seconds to build.
QUICK = tuple(name for name in QUICK_ROUTES if name != "dots3_note")
AXES = ("top_k", "experts", "without the last layer", "without layer 1", "without layer 0")

# (family, axis) -> words of the sentence that refuses it; everything else must work.
REFUSED = {
    ("jetmoe", "top_k"): "number of head groups",
    ("phimoe", "top_k"): "sparse mixer",
    ("longcat_flash", "top_k"): "at least 2",
    ("nllb_moe", "top_k"): "two experts a token",
    ("nllb_moe", "experts"): "runs experts 0 and 1",
    ("doge", "experts"): "product keys",
    ("deepseek_v4", "experts"): "fixed table of token ids",
    ("vitpose_backbone", "experts"): "no router",
    ("hy_v4", "without layer 1"): "the keys that its indexer chose from layer 1",
    ("inkling2", "without layer 0"): "stores the embeddings",
    ("inkling2_text", "without layer 0"): "stores the embeddings",
    ("switch_transformers", "without layer 0"): "position bias",
}
# One expert a token in the first place: there is no smaller top-k.
ONE_EXPERT = ("zaya", "switch_transformers", "vitpose_backbone")
# Where a shorter list of layers means something else than a layer left out: Qwen3-VL adds picture features after its first
# layers, by number; Inkling 2 starts its blocks by number; Mistral Large 4 chooses rotary layers by number.
BY_NUMBER = (
    "qwen3_vl_moe",
    "qwen3_omni_moe_thinker",
    "inkling2",
    "inkling2_text",
    "mistral_large4",
    "mistral_large4_text",
)


@dataclass(frozen=True)
class Case:
    """A sub-model, and the model that was made smaller another way.

    Attributes:
        reference: builds it.
    """

    sub_model: SubModel
    reference: Callable[[], PreTrainedModel]


@cache
def built(name: str) -> Built:
    """The tiny model of a family, made once; no test may change it for good."""
    return build(decodable(all_families()[name]))


def run(model: PreTrainedModel, inputs: dict[str, Tensor], name: str) -> Tensor:
    """Logits, or the last hidden states of a model without a head; without a cache, which some references cannot set up."""
    own: dict[str, Any] = {} if name in ("diffusion_gemma", "vitpose_backbone") else {"use_cache": False}
    with torch.no_grad():
        output = model(**inputs, **own)
    for field in ("logits", "last_hidden_state", "feature_maps"):
        found = getattr(output, field, None)
        if found is not None:
            return found[-1] if isinstance(found, tuple) else found
    raise LookupError(f"{name} returns no logits")


def case(name: str, axis: str) -> Case:
    """The case of a family and an axis."""
    model = built(name).model
    found = find_sites(model)
    if axis == "top_k":
        return Case(SubModel(top_k=1), lambda: pruned.with_top_k(model, found[0].site.top_k, 1))
    if axis == "experts":
        return _experts(name, model)
    stacks = [stack for stack in find_stacks(model, found).values() if not stack.is_tower or name == "vitpose_backbone"]
    stack = stacks[0]
    total = len(stack.layers)
    gone = {"without the last layer": total - 1, "without layer 1": 1, "without layer 0": 0}[axis]
    kept = [index for index in range(total) if index != gone]

    def reference() -> PreTrainedModel:
        shorter = (
            None
            if name in BY_NUMBER and axis != "without the last layer"
            else pruned.with_layers(model, stack.path, kept)
        )
        return shorter or pruned.zeroed(model, [f"{one.path}.{gone}" for one in stacks])

    return Case(SubModel(layers=kept), reference)


def _experts(name: str, model: PreTrainedModel) -> Case:
    """Half of the experts, others in every layer; two of each group of four, where there are groups."""
    found = [one.site for one in find_sites(model)]
    real = found[0].experts - found[0].identity_experts
    kept, by_block = {}, {}
    for site in found:
        if site.experts - site.identity_experts != real:  # a vision tower with experts of its own
            continue
        generator = np.random.default_rng(site.layer)  # an encoder and a decoder with the same experts keep the same
        half, quarter = real // 2, max(1, real // 4)
        ids = [
            *generator.choice(half, quarter, replace=False),
            *(half + generator.choice(half, quarter, replace=False)),
        ]
        kept[site.id] = by_block[site.module] = sorted(int(expert) for expert in ids)
    return Case(SubModel(experts=kept), lambda: pruned.with_experts(model, real, by_block))
