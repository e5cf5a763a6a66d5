"""Routes written down by hand: a toy whose experts follow from the token ids, every cell of the tables compared."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from probes import Adapter, Facts, Place, ProbeError, Routing, RoutingProbe, UnknownRouterError
from tests.probes.models import ListBlock, ListModel, Toy
from workbench.capture.blocks import block_of

IDS = torch.tensor([[1, 2, 3, 0], [5, 5, 4, 0]])
MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])


def test_every_cell() -> None:
    """Two rows, one padded: tokens 1 2 3 and 5 5 4 0; expert t and t + 1 at layer 0, t + 3 and t + 4 at layer 1, modulo 6."""
    with RoutingProbe(Toy(), groups=["a", "b"]) as probe:
        probe.model(IDS, attention_mask=MASK)
    capture = probe.capture()
    assert capture.groups == ("a", "b")
    assert [(site.id, site.experts, site.top_k) for site in capture.sites] == [
        ("text_0_mlp", 6, 2),
        ("text_1_mlp", 6, 2),
    ]
    #                        expert   0  1  2  3  4  5
    assert capture.count[0].tolist() == [[0, 1, 2, 2, 1, 0], [3, 1, 0, 0, 1, 3]]
    assert capture.count[1].tolist() == [[2, 1, 0, 0, 1, 2], [0, 1, 3, 3, 1, 0]]
    # The weight of a token's first expert is .75, of its second .25.
    assert capture.mass[0, 0].tolist() == [0, 0.75, 0.25 + 0.75, 0.25 + 0.75, 0.25, 0]
    assert capture.mass[0, 1].tolist() == [0.25 + 0.25 + 0.75, 0.25, 0, 0, 0.75, 0.25 + 0.75 + 0.75]
    assert capture.token_count.tolist() == [[3, 4], [3, 4]]
    assert capture.manifest.tokens == {"text": {"a": 3, "b": 4}}
    assert capture.manifest.excluded == {"text": {"padding": 1}}
    pairs = capture.coactivation
    assert pairs is not None
    assert pairs[0, 1, 2] == pairs[0, 2, 3] == pairs[0, 3, 4] == pairs[0, 0, 1] == pairs[0, 4, 5] == 1
    assert pairs[0, 5, 0] == pairs[0, 0, 5] == 2
    assert pairs[0, 0, 0] == 3
    assert pairs[0, 0, 2] == 0
    by_block = capture.table("tokens").sum("site", "phase", "group").values
    expected = np.zeros(32, dtype=int)
    expected[block_of("0")] += 2 * 3
    expected[block_of("1")] += 2 * 4
    assert by_block.tolist() == expected.tolist()


def test_two_halves_merge_into_the_whole() -> None:
    from workbench.capture import merge

    def of(rows: slice) -> object:
        with RoutingProbe(Toy(), documents=["x", "y"][rows], groups=["a", "b"][rows], tokens=True) as probe:
            probe.model(IDS[rows], attention_mask=MASK[rows])
        return probe.capture()

    whole, merged = of(slice(0, 2)), merge([of(slice(0, 1)), of(slice(1, 2))])  # type: ignore[list-item]
    for name in ("count", "mass", "tokens"):
        assert np.array_equal(whole.table(name).values, merged.table(name).values)  # type: ignore[attr-defined]
    assert whole.tokens["text"].num_rows == merged.tokens["text"].num_rows  # type: ignore[attr-defined,index]


class Halver(torch.nn.Module):
    """A router of nobody's shape: even tokens to expert 0, odd ones to expert 1."""

    def forward(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"choice": tokens % 2}


class OwnModel(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(50, 4)
        self.halver_Top1Router = Halver()

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        self.halver_Top1Router(input_ids.reshape(-1))
        return self.embed(input_ids)


class HalverAdapter(Adapter):
    name = "Halver"
    when = "after"

    def find(self, place: Place) -> Facts | None:
        return Facts(experts=2, top_k=1, watch=place.module) if isinstance(place.module, Halver) else None

    def read(self, args, kwargs, output, facts):  # type: ignore[no-untyped-def]
        ids = output["choice"].reshape(-1, 1)
        return Routing(ids, torch.ones_like(ids, dtype=torch.float32))


def test_adapter_of_ones_own() -> None:
    with RoutingProbe(OwnModel(), adapters=[HalverAdapter()], groups="all") as probe:
        probe.model(torch.tensor([[1, 3, 5, 0]]))
    assert probe.capture().count.tolist() == [[[1, 3]]]


def test_gate_over_a_list_of_experts() -> None:
    torch.manual_seed(0)
    model = ListModel(ListBlock())
    with RoutingProbe(model, groups="all") as probe, torch.no_grad():
        model(IDS)
    capture = probe.capture()
    with torch.no_grad():
        expected = model.layers[0].gate(model.embed(IDS).reshape(-1, 8)).topk(2).indices.flatten().bincount(minlength=4)
    assert capture.count[0, 0].tolist() == expected.tolist()
    assert capture.manifest.flags[0].kind == "recomputed"


def test_a_repeated_choice_that_differs_fails_the_capture() -> None:
    """The block turns its logits round, so the experts receive other tokens than softmax and top-k of the gate say."""
    torch.manual_seed(0)
    model = ListModel(ListBlock(temperature=-1.0))
    with RoutingProbe(model, groups="all") as probe, torch.no_grad():
        model(IDS)
    with pytest.raises(ProbeError, match=r"text_0_mlp failed its check 'repeated choices as executed'"):
        probe.capture()


class GateOfRemoteCode(torch.nn.Module):
    """Returns (ids, weights, aux loss), as remote code of the DeepSeek line does."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.top_k = torch.nn.Linear(8, 4, bias=False), 2

    def forward(self, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        weights, ids = self.linear(hidden.reshape(-1, 8)).sigmoid().topk(2, dim=-1)
        return ids, weights, None


class RemoteBlock(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate = GateOfRemoteCode()
        self.experts = torch.nn.ModuleList([torch.nn.Linear(8, 8) for _ in range(4)])

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        self.gate(hidden)
        return hidden


def test_gate_that_returns_its_choice() -> None:
    torch.manual_seed(0)
    model = ListModel(RemoteBlock())
    with RoutingProbe(model, groups="all") as probe, torch.no_grad():
        model(IDS)
    with torch.no_grad():
        ids = model.layers[0].gate(model.embed(IDS))[0]
    assert probe.capture().count[0, 0].tolist() == ids.flatten().bincount(minlength=4).tolist()


class StrangeTopKRouter(torch.nn.Module):
    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden


def test_unknown_router_is_named() -> None:
    model = ListModel(ListBlock())
    model.layers.append(StrangeTopKRouter())
    with pytest.raises(UnknownRouterError, match=r"'layers\.1' of class StrangeTopKRouter .*linear gate beside a list"):
        RoutingProbe(model)
