"""The shipped runs are whole, and their recipe really trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from workbench.capture import Capture
from workbench.training import places, read_run
from workbench.training.sample import RUNS, main
from workbench.training.sample_recipe import KINDS


@pytest.mark.parametrize("name", RUNS)
def test_shipped_run_is_whole(name: str) -> None:
    run = read_run(places.SAMPLES / name)
    assert run.info.state == "finished" and run.step == run.info.total_steps == 300 and run.skipped == 0
    assert list(run.metrics["loss"].dropna().index) == list(range(1, 301))
    assert run.metrics["loss"].iloc[-1] < 0.7 * run.metrics["loss"].dropna().iloc[0]
    assert [step for step, _ in run.captures] == list(range(0, 301, 50))
    for _, path in run.captures:
        capture = Capture.load(path)
        capture.validate()
        assert set(capture.groups) == set(KINDS) and capture.has("tokens")
    assert sum(file.stat().st_size for file in run.folder.rglob("*") if file.is_file()) < 500_000


def test_the_balance_loss_shows_in_the_captures() -> None:
    """What the two samples are there to show: without the loss, the busiest expert of the last layer takes more."""
    busiest = {}
    for name in RUNS:
        load = Capture.load(read_run(places.SAMPLES / name).captures[-1][1]).count[-1].sum(axis=0)
        busiest[name] = load.max() / load.mean()
    assert busiest["without-balance-loss"] > busiest["with-balance-loss"]


def test_the_recipe_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path), "--steps", "3", "--every", "2"]) == 0
    assert "after 3 steps" in capsys.readouterr().out
    for name in RUNS:
        run = read_run(tmp_path / name)
        assert run.info.state == "finished" and [step for step, _ in run.captures] == [0, 2, 3]
        shipped = read_run(places.SAMPLES / name)
        assert run.info.model.config == shipped.info.model.config
        # The same recipe: the first step is that of the shipped run.
        assert np.isclose(run.metrics["loss"].loc[1], shipped.metrics["loss"].loc[1], atol=0.02)
    assert main(["--out", str(tmp_path), "--steps", "3"]) == 1
    assert "holds a run already" in capsys.readouterr().err
