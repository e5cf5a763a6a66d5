"""The probe proves its own record: each fault, made by an adapter that lies, is found and its site named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from probes import Facts, Place, ProbeError, Routing, RoutingProbe
from probes.adapters import ExpertsCall
from probes.score import Promise
from tests.probes.models import Toy, ToyExperts, tiny

IDS = torch.tensor([[1, 2, 3], [4, 5, 0]])


class Liar(ExpertsCall):
    """Reads the toy's second layer and changes what it read."""

    name = "liar"

    def __init__(self, lie: Callable[[Routing], Routing | None], promise: Promise | None = None) -> None:
        self.lie, self.promise = lie, promise or Promise()

    def find(self, place: Place) -> Facts | None:
        if not isinstance(place.module, ToyExperts) or "layers.1" not in place.path:
            return None
        return Facts(experts=6, top_k=2, watch=place.module, promise=self.promise, covers=(place.parent.gate,))  # type: ignore[union-attr]

    def read(self, args: Any, kwargs: Any, output: Any, facts: Facts) -> Routing | None:
        routing = super().read(args, kwargs, output, facts)
        assert routing is not None
        return self.lie(routing)


def half(value: float) -> Callable[[Routing], Routing]:
    def lie(routing: Routing) -> Routing:
        weights = routing.weights.clone()
        weights[0, 0] = value
        return routing._replace(weights=weights)

    return lie


@pytest.mark.parametrize(
    ("lie", "promise", "words"),
    [
        (
            lambda r: r._replace(ids=r.ids[:, :1].expand(-1, 2)),
            None,
            "'ids of a token distinct' .* chose an expert twice",
        ),
        (lambda r: r._replace(ids=r.ids + 3), None, "'ids in range' .* of 6 experts"),
        (lambda r: r._replace(ids=r.ids - 1), None, "'ids in range' .*ids from -1"),
        (half(float("nan")), None, "'gate weights as promised' .* not a finite number"),
        (half(float("inf")), None, "'gate weights as promised' .* not a finite number"),
        (
            half(0.5),
            Promise("softmax", "sum 1", total=1.0),
            "'gate weights as promised' .* between 0.75 and 1, not to 1",
        ),
        (half(3.0), Promise("softmax", "at most 1", at_most=1.0), "'gate weights as promised' .* 3.25, more than 1"),
        (half(-0.5), Promise("softmax", "at most 1", signed=False), "'gate weights as promised' .* less than 0"),
        (lambda r: None, None, "'every site fired' .* never ran in 1 forward passes"),
    ],
)
@pytest.mark.parametrize("coactivation", [True, False])
def test_faults_are_found(lie: Any, promise: Promise | None, words: str, coactivation: bool) -> None:
    model = Toy()
    with RoutingProbe(model, adapters=[Liar(lie, promise)], coactivation=coactivation) as probe:
        model(IDS)
    with pytest.raises(ProbeError, match=f"site text_1_mlp failed its check {words}"):
        probe.capture()


def test_tokens_that_cannot_be_told_apart() -> None:
    model = Toy()
    lying = Liar(lambda r: Routing(r.ids[:4], r.weights[:4]))
    with (
        RoutingProbe(model, adapters=[lying]),
        pytest.raises(ProbeError, match="text_1_mlp routed 4 tokens of a call that holds 6"),
    ):
        model(IDS)


def test_the_passed_checks_stand_in_the_manifest() -> None:
    model = tiny("mixtral")
    with RoutingProbe(model) as probe:
        model(IDS)
    checks = probe.capture().manifest.checks
    assert [check.name for check in checks] == [
        "every site fired",
        "ids in range",
        "routed + dropped + skipped = tokens x top-k",
        "ids of a token distinct",
        "gate weights as promised",
        "repeated choices as executed",
    ]
    assert all(check.passed for check in checks)


def test_bfloat16_passes_its_checks() -> None:
    model = tiny("deepseek_v3").to(torch.bfloat16)
    with RoutingProbe(model, tokens=True) as probe, torch.no_grad():
        model(torch.arange(5, 105).reshape(5, 20) % 90)
    assert probe.capture().token_count[0, 0] == 100


@pytest.mark.parametrize(("name", "kind"), [("nllb_moe", "executed_differs"), ("doge", "mixes_tokens")])
def test_defects_of_transformers_are_flagged(name: str, kind: str) -> None:
    model = tiny(name)
    ids = torch.arange(5, 17).reshape(2, 6)
    inputs = {"input_ids": ids, "decoder_input_ids": ids} if name == "nllb_moe" else {"input_ids": ids}
    with RoutingProbe(model) as probe, torch.no_grad():
        model(**inputs)
    flags = probe.capture().manifest.flags
    assert {flag.kind for flag in flags} == {kind}
    assert {flag.site for flag in flags} == {site.site.id for site in probe.found}


def test_what_the_manifest_says_of_the_model() -> None:
    model = tiny("deepseek_v3")
    with RoutingProbe(model) as probe:
        model(IDS)
    info = probe.capture().manifest.model
    assert (info.family, info.architecture, info.dtype, info.device) == (
        "deepseek_v3",
        "DeepseekV3ForCausalLM",
        "float32",
        "cpu",
    )
    assert info.score_function == "sigmoid + selection bias, group-limited"
    assert info.weight_normalisation == "sum 1 x 2.5"
    assert info.parameters == sum(p.numel() for p in model.parameters())
    model.config._name_or_path = "/home/somebody/secret/models/my-model"
    with RoutingProbe(model) as probe:
        model(IDS)
    assert probe.capture().manifest.model.id == "my-model", "a path of the machine stays out of the capture"


def test_a_changed_top_k_needs_a_capture_of_its_own() -> None:
    model = tiny("mixtral")
    with RoutingProbe(model) as probe:
        model(IDS)
        probe.collector.flush()
        for layer in model.model.layers:
            layer.mlp.gate.top_k = 1
        model(IDS)
        with pytest.raises(ProbeError, match="chose 2 experts a token and now 1"):
            probe.collector.flush()


class Loop(Toy):
    """Runs its first layer twice."""

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> torch.Tensor:
        hidden = self.layers[0](self.embed(input_ids), input_ids)
        return super().forward(input_ids) + self.layers[0](hidden, input_ids)


def test_a_layer_that_runs_in_a_loop_is_not_counted_twice() -> None:
    with RoutingProbe(Loop()) as probe, pytest.raises(ProbeError, match="text_0_mlp ran more than once"):
        probe.model(torch.tensor([[1, 2, 3]]))
