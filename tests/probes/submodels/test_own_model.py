"""The unified model as a sub-model, against the smaller passes that its own elastic training makes; and the embedded one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from probes import RoutingProbe, SubModel, SubModelError, find_sites
from tests.probes.submodels.state import state_of
from workbench.models.files import embedded_models


@pytest.fixture(scope="module")
def unified() -> Any:
    from workbench.unified.config import UnifiedConfig
    from workbench.unified.model import UnifiedForCausalLM

    torch.manual_seed(0)
    model = UnifiedForCausalLM(UnifiedConfig(num_hidden_layers=5, audio_levels=2, num_experts=8, num_experts_per_tok=3))
    for layer in model.layers:
        torch.nn.init.normal_(layer.moe.router.weight)
        torch.nn.init.normal_(layer.moe.router.bias)  # a bias that would bring absent experts back
    return model.eval()


@pytest.fixture(scope="module")
def ids(unified: Any) -> torch.Tensor:
    return torch.randint(5, 60, (2, 12), generator=torch.Generator().manual_seed(1))


def test_layers_experts_and_top_k_equal_a_reduced_pass(unified: Any, ids: torch.Tensor) -> None:
    from workbench.unified.experts import Reduction

    kept = [1, 2, 4, 7]
    present = torch.zeros(8, dtype=torch.bool)
    present[kept] = True
    for sub, reduction in (
        (SubModel(layers=[0, 2, 3, 4]), Reduction(layers=frozenset({0, 2, 3, 4}))),
        (SubModel(layers=[1, 3, 4]), Reduction(layers=frozenset({1, 3, 4}))),
        (SubModel(experts=kept), Reduction(experts=dict.fromkeys(range(5), present))),
        (SubModel(top_k=1), Reduction(top_k=1)),
        (
            SubModel(layers=[0, 3, 4], experts=kept, top_k=2),
            Reduction(layers=frozenset({0, 3, 4}), experts=dict.fromkeys(range(5), present), top_k=2),
        ),
    ):
        before = state_of(unified)
        with torch.no_grad():
            full = unified(ids, use_cache=False).logits
            reference = unified(ids, use_cache=False, reduction=reduction).logits
            with sub.applied(unified):
                ours = unified(ids, use_cache=False).logits
        torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(ours, full, rtol=1e-3, atol=1e-4)
        assert state_of(unified) == before


def test_layers_with_audio_heads_stay(unified: Any) -> None:
    with pytest.raises(
        SubModelError, match="Layer 3 of stack 'text' cannot be left out, because it carries the head of audio level 0"
    ):
        SubModel(layers=3).plan(unified)
    assert SubModel(layers="even:4").plan(unified).layers == {"text": (0, 2, 3, 4)}


def test_with_a_cache_equals_without(unified: Any, ids: torch.Tensor) -> None:
    with torch.no_grad(), SubModel(layers=[1, 3, 4], experts=[0, 2, 4, 6], top_k=2).applied(unified):
        whole = unified(ids, use_cache=False).logits
        output = unified(ids[:, :8], use_cache=True)
        steps = [output.logits]
        for position in range(8, 12):
            output = unified(ids[:, position : position + 1], past_key_values=output.past_key_values, use_cache=True)
            steps.append(output.logits)
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-4, atol=1e-5)


def test_the_embedded_model() -> None:
    """The checkpoint that is shipped: half of its experts by what it chose, recorded under the numbers of the whole model."""
    from transformers import AutoModelForCausalLM

    import workbench.unified  # noqa: F401 - its classes are found by name

    folder = embedded_models()[0].path
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.arange(40, 64)[None]
    before = state_of(model)
    with torch.no_grad(), RoutingProbe(model) as probe:
        model(ids)
    capture = probe.capture()
    plan = SubModel.parse("experts=share:0.5:count top_k=2").plan(model, capture)
    with torch.no_grad(), plan.applied(model), RoutingProbe(model) as probe:
        model(ids)
    smaller = probe.capture()
    for row, found in enumerate(find_sites(model)):
        chosen = set(smaller.count[row].sum(axis=0).nonzero()[0].tolist())
        assert chosen <= set(plan.experts[found.site.id])
        assert smaller.count[row].sum() == 2 * ids.numel()
    assert state_of(model) == before
