"""The Routing page: every view of every kind of capture, the link in the address bar, and the tokens behind a cell."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from pages.parts import selection
from pages.parts.selection import VIEWS, key
from tests.capture_factory import make_capture, make_sites
from tests.pages.conftest import Dashboard
from workbench.capture import Check, Flag, Sampling

Words = Callable[[AppTest], str]


def html(app: AppTest) -> str:
    """The passages, which the page writes as HTML."""
    return "\n".join(element.proto.body for element in app.get("html"))


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    "kind", ["usual", "no rows", "one group", "no coactivation", "odd sites", "top-1", "few tokens"]
)
def test_every_view_of_every_kind_of_capture(dashboard: Dashboard, words: Words, view: str, kind: str) -> None:
    """A figure, or a sentence that says what the view needs; never an exception."""
    odd = (*make_sites(2, 8, 2), *make_sites(2, 12, 3, stack="vision", part="attention"))
    capture = {
        "usual": lambda: make_capture(4, 8, 3, 200),
        "no rows": lambda: make_capture(4, 8, 3, 200, token_rows=False),
        "one group": lambda: make_capture(4, 8, ["only"], 200, grouped_by="file"),
        "no coactivation": lambda: make_capture(4, 8, 3, 200, coactivation=False),
        "odd sites": lambda: make_capture(odd, groups=3, tokens_per_group=[200, 100, 0]),
        "top-1": lambda: make_capture(3, 8, 2, 200, top_k=1),
        "few tokens": lambda: make_capture(3, 64, 2, 3),
    }[kind]()
    place = dashboard.put("it", capture)
    app = dashboard.open("routing", capture=place.id, view=view)
    assert not app.exception and app.query_params["capture"] == place.id
    charts = [element.key for element in app.get("plotly_chart")]
    refused = {
        ("overlap", "one group"),
        ("specialisation", "one group"),
        ("coactivation", "no coactivation"),
        ("coactivation", "top-1"),
        ("more", "one group"),
    }
    if (view, kind) in refused:
        assert not charts and app.info
    else:
        assert charts == [f"routing.chart.{view}"]
        assert len([button for button in app.get("download_button") if button.key.startswith("routing.download.")]) == 5
    if kind == "no rows" and view in ("heatmap", "specialisation"):
        assert "holds counts but no token rows" in words(app)


def test_nothing_at_hand_points_to_start(dashboard: Dashboard, words: Words) -> None:
    app = dashboard.open("routing")
    assert not app.exception and "on the Start page" in words(app)


def test_large_capture(dashboard: Dashboard, words: Words) -> None:
    place = dashboard.put(
        "large", make_capture(60, 256, 6, 60, top_k=8, token_rows=False, coactivation=False, blocks=2)
    )
    app = dashboard.open("routing", capture=place.id)
    assert not app.exception and "60 layers of 256 experts, 8 chosen" in words(app)


@pytest.mark.parametrize(
    "file", ["load.safetensors", "coactivation.safetensors", "tokens/text.parquet", "manifest.json"]
)
def test_capture_cut_in_half_is_a_sentence_and_a_way_out(dashboard: Dashboard, words: Words, file: str) -> None:
    place = dashboard.put("cut", make_capture(4, 8, 3, 200))
    dashboard.put("whole", make_capture(2, 4, 1, 20))
    target = place.path / file
    target.write_bytes(target.read_bytes()[: target.stat().st_size // 2])
    broken = next(other for other in _places() if other.path == place.path)
    app = dashboard.open("routing", capture=broken.id)
    assert not app.exception
    said = "\n".join(error.value for error in app.error)
    assert re.search("damaged|cut", said) and "copy" in said and "\n" not in said


def test_unknown_link_says_so_and_shows_another(dashboard: Dashboard, words: Words) -> None:
    dashboard.put("mine", make_capture(2, 4, 1, 20))
    app = dashboard.open("routing", capture="mine-000000000000")
    assert not app.exception and "not on this machine" in words(app) and "mine" in words(app)


# ---------------------------------------------------------------------------------------------- the link
def test_link_restores_every_choice(dashboard: Dashboard) -> None:
    place = dashboard.put("mine", make_capture(4, 8, 3, 200))
    link = {
        "view": "heatmap", "group": "2", "measure": "mass", "phase": "decode", "sites": "text_1_mlp,text_3_mlp",
        "site": "text_3_mlp", "expert": "5", "tokens": "every", "order": "random",
    }  # fmt: skip
    app = dashboard.open("routing", capture=place.id, **link)
    assert not app.exception
    expected: dict[str, Any] = {
        "view": "Heat map", "group": 2, "measure": "mass", "phase": "decode", "sites": ["text_1_mlp", "text_3_mlp"],
        "site": "text_3_mlp", "expert": 5, "tokens": "every", "order": "random",
    }  # fmt: skip
    assert {name: app.session_state[key(name)] for name in expected} == expected
    assert app.query_params == {"capture": place.id} | {name: value for name, value in link.items() if name != "view"}
    assert app.selectbox(key="routing.cell.expert").value == 5


def test_choices_reach_the_address_and_a_fresh_tab_shows_the_same(dashboard: Dashboard, words: Words) -> None:
    place = dashboard.put("mine", make_capture(4, 8, 3, 200))
    app = dashboard.open("routing", capture=place.id)
    app.selectbox(key="routing.group").select(1).run()
    app.selectbox(key="routing.measure").select("share").run()
    app.selectbox(key="routing.cell.site").select("text_2_mlp").run()
    app.selectbox(key="routing.cell.expert").select(6).run()
    address = dict(app.query_params)
    assert {"group": "1", "measure": "share", "site": "text_2_mlp", "expert": "6"}.items() <= address.items()
    fresh = dashboard.open("routing", **address)
    assert dict(fresh.query_params) == address
    assert html(fresh) == html(app) and fresh.caption[-1].value == app.caption[-1].value


def test_no_word_of_the_user_in_the_address(dashboard: Dashboard) -> None:
    groups = ["secret one", "secret/two"]
    place = dashboard.put(
        "secret-name", make_capture(3, 8, groups, 200, notes="secret", model_id="secret/model", grouped_by="secret")
    )
    app = dashboard.open("routing", capture=place.id)
    app.selectbox(key="routing.group").select(1).run()
    app.selectbox(key="routing.tokens").select(0).run()
    app.multiselect(key="routing.sites").select("text_1_mlp").run()
    assert not app.exception and len(app.query_params) >= 4
    assert "secret" not in repr(app.query_params) and "/" not in repr(app.query_params)


@pytest.mark.parametrize(
    "link",
    [
        {"group": "99"}, {"group": "x"}, {"site": "nowhere", "expert": "1"}, {"expert": "-1"}, {"expert": "9999"}, {"view": "nothing"},
        {"measure": "<script>"}, {"sites": "text_0_mlp,nowhere"}, {"phase": "training"}, {"q": "33"}, {"tokens": "77"}, {"order": ""},
    ],
)  # fmt: skip
def test_wrong_links_fall_back_to_the_default(dashboard: Dashboard, link: dict[str, str]) -> None:
    place = dashboard.put("mine", make_capture(3, 8, 2, 100))
    app = dashboard.open("routing", capture=place.id, **link)
    assert not app.exception and app.query_params == {"capture": place.id}


def test_choices_survive_a_visit_to_start(dashboard: Dashboard) -> None:
    place = dashboard.put("mine", make_capture(3, 8, 2, 100))
    app = dashboard.open("routing", capture=place.id, group="1", view="specialisation")
    app.switch_page("pages/start.py").run()
    app.query_params.clear()
    app.switch_page("pages/routing.py").run()
    assert not app.exception
    assert dict(app.query_params) == {"capture": place.id, "group": "1", "view": "specialisation"}


def test_another_capture_starts_afresh(dashboard: Dashboard) -> None:
    first = dashboard.put("first", make_capture(4, 16, 3, 100))
    second = dashboard.put("second", make_capture(2, 4, 1, 100, seed=3))
    app = dashboard.open("routing", capture=first.id, group="2", site="text_3_mlp", expert="15")
    app.query_params.clear()
    app.query_params["capture"] = second.id
    app.run()
    assert not app.exception and dict(app.query_params) == {"capture": second.id}


def test_widget_wins_over_an_address_that_lags_behind() -> None:
    """A click that comes before the browser has got the address of the click before it must not undo it."""
    capture = make_capture(3, 8, 3, 60)
    known = selection.fields(capture)
    state: dict[str, Any] = {}
    chosen = selection.settle("c", known, state, {"capture": "c"})
    selection.remember("c", chosen | {"group": 1}, {"capture": "c", "group": "1"}, state)
    state[key("group")] = 2  # the next click
    assert selection.settle("c", known, state, {"capture": "c"})["group"] == 2
    selection.remember("c", chosen | {"group": 2}, {"capture": "c", "group": "2"}, state)
    assert (
        selection.settle("c", known, state, {"capture": "c", "group": "1"})["group"] == 1
    )  # the way back in the browser


@pytest.mark.parametrize("view", list(VIEWS))
def test_address_of_any_choice_is_read_back_as_it_was(view: str) -> None:
    capture = make_capture(3, 8, 3, 60)
    known = selection.fields(capture)
    chosen = {name: field.default for name, field in known.items()}
    chosen |= {
        "view": VIEWS[view],
        "balance": "MaxVio",
        "pairs": "count",
        "q": 50,
        "site": "text_1_mlp",
        "expert": 7,
        "tokens": 2,
    }
    assert selection.from_address(selection.to_address("c", chosen, known), known) == chosen


# ---------------------------------------------------------------------------------------------- the tokens
def test_busiest_cell_is_shown_at_first(dashboard: Dashboard, words: Words) -> None:
    logits = np.zeros((3, 2, 8))
    logits[1, 0, 6] = 9.0
    place = dashboard.put("mine", make_capture(3, 8, 2, 200, logits=logits))
    app = dashboard.open("routing", capture=place.id)
    assert "**Text** goes most to expert 6 of layer 1: 100% of its tokens, where an even spread gives 25.0%" in words(
        app
    )
    assert (
        app.selectbox(key="routing.cell.site").value == "text_1_mlp"
        and app.selectbox(key="routing.cell.expert").value == 6
    )
    assert "200 of 200 tokens of Text that chose it (100.0%)" in words(app)


def test_tokens_are_counted_and_filtered_by_group(dashboard: Dashboard, words: Words) -> None:
    capture = make_capture(3, 8, 3, [200, 100, 50])
    place = dashboard.put("mine", capture)
    app = dashboard.open("routing", capture=place.id, site="text_2_mlp", expert="4")
    for choice, counts in (
        ("same", capture.count[2, 0, 4]),
        ("every", capture.count[2, :, 4].sum()),
        (2, capture.count[2, 2, 4]),
    ):
        app.selectbox(key="routing.tokens").select(choice).run()
        rows = {"same": 200, "every": 350, 2: 50}[choice]
        assert f"for {counts} of {rows} tokens" in words(app)


def test_expert_that_took_nothing_says_so(dashboard: Dashboard, words: Words) -> None:
    logits = np.zeros((2, 2, 8))
    logits[:, 0, 3] = -np.inf
    place = dashboard.put("mine", make_capture(2, 8, 2, 200, logits=logits))
    app = dashboard.open("routing", capture=place.id, site="text_1_mlp", expert="3")
    assert not app.exception and "chose this expert: choose another cell" in words(app)
    app.selectbox(key="routing.tokens").select("every").run()
    assert "choose another cell" not in words(app) and html(app)


def test_sampling_is_said(dashboard: Dashboard, words: Words) -> None:
    capture = make_capture(2, 8, 1, 200)
    sampling = {"text": Sampling(kept=200, seen=5000, documents_kept=4, documents_seen=100)}
    manifest = capture.manifest.model_copy(update={"sampling": sampling})
    place = dashboard.put(
        "mine", type(capture)(manifest, capture._load, coactivation=capture.coactivation, tokens=capture.tokens)
    )
    assert "Rows were kept for 200 of 5,000 tokens" in words(dashboard.open("routing", capture=place.id))


def test_text_of_the_input_is_escaped(dashboard: Dashboard) -> None:
    import pyarrow as pa

    capture = make_capture(2, 8, ["<i>group"], 60)
    assert capture.tokens is not None
    rows = capture.tokens["text"]
    evil = pa.array(["<img src=x onerror=alert(1)>"] * rows.num_rows)
    rows = rows.set_column(rows.column_names.index("piece"), "piece", evil)
    place = dashboard.put(
        "mine", type(capture)(capture.manifest, capture._load, coactivation=capture.coactivation, tokens={"text": rows})
    )
    shown = html(dashboard.open("routing", capture=place.id))
    assert "&lt;img src=x" in shown and "<img" not in shown and "<i>" not in shown


def test_flags_and_failed_checks_are_shown(dashboard: Dashboard, words: Words) -> None:
    flags = (Flag(kind="executed_differs", detail="Other experts ran than the router chose."),)
    checks = (Check(name="weights", passed=False, detail="do not sum to 1"), Check(name="fired", passed=True))
    place = dashboard.put("mine", make_capture(2, 8, 1, 60, flags=flags, checks=checks))
    said = words(dashboard.open("routing", capture=place.id))
    assert "Other experts ran" in said and "do not sum to 1" in said and "fired" not in said


# ---------------------------------------------------------------------------------------------- controls and downloads
def test_disabled_controls_say_why(dashboard: Dashboard) -> None:
    place = dashboard.put("mine", make_capture(3, 8, 2, 100))
    app = dashboard.open("routing", capture=place.id, view="coactivation")
    for name, why in (("group", "every group at once"), ("phase", "has no phase")):
        box = app.selectbox(key=f"routing.{name}")
        assert box.disabled and why in box.help
    one = dashboard.put("one", make_capture(3, 8, 1, 100, seed=2))
    box = dashboard.open("routing", capture=one.id).selectbox(key="routing.group")
    assert box.disabled and "--group-by" in box.help


def test_overlap_uses_the_chosen_part(dashboard: Dashboard, words: Words) -> None:
    place = dashboard.put("mine", make_capture(3, 8, 2, 300))
    app = dashboard.open("routing", capture=place.id, view="overlap")
    app.select_slider(key="routing.q").set_value(50).run()
    assert not app.exception and "50% most often chosen" in words(app) and app.query_params["q"] == "50"


@pytest.mark.parametrize("view", [view for view in VIEWS if view != "more"])  # each of "more" has a test of its own
def test_downloads_hold_what_is_shown(dashboard: Dashboard, view: str) -> None:
    import io

    import pandas as pd

    from pages.parts.downloads import figure_bytes, number_bytes
    from pages.parts.views import ALL

    capture = make_capture(3, 8, 3, 200)
    chosen = {name: field.default for name, field in selection.fields(capture).items()}
    it = next(other for other in ALL if other.slug == view)
    table = it.table(capture, chosen)
    for form, start in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")):
        assert figure_bytes(lambda: it.paper(table, None), form).startswith(start)
    frame = pd.read_csv(io.BytesIO(number_bytes(table.frame, "csv")))
    assert (
        len(frame) == len(pd.read_parquet(io.BytesIO(number_bytes(table.frame, "parquet")))) == len(table.frame()) > 0
    )
    assert [column for column in frame.columns if column.startswith("n_tokens")]


@pytest.mark.parametrize(("button", "start"), [("report", b"<!DOCTYPE html>"), ("zip", b"PK")])
def test_report_and_zip_are_made_as_jobs(dashboard: Dashboard, button: str, start: bytes) -> None:
    from workbench import session

    place = dashboard.put("mine", make_capture(2, 8, 2, 100))
    app = dashboard.open("routing", capture=place.id)
    app.button(key=f"routing.make.{button}").click().run()
    job = session.jobs().get(session.jobs().snapshots()[0].id)
    assert job is not None
    snapshot = job.wait(120)
    assert snapshot.state == "done", snapshot.error
    assert snapshot.result.data[:20].lower().startswith(start.lower())
    app.run()
    assert not app.exception
    assert [element.label for element in app.get("download_button") if element.key.startswith("jobs.download.")]


def _places() -> Any:
    from workbench import session

    return session.places()


# ---------------------------------------------------------------------------------------------- nulls
@pytest.mark.parametrize("null", ["labels", "fixed-load"])
@pytest.mark.parametrize("view", [view for view in VIEWS if view != "more"])
def test_null_is_drawn_over_every_view(dashboard: Dashboard, words: Words, view: str, null: str) -> None:
    place = dashboard.put("it", make_capture(3, 8, 3, 600))
    app = dashboard.open("routing", capture=place.id, view=view, null=null)
    assert not app.exception and not app.info and app.query_params["null"] == null
    said = words(app)
    assert "balance: " in said and ("lie beyond" in said or "None of" in said or "go together more" in said)
    figure = next(element for element in app.get("plotly_chart") if element.key == f"routing.chart.{view}").proto.spec
    sign = {"heatmap": "within the null", "specialisation": "within the null", "coactivation": "as loads alone make it", "balance": ": null",
            "utilisation": '"null"', "overlap": "null "}[view]  # fmt: skip
    assert sign in figure


def test_null_of_one_group_and_of_untrained_weights_say_what_they_need(dashboard: Dashboard, words: Words) -> None:
    alone = dashboard.put("alone", make_capture(3, 8, ["only"], 200, grouped_by="file"))
    app = dashboard.open("routing", capture=alone.id, null="labels")
    assert not app.exception and "only one group" in app.info[0].value and app.get("plotly_chart")
    place = dashboard.put("it", make_capture(3, 8, 3, 600))
    app = dashboard.open("routing", capture=place.id, null="untrained")
    assert not app.exception and "untrained weights" in app.info[0].value and app.get("plotly_chart")


def test_untrained_capture_at_hand_is_the_null(dashboard: Dashboard, words: Words) -> None:
    place = dashboard.put("it", make_capture(3, 8, 3, 600))
    flags = (Flag(kind="untrained", detail="Fresh weights."),)
    dashboard.put("fresh", make_capture(3, 8, 3, 600, seed=7, flags=flags))
    app = dashboard.open("routing", capture=place.id, view="overlap", null="untrained")
    assert not app.exception and not app.info and "weights were untrained" in words(app)


def test_large_null_is_a_job(dashboard: Dashboard, words: Words, monkeypatch: pytest.MonkeyPatch) -> None:
    from pages.parts import computed
    from workbench import session

    place = dashboard.put("it", make_capture(3, 8, 3, 600))
    monkeypatch.setattr(computed, "AT_ONCE", 0)
    app = dashboard.open("routing", capture=place.id, null="labels")
    assert not app.exception and app.get("plotly_chart")
    for snapshot in session.jobs().snapshots():
        job = session.jobs().get(snapshot.id)
        assert job is not None and job.wait(60).state == "done"
    app.run()
    assert not app.exception and "balance: " in words(app)


# ---------------------------------------------------------------------------------------------- more measures
def test_list_of_measures_is_that_of_the_address() -> None:
    from pages.parts.more_views import MORE

    assert tuple(MORE) == selection.MORE


def test_next_layer_offers_layers_that_have_one() -> None:
    """A last layer chosen elsewhere gives way to the one before it, in this measure alone."""
    from pages.parts.views import site_for_one, sites_for_one

    capture = make_capture((*make_sites(2, first_layer=0), *make_sites(2, stack="vision")))
    assert sites_for_one(capture, onward=True) == ("text_0_mlp", "vision_0_mlp")
    for chosen, shown in (("text_1_mlp", "text_0_mlp"), ("vision_1_mlp", "vision_0_mlp"), ("text_0_mlp", "text_0_mlp")):
        assert site_for_one(capture, {"site": chosen, "sites": []}, onward=True) == shown
        assert site_for_one(capture, {"site": chosen, "sites": []}) == chosen
    alone = make_capture(1)
    assert sites_for_one(alone, onward=True) == ("text_0_mlp",)


@pytest.mark.parametrize("more", selection.MORE)
def test_every_measure_draws_answers_and_downloads(dashboard: Dashboard, words: Words, more: str) -> None:
    place = dashboard.put("it", make_capture(3, 8, 3, 1200))
    app = dashboard.open("routing", capture=place.id, view="more", more=more)
    assert not app.exception and not app.info
    assert [element.key for element in app.get("plotly_chart")] == ["routing.chart.more"]
    assert len([button for button in app.get("download_button") if button.key.startswith("routing.download.")]) == 5
    from pages.parts.more_views import MORE
    from workbench.export import figure_bytes

    capture = make_capture(3, 8, 3, 1200)
    chosen = {name: field.default for name, field in selection.fields(capture).items()}
    table = MORE[more].make(capture, chosen)
    assert MORE[more].answer(table) in words(app)
    assert figure_bytes(MORE[more].paper(table, chosen, capture), "png", dpi=60).startswith(b"\x89PNG") and len(
        table.frame()
    )


@pytest.mark.parametrize("more", [name for name in selection.MORE if name != "iou-curve"])
def test_measures_over_token_rows_say_that_they_need_them(dashboard: Dashboard, more: str) -> None:
    place = dashboard.put("it", make_capture(3, 8, 2, 100, token_rows=False))
    app = dashboard.open("routing", capture=place.id, view="more", more=more)
    assert not app.exception and "token rows" in app.info[0].value and not app.get("plotly_chart")


def test_predicted_word_that_was_not_recorded_says_so(dashboard: Dashboard) -> None:
    place = dashboard.put("it", make_capture(3, 8, 2, 300))
    app = dashboard.open("routing", capture=place.id, view="more", more="vocabulary", by="predicted")
    assert not app.exception and "record the capture again" in app.info[0].value
