"""The Live page: a run from the form to what is kept, the buttons, the link, and its sentences."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts.live_player import REPLAY_SECONDS, replay_step, replay_tick_of, tick_of
from tests.pages.conftest import ROOT, Dashboard
from tests.tiny_model import save_model
from workbench import session
from workbench.capture import Capture
from workbench.models import embedded_models

Words = Callable[[AppTest], str]
WAIT = 240.0
SECRET = "The unmistakable river was low, and"
pytestmark = pytest.mark.skipif(not embedded_models(), reason="needs the embedded model in sample_data/checkpoints")


def begin(app: AppTest, text: str = SECRET, new: int = 6, button: str = "live.start") -> Any:
    """Type a prompt, press the button, and return the run."""
    app.text_area(key="live.text.a").input(text)
    app.number_input(key="live.new").set_value(new).run()
    app.button(key=button).click().run()
    assert not app.exception, app.exception
    live = session.live_runs().get(app.session_state["live.run"])
    assert live is not None
    return live


def finish(app: AppTest, live: Any) -> Any:
    snapshot = live.wait(WAIT)
    app.run()
    assert not app.exception, app.exception
    return snapshot


def at_gate(live: Any) -> None:
    pause = threading.Event()
    for _ in range(20_000):
        if live.control.holding and live.control.would_hold():
            return
        assert not live.snapshot().finished, live.snapshot()
        pause.wait(0.01)
    raise AssertionError("the run never stood at its gate")


def charts(app: AppTest) -> list[str]:
    return [element.key for element in app.get("plotly_chart")]


def progress(app: AppTest) -> str:
    return "\n".join(element.proto.text for element in app.get("progress"))


def test_first_look_says_what_to_do_and_is_ready(dashboard: Dashboard, words: Words) -> None:
    app = dashboard.open("live")
    assert not app.exception and "Nothing is running yet" in words(app)
    assert not app.button(key="live.start").disabled and app.text_area(key="live.text.a").value
    app.text_area(key="live.text.a").input("  ").run()
    assert app.button(key="live.start").disabled and "type a text" in app.button(key="live.start").help
    app.button(key="live.example.German").click().run()
    assert not app.button(key="live.start").disabled
    app.selectbox(key="live.model").select("Another model: folder or hub id").run()
    assert "Name a model" in app.button(key="live.start").help
    app.slider(key="live.temperature").set_value(0.0).run()
    assert app.slider(key="live.top_p").disabled and app.number_input(key="live.seed").disabled


def test_examples_suit_the_model(dashboard: Dashboard, words: Words, tmp_path: Path) -> None:
    app = dashboard.open("live", model="omni-mini")
    assert "Outside its training" in words(app)
    app.text_area(key="live.text.a").input("words of my own").run()
    app.button(key="live.example.A picture").click().run()
    assert app.text_area(key="live.text.a").value == "" and "garment-boot-1.png" in words(app).replace("\\", "")
    assert not app.button(key="live.start").disabled  # a file alone is enough
    app.button(key="live.sample.drop").click().run()
    assert "garment-boot-1.png" not in words(app).replace("\\", "") and app.button(key="live.start").disabled
    # A model of text alone gets texts of many kinds, and the file of the other model is left out.
    app.button(key="live.example.A clip").click().run()
    app.selectbox(key="live.model").select("Another model: folder or hub id").run()
    app.text_input(key="live.other").input(str(save_model(tmp_path / "tiny"))).run()
    assert "Outside its training" not in words(app) and "5-three-up.mp4" not in words(app).replace("\\", "")
    assert not [button for button in app.button if button.key == "live.example.A clip"] and not app.exception


def test_the_page_opens_without_torch() -> None:
    code = (
        "import sys\nfrom streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('app.py', default_timeout=120).run().switch_page('pages/live.py').run()\n"
        "assert not app.exception and app.title[0].value\nsys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True).returncode == 0


def test_a_run_from_the_form_to_what_is_kept(dashboard: Dashboard, words: Words) -> None:
    app = dashboard.open("live")
    snapshot = finish(app, begin(app))
    assert snapshot.state == "done" and snapshot.written == 6
    assert "6 of at most 6 tokens written" in progress(app)
    assert charts(app) == ["live.map.0", "live.route"]
    said = words(app)
    (model, *_) = embedded_models()
    experts, chosen, layers = model.experts or (0, 0, 0)
    assert (
        f"{layers} layers of {experts} experts, {chosen} chosen" in said
        and "estimated about" in said
        and "not why" in said
    )
    assert {name for name in app.query_params if name not in ("run", "new", "layer")} == set()
    assert "unmistakable" not in str(app.query_params)
    files = {button.key: button for button in app.get("download_button") if button.key.startswith("live.")}
    assert set(files) == {"live.download.zip", "live.download.html", "live.download.csv"}
    assert not any(button.disabled for button in files.values())
    app.text_input(key="live.name").input("my run").run()
    app.button(key="live.keep").click().run()
    assert "Kept as my" in "\n".join(element.value for element in app.success)
    capture = Capture.load(dashboard.library / "my-run")
    assert capture.manifest.model.id == model.name and capture.has("tokens") and "seed 0" in capture.manifest.notes
    app.button(key="live.routing").click().run()
    assert not app.exception and app.title[0].value == "Which experts take which tokens?"


def test_paused_stepped_played(dashboard: Dashboard) -> None:
    app = dashboard.open("live")
    live = begin(app, button="live.slowly")
    at_gate(live)
    app.run()
    assert app.button(key="live.start").disabled and "stop it first" in app.button(key="live.start").help
    assert "Paused" in progress(app) and not charts(app)
    for written in (1, 2):
        app.button(key="live.step").click().run()
        at_gate(live)
        app.run()
        assert live.snapshot().written == written and f"{written} of at most 6" in progress(app)
    assert app.slider(key="live.at").value == len(live.snapshot().traces[0]) and not app.slider(key="live.at").disabled
    assert not app.button(key="live.keep").disabled or "stop it or let it end" in app.button(key="live.keep").help
    app.button(key="live.play").click().run()
    assert finish(app, live).written == 6
    assert app.button(key="live.pause").disabled and "has ended" in app.button(key="live.pause").help


def test_stopped_before_it_has_read(dashboard: Dashboard, words: Words) -> None:
    app = dashboard.open("live")
    live = begin(app, button="live.slowly")
    at_gate(live)
    app.run()
    app.button(key="live.stop").click().run()
    assert finish(app, live).state == "stopped" and not charts(app)
    assert "stopped before it had read anything" in words(app)
    assert not app.button(key="live.start").disabled


def test_going_back_and_replay(dashboard: Dashboard, words: Words) -> None:
    app = dashboard.open("live")
    tokens = len(finish(app, begin(app)).traces[0])
    app.slider(key="live.at").set_value(3).run()
    assert "Prompt, token 2" in words(app) and app.slider(key="live.at").value == 3
    app.slider(key="live.at").set_value(0).run()
    assert not app.exception and charts(app) == ["live.map.0"]
    app.slider(key="live.at").set_value(tokens).run()
    app.button(key="live.replaying").click().run()
    app.button(key="live.hold").click().run()
    held = app.slider(key="live.at").value
    app.run()
    assert app.slider(key="live.at").value == held < tokens
    app.button(key="live.replaying").click().run()
    seen = [app.slider(key="live.at").value]
    for _ in range(tokens + 3):
        app.run()
        seen.append(app.slider(key="live.at").value)
    assert seen == sorted(seen) and seen[0] <= held + 2 * replay_step(tokens, 9.0) and seen[-1] == tokens
    assert app.button(key="live.replaying").label == "Replay"


def test_link_shows_the_same_run_layer_expert_and_token(dashboard: Dashboard) -> None:
    app = dashboard.open("live")
    finish(app, begin(app))
    app.selectbox(key="live.layer").select("text_1_mlp").run()
    app.selectbox(key="live.only").select(5).run()
    app.number_input(key="live.choose.token").set_value(4).run()
    app.toggle(key="live.numbers").set_value(True).run()
    assert {"layer": ["text_1_mlp"], "only": ["5"], "token": ["4"], "numbers": ["1"]}.items() <= {
        name: value if isinstance(value, list) else [value] for name, value in app.query_params.items()
    }.items()
    link = {name: value[0] if isinstance(value, list) else value for name, value in app.query_params.items()}
    fresh = dashboard.open("live", **link)
    assert not fresh.exception and fresh.number_input(key="live.choose.token").value == 4
    assert fresh.selectbox(key="live.layer").value == "text_1_mlp" and fresh.selectbox(key="live.only").value == 5
    app.button(key="live.follow").click().run()
    assert "token" not in app.query_params


def test_settings_in_a_link(dashboard: Dashboard) -> None:
    app = dashboard.open("live", temperature="1.35", seed="12", new="9", pair="1", top_p="7", layer="<b>")
    assert not app.exception and app.slider(key="live.temperature").value == 1.35
    assert app.number_input(key="live.seed").value == 12 and app.number_input(key="live.new").value == 9
    assert app.toggle(key="live.pair").value and app.slider(key="live.top_p").value == 0.95  # 7 is no probability
    assert "layer" not in app.query_params


def test_two_prompts_side_by_side(dashboard: Dashboard, words: Words) -> None:
    app = dashboard.open("live")
    app.toggle(key="live.pair").set_value(True).run()
    assert "Second prompt" in app.button(key="live.start").help
    app.text_area(key="live.text.b").input("def add(a, b):")
    live = begin(app)
    snapshot = finish(app, live)
    assert [trace.name for trace in snapshot.traces] == ["Prompt 1", "Prompt 2"] and snapshot.written == 12
    assert charts(app) == ["live.map.0", "live.map.1", "live.route"]
    app.selectbox(key="live.choose.lane").select(1).run()
    app.number_input(key="live.choose.token").set_value(2).run()
    assert "Prompt 2, token 2" in words(app).replace("\\", "") and app.query_params["lane"] in ("1", ["1"])
    assert snapshot.capture is not None and snapshot.capture.groups == ("Prompt 1", "Prompt 2")


def test_what_was_typed_is_still_there_after_another_page(dashboard: Dashboard) -> None:
    app = dashboard.open("live")
    live = begin(app)
    finish(app, live)
    app.switch_page("pages/start.py").run()
    app.switch_page("pages/live.py").run()
    assert not app.exception and app.text_area(key="live.text.a").value == SECRET
    assert app.session_state["live.run"] == live.id and charts(app)


@pytest.mark.parametrize(
    ("model", "text", "words_"),
    [("no such/place/at all", "a", "no hub id"), ("", "a " * 3000, "shorten it")],
)
def test_errors_are_one_sentence(dashboard: Dashboard, model: str, text: str, words_: str) -> None:
    app = dashboard.open("live")
    if model:  # else the embedded one
        app.selectbox(key="live.model").select("Another model: folder or hub id").run()
        app.text_input(key="live.other").input(model).run()
    live = begin(app, text)
    assert finish(app, live).state == "failed"
    (error,) = app.error
    assert words_ in error.value.replace("\\", "") and "\n" not in error.value
    assert not model or "model" not in app.query_params or app.query_params["model"] in ("other", ["other"])
    assert not app.button(key="live.start").disabled


def test_a_picture_is_refused_by_a_model_of_text_and_the_upload_is_gone(dashboard: Dashboard, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    app = dashboard.open("live")
    app.selectbox(key="live.model").select("Another model: folder or hub id").run()
    app.text_input(key="live.other").input(str(save_model(tmp_path / "tiny"))).run()
    app.file_uploader(key="live.files.a").upload("one.png", (tmp_path / "one.png").read_bytes(), "image/png").run()
    live = begin(app)
    assert finish(app, live).state == "failed"
    assert "'one.png' is a picture, and the model 'tiny' takes text alone" in app.error[0].value.replace("\\", "")
    folder = live.order.prompts[0].files[0].parent
    pause = threading.Event()
    for _ in range(1000):
        if not folder.exists():
            break
        pause.wait(0.01)
    assert not folder.exists()


def test_a_broken_clip_is_named_as_it_was_uploaded(dashboard: Dashboard) -> None:
    pytest.importorskip("av")
    app = dashboard.open("live")
    app.file_uploader(key="live.files.a").upload("walk.mp4", b"nothing of the kind", "video/mp4").run()
    live = begin(app)
    assert finish(app, live).state == "failed"
    said = app.error[0].value.replace("\\", "")
    assert said.startswith("'walk.mp4' is no clip that can be read") and said.count("walk.mp4") == 1


def test_link_to_a_run_that_is_gone(dashboard: Dashboard, words: Words) -> None:
    app = dashboard.open("live", run="0123abcd")
    assert not app.exception and "no longer held" in words(app) and not app.button(key="live.start").disabled


def test_two_tabs_each_keep_their_own_run(dashboard: Dashboard) -> None:
    one, other = dashboard.open("live"), dashboard.open("live")
    first, second = begin(one, "The river"), begin(other, "def add(a, b):")
    assert first.id != second.id
    texts = {
        app.session_state["live.run"]: finish(app, live).traces[0].text for app, live in ((one, first), (other, second))
    }
    assert "The river" in texts[first.id] and "def add" in texts[second.id]
    assert one.session_state["live.run"] == first.id and other.session_state["live.run"] == second.id


@pytest.mark.parametrize(("cost", "tick"), [(0.0, 0.5), (0.025, 0.5), (0.03, 1.0), (0.09, 2.0), (9.0, 2.0)])
def test_slow_drawing_is_done_less_often(cost: float, tick: float) -> None:
    assert tick_of(cost) == tick


@pytest.mark.parametrize(("cost", "tick"), [(0.0, 0.25), (0.125, 0.25), (0.13, 0.5), (0.5, 1.0), (9.0, 1.0)])
def test_a_replay_of_slow_pictures_shows_fewer_in_the_same_time(cost: float, tick: float) -> None:
    assert replay_tick_of(cost) == tick and replay_step(3, cost) == 1
    assert 6000 / replay_step(6000, cost) * tick == pytest.approx(REPLAY_SECONDS)
