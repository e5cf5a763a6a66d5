"""The probe inside a sub-model records what the smaller model chose, under the numbers of the whole model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from probes import RoutingProbe, SubModel
from tests.probes.families.catalogue import quick_or_full
from tests.probes.submodels.cases import QUICK, REFUSED, built, case
from workbench.capture import Capture


def record(name: str, sub: SubModel, probe_first: bool = False) -> Capture:
    model, inputs = built(name).model, built(name).inputs
    if probe_first:
        with torch.no_grad(), RoutingProbe(model, tokens=True) as probe, sub.applied(model):
            model(**inputs)
    else:
        with torch.no_grad(), sub.applied(model), RoutingProbe(model, tokens=True) as probe:
            model(**inputs)
    return probe.capture()


@pytest.mark.parametrize(
    "name", quick_or_full(QUICK, without=tuple(name for name, axis in REFUSED if axis == "experts"))
)
def test_ids_are_those_of_the_whole_model(name: str) -> None:
    """The pruned model counts experts 0 to E' - 1; its counts under the old numbers are the sub-model's."""
    one = case(name, "experts")
    ours = record(name, one.sub_model)
    reference, inputs = one.reference(), built(name).inputs
    with torch.no_grad(), RoutingProbe(reference) as probe:
        reference(**inputs)
    theirs = probe.capture()
    kept = dict(one.sub_model.experts)  # type: ignore[arg-type]
    for row, site in enumerate(ours.sites):
        if site.id not in kept:
            continue
        identity = range(site.experts - site.identity_experts, site.experts)
        old = [*kept[site.id], *identity]
        expected = np.zeros(ours.count.shape[-1], dtype=np.int64)
        expected[old] = theirs.count[row].sum(axis=0)[: len(old)]
        np.testing.assert_array_equal(ours.count[row].sum(axis=0), expected, err_msg=site.id)


@pytest.mark.parametrize("probe_first", [True, False])
@pytest.mark.parametrize("name", ["qwen3_moe", "llama4_text", "jamba", "ernie4_5_vl_moe"])
def test_sites_of_layers_that_are_left_out_are_silent(name: str, probe_first: bool) -> None:
    axis = "without layer 1"
    capture = record(name, case(name, axis).sub_model, probe_first)
    for row, site in enumerate(capture.sites):
        assert (capture.token_count[row].sum() == 0) == (site.stack == "text" and site.layer == 1)
    silent = [site.id for site in capture.sites if site.layer == 1 and site.stack == "text"]
    assert [flag.site for flag in capture.manifest.flags if flag.kind == "layer_left_out"] == silent
    assert all(check.passed for check in capture.manifest.checks)
    assert not [flag for flag in capture.manifest.flags if flag.kind == "not_every_call"]


@pytest.mark.parametrize("probe_first", [True, False])
@pytest.mark.parametrize("name", ["qwen3_moe", "llama4_text", "doge", "dbrx", "gemma4_text"])
def test_a_smaller_top_k_is_recorded_as_it_ran(name: str, probe_first: bool) -> None:
    capture = record(name, SubModel(top_k=1), probe_first)
    assert {site.top_k for site in capture.sites} == {1}
    tokens = capture.token_count.sum(axis=1)
    np.testing.assert_array_equal(capture.count.sum(axis=(1, 2)), tokens)


def test_different_top_k_at_different_sites() -> None:
    capture = record("qwen3_moe", SubModel(top_k={"text_0_mlp": 1}), probe_first=True)
    assert [site.top_k for site in capture.sites] == [1, 2, 2, 2]
    tokens = capture.token_count.sum(axis=1)
    np.testing.assert_array_equal(capture.count.sum(axis=(1, 2)), tokens * [1, 2, 2, 2])


def test_a_layer_that_is_left_out_for_part_of_a_recording() -> None:
    """A silent site that nothing left out would still fail the capture; one that ran before does not."""
    model, inputs = built("qwen3_moe").model, built("qwen3_moe").inputs
    with torch.no_grad(), RoutingProbe(model) as probe:
        model(**inputs)
        with SubModel(layers=[0, 2, 3]).applied(model):
            model(**inputs)
    capture = probe.capture()
    tokens = capture.token_count.sum(axis=1)
    assert tokens[1] * 2 == tokens[0] == tokens[2]
    assert [flag.detail for flag in capture.manifest.flags] == [
        "a sub-model had left out its layer in 1 of 2 calls of its stack"
    ]
