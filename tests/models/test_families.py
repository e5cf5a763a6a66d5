"""The list of families against the installed transformers, and experts read from configurations."""

from __future__ import annotations

import pytest

from workbench.models import families
from workbench.models.families import experts_of


def test_every_family_is_one_that_transformers_knows() -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    assert not [family for family in families() if family not in CONFIG_MAPPING_NAMES]


@pytest.mark.parametrize(
    ("config", "experts"),
    [
        ({"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}, (8, 2)),
        ({"model_type": "llama", "hidden_size": 8}, None),
        ({"model_type": "gemma4_text", "enable_moe_block": False, "num_experts": 8}, None),
        (
            {
                "model_type": "qwen3_vl_moe",
                "text_config": {"model_type": "qwen3_vl_moe_text", "num_experts": 4, "num_experts_per_tok": 1},
            },
            (4, 1),
        ),
        ({"model_type": "dbrx", "ffn_config": {"moe_num_experts": 16, "moe_top_k": 4}}, (16, 4)),
    ],
)
def test_experts_of_a_config(config: dict[str, object], experts: tuple[int, int] | None) -> None:
    found = experts_of(config)
    assert (None if found is None else (found.experts, found.top_k)) == experts
