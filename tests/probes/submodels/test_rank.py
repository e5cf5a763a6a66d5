"""Rankings against numbers that were counted or computed another way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from probes import RoutingProbe, SubModelError, rank_experts, rank_layers
from tests.probes.families.observe import expected_routing
from tests.probes.submodels.cases import built
from tests.probes.submodels.state import state_of

FAMILIES = ("mixtral", "gpt_oss", "deepseek_v3", "longcat_flash", "dbrx")


@pytest.mark.parametrize("name", FAMILIES)
def test_counts_and_gate_mass(name: str) -> None:
    """Against the routing that plain arithmetic gives for the inputs of the routers."""
    model, inputs = built(name).model, built(name).inputs
    expected = expected_routing(model, inputs)
    counts, masses = (rank_experts(model, [inputs, inputs], by=by) for by in ("count", "mass"))  # type: ignore[arg-type]
    with RoutingProbe(model) as probe:
        pass
    for one in probe.found:
        choice = expected[one.site.module]
        size = one.site.experts
        np.testing.assert_array_equal(counts[one.site.id], 2 * np.bincount(choice.ids.ravel(), minlength=size)[:size])
        mass = np.bincount(choice.ids.ravel(), weights=choice.weights.ravel(), minlength=size)[:size]
        np.testing.assert_allclose(masses[one.site.id], 2 * mass, rtol=1e-3, atol=1e-5)


def test_gate_times_output_norm() -> None:
    """Mixtral: every expert computed by hand from its weights."""
    model, inputs = built("mixtral").model, built("mixtral").inputs
    seen: dict[int, Any] = {}
    handles = [
        layer.mlp.register_forward_pre_hook(lambda module, args, number=number: seen.__setitem__(number, args[0]))
        for number, layer in enumerate(model.model.layers)
    ]
    before = state_of(model)
    ranking = rank_experts(model, [inputs], by="norm")
    assert state_of(model) == before
    for handle in handles:
        handle.remove()
    choices = expected_routing(model, inputs)
    for number, layer in enumerate(model.model.layers):
        hidden = seen[number].reshape(-1, 32).double()
        choice = choices[f"model.layers.{number}.mlp"]
        expected = np.zeros(8)
        for expert in range(8):
            gate, up = layer.mlp.experts.gate_up_proj[expert].double().chunk(2)
            out = (torch.nn.functional.silu(hidden @ gate.T) * (hidden @ up.T)) @ layer.mlp.experts.down_proj[
                expert
            ].double().T
            norm = out.norm(dim=-1).detach().numpy()
            weight = np.where(choice.ids == expert, choice.weights, 0).sum(axis=1)
            rows = (choice.ids == expert).any(axis=1)
            expected[expert] = (weight * norm)[rows].mean() if rows.any() else 0
        np.testing.assert_allclose(ranking[f"text_{number}_mlp"], expected, rtol=1e-4)


@pytest.mark.parametrize("by", ["count", "mass", "norm"])
def test_padding_does_not_count(by: Any) -> None:
    model, ids = built("mixtral").model, built("mixtral").inputs["input_ids"]
    padded = torch.cat([ids, torch.zeros(2, 5, dtype=torch.long)], dim=1)
    mask = (torch.arange(17) < 12).long().expand(2, -1)
    alone = rank_experts(model, [{"input_ids": ids}], by=by)
    together = rank_experts(model, [{"input_ids": padded, "attention_mask": mask}], by=by)
    for site in alone:
        np.testing.assert_allclose(together[site], alone[site], rtol=1e-4)
    layers = (
        rank_layers(model, [ids])["text"],
        rank_layers(model, [{"input_ids": padded, "attention_mask": mask}])["text"],
    )
    np.testing.assert_allclose(*layers, rtol=1e-4)


@pytest.mark.parametrize("name", ["mixtral", "deepseek_v4", "switch_transformers", "zaya"])
def test_block_influence(name: str) -> None:
    """1 - cosine of what goes into a layer and what comes out, by the layers' own inputs and outputs."""
    model, inputs = built(name).model, built(name).inputs
    path = {"switch_transformers": "decoder.block"}.get(name, "model.layers")
    stack = "decoder" if name == "switch_transformers" else "text"
    layers = model.get_submodule(path)
    pairs: list[tuple[np.ndarray, np.ndarray]] = []

    def keep(module: Any, args: Any, output: Any) -> None:
        later = output[0] if isinstance(output, tuple) else output
        pairs.append(tuple(x.detach().double().flatten(0, 1).flatten(1).numpy() for x in (args[0], later)))  # type: ignore[arg-type]

    handles = [layer.register_forward_hook(keep) for layer in layers]  # type: ignore[union-attr]
    with torch.no_grad():
        model(**inputs)
    for handle in handles:
        handle.remove()
    expected = [1 - np.mean((x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))) for x, y in pairs]
    np.testing.assert_allclose(rank_layers(model, [inputs])[stack], expected, rtol=1e-5, atol=1e-9)


def test_what_cannot_be_ranked() -> None:
    with pytest.raises(SubModelError, match="at least one batch"):
        rank_layers(built("mixtral").model, [])
    with pytest.raises(SubModelError, match="count, mass or norm"):
        rank_experts(built("mixtral").model, [], by="luck")  # type: ignore[arg-type]
    with pytest.raises(SubModelError, match="does not show"):
        rank_experts(built("switch_transformers").model, [built("switch_transformers").inputs], by="norm")
