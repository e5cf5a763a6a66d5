"""The training loop that the engines share: a run that diverges stops before anything of it is saved, on every process."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from workbench.extract.errors import EngineError, ExtractError
from workbench.extract.loop import Identity, Length, on_device, run_steps
from workbench.extract.state import read_state
from workbench.training.processes import Place

WHAT = Identity({"seed": 0}, "usm", "Linear", "tiny", False)
OFTEN = Length(steps=5, save_minutes=1e-9)  # a state after every step


class Run:
    """Five steps of a layer; what a step gives is told by its number from 0.

    Attributes:
        saved: steps at which the model was exported.
    """

    def __init__(self, told: dict[int, dict[str, float]]) -> None:
        self.model = nn.Linear(2, 2)
        self.optimizer = torch.optim.AdamW(self.model.parameters())
        self.told, self.step, self.saved = told, 0, list[int]()

    def take(self, step: int, done: float) -> tuple[dict[str, float], int]:
        values = {"loss": 1.0, "grad_norm": 1.0, **self.told.get(step, {})}
        with torch.no_grad():
            self.model.weight.fill_(step + 1.0 if all(math.isfinite(each) for each in values.values()) else math.nan)
        self.step = step + 1
        return values, 1

    def go(self, out: Path, length: Length = OFTEN, place: Place | None = None) -> Path:
        return run_steps(
            self.model, self.optimizer, self.take, out, WHAT, length, lambda _: self.saved.append(self.step), place=place
        )  # fmt: skip


def log(out: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return json.loads((out / "run.json").read_text(encoding="utf-8")), lines


@pytest.mark.parametrize("what", ["loss", "grad_norm"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_run_that_diverges_stops_before_that_step_is_saved(what: str, value: float, tmp_path: Path) -> None:
    run = Run({2: {what: value}})
    with pytest.raises(ExtractError, match="step 3 gave .*lower rates") as stopped:
        run.go(tmp_path)
    assert f"{what} {value:.4g}" in str(stopped.value) and "the model of step 2" in str(stopped.value)
    assert run.step == 3 and run.saved == [1, 2]
    state = read_state(tmp_path)
    assert state is not None and state["step"] == 2
    info, lines = log(tmp_path)
    assert info["state"] == "stopped" and info["reason"] == str(stopped.value)
    assert [line["step"] for line in lines if "loss" in line] == [1, 2] and lines[-1]["event"] == "end"


def test_a_run_that_diverges_at_once_leaves_no_model(tmp_path: Path) -> None:
    run = Run({0: {"loss": math.nan}})
    with pytest.raises(ExtractError, match="step 1 gave") as stopped:
        run.go(tmp_path)
    assert "the model of step" not in str(stopped.value)
    assert not run.saved and read_state(tmp_path) is None


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step can break the weights though its loss, of the weights before it, is finite."""
    run = Run({})
    real = run.take

    def take(step: int, done: float) -> tuple[dict[str, float], int]:
        values = real(step, done)
        if step >= 3:
            run.model.weight.data.fill_(math.inf)
        return values

    monkeypatch.setattr(run, "take", take)
    with pytest.raises(ExtractError, match="step 5 left weights that are not finite.*the model of step 3"):
        run.go(tmp_path)
    assert run.saved == [1, 2, 3] and log(tmp_path)[0]["state"] == "stopped"


def test_every_process_stops_when_one_diverges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The own loss is finite throughout; the other process says in step 2 that its is not."""
    run = Run({})

    def all_reduce(every: torch.Tensor) -> None:
        every[1] = torch.tensor([0.0, 1.0, float(run.step < 2)], dtype=torch.float64)

    monkeypatch.setattr(torch.distributed, "broadcast", lambda *_: None)
    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    with pytest.raises(ExtractError, match="step 2"):
        run.go(tmp_path, place=Place(rank=0, world=2))
    assert run.step == 2 and run.saved == [1]


def test_other_faults_are_logged_by_their_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run({})
    monkeypatch.setattr(run, "take", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run.go(tmp_path)
    assert log(tmp_path)[0]["reason"] == "The run ended at step 0 by ZeroDivisionError."


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_here_is_one_sentence(device: str) -> None:
    with pytest.raises(EngineError, match=f"The device '{device}' cannot be used .*for instance cpu"):
        on_device(nn.Linear(1, 1), device)
