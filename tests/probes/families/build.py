"""What a family is, and how its tiny model is made.

Every model has random weights, is built from its configuration on the CPU and needs no download. The sizes below are the
smallest that keep routing interesting: 8 experts in 2 groups of 4, of which 1 group and 2 experts are chosen.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel

HIDDEN, LAYERS, EXPERTS, TOP_K, VOCABULARY = 32, 4, 8, 2, 128

# Every size field that some family's configuration knows; `tiny_config` passes each class the ones it has.
SIZES: Mapping[str, Any] = {
    # width and depth
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "dense_intermediate_size": 48,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "shared_intermediate_size": 16,
    "num_hidden_layers": LAYERS,
    "max_position_embeddings": 256,
    "num_nextn_predict_layers": 0,
    # experts
    "num_experts": EXPERTS,
    "num_local_experts": EXPERTS,
    "n_routed_experts": EXPERTS,
    "moe_num_experts": EXPERTS,
    "num_experts_per_tok": TOP_K,
    "num_experts_per_token": TOP_K,
    "moe_topk": TOP_K,
    "moe_top_k": TOP_K,
    "moe_k": TOP_K,
    "top_k_experts": TOP_K,
    "n_group": 2,
    "num_expert_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "num_dense_layers": 1,
    "router_hidden_size": 16,
    # weights of the chosen experts, set so that a forgotten factor shows
    "routed_scaling_factor": 2.5,
    "router_scaling_factor": 2.5,
    "route_scale": 2.5,
    "moe_router_logit_softcapping": 3.0,
    # attention
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "sliding_window": 16,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_head_dim": 8,
    "linear_num_heads": 4,
    "index_topk": 8,
    "index_head_dim": 8,
    "index_n_heads": 2,
    # the rest
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "attention_dropout": 0.0,
    "dropout": 0.0,
}

Kind = Literal["backbone", "multimodal", "vision"]
Inputs = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Family:
    """One family: how its configuration, model and inputs are made.

    Attributes:
        name: id of the tests.
        model: class name in transformers, or "package.module:Class" for one that transformers does not export.
        config: makes the tiny configuration.
        inputs: makes arguments of `forward` for the built model.
        kind: "backbone" (text or encoder-decoder), "multimodal" (a whole shell), "vision" (no text at all).
        note: what is special about the tiny model, shown in docs/families.md.
    """

    name: str
    model: str
    config: Callable[[], PreTrainedConfig]
    inputs: Callable[[PreTrainedModel], Inputs]
    kind: Kind = "backbone"
    note: str = ""


@dataclass(frozen=True)
class Built:
    """A tiny model in evaluation mode with its inputs."""

    family: Family
    model: PreTrainedModel
    inputs: Inputs


def find_class(name: str) -> Any:
    """A class of transformers by name, or by "package.module:Class" below transformers.models."""
    if ":" in name:
        module, name = name.split(":")
        return getattr(importlib.import_module(f"transformers.models.{module}"), name)
    return getattr(transformers, name)


def tiny_config(config_class: str, **overrides: Any) -> PreTrainedConfig:
    """A configuration with the small sizes above where the class has such a field.

    Args:
        config_class: name as for `find_class`.
        overrides: fields that the class needs otherwise.
    """
    cls = find_class(config_class)
    fields = cls().__dict__
    aliases = getattr(cls, "attribute_map", None) or {}
    chosen: dict[str, Any] = {}
    for field, value in SIZES.items():
        if field in fields and field not in aliases:
            chosen[field] = value
        elif field in aliases and aliases[field] in fields:
            chosen.setdefault(aliases[field], value)
    return cls(**{**chosen, **overrides})


def build(family: Family, seed: int = 0) -> Built:
    """The tiny model of a family with stirred routers (see `stir`), its default attention, and inputs."""
    from tests.probes.families.stir import stir

    config = family.config()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = find_class(family.model)(config).eval()
    stir(model, seed)
    return Built(family, model, family.inputs(model))


def random_tensor(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal noise that depends on nothing but shape and seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def text_inputs(model: PreTrainedModel, rows: int = 2, length: int = 12) -> Inputs:
    """Token ids [rows, length] without special tokens or placeholders, and a mask of ones."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, VOCABULARY - 30, (rows, length), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def encoder_decoder_inputs(model: PreTrainedModel) -> Inputs:
    """Text for the encoder and the first 7 tokens of it for the decoder."""
    inputs = text_inputs(model)
    return {**inputs, "decoder_input_ids": inputs["input_ids"][:, :7].clone()}
