"""Parameters of a sub-model against those of a model that was built or pruned that way."""

from __future__ import annotations

import pytest
import torch

from probes import SubModel
from probes.cost import cost
from tests.probes.families.catalogue import quick_or_full
from tests.probes.submodels import pruned
from tests.probes.submodels.cases import QUICK, REFUSED, built, case

# Where the smaller configuration also changes modules that a sub-model keeps, or the reference only zeroes.
ZEROED = ("gemma4", "gemma4_text", "diffusion_gemma", "vitpose_backbone")


@pytest.mark.parametrize("name", quick_or_full(QUICK))
def test_the_whole_model_counts_every_parameter_once(name: str) -> None:
    model = built(name).model
    whole = cost(model)
    assert whole.parameters_stored == whole.full_parameters == sum(one.numel() for one in model.parameters())
    assert whole.bytes_stored == 4 * whole.parameters_stored
    assert whole.parameters_active <= whole.parameters_stored


@pytest.mark.parametrize("axis", ["experts", "without the last layer"])
@pytest.mark.parametrize("name", quick_or_full(QUICK))
def test_stored_parameters_are_those_of_a_pruned_model(name: str, axis: str) -> None:
    if (name, axis) in REFUSED:
        return
    one = case(name, axis)
    model, reference = built(name).model, one.reference()
    counted = cost(model, one.sub_model.plan(model)).parameters_stored
    if axis != "experts" and len(list(reference.modules())) == len(list(model.modules())):
        assert name in ZEROED  # the reference is the whole model with zeros
        return
    assert counted == sum(parameter.numel() for parameter in reference.parameters())


def test_active_parameters_by_hand() -> None:
    """Mixtral of width 32: three matrices of 32 x 48 an expert, 2 of 8 experts a token, then 1 of 4."""
    model = built("mixtral").model
    expert, whole = 3 * 32 * 48, cost(model)
    assert whole.parameters_stored - whole.parameters_active == 4 * 6 * expert
    smaller = cost(model, SubModel(experts=[0, 1, 2, 3], top_k=1).plan(model))
    assert smaller.parameters_stored == whole.parameters_stored - 4 * 4 * (expert + 32)  # a router row an expert
    assert smaller.parameters_stored - smaller.parameters_active == 4 * 3 * expert
    assert smaller.share_stored == smaller.parameters_stored / whole.parameters_stored


def test_bytes_of_mixed_dtypes() -> None:
    import copy

    model = copy.deepcopy(built("mixtral").model).to(torch.bfloat16)
    model.lm_head.float()
    plan = SubModel(layers=2).plan(model)
    shorter = pruned.with_layers(built("mixtral").model, "model.layers", [0, 1])
    assert shorter is not None
    head = model.lm_head.weight.numel()
    others = sum(parameter.numel() for parameter in shorter.parameters()) - head
    assert cost(model, plan).bytes_stored == 2 * others + 4 * head
