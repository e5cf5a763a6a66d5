"""The page Evaluate before anything was measured: what is kept with the project, at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts.extract_gold import GOLD
from tests.pages.conftest import Dashboard
from tests.pages.test_extract import settled
from workbench.extract.evaluate import stored
from workbench.extract.evaluate.stored import Figure, Part, Stored
from workbench.extract.records import Document, Span

Words = Callable[[AppTest], str]
TEXT = "Ada met <b>Bo</b> & Cy"


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    ada, bo = Span(start=0, end=3, type="person"), Span(start=11, end=13, type="person")
    part = Part(
        stored.OURS, "ours", (Document(id="1", text=TEXT, entities=(ada, bo)),), (Document(id="1", text=TEXT, entities=(ada,)),)
    )  # fmt: skip
    figures = (Figure("conll04", "relation strict", 288, True, 422, 0.5, 0.4, 0.6), Figure("wnut17", "entity", 80, False, 60, 0.3, None, None))  # fmt: skip
    made = Stored("usm", "usm-mini", "2026-01-02", None, figures, (part,))
    path = tmp_path / "usm-mini.json"
    path.write_text(json.dumps(made.to_json()))
    monkeypatch.setattr(stored, "FOLDER", tmp_path)
    return path


def test_something_is_shown_at_once(dashboard: Dashboard, kept: Path, words: Words) -> None:
    app = dashboard.open("evaluate")
    assert not app.exception
    figures = next(f.value for f in app.dataframe if "test part" in f.value.columns)
    assert list(figures["F1"]) == [50.0, 30.0] and list(figures["95 % interval"]) == ["40.0% to 60.0%", "-"]
    assert list(figures["USM-large, 356 M"]) == ["75.9%", ""] and list(figures["texts"]) == [288, 80]
    assert list(figures["test part"]) == ["conll04", "wnut17, first texts"]
    scores = next(f.value for f in app.dataframe if "right" in f.value.columns)
    assert int(scores["right"][0]) == 1 and int(scores["gold"][0]) == 2
    said = words(app).replace("\\", "")
    assert "usm-mini" in said and "Where it is wrong" in said and "<b>Bo</b>" not in said
    assert app.button(key="evaluate.go") is not None, "a new one can be started below"


def test_boxes_of_errors_are_those_of_the_run(dashboard: Dashboard, rules: None) -> None:
    """A box that goes on over two runs keeps showing the counts of the first."""

    def run(name: str) -> set[str]:
        app.selectbox(key="evaluate.ready").select(name).run()
        app.button(key="evaluate.go").click().run()
        after = settled(app)
        assert not after.exception
        return {str(each.key) for each in after.selectbox if ".error." in str(each.key)}

    app = dashboard.open("evaluate")
    app.selectbox(key="evaluate.engine").select("rules").run()
    first, second = run("news"), run("law")
    assert len(first) == len(second) == 2 and not first & second


def test_gold_kept_on_extract_is_evaluated_on(dashboard: Dashboard, rules: None, words: Words) -> None:
    app = dashboard.open("evaluate")
    app.segmented_control(key="evaluate.source").set_value("kept").run()
    assert app.button(key="evaluate.go").disabled and "Keep a text as gold" in str(app.button(key="evaluate.go").help)
    ada = Span(start=0, end=3, type="name")
    app.session_state[GOLD] = [Document(id="1", text="Ada met Bo", entities=(ada,))]
    app.selectbox(key="evaluate.engine").select("rules").run()
    app.button(key="evaluate.go").click().run()
    app = settled(app)
    assert not app.exception and "Kept on Extract" in words(app)
    scores = next(f.value for f in app.dataframe if "right" in f.value.columns)
    assert int(scores["gold"][0]) == 1 and int(scores["right"][0]) == 1


def test_a_damaged_file_is_said_and_the_form_stays(dashboard: Dashboard, kept: Path, words: Words) -> None:
    kept.write_text("{")
    app = dashboard.open("evaluate")
    assert not app.exception and "cannot be read" in words(app)
    assert app.button(key="evaluate.go") is not None
