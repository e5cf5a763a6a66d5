"""Shared work gives the very numbers of a plain loop, and runs every layer as often as it says."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from probes import SubModel
from tests.probes.families.build import build
from tests.probes.families.catalogue import all_families
from workbench.elastic.once import before_layers
from workbench.elastic.shared import FRONT_STATES, SharedRunner
from workbench.elastic.texts import Batch

GRID = [
    *(f"layers=first:{depth}" for depth in (4, 3, 2, 1)),
    *(f"layers=first:{depth} experts=share:0.5:random top_k=1" for depth in (4, 2)),
    "layers=0,2,3",
    "layers=0-1,3 top_k=1",
    "layers=1-3",
]


def batches(count: int = 2) -> list[Batch]:
    found = []
    for number in range(count):
        ids = torch.randint(5, 90, (2, 10), generator=torch.Generator().manual_seed(number))
        mask = torch.ones_like(ids)
        mask[1, 7:] = 0
        found.append(Batch(ids, mask, np.where(mask.numpy() > 0, number, -1), int(mask.sum())))
    return found


def run(runner: SharedRunner, given: list[Batch]) -> dict[tuple[int, int], torch.Tensor]:
    got: dict[tuple[int, int], torch.Tensor] = {}

    def keep(point: int, number: int, logits: torch.Tensor) -> None:
        assert (point, number) not in got
        got[point, number] = logits.clone()

    for first, end in runner.chunks(given):
        assert runner.run(given[first:end], first, keep, lambda: False)
    return got


@pytest.mark.parametrize(
    "family",
    [
        "qwen3_moe",
        "deepseek_v3",
        *(pytest.param(name, marks=pytest.mark.full) for name in ("gpt_oss", "mixtral", "jamba", "llama4_text", "gemma4_text", "inkling2_text", "zaya", "hy_v4")),
    ],
)  # fmt: skip
def test_logits_are_those_of_the_plain_loop(family: str) -> None:
    model: Any = build(all_families()[family]).model
    given = batches()
    plans = []
    for words in GRID:
        try:
            plans.append(SubModel.parse(words).plan(model))
        except Exception:
            continue
    assert len(plans) > 2
    shared = SharedRunner(model, plans)
    shared.check(given[0])
    if family in ("qwen3_moe", "deepseek_v3", "mixtral", "gpt_oss", "jamba", "llama4_text"):
        assert shared.shared, shared.reason
    got, expected = run(shared, given), run(SharedRunner(model, plans, share=False), given)
    assert got.keys() == expected.keys() == {(point, number) for point in range(len(plans)) for number in range(2)}
    for key, logits in expected.items():
        real = given[key[1]].mask.bool()
        assert torch.equal(got[key][real], logits[real]), (plans[key[0]].sub_model, key)


def test_every_layer_runs_as_often_as_it_says() -> None:
    model: Any = build(all_families()["qwen3_moe"]).model
    plans = [SubModel.parse(words).plan(model) for words in GRID]
    runner = SharedRunner(model, plans)
    # full-width paths 0-1-2-3, 0-2-3, 1-2-3: 4 + 2 + 3 layers; with half the experts 4; 0-1-3 with top-k 1: 3.
    assert runner.work.layers == 4 + 2 + 3 + 4 + 3 and runner.work.layers_plain == sum(
        len(plan.layers["text"]) for plan in plans
    )
    ran: Counter[int] = Counter()
    handles = [
        layer.self_attn.register_forward_hook(lambda *_, number=number: ran.update([number]))
        for number, layer in enumerate(model.model.layers)
    ]
    run(runner, batches(1))
    for handle in handles:
        handle.remove()
    assert sum(ran.values()) == runner.work.layers
    plain: Counter[int] = Counter()
    handles = [
        layer.self_attn.register_forward_hook(lambda *_, number=number: plain.update([number]))
        for number, layer in enumerate(model.model.layers)
    ]
    run(SharedRunner(model, plans, share=False), batches(1))
    for handle in handles:
        handle.remove()
    assert sum(plain.values()) == runner.work.layers_plain


def test_the_model_is_as_it_was_also_after_an_exception() -> None:
    model: Any = build(all_families()["qwen3_moe"]).model
    ids = batches(1)[0].ids
    with torch.no_grad():
        before = model(input_ids=ids).logits
    runner = SharedRunner(model, [SubModel.parse(words).plan(model) for words in GRID])
    seen: list[int] = []

    def fail(point: int, number: int, logits: torch.Tensor) -> None:
        seen.append(point)
        if len(seen) == 3:
            raise RuntimeError("broken off")

    with pytest.raises(RuntimeError, match="broken off"):
        runner.run(batches(1), 0, fail, lambda: False)
    assert not any("forward" in module.__dict__ for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, before)


def test_stored_states_stay_within_their_bound() -> None:
    model: Any = build(all_families()["qwen3_moe"]).model
    plans = [SubModel.parse(words).plan(model) for words in GRID]
    given = batches(5)
    token = 32 * 4 * (SharedRunner(model, plans).root.height + FRONT_STATES)
    runner = SharedRunner(model, plans, state_bytes=token * 45)  # room for two batches of 20 positions
    assert runner.chunks(given) == [(0, 2), (2, 4), (4, 5)]
    assert run(runner, given).keys() == {(point, number) for point in range(len(plans)) for number in range(5)}


def test_a_family_that_hides_something_is_run_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose later layers read more than the state before them: the check sees it, and says so."""
    model: Any = build(all_families()["qwen3_moe"]).model
    first, second = model.model.layers[0], model.model.layers[3]
    memory: dict[str, torch.Tensor] = {}
    old_first, old_second = first.forward, second.forward

    def remember(hidden: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        memory["seen"] = hidden
        return old_first(hidden, *arguments, **named)

    def recall(hidden: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        extra = memory.pop("seen", torch.ones_like(hidden) * 5)
        return old_second(hidden + extra, *arguments, **named)

    monkeypatch.setattr(first, "forward", remember)
    monkeypatch.setattr(second, "forward", recall)
    runner = SharedRunner(
        model, [SubModel.parse(words).plan(model) for words in ("full", "layers=0-1,3", "layers=first:2")]
    )
    runner.check(batches(1)[0])
    assert not runner.shared and "do not hand on" in runner.reason


def test_what_is_alike_runs_once_and_nothing_that_is_not() -> None:
    """Embedding and tables of positions once a batch; of the layer where all part by their experts, norms and attention too."""
    model: Any = build(all_families()["qwen3_moe"]).model
    words = ["full", "top_k=1", "experts=0-3", "layers=first:2", "layers=0-1,3 top_k=1", "layers=1-3"]
    plans = [SubModel.parse(one).plan(model) for one in words]
    runner, given = SharedRunner(model, plans), batches(2)
    ran: Counter[tuple[str, int]] = Counter()

    def counting(module: Any, name: str, number: int) -> None:
        own = module.forward

        def forward(*arguments: Any, **named: Any) -> Any:
            ran[name, number] += 1
            return own(*arguments, **named)

        module.forward = forward

    for name, module in (
        ("embed", model.model.embed_tokens),
        ("positions", model.model.rotary_emb),
        ("norm", model.model.norm),
    ):
        counting(module, name, -1)
    for number, layer in enumerate(model.model.layers):
        for name in ("self_attn", "input_layernorm", "post_attention_layernorm"):
            counting(getattr(layer, name), name, number)
        counting(layer.mlp.gate, "gate", number)
    got = run(runner, given)
    # Trees: 0-1-2-3 whole, with top-k 1 and with four experts; with top-k 1 a second way from 1 to 3; 1-2-3 whole.
    assert ran["embed", -1] == ran["positions", -1] == 2  # once a batch
    assert ran["norm", -1] == len(plans) * 2
    assert ran["self_attn", 0] == ran["input_layernorm", 0] == ran["post_attention_layernorm", 0] == 2
    assert ran["gate", 0] == 3 * 2 and ran["gate", 1] == ran["self_attn", 1] == 4 * 2
    assert ran["self_attn", 2] == ran["gate", 2] == 4 * 2 and ran["self_attn", 3] == ran["gate", 3] == 5 * 2
    expected = run(SharedRunner(model, plans, share=False), given)
    for key, logits in expected.items():
        real = given[key[1]].mask.bool()
        assert torch.equal(got[key][real], logits[real])


def test_outputs_are_handed_back_as_they_were() -> None:
    """Also where the model changes in place what it was given."""

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.layers, self.calls = (
                torch.nn.Embedding(9, 3),
                torch.nn.ModuleList([torch.nn.Linear(3, 3)]),
                0,
            )

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            hidden = self.embed(ids)
            hidden += self.embed(ids + 1)  # a second call, with another answer
            return self.embed(self.layers[0](hidden).argmax(-1)) + hidden

    model = Model()
    ids, other = torch.tensor([[1, 2, 3]]), torch.tensor([[4, 4]])
    with torch.no_grad():
        expected, expected_other = model(ids), model(other)
        once = before_layers(model, model.layers)
        for _ in range(3):
            with once.over(0):
                assert torch.equal(model(ids), expected)
        with once.over(1):
            assert torch.equal(model(other), expected_other)
        with once.over(0):  # what was kept of the batch stands in for its input; behind the layer nothing is kept
            assert model(other).shape == expected.shape
    assert not any("forward" in module.__dict__ or module._forward_pre_hooks for module in model.modules())
