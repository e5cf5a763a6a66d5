"""Which families can be carved, and what each one's configuration has to say afterwards: a row a family.

A configuration describes which layers have experts in the family's own way (a list, a first layer, a period). After layers
were removed it must describe the layers that are left; where the family has no words for them, the carve is refused.
Measured against transformers 5.23; tests/elastic/test_carve_families.py holds every row against the sub-model.

To add a family: a row in `RULES`, a rule in names.py if its tensors are called otherwise, its name in that test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from workbench.elastic.errors import CarveError

Changes = dict[str, Any]
Schedule = Callable[[Mapping[str, Any], Sequence[int], Sequence[bool]], Changes]


def _every_layer(config: Mapping[str, Any], kept: Sequence[int], sparse: Sequence[bool]) -> Changes:
    """Every layer has experts, and nothing says so."""
    return {}


def _named_dense_layers(config: Mapping[str, Any], kept: Sequence[int], sparse: Sequence[bool]) -> Changes:
    """Dense layers are listed; the step between layers with experts becomes 1."""
    return {"decoder_sparse_step": 1, "mlp_only_layers": [new for new, has in enumerate(sparse) if not has]}


def _named_sparse_layers(config: Mapping[str, Any], kept: Sequence[int], sparse: Sequence[bool]) -> Changes:
    """Layers with experts are listed."""
    return {"moe_layers": [new for new, has in enumerate(sparse) if has]}


def _first_dense(config: Mapping[str, Any], kept: Sequence[int], sparse: Sequence[bool]) -> Changes:
    """The first n layers are dense; layers keep their order, so those that are left still stand first."""
    return {"first_k_dense_replace": sum(not has for has in sparse)}


def _interval(config: Mapping[str, Any], kept: Sequence[int], sparse: Sequence[bool]) -> Changes:
    """Experts in every n-th layer between a first and a last one."""
    count = len(sparse)
    for step, first, last in product(range(1, count + 1), range(count + 1), range(count - 1, -1, -1)):
        if [(new + 1) % step == 0 and first <= new <= last for new in range(count)] == list(sparse):
            return {"moe_layer_interval": step, "moe_layer_start_index": first, "moe_layer_end_index": last}
    raise _no_words("an interval between a first and a last layer with experts", sparse)


def _periods(config: Mapping[str, Any], kept: Sequence[int], sparse: Sequence[bool]) -> Changes:
    """Experts in every n-th layer, attention in every m-th, each from an offset on."""
    attention = [old % config["attn_layer_period"] == config["attn_layer_offset"] for old in kept]
    found: Changes = {}
    for name, wanted, words in (
        ("expert_layer", sparse, "a period of layers with experts"),
        ("attn_layer", attention, "a period of layers with attention"),
    ):
        period, offset = _period(wanted, words)
        found |= {f"{name}_period": period, f"{name}_offset": offset}
    return found


def _period(wanted: Sequence[bool], words: str) -> tuple[int, int]:
    count = len(wanted)
    for period in range(1, count + 2):
        for offset in range(period):
            if [new % period == offset for new in range(count)] == list(wanted):
                return period, offset
    raise _no_words(words, wanted)


def _no_words(words: str, wanted: Sequence[bool]) -> CarveError:
    pattern = ", ".join(str(new) for new, has in enumerate(wanted) if has) or "none"
    return CarveError(
        f"This family's configuration describes its layers by {words}, which cannot say 'layers {pattern} of {len(wanted)}': "
        "keep layers whose pattern it can say, for example layers=first:N."
    )


@dataclass(frozen=True)
class FamilyRule:
    """How a family is carved.

    Attributes:
        schedule: gives the configuration's changes from (old configuration, old numbers of the layers left, whether each
            of them has experts).
        per_layer: fields that are lists with one entry a layer, written out even where the file left them to the default.
        groups: how the router scores its groups of experts: "max" or "sum of 2" (which needs 2 in each); None: no groups.
        nested: name of the sub-configuration with the text model, in the multimodal shell.
        beside: folders of the checkpoint that come along whole.
    """

    schedule: Schedule
    per_layer: tuple[str, ...] = ()
    groups: Literal["max", "sum of 2"] | None = None
    nested: str | None = None
    beside: tuple[str, ...] = ()


RULES: Mapping[str, FamilyRule] = {
    "mixtral": FamilyRule(_every_layer),
    "olmoe": FamilyRule(_every_layer),
    "granitemoe": FamilyRule(_every_layer),
    "gpt_oss": FamilyRule(_every_layer, per_layer=("layer_types",)),
    "qwen2_moe": FamilyRule(_named_dense_layers, per_layer=("layer_types",)),
    "qwen3_moe": FamilyRule(_named_dense_layers),
    "deepseek_v2": FamilyRule(_first_dense, groups="max"),
    "deepseek_v3": FamilyRule(_first_dense, groups="sum of 2"),
    "glm4_moe": FamilyRule(_first_dense, groups="sum of 2"),
    "ernie4_5_moe": FamilyRule(_interval),
    "llama4_text": FamilyRule(_named_sparse_layers, per_layer=("layer_types", "no_rope_layers")),
    "llama4": FamilyRule(_named_sparse_layers, per_layer=("layer_types", "no_rope_layers"), nested="text_config"),
    "jamba": FamilyRule(_periods),
    # Its audio heads count layers from the end; the model itself refuses plans that leave such a layer out.
    "unified_omni": FamilyRule(_every_layer, beside=("tokenizers", "judges")),
}


def rule_of(family: str) -> FamilyRule:
    """The rule of a model type.

    Raises:
        CarveError: if there is none.
    """
    if family not in RULES:
        raise CarveError(
            f"Models of the type '{family}' cannot be carved yet: carving knows {', '.join(RULES)}; a sweep can still run the "
            "sub-model without carving it."
        )
    return RULES[family]
