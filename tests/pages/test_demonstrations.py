"""Demonstrations on Extract, without a browser: written, marked, imported, put in order; live, left out, attended to, fine-tuned beside."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from pages.parts import extract_demonstrations as shots_part
from pages.parts import extract_job
from pages.parts.extract_demonstrations import AT, DRAFT, RANGE, cautions, keep_draft
from pages.parts.extract_gold import GOLD, SHOTS
from pages.parts.extract_job import Engines
from pages.parts.extract_shots_files import MOST_SHOTS, take
from tests.extract.fewshot.conftest import PLUGIN
from tests.pages.conftest import Dashboard
from tests.pages.test_extract import frame_with, said, settled, shown
from workbench.extract import Document, Schema, Span
from workbench.extract.marks import places_of

Words = Callable[[AppTest], str]
K = "extract.shots."


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.setattr(extract_job, "ENGINES", Engines())
    yield
    sys.modules.pop("copy_engine", None)


def shot(text: str, *marks: tuple[str, str]) -> Document:
    spans = [Span(start=text.index(w), end=text.index(w) + len(w), type=t) for w, t in marks]
    return Document(id="", text=text, entities=tuple(spans))


THREE = [
    shot("Rome is old", ("Rome", "city")),
    shot("Ada met Bo", ("Ada", "person"), ("Bo", "person")),
    shot("Rome and Bo", ("Bo", "person")),
]


def opened(dashboard: Dashboard, text: str = "Ada left Rome with Bo", shots: list[Document] | None = None) -> AppTest:
    app = dashboard.open("extract", engine="copies", schema="", ready="news")
    app.session_state[SHOTS] = list(THREE if shots is None else shots)
    app.text_area(key="extract.text").input(text).run()
    assert not app.exception
    return app


def in_schema(app: AppTest, *names: str) -> AppTest:
    """The page with a schema of these types."""
    from pages.parts.extract_address import pack

    app.query_params["schema"] = str(pack(Schema.of(*names)))
    return app.run()


def run(app: AppTest) -> AppTest:
    app.button(key="extract.go").click().run()
    assert not app.exception
    return settled(app)


def test_an_example_is_written_and_marked_by_typing(dashboard: Dashboard, copies: None, words: Words) -> None:
    app = in_schema(opened(dashboard, "Bo lives in Rome", []), "person", "city")
    assert "Without a demonstration" in said(app, words)
    app.text_area(key=f"{K}sentence").input("Bo met Bobby and Bo in Rome").run()
    app.button(key=f"{K}begin").click().run()
    app.text_input(key=f"{K}words").input("Bo").run()
    app.button(key=f"{K}mark").click().run()
    app.text_input(key=f"{K}words").input("Oslo").run()
    app.button(key=f"{K}mark").click().run()
    assert "“Oslo” does not stand in the sentence" in said(app, words)
    app.text_input(key=f"{K}words").input("Rome").run()
    app.selectbox(key=f"{K}type").select("a new type").run()
    app.text_input(key=f"{K}new").input("<b>capital").run()
    app.button(key=f"{K}mark").click().run()
    assert not app.exception
    app.button(key=f"{K}keep").click().run()
    (kept,) = app.session_state[SHOTS]
    assert [(s.start, s.end, s.type) for s in kept.entities] == [
        (0, 2, "person"),
        (17, 19, "person"),
        (23, 27, "<b>capital"),
    ]
    assert app.session_state["extract.current"]["entities"] == ["person", "city", "<b>capital"], (
        "a new type joins the schema"
    )
    assert "No demonstration shows city" in said(app, words)
    app = run(app)
    assert shown(app) == ["Bo", "Rome"]


def test_words_selected_with_the_mouse_become_a_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit's test driver cannot send a selection, so the callbacks are called as the component does (the browser's test selects)."""
    monkeypatch.setattr(st, "session_state", {})
    state: dict[str, Any] = st.session_state  # type: ignore[assignment]
    schema = Schema.of("person")
    state[f"{K}sentence"] = "  👩‍🔬 Ada met Bo  "
    shots_part._begin()
    assert state[DRAFT].text == "👩‍🔬 Ada met Bo"
    state[f"{K}type"] = "person"
    shots_part._mark(schema)
    assert "Select words" in state.pop(shots_part.FAULT)
    shots_part._take_range(4, 7)
    shots_part._mark(schema)
    assert [(s.start, s.end) for s in state[DRAFT].entities] == [(4, 7)] and state[RANGE] is None
    shots_part._take_range(12, 14)
    shots_part._mark(schema)
    shots_part._unmark(0)
    keep_draft()
    assert [shots_part.said(each) for each in state[SHOTS]] == ["Bo: person"] and state[DRAFT] is None
    shots_part._edit(0)
    assert state[AT] == 0
    shots_part._take_range(4, 7)
    shots_part._mark(schema)
    keep_draft()
    assert [shots_part.said(each) for each in state[SHOTS]] == ["Ada: person; Bo: person"], "an edit takes its place"


def test_places_are_whole_words_where_there_are_any() -> None:
    assert places_of("Bo met Bobby, Bo.", "Bo") == [(0, 2), (14, 16)]
    assert places_of("Bobby", "ob") == [(1, 3)]
    assert places_of("a.b (c)", "(c)") == [(4, 7)] and places_of("abc", "x") == []


def test_order_and_number_reach_the_engine(dashboard: Dashboard, copies: None, words: Words) -> None:
    app = run(in_schema(opened(dashboard), "person", "city"))
    assert shown(app) == ["Ada", "Rome", "Bo"]
    app.selectbox(key=f"{K}chosen").select_index(1).run()
    app.button(key=f"{K}up").click().run()
    assert [s.text for s in app.session_state[SHOTS]] == ["Ada met Bo", "Rome is old", "Rome and Bo"]
    assert "before your last change" in said(app, words)
    app.number_input(key=f"{K}first").set_value(1).run()
    app = run(app)
    assert shown(app) == ["Ada", "Bo"]
    assert "No demonstration shows city" in said(app, words)
    app.button(key=f"{K}clear").click().run()
    assert app.session_state[SHOTS] == [] and not app.exception


def test_an_engine_that_would_choose_order_and_names_is_told_which(
    dashboard: Dashboard, copies: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import copy_engine

    asked: list[dict[str, Any]] = []

    def load(model: str | None = None, **options: Any) -> Any:
        asked.append(options)
        return copy_engine.load(model)

    monkeypatch.setattr(copy_engine, "SPEC", replace(copy_engine.SPEC, load=load, ordered=True, anonymous=True))
    app = run(in_schema(opened(dashboard), "person", "city"))
    app.toggle(key=f"{K}ordered").set_value(False).run()
    run(app)
    assert asked == [{"ordered": True}, {}]
    app.selectbox(key=f"{K}names").set_value("As <type1>, <type2> …").run()
    app = run(app)
    app.selectbox(key=f"{K}names").set_value("Under their names").run()
    run(app)
    assert asked[2:] == [{"anonymous": True}, {"anonymous": False}]


def test_live_reads_again_at_every_change(dashboard: Dashboard, copies: None) -> None:
    app = run(in_schema(opened(dashboard), "person", "city"))
    app.toggle(key=f"{K}live").set_value(True).run()
    app.number_input(key=f"{K}first").set_value(1).run()
    app = settled(app)
    assert shown(app) == ["Rome"], "without pressing Extract"
    app.text_area(key="extract.text").input("Rome, Rome").run()
    app = settled(app)
    assert shown(app) == ["Rome", "Rome"]


def test_each_demonstration_is_left_out(dashboard: Dashboard, copies: None) -> None:
    app = run(in_schema(opened(dashboard), "person", "city"))
    app.button(key=f"{K}effects.go").click().run()
    app = settled(app)
    frame = frame_with(app, "scores move by").set_index("n")
    # 1: the only mark of Rome; 2: the only mark of Ada, and Bo's first; 3: lowers Rome to a half
    assert frame.loc[1, "without it, lost"] == "Rome: city" and frame.loc[2, "without it, lost"] == "Ada: person"
    assert frame.loc[3, "without it, lost"] == frame.loc[3, "without it, added"] == ""
    assert frame.loc[3, "scores move by"] == pytest.approx(0.5)
    assert list(frame["size"]) == sorted(frame["size"], reverse=True)


def test_attention_goes_to_the_demonstrations(dashboard: Dashboard, copies: None, words: Words) -> None:
    app = run(in_schema(opened(dashboard), "person", "city"))
    app.session_state["extract.picked"] = ("entity", 0)
    app = settled(app.run())
    assert not app.exception
    charts = [json.loads(c.proto.spec) for c in app.get("plotly_chart") if "extract.attention.shots" in str(c.proto)]
    (bar,) = [chart["data"][0] for chart in charts if chart["data"][0]["type"] == "bar"]
    shares = dict(zip((name[0] for name in bar["y"]), bar["x"], strict=True))
    assert shares == pytest.approx({"1": 0.0, "2": 0.8, "3": 0.0}), "only the second marks Ada"
    assert "80 % in all" in said(app, words)
    assert (
        "Columns: the labels asked in the same pass, in ‹ ›, demonstrations (the number before a token says which), then the text"
        in said(app, words)
    )


def test_beside_the_fine_tuned_one(
    dashboard: Dashboard, copies: None, words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = run(in_schema(opened(dashboard), "person", "city"))
    assert app.button(key=f"{K}distance.go").disabled, "this engine cannot be fine-tuned"
    import copy_engine

    from workbench.extract.fewshot import tuning

    class Tuned(copy_engine.Copies):
        """It has learnt one thing only: Rome."""

        def extract(self, texts: Any, schema: Any, demonstrations: Any = (), **more: Any) -> Any:
            assert not demonstrations, "the fine-tuned one is asked without demonstrations"
            return super().extract(texts, schema, THREE[:1], **more)

    asked: list[Any] = []

    def tune(engine: Any, shots: Any, schema: Any, how: Any, progress: Any, stopped: Any) -> Any:
        asked.append((len(shots), how.epochs))
        return Tuned()

    monkeypatch.setattr(copy_engine, "tune", tune, raising=False)
    monkeypatch.setitem(tuning.TUNERS, "copies", "copy_engine:tune")
    app.session_state[GOLD] = [shot("Rome and Ada", ("Rome", "city"), ("Ada", "person"))]
    app.run()
    app.number_input(key=f"{K}epochs").set_value(7).run()
    app.button(key=f"{K}distance.go").click().run()
    app = settled(app)
    assert not app.exception and asked == [(3, 7)]
    # text: Ada, Rome, Bo against Rome; gold: Rome, Ada against Rome: 2 of both, 5 and 2
    assert "**0.57**" in said(app, words) and "2 results of both, 3 in context only, 0 fine-tuned only" in said(
        app, words
    )
    assert "in context 1.00, fine-tuned 0.67" in said(app, words)
    table = frame_with(app, "fine-tuned").set_index("words")
    assert table.loc["Ada", "in context"] == "1.00"  # .999
    assert dict(table["fine-tuned"]) == {"Rome": "1.00", "Ada": "not found", "Bo": "not found"}


def test_a_file_is_taken_and_a_bad_one_is_a_sentence(dashboard: Dashboard, copies: None, words: Words) -> None:
    app = in_schema(opened(dashboard, shots=[]), "person", "city")
    app.file_uploader(key=f"{K}upload").upload(
        "some.conll", b"Rome B-city\nis O\nold O\n\nBo B-person\n", "text/plain"
    ).run()
    assert not app.exception, app.exception
    assert [shots_part.said(each) for each in app.session_state[SHOTS]] == ["Rome: city", "Bo: person"]
    assert "2 demonstrations taken" in said(app, words)
    outside = json.dumps({"id": "1", "text": "short", "entities": [{"start": 3, "end": 30, "type": "city"}]})
    app.file_uploader(key=f"{K}upload").upload("bad.jsonl", outside.encode(), "application/jsonl").run()
    assert "from 3 to 30, but the text has 5 characters" in said(app, words) and len(app.session_state[SHOTS]) == 2
    app.toggle(key=f"{K}live").set_value(True).run()
    assert "from 3 to 30" in said(app, words), "it stays as long as the file does"


def test_two_hundred_demonstrations(dashboard: Dashboard, copies: None, words: Words) -> None:
    many = [shot(f"Town{n:03} is a town", (f"Town{n:03}", "city")) for n in range(200)]
    app = run(in_schema(opened(dashboard, "Town199 is near Town007", many), "city"))
    assert shown(app) == ["Town199", "Town007"]
    assert "200 demonstrations make each text many runs" in said(app, words)
    app.button(key=f"{K}remove").click().run()
    assert len(app.session_state[SHOTS]) == 199 and [s.id for s in app.session_state[SHOTS]][:2] == ["1", "2"]


def test_what_is_taken_is_bounded_and_counted() -> None:
    shots = [shot("Rome is old", ("Rome", "city"))]
    found = [
        Document(id="a", text="x"),
        shot("Rome is old"),
        shot("y"),
        shot("y"),
        *(shot(f"t{n}") for n in range(MOST_SHOTS + 5)),
    ]
    taken, notes = take(found, shots)
    assert len(shots) == MOST_SHOTS and taken == MOST_SHOTS - 1 and shots[0].id == "1"
    assert " ".join(notes) == (
        f"1 text without annotated entities left out. 2 texts that were there already left out. 7 left out: {MOST_SHOTS} demonstrations are the most."
    )


def test_cautions_name_what_is_amiss() -> None:
    schema = Schema.of("person", "city")
    assert "Without a demonstration" in cautions(schema, ())[0]
    found = " ".join(cautions(schema, (shot("Rome is old", ("Rome", "town")), shot("nothing"))))
    assert (
        "No demonstration shows person, city" in found
        and "does not ask for town" in found
        and "1 demonstration without any mark" in found
    )
    assert cautions(schema, (THREE[0], THREE[1])) == []


def test_an_empty_instruction_and_an_engine_that_does_not_learn(
    dashboard: Dashboard, copies: None, words: Words
) -> None:
    app = opened(dashboard)
    app.session_state["extract.editor"] = "JSON"
    app.run()
    app.text_area(key="extract.json").input("{}").run()
    assert not app.exception and app.button(key="extract.go").disabled
    app = dashboard.open("extract", engine="usm")
    assert not any(t.key == f"{K}live" for t in app.toggle), "no editor where it would have no effect"
