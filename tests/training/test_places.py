"""Runs at hand: shipped, the user's own and opened ones, each once, with an id that is no path."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.training import RunWriter, TrainingLogError
from workbench.training.format import RUN_FILE
from workbench.training.places import remember, run_places, runs_root


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    return tmp_path


def test_running_ones_first_then_samples(home: Path) -> None:
    RunWriter.open(home / "samples" / "shipped").finish()
    RunWriter.open(runs_root() / "done").finish()
    RunWriter.open(runs_root() / "going")
    (runs_root() / "no-run").mkdir()
    found = run_places(home / "samples")
    assert [(place.name, place.origin) for place in found] == [
        ("going", "home"),
        ("done", "home"),
        ("shipped", "sample"),
    ]
    assert found[2].id == "sample-shipped" and "going" not in found[0].id
    assert [place.id for place in run_places(home / "samples")] == [place.id for place in found]


def test_opened_folders_are_remembered_once(home: Path) -> None:
    for name in ("one", "two"):
        RunWriter.open(home / "far" / name).finish()
    assert len(remember(home / "far")) == 2
    assert len(remember(home / "far" / "one")) == 1
    assert sorted(place.name for place in run_places(home)) == ["one", "two"]
    with pytest.raises(TrainingLogError, match="holds no run"):
        remember(home / "nowhere")


def test_broken_run_is_listed_with_its_fault() -> None:
    (runs_root() / "bad").mkdir(parents=True)
    (runs_root() / "bad" / RUN_FILE).write_text("{")
    place = next(place for place in run_places() if place.name == "bad")
    assert place.info is None and place.fault is not None and "could not be read" in place.fault
