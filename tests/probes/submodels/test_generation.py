"""Inside a sub-model, token by token with a cache equals all at once without one, and `generate` says the same both ways.

The first layer is left out where the family lets it: it is the layer that models ask for the length of the cache.
"""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from probes import SubModel
from tests.probes.families.catalogue import all_families, quick_or_full
from tests.probes.families.test_decode import MIXES_TOKENS, NOT_CAUSAL
from tests.probes.submodels.cases import ONE_EXPERT, REFUSED, built, case

PROMPT, NEW = 8, 4
# Doge's block mixes tokens whatever its layers are, so its cached and uncached passes differ in the whole model too.
CAUSAL = [
    name
    for name, family in all_families().items()
    if family.kind == "backbone" and name not in NOT_CAUSAL and name != MIXES_TOKENS
]
QUICK = ("qwen3_moe", "gpt_oss", "deepseek_v4", "jamba", "longcat_flash", "qwen3_next", "zaya")


def of_causal_families() -> list[Any]:
    return [one for one in quick_or_full(QUICK) if one.id in CAUSAL]


def smaller(name: str) -> SubModel:
    """The sub-model with everything that the family lets go: its first layer (else its second), experts, top-k."""
    gone = "without layer 1" if (name, "without layer 0") in REFUSED else "without layer 0"
    layers = case(name, gone).sub_model.layers
    experts = None if (name, "experts") in REFUSED else case(name, "experts").sub_model.experts
    kept = None if experts is None else {site: ids for site, ids in experts if f"_{gone[-1]}_" not in site}  # type: ignore[union-attr,misc,str-unpack]
    top_k = None if (name, "top_k") in REFUSED or name in ONE_EXPERT else 1
    return SubModel(layers=layers, experts=kept, top_k=top_k)


@pytest.mark.parametrize("name", of_causal_families())
def test_with_a_cache_equals_without(name: str) -> None:
    model, ids = built(name).model, built(name).inputs["input_ids"]
    with torch.no_grad(), smaller(name).applied(model):
        whole = logits(model(input_ids=ids, use_cache=False))
        output = model(input_ids=ids[:, :PROMPT], use_cache=True)
        steps = [logits(output)]
        for position in range(PROMPT, ids.shape[1]):
            output = model(
                input_ids=ids[:, position : position + 1], past_key_values=output.past_key_values, use_cache=True
            )
            steps.append(logits(output))
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", of_causal_families())
def test_generate_with_a_cache_equals_without(name: str) -> None:
    model, ids = built(name).model, built(name).inputs["input_ids"]
    if not model.can_generate():
        assert not hasattr(model, "lm_head")  # a backbone without a head: the test above is all there is
        return
    with smaller(name).applied(model):
        assert torch.equal(generated(model, ids), generated(model, ids, use_cache=False))


@pytest.mark.parametrize("name", ["qwen3_moe", "gpt_oss", "deepseek_v3"])
@pytest.mark.parametrize("how", [{"cache_implementation": "static"}, {"num_beams": 2}])
def test_generate_with_other_caches(name: str, how: dict[str, Any]) -> None:
    """A cache of fixed size, and one whose rows are reordered for beams; gpt-oss has sliding layers beside full ones."""
    model, ids = built(name).model, built(name).inputs["input_ids"]
    plain = {name: value for name, value in how.items() if name == "num_beams"}
    with smaller(name).applied(model):
        assert torch.equal(generated(model, ids, **how), generated(model, ids, use_cache=False, **plain))


@pytest.mark.parametrize("name", ["switch_transformers", "nllb_moe"])
def test_generate_of_an_encoder_decoder(name: str) -> None:
    """Layers left out on both sides; the cache of NLLB-MoE's decoder is asked for its length through its first layer."""
    model, ids = built(name).model, built(name).inputs["input_ids"]
    kept = [0] if name == "switch_transformers" else [1]
    with SubModel(layers=kept).applied(model):
        assert torch.equal(generated(model, ids), generated(model, ids, use_cache=False))


def test_what_generation_says_is_what_the_smaller_model_says() -> None:
    """Against a model that was pruned: the same tokens, so the cache holds what it would hold there."""
    model, ids = built("mixtral").model, built("mixtral").inputs["input_ids"]
    one = case("mixtral", "without layer 0")
    with one.sub_model.applied(model):
        ours = generated(model, ids)
    assert torch.equal(ours, generated(one.reference(), ids))
    assert not torch.equal(ours, generated(model, ids))


def logits(output: Any) -> Tensor:
    found: Tensor = output.logits if hasattr(output, "logits") else output.last_hidden_state
    return found


def generated(model: PreTrainedModel, ids: Tensor, **how: Any) -> Tensor:
    with torch.no_grad():
        return cast(Any, model).generate(
            ids[:, :PROMPT],
            attention_mask=torch.ones_like(ids[:, :PROMPT]),
            max_new_tokens=NEW,
            min_new_tokens=NEW,
            do_sample=False,
            pad_token_id=0,
            **how,
        )
