"""The logits of a sub-model equal those of a model that was built or pruned that way, for every family and axis."""

from __future__ import annotations

import copy

import pytest
import torch

from probes import RoutingProbe, SubModel, SubModelError
from tests.probes.families.catalogue import all_families, quick_or_full
from tests.probes.submodels import pruned
from tests.probes.submodels.cases import AXES, ONE_EXPERT, QUICK, REFUSED, built, case, run


def assert_equal_but_for_rounding(ours: torch.Tensor, reference: torch.Tensor, full: torch.Tensor) -> None:
    """Equal up to the order of additions, and far closer to the reference than to the whole model."""
    difference = float((ours - reference).abs().max())
    changed = float((ours - full).abs().max())
    size = float(reference.abs().max())
    assert difference <= 3e-6 * max(size, 1.0) and difference <= 0.01 * changed, (difference, changed, size)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", quick_or_full(QUICK))
def test_logits_equal_a_model_made_so(name: str, axis: str) -> None:
    model, inputs = built(name).model, built(name).inputs
    if axis == "top_k" and name in ONE_EXPERT:
        full = run(model, inputs, name)
        with SubModel(top_k=1).applied(model):
            assert torch.equal(run(model, inputs, name), full)
        return
    one = case(name, axis)
    if (name, axis) in REFUSED:
        with pytest.raises(SubModelError, match=REFUSED[name, axis]):
            one.sub_model.plan(model)
        return
    full = run(model, inputs, name)
    with one.sub_model.applied(model):
        ours = run(model, inputs, name)
    assert_equal_but_for_rounding(ours, run(one.reference(), inputs, name), full)
    assert torch.equal(run(model, inputs, name), full)


@pytest.mark.parametrize("name", ["mixtral", "deepseek_v3", "gpt_oss"])
def test_all_axes_together(name: str) -> None:
    """Experts, then layers, then top-k taken from the weights, against one block with all three."""
    model, inputs = built(name).model, built(name).inputs
    experts, layers = case(name, "experts"), case(name, "without layer 1")
    kept = {site: ids for site, ids in experts.sub_model.experts if not site.startswith("text_1")}  # type: ignore[union-attr,str-unpack,misc]
    smaller = experts.reference()
    shorter = pruned.with_layers(smaller, "model.layers", layers.sub_model.layers)  # type: ignore[arg-type]
    assert shorter is not None
    reference = pruned.with_top_k(shorter, 2, 1)
    sub = SubModel(layers=layers.sub_model.layers, experts=kept, top_k=1)
    with sub.applied(model):
        ours = run(model, inputs, name)
    assert_equal_but_for_rounding(ours, run(reference, inputs, name), run(model, inputs, name))


def test_hash_layers_keep_their_experts_and_the_others_can_lose_some() -> None:
    """DeepSeek-V4: the reference makes the absent experts lose by a bias, which is in the choice alone."""
    model, inputs = built("deepseek_v4").model, built("deepseek_v4").inputs
    gone = [0, 3, 6, 7]
    reference = copy.deepcopy(model)
    for layer in reference.model.layers[1:]:
        with torch.no_grad():
            layer.mlp.gate.e_score_correction_bias[gone] = -1e4
    full = run(model, inputs, "deepseek_v4")
    with SubModel(experts={f"text_{layer}_mlp": [1, 2, 4, 5] for layer in (1, 2, 3)}).applied(model):
        ours = run(model, inputs, "deepseek_v4")
    assert_equal_but_for_rounding(ours, run(reference, inputs, "deepseek_v4"), full)


def test_experts_of_attention_keep_their_number_and_those_of_the_mlp_can_be_fewer() -> None:
    """JetMoE: with one expert a token, the first layer chooses the one that had the largest weight of two."""
    model, inputs = built("jetmoe").model, built("jetmoe").inputs
    with torch.no_grad(), RoutingProbe(model, tokens=True) as probe:
        model(**inputs)
    whole = probe.capture().read_tokens("text")
    with torch.no_grad(), SubModel(top_k={"*_mlp": 1}).applied(model), RoutingProbe(model, tokens=True) as probe:
        model(**inputs)
    capture = probe.capture()
    rows = capture.read_tokens("text")
    best = [choice[0] for choice in whole["experts_text_0_mlp"].to_pylist()]
    assert rows["experts_text_0_mlp"].to_pylist() == [[expert] for expert in best]
    assert {site.id: site.top_k for site in capture.sites if site.layer == 0} == {
        "text_0_attention": 2,
        "text_0_mlp": 1,
    }


def test_every_refusal_is_of_a_family_that_is_built() -> None:
    assert {name for name, _ in REFUSED} <= set(all_families())
