"""The Training page: runs found, followed, compared, played; half-written and broken runs are sentences."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts import training_views as views
from tests.capture_factory import make_capture
from tests.pages.conftest import Dashboard
from workbench.training import RunWriter, places
from workbench.training.format import METRICS_FILE, RUN_FILE

Words = Callable[[AppTest], str]


@pytest.fixture
def runs(dashboard: Dashboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's runs; no sample is shipped."""
    monkeypatch.setattr(places, "SAMPLES", tmp_path / "no-samples")
    return places.runs_root()


def write(folder: Path, captures: int = 3, steps: int = 6, *, finish: bool = True, rows: bool = True) -> RunWriter:
    run = RunWriter.open(folder, model={"id": "tiny/moe"}, total_steps=steps)
    for step in range(steps + 1):
        if step:
            run.metrics(step, {"loss/text": 3 / step, "loss/image": 4 / step}, loss=3.5 / step, lr=0.1)
        if captures and step % max(1, steps // captures) == 0:
            run.capture(step, make_capture(4, 8, 2, 100, seed=step, token_rows=rows))
    if finish:
        run.finish(steps)
    return run


def charts(app: AppTest) -> list[str]:
    return [element.key for element in app.get("plotly_chart")]


def test_nothing_at_hand_says_how_to_log_one(dashboard: Dashboard, runs: Path, words: Words) -> None:
    app = dashboard.open("training")
    assert not app.exception and "No training run is at hand" in words(app)
    assert any("RoutingLog" in code.value for code in app.code)


@pytest.mark.parametrize("view", views.NAMES)
def test_every_view(dashboard: Dashboard, runs: Path, words: Words, view: str) -> None:
    write(runs / "one")
    app = dashboard.open("training", view=view)
    assert not app.exception and not app.error and not app.info
    assert charts(app) == ["training.chart.play.0" if view == "play" else f"training.chart.{view}"]
    assert "The training loss went from 3.5 to **0.583**" in words(app) and "step 6 of 6" in words(app)
    assert len([button for button in app.get("download_button") if button.key.startswith("training.download.")]) == 6
    assert app.query_params.get("view", "overview") in (view, [view])


@pytest.mark.parametrize("view", views.NAMES)
def test_two_runs_side_by_side(dashboard: Dashboard, runs: Path, words: Words, view: str) -> None:
    write(runs / "one")
    write(runs / "two", captures=2)
    ids = {place.name: place.id for place in places.run_places()}
    app = dashboard.open("training", run=ids["one"], beside=ids["two"], view=view)
    assert not app.exception and not app.error
    assert len(charts(app)) == (2 if view == "play" else 1)
    if view not in ("play", "metrics"):
        assert "solid: one, dotted: two" in words(app).replace("\\", "") or view == "overview"


@pytest.mark.parametrize("view", views.NAMES)
def test_run_without_captures_and_run_without_metrics(
    dashboard: Dashboard, runs: Path, words: Words, view: str
) -> None:
    write(runs / "bare", captures=0)
    app = dashboard.open("training", view=view)
    assert not app.exception
    if view in ("overview", "metrics"):
        assert charts(app) == [f"training.chart.{view}"]
    else:
        assert not charts(app) and "give RoutingLog or RoutingCallback an evaluation batch" in words(app)
    RunWriter.open(runs / "empty")
    identity = next(place.id for place in places.run_places() if place.name == "empty")
    app = dashboard.open("training", run=identity, view=view)
    assert not app.exception and not charts(app) and "Nothing has been logged yet" in words(app)


def test_captures_without_token_rows_have_no_saturation(dashboard: Dashboard, runs: Path, words: Words) -> None:
    write(runs / "counts", rows=False)
    app = dashboard.open("training", view="saturation")
    assert not app.exception and not charts(app) and "no token rows" in words(app)


def test_a_run_that_is_written_is_followed(dashboard: Dashboard, runs: Path, words: Words) -> None:
    run = write(runs / "live", finish=False)
    app = dashboard.open("training")
    assert "running" in words(app) and "step 6 of 6" in words(app)
    run.metrics(7, loss=0.25)
    run.capture(7, make_capture(4, 8, 2, 100, seed=7))
    app.run()
    assert "to **0.25** nats a token in 7 steps" in words(app) and "at step 7 the load" in words(app)
    run.finish(7)
    app.run()
    assert not app.exception and "finished" in words(app)


def test_silence_and_a_stop_are_said(dashboard: Dashboard, runs: Path, words: Words) -> None:
    run = write(runs / "quiet", finish=False)
    file = runs / "quiet" / METRICS_FILE
    now = str(int(time.time()))[:6]
    file.write_text(file.read_text().replace(f'"time": {now}', f'"time": {int(now) - 1}'))
    app = dashboard.open("training")
    assert not app.exception and "may have ended without saying so" in words(app)
    run.stop("Stopped by an error of kind ValueError: the log of the training program has the details.")
    assert "of kind ValueError" in words(app.run())


def test_loss_that_overflowed_is_said_first(dashboard: Dashboard, runs: Path, words: Words) -> None:
    run = RunWriter.open(runs / "broken")
    run.metrics(1, loss=2.0)
    run.metrics(2, loss=float("inf"))
    app = dashboard.open("training")
    assert "it was not finite at 1 step" in words(app)


@pytest.mark.parametrize("fault", ["info", "capture", "metrics"])
def test_damaged_run_is_a_sentence(dashboard: Dashboard, runs: Path, words: Words, fault: str) -> None:
    write(runs / "one")
    if fault == "info":
        (runs / "one" / RUN_FILE).write_text("{")
    elif fault == "capture":
        (runs / "one" / "captures" / "step_000006.capture" / "load.safetensors").write_bytes(b"short")
    else:
        (runs / "one" / METRICS_FILE).write_text("no json\n[1]\n")
    app = dashboard.open("training")
    assert not app.exception
    said = {
        "info": "could not be read",
        "capture": "load.safetensors",
        "metrics": "2 lines of the metrics could not be read",
    }
    assert said[fault] in words(app).replace("\\", "")


def test_link_names_a_run_by_digest_and_opens_it_again(dashboard: Dashboard, runs: Path, words: Words) -> None:
    write(runs / "secret-name")
    write(runs / "other")
    identity = next(place.id for place in places.run_places() if place.name == "secret-name")
    app = dashboard.open("training", run=identity, view="balance", measure="maxvio", lines="groups")
    assert app.query_params["run"] in (identity, [identity]) and "secret" not in str(dict(app.query_params))
    assert app.selectbox(key="training.measure").value == "MaxVio"
    assert "MaxVio" in words(app) and "of each group" in words(app)
    app = dashboard.open("training", run="mine-000000000000")
    assert not app.exception and "not on this machine" in words(app)


def test_another_run_keeps_the_open_tab(dashboard: Dashboard, runs: Path) -> None:
    write(runs / "one")
    write(runs / "two", captures=2)
    ids = {place.name: place.id for place in places.run_places()}
    app = dashboard.open("training", run=ids["one"], view="play")
    assert not app.exception and charts(app) == ["training.chart.play.0"]
    app.selectbox(key="training.id").select(ids["two"]).run()
    assert not app.exception and charts(app) == ["training.chart.play.0"]
    assert ids["two"] in app.query_params["run"] and "play" in app.query_params["view"]


def test_a_folder_of_runs_is_opened(dashboard: Dashboard, runs: Path, tmp_path: Path, words: Words) -> None:
    write(tmp_path / "elsewhere" / "far")
    app = dashboard.open("training")
    app.text_input(key="training.path").set_value(str(tmp_path / "nothing")).run()
    app.button(key="training.open").click().run()
    assert "holds no run" in words(app)
    app.text_input(key="training.path").set_value(str(tmp_path / "elsewhere")).run()
    app.button(key="training.open").click().run()
    assert not app.exception and charts(app) == ["training.chart.overview"]
    assert [place.name for place in places.run_places()] == ["far"]


def test_shipped_runs_draw(dashboard: Dashboard, words: Words) -> None:
    app = dashboard.open("training", run="sample-with-balance-loss")
    assert not app.exception and charts(app) == ["training.chart.overview"] and "step 300 of 300" in words(app)


def test_a_view_that_does_not_exist_is_the_default(dashboard: Dashboard, runs: Path) -> None:
    write(runs / "one")
    app = dashboard.open("training", view="nonsense", lines="x", measure="y")
    assert not app.exception and "view" not in app.query_params
