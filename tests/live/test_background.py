"""Live runs in the background: states, waiting for a model, the bound on models in memory, and two at once."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tiny_model import save_model
from workbench import live_models
from workbench.live.prompt import Prompt
from workbench.live.sampling import Sampling
from workbench.live_runs import Live, LiveRuns, Order
from workbench.models import LoadOptions

WAIT = 120.0
CPU = LoadOptions(device="cpu", dtype="float32")


def order(model: Path, text: str = "the cat sat", new: int = 8, **more: Any) -> Order:
    prompts = more.pop("prompts", (Prompt(text),))
    return Order(str(model), prompts, Sampling(max_new_tokens=new, seed=2), CPU, **more)


def until(condition: Any) -> None:
    pause = threading.Event()
    for _ in range(6000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come to that")


@pytest.fixture
def other_folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """The same model under another name."""
    import shutil

    return Path(shutil.copytree(tiny_folder, tmp_path / "other"))


def test_a_run_from_the_order_to_its_capture(tiny_folder: Path) -> None:
    tidied: list[int] = []
    runs = LiveRuns()
    live = runs.start(order(tiny_folder), lambda: tidied.append(1))
    done = live.wait(WAIT)
    assert done.state == "done" and done.error is None and done.written == done.most == 8
    assert done.capture is not None and done.model is not None and done.model.id == "tiny"
    assert "of memory" in done.memory and done.read == 1.0 and done.tokens_per_second > 0
    until(lambda: tidied)
    assert tidied == [1] and runs.get(live.id) is live and runs.get("none") is None and runs.get(None) is None


def test_paused_stepped_and_played(tiny_folder: Path) -> None:
    live = LiveRuns().start(order(tiny_folder, paused=True))
    until(lambda: live.control.holding)
    first = live.snapshot()
    assert first.paused and first.state == "reading" and not first.traces[0]
    live.control.step()
    until(lambda: live.snapshot().written == 1 and live.control.holding)
    assert live.snapshot().state == "writing" and len(live.snapshot().traces[0]) == 5
    live.control.play()
    assert live.wait(WAIT).state == "done"


def test_stopped_while_paused(tiny_folder: Path) -> None:
    live = LiveRuns().start(order(tiny_folder, paused=True))
    until(lambda: live.control.holding)
    live.control.stop()
    done = live.wait(WAIT)
    assert done.state == "stopped" and done.capture is None and not done.paused and not done.stopping


def test_failures_are_one_sentence_and_free_the_model(tiny_folder: Path, tmp_path: Path) -> None:
    runs = LiveRuns()
    failed = runs.start(order(tiny_folder, " ")).wait(WAIT)
    assert failed.state == "failed" and "the field is empty" in (failed.error or "")
    gone = runs.start(order(tmp_path / "no such place")).wait(WAIT)
    assert gone.state == "failed" and "\n" not in (gone.error or "\n")
    assert runs.start(order(tiny_folder)).wait(WAIT).state == "done"


def test_not_enough_memory_is_refused_before_anything_is_loaded(
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workbench.models.memory.available_memory", lambda device: 1000)
    monkeypatch.setattr(live_models, "load_model", lambda *_, **__: pytest.fail("it was loaded"))
    failed = LiveRuns().start(order(tiny_folder)).wait(WAIT)
    assert failed.state == "failed" and "choose a smaller model" in (failed.error or "")


def test_a_model_is_loaded_once_and_lent_to_one_run_at_a_time(
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loads: list[str] = []
    whole = live_models.load_model
    monkeypatch.setattr(live_models, "load_model", lambda *a, **k: (loads.append("load"), whole(*a, **k))[1])
    runs = LiveRuns()
    first = runs.start(order(tiny_folder, paused=True))
    until(lambda: first.control.holding)
    second = runs.start(order(tiny_folder, "a dog ran"))
    until(lambda: "another run uses this model" in second.snapshot().step)
    assert second.snapshot().state == "waiting"
    third = runs.start(order(tiny_folder))
    third.control.stop()
    assert third.wait(WAIT).state == "stopped"  # a run that waits can be stopped
    first.control.play()
    assert first.wait(WAIT).state == "done" and second.wait(WAIT).state == "done"
    assert loads == ["load"] and runs.held == (str(tiny_folder),)


def test_no_more_models_than_allowed(tiny_folder: Path, other_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[Any]] = []
    whole = live_models.load_model

    def noted(*arguments: Any, **more: Any) -> Any:
        loaded = whole(*arguments, **more)
        alive.append(weakref.ref(loaded.model))
        return loaded

    monkeypatch.setattr(live_models, "load_model", noted)
    runs = LiveRuns(max_models=1)
    first = runs.start(order(tiny_folder, paused=True))
    until(lambda: first.control.holding)
    second = runs.start(order(other_folder))
    until(lambda: "other models are in use" in second.snapshot().step)
    assert runs.held == (str(tiny_folder),)
    first.control.play()
    assert second.wait(WAIT).state == "done"
    assert runs.held == (str(other_folder),)
    until(lambda: not gc.collect() or alive[0]() is None)
    assert alive[0]() is None and alive[1]() is not None  # the model itself is gone, not only its name
    assert first.snapshot().written == 8 and len(first.snapshot().traces[0]) == 12  # and what it wrote is not


def test_a_forgotten_paused_run_gives_way(
    tiny_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = LiveRuns()
    first = runs.start(order(tiny_folder, paused=True))
    until(lambda: first.control.holding)
    monkeypatch.setattr(live_models, "GIVE_WAY_SECONDS", -1.0)
    assert runs.start(order(tiny_folder)).wait(WAIT).state == "done"
    assert first.wait(WAIT).state == "stopped"


def test_two_models_at_once_never_mix(tiny_folder: Path, tmp_path: Path) -> None:
    """Two runs of different models in lock step against each of them alone."""
    other = save_model(tmp_path / "another", tie=True)
    texts = {tiny_folder: "the cat sat on a mat", other: "hello there how are you"}
    alone = {model: LiveRuns().start(order(model, text, new=20)).wait(WAIT) for model, text in texts.items()}
    runs = LiveRuns()
    together = {model: runs.start(order(model, text, new=20, paused=True)) for model, text in texts.items()}
    for _ in range(6):
        for live in together.values():
            until(lambda live=live: (live.control.holding and live.control.would_hold()) or live.snapshot().finished)
            live.control.step()
    for live in together.values():
        live.control.play()
    for model, live in together.items():
        mine, expected = live.wait(WAIT), alone[model]
        assert mine.state == "done" and mine.model is not None and mine.model.id == model.name
        np.testing.assert_array_equal(mine.traces[0].token_ids, expected.traces[0].token_ids)
        np.testing.assert_array_equal(mine.traces[0].experts, expected.traces[0].experts)
        assert mine.capture is not None and expected.capture is not None
        np.testing.assert_array_equal(mine.capture.count, expected.capture.count)
    assert set(runs.held) == {str(tiny_folder), str(other)}


def test_old_runs_are_forgotten(tiny_folder: Path) -> None:
    runs = LiveRuns(keep=1)
    lives = [runs.start(order(tiny_folder, new=1)) for _ in range(3)]
    for live in lives:
        live.wait(WAIT)
    last = runs.start(order(tiny_folder, new=1))
    last.wait(WAIT)
    assert [runs.get(live.id) is not None for live in [*lives, last]] == [False, False, True, True]
    runs.forget(last.id)
    assert runs.get(last.id) is None and isinstance(last, Live)


def test_files_that_changed_are_loaded_anew(tiny_folder: Path, other_folder: Path) -> None:
    import os

    runs = LiveRuns()
    runs.start(order(other_folder)).wait(WAIT)
    (before,) = runs._models._slots
    os.utime(other_folder / "config.json", (2_000_000_000, 2_000_000_000))
    runs.start(order(other_folder)).wait(WAIT)
    assert [key for key in runs._models._slots if key != before]
