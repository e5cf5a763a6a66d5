"""The Map page: every map of every kind of capture, UMAP as a job with cancel, and the link in the address bar."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from pages.parts import map_data
from pages.parts.map_data import WHAT
from tests.capture_factory import make_capture, make_logits, make_sites
from tests.pages.conftest import Dashboard
from workbench import session
from workbench.jobs import FINISHED

Words = Callable[[AppTest], str]


def charts(app: AppTest) -> list[str]:
    return [element.key for element in app.get("plotly_chart")]


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("kind", ["usual", "no rows", "one group", "odd sites", "three tokens", "never used"])
def test_every_map_of_every_kind_of_capture(dashboard: Dashboard, words: Words, what: str, kind: str) -> None:
    """A figure with its number of trust, or one sentence."""
    odd = (*make_sites(2, 8, 2), *make_sites(2, 12, 3, stack="vision", part="attention"))
    never = make_logits(2, 2, 8)
    never[:, :, 3] = -np.inf
    capture = {
        "usual": lambda: make_capture(3, 8, 3, 200),
        "no rows": lambda: make_capture(3, 8, 3, 200, token_rows=False),
        "one group": lambda: make_capture(3, 8, ["only"], 200, grouped_by="file"),
        "odd sites": lambda: make_capture(odd, groups=3, tokens_per_group=[200, 100, 0]),
        "three tokens": lambda: make_capture(1, 4, 1, 3, coactivation=False),
        "never used": lambda: make_capture(2, 8, 2, 200, logits=never),
    }[kind]()
    place = dashboard.put("it", capture)
    app = dashboard.open("map", capture=place.id, what=what)
    assert not app.exception and not app.error
    sentences = {
        ("scores", "usual"): "no router scores",
        ("scores", "one group"): "no router scores",
        ("scores", "odd sites"): "no router scores",
        ("scores", "never used"): "no router scores",
        ("scores", "no rows"): "no token rows",
        ("experts", "no rows"): "no token rows",
        ("vocabulary", "no rows"): "no token rows",
        ("load", "one group"): "one group with tokens",
        ("load", "three tokens"): "one group with tokens",
        ("coactivation", "three tokens"): "no co-activation",
        ("vocabulary", "three tokens"): "Fewer than two token ids",
        ("experts", "three tokens"): "any three points lie in a plane",
        ("scores", "three tokens"): "any three points lie in a plane",
    }
    if (what, kind) in sentences:
        assert not charts(app) and len(app.info) == 1 and sentences[what, kind] in words(app).replace("\\", "")
    else:
        assert len(charts(app)) == 1 and "Trustworthiness" in words(app)
        assert len([button for button in app.get("download_button") if button.key.startswith("map.download.")]) == 6
        assert ("were never chosen" in words(app).replace("\\", "")) == (kind == "never used" and what != "experts")


@pytest.mark.parametrize("colour", ["group", "modality", "role", "layer", "token"])
@pytest.mark.parametrize("what", ["load", "experts"])
def test_every_colour(dashboard: Dashboard, what: str, colour: str) -> None:
    place = dashboard.put("it", make_capture(2, 8, 4, 100))
    app = dashboard.open("map", capture=place.id, what=what, colour=colour)
    assert not app.exception and not app.error and len(charts(app)) == 1
    if (what, colour) == ("experts", "layer"):
        assert (
            app.selectbox(key="map.colour").value == "group" and "layer" not in app.selectbox(key="map.colour").options
        )


def test_what_is_chosen_stands_in_the_address(dashboard: Dashboard) -> None:
    place = dashboard.put("it", make_capture(3, 8, 2, 200))
    app = dashboard.open("map", capture=place.id)
    app.selectbox(key="map.what").set_value("experts").run()
    app.selectbox(key="map.site").set_value("text_1_mlp").run()
    app.number_input(key="map.seed").set_value(7).run()
    address = {name: value[0] if isinstance(value, list) else value for name, value in dict(app.query_params).items()}
    assert address == {"capture": place.id, "what": "experts", "site": "text_1_mlp", "seed": "7"}
    again = dashboard.open("map", **address)
    assert again.number_input(key="map.seed").value == 7 and again.selectbox(key="map.site").value == "text_1_mlp"


def test_points_are_picked_by_text_without_a_mouse(dashboard: Dashboard, words: Words) -> None:
    place = dashboard.put("it", make_capture(2, 8, 2, 100))
    app = dashboard.open("map", capture=place.id, what="experts")
    assert "Draw a lasso" in words(app)
    box = app.selectbox(key="map.word")
    assert box.options[0].startswith("␣")
    box.select_index(0).run()
    assert not app.exception
    html = "\n".join(element.proto.body for element in app.get("html"))
    word = box.options[0].split(" (")[0].removeprefix("␣")
    assert f"> {word}</span>" in html and "By group: " in words(app) and "gate weight" not in html


def test_expert_is_picked_from_the_list(dashboard: Dashboard, words: Words) -> None:
    place = dashboard.put("it", make_capture(2, 8, 2, 100))
    app = dashboard.open("map", capture=place.id)
    app.selectbox(key="map.expert").set_value(3).run()
    assert not app.exception and "that chose it" in words(app)


class Stand:
    """Stands in for UMAP: waits until it is let go, asking whether to stop."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.go = False

    def __call__(self, matrix: np.ndarray, *, seed: int, progress: Any, check: Any, **_: Any) -> np.ndarray:
        self.calls.append(seed)
        progress(10, 200, "Laying out")
        while not self.go:
            check()
            time.sleep(0.01)
        return np.random.default_rng(seed).normal(size=(len(matrix), 2))


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    made = Stand()
    monkeypatch.setattr(map_data, "run_umap", made)
    return made


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(2000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come about")


def test_umap_arrives_when_it_is_ready_and_is_found_again(dashboard: Dashboard, words: Words, stand: Stand) -> None:
    place = dashboard.put("it", make_capture(2, 8, 2, 200))
    app = dashboard.open("map", capture=place.id, method="umap")
    assert "PCA is shown until UMAP is ready" in words(app) and "of the variance" in words(app)
    wait_until(lambda: session.jobs().snapshots()[0].total == 200)
    app.run()
    assert len(session.jobs().snapshots()) == 1, "a second look starts no second job"
    stand.go = True
    wait_until(lambda: session.jobs().snapshots()[0].state == "done")
    app.run()
    assert not app.exception and "neighbours kept together by UMAP" in words(app) and "seed 0" in words(app)
    other = dashboard.open("map", capture=place.id, method="umap", colour="layer")
    assert "neighbours kept together by UMAP" in words(other) and stand.calls == [0]
    dashboard.open("map", capture=place.id, method="umap", seed=1)
    wait_until(lambda: stand.calls == [0, 1])


def test_umap_is_cancelled_and_started_again(dashboard: Dashboard, words: Words, stand: Stand) -> None:
    place = dashboard.put("it", make_capture(2, 8, 2, 200))
    app = dashboard.open("map", capture=place.id, method="umap")
    wait_until(lambda: session.jobs().snapshots()[0].state == "running")
    app.button(key=f"jobs.cancel.{session.jobs().snapshots()[0].id}").click().run()
    wait_until(lambda: session.jobs().snapshots()[0].state in FINISHED)
    app.run()
    assert session.jobs().snapshots()[0].state == "cancelled" and "UMAP was stopped" in words(app)
    assert len(session.jobs().snapshots()) == 1, "a stopped layout is not begun again by itself"
    stand.go = True
    app.button(key="map.again").click().run()
    wait_until(lambda: session.jobs().snapshots()[0].state == "done")
    assert "neighbours kept together" in words(app.run())


def test_umap_of_few_points_says_why(dashboard: Dashboard, words: Words) -> None:
    place = dashboard.put("it", make_capture(1, 6, 2, 200))
    app = dashboard.open("map", capture=place.id, method="umap")
    wait_until(lambda: session.jobs().snapshots()[0].state == "failed")
    app.run()
    assert not app.exception and "needs 10 points or more, but 6 came" in words(app) and len(charts(app)) == 1


def test_shared_without_text(dashboard: Dashboard, words: Words, tmp_path: Any) -> None:
    make_capture(2, 8, 2, 100).save(dashboard.library / "plain", text=False)
    place = session.find_path(dashboard.library / "plain")
    assert place is not None
    app = dashboard.open("map", capture=place.id, what="experts", colour="token")
    assert not app.exception and len(charts(app)) == 1 and app.selectbox(key="map.word").disabled
    app = dashboard.open("map", capture=place.id, what="vocabulary")
    assert not app.exception and "no token ids" in words(app)
