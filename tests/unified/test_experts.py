"""Routing and experts: the ways to compute them agree, the bias chooses and nothing more, the tally follows the rule."""

from __future__ import annotations

import pytest
import torch

from tests.unified.toy import ToyTokenizers, sizes, toy_model, toy_samples
from workbench.unified import UnifiedConfig
from workbench.unified.balance import routers, update_bias
from workbench.unified.batch import make_batch
from workbench.unified.experts import IMPLEMENTATIONS, MoeBlock, Reduction, by_loop
from workbench.unified.segments import UnifiedError


def block() -> MoeBlock:
    torch.manual_seed(1)
    made = MoeBlock(UnifiedConfig(**sizes()), 0)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


@pytest.mark.parametrize("name", ["split", "grouped_mm"])
@pytest.mark.parametrize("tokens", [1, 3, 57])
def test_ways_agree_with_the_loop(name: str, tokens: int) -> None:
    """Outputs and all gradients; with three tokens most experts are empty."""
    chance = torch.Generator().manual_seed(tokens)
    shapes = ((tokens, 24), (16, 24, 16), (16, 8, 24))
    ids = torch.stack([torch.randperm(16, generator=chance)[:2] for _ in range(tokens)])
    results = []
    for way in (by_loop, IMPLEMENTATIONS[name]):
        chance.manual_seed(7)
        hidden, gate_up, down = (torch.randn(shape, generator=chance).requires_grad_() for shape in shapes)
        weights = torch.rand(tokens, 2, generator=chance).requires_grad_()
        out = way(hidden, ids, weights, gate_up, down)
        out.square().sum().backward()
        results.append((out.detach(), *(x.grad for x in (hidden, gate_up, down, weights))))
    for mine, theirs in zip(*results, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-4)


def test_block_by_hand() -> None:
    """Every token alone: sigmoid, top-k of score + bias, weights of the scores alone, shared expert on top."""
    moe = block()
    moe.router.bias += torch.randn(16, generator=torch.Generator().manual_seed(3)) * 0.3
    hidden = torch.randn(1, 9, 24, generator=torch.Generator().manual_seed(4))
    out = moe(hidden)[0]
    changed = 0
    for token in range(9):
        x = hidden[0, token]
        scores = 1 / (1 + torch.exp(-(moe.router.weight @ x)))
        chosen = sorted(range(16), key=lambda i: -float(scores[i].detach() + moe.router.bias[i]))[:2]
        changed += set(chosen) != set(scores.topk(2).indices.tolist())
        total = sum(float(scores[i].detach()) for i in chosen)
        wanted = moe.shared(x[None])[0]
        for i in chosen:
            gate, up = (x @ moe.experts.gate_up[i]).chunk(2)
            wanted = wanted + float(scores[i].detach()) / total * (
                (gate / (1 + torch.exp(-gate)) * up) @ moe.experts.down[i]
            )
        assert torch.allclose(out[token], wanted, atol=1e-5)
    assert changed  # the bias did change choices here


def test_the_bias_never_enters_the_output() -> None:
    """A bias that is the same for all chosen experts changes no choice, and then nothing at all, gradients included."""
    moe = block()
    hidden = torch.randn(1, 40, 24)
    results = []
    for bias in (0.0, 5.0):
        moe.router.bias.fill_(bias)
        moe.zero_grad()
        out = moe(hidden)
        out.square().sum().backward()
        results.append((out.detach().clone(), moe.router.weight.grad.clone()))  # type: ignore[union-attr]
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])
    assert not moe.router.bias.requires_grad
    ids, weights = moe.router.choose(moe.router(hidden[0]), 2, None)
    moe.router.bias[int(ids[0, 0])] += 3  # still chosen
    again, other = moe.router.choose(moe.router(hidden[0]), 2, None)
    assert set(ids[0].tolist()) == set(again[0].tolist())
    assert torch.allclose(weights[0].sort().values, other[0].sort().values)


def test_counting_and_update() -> None:
    moe = block().train()
    hidden = torch.randn(2, 10, 24)
    real = torch.ones(2, 10, dtype=torch.bool)
    real[1, 6:] = False
    moe(hidden, real)
    ids, _ = moe.router.choose(moe.router(hidden.flatten(0, 1)), 2, None)
    wanted = torch.zeros(16)
    for token in range(20):
        if real.flatten()[token]:
            for expert in ids[token]:
                wanted[expert] += 1
    assert torch.equal(moe.router.counted, wanted)
    violation = update_bias(moe, 0.02)
    mean = 16 * 2 / 16
    assert violation == pytest.approx(float(wanted.max()) / mean - 1)
    assert torch.allclose(moe.router.bias, 0.02 * torch.sign(mean - wanted))
    assert float(moe.router.counted.sum()) == 0


@pytest.mark.parametrize(
    "reduction",
    [
        Reduction(top_k=1),
        Reduction(experts={0: torch.arange(16) < 8}),
        Reduction(layers=frozenset({0})),
    ],
)
def test_reduced_passes_are_not_counted(reduction: Reduction) -> None:
    moe = block().train()
    moe(torch.randn(1, 10, 24), None, reduction)
    assert float(moe.router.counted.sum()) == 0
    assert update_bias(moe, 0.02) is None and float(moe.router.bias.abs().sum()) == 0
    moe.eval()(torch.randn(1, 10, 24))
    assert float(moe.router.counted.sum()) == 0


def test_absent_experts_are_never_chosen() -> None:
    moe = block()
    moe.router.bias[8:] += 9
    ids, weights = moe.router.choose(torch.randn(50, 16), 3, torch.arange(16) < 8)
    assert int(ids.max()) < 8 and torch.allclose(weights.sum(1), torch.ones(50))


def test_a_reduced_model_runs_fewer_layers() -> None:
    model = toy_model()
    batch = make_batch(toy_samples(1), model.config, ToyTokenizers())  # type: ignore[arg-type]
    ran: list[int] = []
    for number, layer in enumerate(model.layers):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    with torch.no_grad():
        model(**batch, use_cache=False, reduction=Reduction(layers=frozenset({0, 3, 4})))
    assert ran == [0, 3, 4]
    assert len(routers(model)) == 5


def test_unknown_way_is_refused() -> None:
    with pytest.raises(UnifiedError, match="experts_implementation"):
        toy_model(experts_implementation="fast")(torch.tensor([[1, 2]]))
