"""The Compare page: differences of captures, what is refused and why, the link, jobs of large captures."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts import computed
from tests.capture_factory import make_capture, make_logits
from tests.pages.conftest import Dashboard
from workbench import session
from workbench.analysis.compare import COMPARED

Words = Callable[[AppTest], str]


def put(dashboard: Dashboard) -> dict[str, str]:
    """Three captures of one model, one of another, one of another shape; name -> id (made of what was recorded, and when)."""
    logits = make_logits(2, 2, 8, seed=0)
    moved = logits.copy()
    moved[1, 0, 3] += 2.0
    made = {
        "before": make_capture(2, 8, 2, 1000, seed=1, logits=logits, created="2026-01-01T00:00:00+00:00"),
        "after": make_capture(2, 8, 2, 1000, seed=2, logits=moved, created="2026-01-02T00:00:00+00:00"),
        "later": make_capture(2, 8, 2, 1000, seed=3, logits=moved, created="2026-01-03T00:00:00+00:00"),
        "other": make_capture(
            2, 8, 2, 1000, seed=1, logits=logits, model_id="other/model", created="2026-01-04T00:00:00+00:00"
        ),
        "wider": make_capture(2, 12, 2, 300, created="2026-01-05T00:00:00+00:00"),
    }
    return {name: dashboard.put(name, capture).id for name, capture in made.items()}


@pytest.mark.parametrize("measure", [*COMPARED, "saturation"])
def test_every_measure_draws_and_says(dashboard: Dashboard, words: Words, measure: str) -> None:
    ids = put(dashboard)
    slug = measure.replace(" ", "-").lower()
    app = dashboard.open("compare", a=ids["before"], b=ids["after"], measure=slug)
    assert not app.exception and not app.error
    assert [element.key for element in app.get("plotly_chart")] == ["compare.chart"]
    said = words(app)
    assert ("beyond noise" in said) or ("cannot be told" in said) or ("chosen by after already" in said)
    assert len([button for button in app.get("download_button") if button.key.startswith("compare.download.")]) == 5


def test_planted_difference_is_said(dashboard: Dashboard, words: Words) -> None:
    ids = put(dashboard)
    app = dashboard.open("compare", a=ids["before"], b=ids["after"])
    assert "after differs from before beyond noise" in words(app) and "same documents" in words(app)
    again = dashboard.open("compare", a=ids["after"], b=ids["later"])
    assert "cannot be told from after" in words(again)


def test_third_capture_and_link(dashboard: Dashboard, words: Words) -> None:
    ids = put(dashboard)
    app = dashboard.open("compare", a=ids["before"], b=ids["after"], more=ids["later"], group="1", other="1")
    assert not app.exception and "later differs from before" in words(app)
    assert dict(app.query_params) == {
        "a": ids["before"],
        "b": ids["after"],
        "more": ids["later"],
        "group": "1",
        "other": "1",
    }
    assert app.selectbox(key="compare.group").value == 1
    app.selectbox(key="compare.measure").select("normalised entropy").run()
    assert app.query_params["measure"] == "normalised-entropy" and not app.exception
    fresh = dashboard.open("compare", **dict(app.query_params))
    assert dict(fresh.query_params) == dict(app.query_params)


def test_models_trained_apart_leave_out_single_experts(dashboard: Dashboard, words: Words) -> None:
    ids = put(dashboard)
    app = dashboard.open("compare", a=ids["before"], b=ids["other"])
    assert not app.exception and "they name different" not in words(app)
    assert "load" not in app.selectbox(key="compare.measure").options and "not compared one by one" in words(app)
    assert [element.key for element in app.get("plotly_chart")] == ["compare.chart"]
    app.selectbox(key="compare.experts").select("same").run()
    app.selectbox(key="compare.measure").select("load").run()
    assert not app.exception and "cannot be told" in words(app)


def test_captures_that_do_not_match_are_one_sentence(dashboard: Dashboard, words: Words) -> None:
    ids = put(dashboard)
    app = dashboard.open("compare", a=ids["before"], b=ids["wider"])
    assert not app.exception and not app.get("plotly_chart")
    assert "8 experts in before and 12 in wider" in app.info[0].value
    same = dashboard.open("compare", a=ids["before"], b=ids["before"])
    assert "chosen twice" in same.info[0].value


def test_fewer_than_two_captures(dashboard: Dashboard) -> None:
    dashboard.put("only", make_capture(2, 8, 2, 100))
    app = dashboard.open("compare")
    assert not app.exception and "Two captures are compared" in app.info[0].value


def test_large_comparison_is_a_job(dashboard: Dashboard, words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = put(dashboard)
    monkeypatch.setattr(computed, "AT_ONCE", 0)
    app = dashboard.open("compare", a=ids["before"], b=ids["after"])
    assert not app.exception
    job = session.jobs().snapshots()[0]
    assert job.title == "Comparison in load"
    waiting = session.jobs().get(job.id)
    assert waiting is not None and waiting.wait(60).state == "done"
    app.run()
    assert "beyond noise" in words(app) and [element.key for element in app.get("plotly_chart")] == ["compare.chart"]


@pytest.mark.parametrize(
    "link",
    [{"measure": "colour"}, {"a": "nowhere"}, {"group": "99"}, {"sites": "nowhere"}, {"experts": "x"}, {"more": "x"}],
)
def test_wrong_links_fall_back(dashboard: Dashboard, link: dict[str, str]) -> None:
    ids = put(dashboard)
    app = dashboard.open("compare", **({"a": ids["before"], "b": ids["after"]} | link))
    assert not app.exception and not app.error
