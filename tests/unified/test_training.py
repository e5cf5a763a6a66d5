"""Training: resumed equals uninterrupted, order and chance follow from seed and step, elastic draws, refusals, the exported model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.unified.toy import ToyData, ToyTokenizers, sizes, toy_model
from workbench.unified.losses import Losses, TaskBalance, scale_weights, task_means
from workbench.unified.segments import BLANK, TASKS, Text, UnifiedError
from workbench.unified.train.elastic import draw_reduction
from workbench.unified.train.loop import Plan, train
from workbench.unified.train.order import samples_of_step
from workbench.unified.train.recipe import Elastic, Phase, Recipe, learning_rate

RECIPE = Recipe(model=sizes(), phases=(Phase(1.0, dict.fromkeys(TASKS, 2)),), width=64, warmup=3)
PLAN = Plan(steps=8, save_every=100, device="cpu")


def run(out: Path, recipe: Recipe = RECIPE, plan: Plan = PLAN) -> Path:
    return train(ToyData(), ToyTokenizers(), out, recipe, plan)  # type: ignore[arg-type]


def curve(out: Path) -> dict[int, float]:
    """Loss by step; lines after a resume replace those before."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def test_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    """Killed between two states, and then gone on with: the same weights, biases and curve, bit for bit."""
    run(tmp_path / "whole")
    run(tmp_path / "cut", plan=replace(PLAN, stop_after=5))
    run(tmp_path / "cut", plan=replace(PLAN, resume=True))
    whole, cut = (load_file(tmp_path / name / "state" / "weights.safetensors") for name in ("whole", "cut"))
    assert whole.keys() == cut.keys() and any("router.bias" in name for name in whole)
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert any(float(value.abs().sum()) > 0 for name, value in whole.items() if "router.bias" in name)
    assert curve(tmp_path / "whole") == curve(tmp_path / "cut")
    moments = [load_file(tmp_path / name / "state" / "moments.safetensors") for name in ("whole", "cut")]
    assert all(torch.equal(moments[0][name], moments[1][name]) for name in moments[0])


@pytest.mark.full
def test_killed_at_any_moment(tmp_path: Path) -> None:
    """A real kill: whatever was on disk, going on ends in the same weights."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom dataclasses import replace\n"
        "from tests.unified.test_training import run, PLAN\n"
        "run(Path(sys.argv[1]), plan=replace(PLAN, save_every=2, resume=len(sys.argv) > 2))\n"
    )
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    out = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", code, str(out)], cwd=root, env=environment)
    try:
        while process.poll() is None and not (out / "state" / "state.json").exists():
            pass
    finally:
        process.kill()
        process.wait()
    subprocess.run([sys.executable, "-c", code, str(out), "resume"], cwd=root, env=environment, check=True)
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "whole")], cwd=root, env=environment, check=True)
    whole, killed = (load_file(tmp_path / name / "state" / "weights.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


@pytest.mark.full
def test_two_processes_agree(tmp_path: Path) -> None:
    """Under torchrun both processes end with the same model, which one of them writes."""
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from workbench.unified.train import loop\n"
        "from tests.unified.test_training import run\n"
        "kept, new = [], loop.new_model\n"
        "loop.new_model = lambda *a: kept.append(new(*a)) or kept[0]\n"
        "out = Path(sys.argv[1])\n"
        "run(out)\n"
        "values = {name: float(value.double().sum()) for name, value in kept[0].state_dict().items()}\n"
        "(out / f'sums-{os.environ[\"RANK\"]}.json').write_text(__import__('json').dumps(values))\n"
    )
    root = Path(__file__).resolve().parents[2]
    script = tmp_path / "run.py"
    script.write_text(code, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    subprocess.run([*command, str(tmp_path / "out")], cwd=root, env=environment, check=True, timeout=400)
    sums = [json.loads((tmp_path / "out" / f"sums-{rank}.json").read_text()) for rank in range(2)]
    assert sums[0] == sums[1]
    state = load_file(tmp_path / "out" / "state" / "weights.safetensors")
    assert sums[0] == {name: float(value.double().sum()) for name, value in state.items()}
    losses = curve(tmp_path / "out")
    assert sorted(losses) == list(range(1, 9)) and losses[8] < losses[1]


def test_training_learns_and_exports(tmp_path: Path) -> None:
    import workbench.unified  # noqa: F401 - makes the model known to transformers

    folder = run(tmp_path / "run", plan=replace(PLAN, steps=30, capture_every=30))
    losses = curve(tmp_path / "run")
    assert np.mean([losses[step] for step in range(26, 31)]) < losses[1] - 0.1
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    state = load_file(tmp_path / "run" / "state" / "weights.safetensors")
    for name, value in loaded.state_dict().items():
        exact = "router." in name
        assert torch.equal(value, state[name]) if exact else torch.allclose(value, state[name], rtol=1e-2, atol=1e-4)
    assert not list((tmp_path / "run").rglob("*.bin")) and not list((tmp_path / "run").rglob("*.pt"))
    from workbench.capture import Capture

    capture = Capture.load(tmp_path / "run" / "captures" / "step_000030.capture")
    assert [site.experts for site in capture.sites] == [16] * 5


def test_refusals(tmp_path: Path) -> None:
    run(tmp_path / "run", plan=replace(PLAN, steps=1))
    with pytest.raises(UnifiedError, match="holds a run at step 1"):
        run(tmp_path / "run")
    with pytest.raises(UnifiedError, match="these differ: learning_rate"):
        run(tmp_path / "run", replace(RECIPE, learning_rate=1.0), replace(PLAN, resume=True))
    with pytest.raises(UnifiedError, match="found none"):
        run(tmp_path / "none", plan=replace(PLAN, resume=True))
    with pytest.raises(UnifiedError, match="have changed"):
        train(ToyData(1), ToyTokenizers(), tmp_path / "run", RECIPE, replace(PLAN, resume=True))  # type: ignore[arg-type]
    with pytest.raises(UnifiedError, match="Expected tasks among"):
        Recipe(phases=(Phase(1.0, {"smell": 1}),))
    with pytest.raises(UnifiedError, match="at least one sample"):
        Recipe(phases=(Phase(0.5, {"text": 0}), Phase(1.0, {"text": 1})))
    with pytest.raises(UnifiedError, match=r"ends at \[0\.5, 0\.25\]"):
        Recipe(phases=(Phase(0.5, {"text": 1}), Phase(0.25, {"text": 1})))


def test_order_is_a_function_of_seed_and_step() -> None:
    data = ToyData()

    def numbers(step: int, rank: int = 0, world: int = 1) -> list[tuple[int, ...]]:
        return [
            sample.segments[0].ids  # type: ignore[union-attr]
            for sample in samples_of_step(data, RECIPE, RECIPE.phases[0], step, rank, world)
            if sample.task == "text"
        ]

    assert numbers(3) == numbers(3) and numbers(3) != numbers(4)
    # Two processes draw in one step what one process draws in two.
    assert numbers(0, 0, 2) + numbers(0, 1, 2) == numbers(0) + numbers(1)
    blank = replace(RECIPE, drop_prompt=1.0)
    for sample in samples_of_step(data, blank, blank.phases[0], 0):
        made = sample.task in ("word_to_image", "word_to_speech", "caption_to_clip")
        assert (sample.segments[0] == Text((BLANK,))) == made


def test_elastic_draws() -> None:
    config = toy_model().config  # five layers, audio heads on the last two: 1 and 2 may go
    recipe = replace(RECIPE, elastic=Elastic(depth=0.25, width=0.2, sparsity=0.2))
    drawn = [draw_reduction(recipe, config, step) for step in range(3000)]
    assert draw_reduction(replace(RECIPE, elastic=None), config, 0) is None
    shares = [
        np.mean([d is not None and getattr(d, axis) is not None for d in drawn])
        for axis in ("layers", "experts", "top_k")
    ]
    assert np.allclose(shares, [0.25, 0.2, 0.2], atol=0.025)
    for reduction in drawn:
        if reduction is None:
            continue
        if reduction.layers is not None:
            assert {0, 3, 4} <= reduction.layers < set(range(5))
        if reduction.experts is not None:
            assert [int(present.sum()) for present in reduction.experts.values()] == [8] * 5
        assert reduction.top_k in (None, 1)
    again = draw_reduction(recipe, config, 7)
    assert (again is None) == (drawn[7] is None)


def test_phases(tmp_path: Path) -> None:
    """Each begins at its step, in a run that goes on as in one that was never cut."""
    first, second = Phase(0.5, dict.fromkeys(TASKS, 2)), Phase(1.0, {"text": 3}, {"text": 2.0})
    recipe = replace(RECIPE, phases=(first, second))
    assert recipe.phase(3, 8) is first and recipe.phase(4, 8) is second and recipe.phase(8, 8) is second
    assert recipe.with_batch(0.1).phases[1].samples == {"text": 1}
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    run(tmp_path / "whole", recipe)
    run(tmp_path / "cut", recipe, replace(PLAN, stop_after=3))
    run(tmp_path / "cut", recipe, replace(PLAN, resume=True))
    whole, cut = (load_file(tmp_path / name / "state" / "weights.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    tasks = {line["step"]: sum(name.startswith("loss/") for name in line) for line in lines if "loss" in line}
    assert tasks[4] == 8 and tasks[5] == 2  # the tasks and the token after the next


def test_rates_and_weights() -> None:
    recipe = replace(RECIPE, learning_rate=1.0, warmup=10, decay=0.5)
    assert learning_rate(recipe, 0, 100) == pytest.approx(0.1)
    assert learning_rate(recipe, 30, 100) == 1
    assert learning_rate(recipe, 75, 100) == pytest.approx(1 - 0.99 * 0.5)
    weights = scale_weights([1, 2, 4])
    assert weights[0] / weights[2] == pytest.approx(4) and weights[1] / weights[2] == pytest.approx(2)
    assert (weights[0] + 4 * weights[1] + 16 * weights[2]) / 21 == pytest.approx(1)


def test_balance_divides_by_moving_averages() -> None:
    balance = TaskBalance(decay=0.5)
    present = torch.tensor([True, True, *[False] * 5])
    losses = torch.tensor([4.0, 1.0, *[0.0] * 5])
    assert float(balance.combine(losses, present)) == pytest.approx(1)  # the first averages are the losses themselves
    assert float(balance.combine(losses / 2, present)) == pytest.approx((2 / 3 + 0.5 / 0.75) / 2)
    assert balance.average[:2].tolist() == [3, 0.75]
    token = torch.tensor([[1.0, 2.0, 3.0, 9.0]])
    weight = torch.tensor([[1.0, 3.0, 1.0, 0.0]])
    nothing = torch.zeros(1, 4)
    means, weights = task_means(Losses(token, weight, nothing, nothing.bool()), torch.tensor([[0, 0, 1, -1]]))
    assert means[:2].tolist() == [7 / 4, 3] and weights[:3].tolist() == [4, 1, 0]


def test_less_than_three_per_cent_active_trains(tmp_path: Path) -> None:
    """The report's activation rate: 2 of 512 experts a token, router and everything else counted as active."""
    sizes_of = {**sizes(), "num_hidden_layers": 3, "num_experts": 512, "moe_intermediate_size": 32}
    run(tmp_path / "run", replace(RECIPE, model=sizes_of), replace(PLAN, steps=14))
    losses = curve(tmp_path / "run")
    assert np.mean([losses[step] for step in range(11, 15)]) < losses[1] - 0.05
    weights = load_file(tmp_path / "run" / "state" / "weights.safetensors")
    total = sum(value.numel() for value in weights.values())
    idle = sum(value.numel() * (1 - 2 / 512) for name, value in weights.items() if ".experts." in name)
    assert (total - idle) / total < 0.03
