"""After a sub-model the whole model is what it was, bit for bit: tensors, attributes, hooks, configuration, output."""

from __future__ import annotations

import threading

import pytest
import torch

from probes import BusyError, RoutingProbe, SubModel, SubModelError
from probes.submodel.plan import Plan
from tests.probes.families.catalogue import all_families, quick_or_full
from tests.probes.submodels.cases import QUICK, REFUSED, built, run
from tests.probes.submodels.state import state_of
from tests.probes.submodels.test_generation import smaller


@pytest.mark.parametrize("name", quick_or_full(QUICK))
def test_the_whole_model_is_unchanged(name: str) -> None:
    model, inputs = built(name).model, built(name).inputs
    full = run(model, inputs, name)
    own = own_changes(name)
    before = state_of(model, own)
    with smaller(name).applied(model):
        inside = run(model, inputs, name)
        assert state_of(model, own) != before
    assert state_of(model, own) == before
    with pytest.raises(ZeroDivisionError), smaller(name).applied(model):
        run(model, inputs, name)
        raise ZeroDivisionError
    assert state_of(model, own) == before
    assert torch.equal(run(model, inputs, name), full)
    assert not torch.equal(inside, full)


def own_changes(name: str) -> set[str]:
    """Attributes that the model itself sets in a plain forward pass: the last rotary offsets of the Qwen-VL line."""
    model, inputs = built(name).model, built(name).inputs
    before = state_of(model)
    run(model, inputs, name)
    after = state_of(model)
    changed = {key for key in before if after[key] != before[key]}
    assert {key.rpartition(":")[2] for key in changed} <= {"rope_deltas"}
    return changed


@pytest.mark.parametrize("name", ["qwen3_moe", "deepseek_v4", "gemma4_text"])
def test_an_exception_inside_the_forward_pass(name: str) -> None:
    """The pass breaks off in the last layer, with routers already masked and tables already narrowed."""
    model, inputs = built(name).model, built(name).inputs
    before = state_of(model)
    stack = model.model.layers

    def fail(*_: object) -> None:
        raise FloatingPointError

    with pytest.raises(FloatingPointError), smaller(name).applied(model):
        handle = stack[-1].register_forward_hook(fail)
        try:
            run(model, inputs, name)
        finally:
            handle.remove()
    assert state_of(model) == before


def test_a_plan_that_does_not_fit_changes_nothing() -> None:
    model = built("mixtral").model
    before = state_of(model)
    wrong = Plan({"text": (0, 1)}, {"text_0_mlp": (0, 1, 2, 99)}, {"text_0_mlp": 2})
    with pytest.raises(SubModelError, match="Expert 99"), wrong.applied(model):
        raise AssertionError("not reached")
    assert state_of(model) == before
    with SubModel(top_k=1).applied(model):  # the lock is free again
        pass


def test_one_sub_model_at_a_time() -> None:
    model = built("mixtral").model
    before = state_of(model)
    with SubModel(top_k=1).applied(model), pytest.raises(BusyError, match="already runs as a sub-model"):
        SubModel(top_k=1).applied(model).__enter__()
    assert state_of(model) == before


def test_another_thread_waits_and_says_so() -> None:
    model, faults = built("mixtral").model, []

    def other() -> None:
        try:
            with RoutingProbe(model, lock_timeout=0.05):
                pass
        except BusyError as fault:
            faults.append(str(fault))

    with SubModel(top_k=1).applied(model):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(faults) == 1 and "Another thread" in faults[0]


@pytest.mark.parametrize("probe_outside", [True, False])
def test_generation_stays_uncompiled_as_long_as_either_is_open(probe_outside: bool) -> None:
    model = built("mixtral").model
    before = state_of(model)
    outer, inner = SubModel(top_k=1).applied(model), RoutingProbe(model)
    for first, second in [(inner, outer)] if probe_outside else [(outer, inner)]:
        with first:
            with second:
                assert not model._valid_auto_compile_criteria({}, None)
            assert not model._valid_auto_compile_criteria({}, None)
    assert state_of(model) == before


def test_offloaded_by_accelerate() -> None:
    """Weights that lie on the disk between calls: the sub-model runs, and the wrapped forwards are as they were."""
    from accelerate import cpu_offload

    from tests.probes.families.build import build

    one = build(all_families()["mixtral"])
    with SubModel(layers=[0, 2, 3], experts=[0, 2, 4, 6], top_k=1).applied(one.model):
        expected = run(one.model, one.inputs, "mixtral")
    cpu_offload(one.model)
    with SubModel(layers=[0, 2, 3], experts=[0, 2, 4, 6], top_k=1).applied(one.model):
        assert torch.equal(run(one.model, one.inputs, "mixtral"), expected)
    assert ("mixtral", "experts") not in REFUSED
    assert not torch.equal(run(one.model, one.inputs, "mixtral"), expected)


def test_gradients_flow_through_a_sub_model() -> None:
    """Only what stays is trained: layers and experts that are left out get no gradient."""
    from tests.probes.families.build import build

    one = build(all_families()["qwen3_moe"])
    with SubModel(layers=[0, 2], experts=[0, 1, 2, 3]).applied(one.model):
        one.model(**one.inputs).logits.square().mean().backward()
    layers = one.model.model.layers
    assert all(parameter.grad is None for parameter in layers[1].parameters())
    moved = layers[2].mlp.experts.down_proj.grad.abs().amax(dim=(1, 2))
    assert (moved[:4] > 0).all() and (moved[4:] == 0).all()
