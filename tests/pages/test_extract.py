"""Extract and Evaluate without a browser: schema, filters without a new run, links, corrections, batches, what is said without weights."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts import extract_job
from pages.parts.extract_address import LONGEST, from_address, pack, to_address, unpack
from pages.parts.extract_beside import compared
from pages.parts.extract_gold import DRAFT, GOLD, _drop, _join, _put, _retype, without_scores
from pages.parts.extract_job import (
    Engines,
    EvaluationOrder,
    Run,
    Which,
    run_evaluation,
)
from pages.parts.extract_result import html_bytes
from pages.parts.extract_schema import ready
from pages.parts.extract_view import columns_of_table, rows_for_table
from tests.extract.made import document
from tests.pages.conftest import Dashboard
from workbench import session
from workbench.extract import Document, Extraction, Schema, SchemaError
from workbench.extract.evaluate import score
from workbench.jobs import JobList

Words = Callable[[AppTest], str]


def said(app: AppTest, words: Words) -> str:
    """What the page says, without the signs that keep Markdown from reading it."""
    return words(app).replace("\\", "")


def settled(app: AppTest) -> AppTest:
    """The page once its job has ended."""
    for _ in range(300):
        if not session.jobs().busy:
            break
        time.sleep(0.1)
    return app.run()


def extracted(dashboard: Dashboard, text: str = "Ada Lovelace met Bo 7 times", **address: str) -> AppTest:
    app = dashboard.open("extract", engine="rules", **address)
    app.text_area(key="extract.text").input(text).run()
    app.button(key="extract.go").click().run()
    assert not app.exception
    return settled(app)


def frame_with(app: AppTest, column: str) -> Any:
    return next(f.value for f in app.dataframe if column in f.value.columns)


def shown(app: AppTest) -> list[str]:
    frames = [f for f in app.dataframe if f.key == "extract.table"]
    return [] if not frames else list(frames[0].value["words"])


def test_every_ready_schema_has_texts_that_fit_it() -> None:
    assert {"news", "medicine", "finance", "law", "reviews", "security"} <= set(ready())
    for schema, texts in ready().values():
        assert len(texts) == 3
        found = score(list(texts), list(texts), resamples=0)
        assert not found.mistakes
        for text in texts:
            assert {s.type for s in text.entities or ()} <= set(schema.labels())
            assert all(schema.allows(r.type, r.head.type, r.tail.type) for r in text.relations or ())


def test_without_weights_the_page_says_what_to_do(
    dashboard: Dashboard, words: Words, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys.modules["workbench.extract.engines"], "CHECKPOINTS", tmp_path)
    app = dashboard.open("extract")
    assert not app.exception
    assert "workbench train --engine usm" in said(app, words)
    assert app.button(key="extract.go").disabled
    assert "what a person marked" in said(app, words)
    app = dashboard.open("evaluate")
    assert not app.exception
    assert "usm-mini" in said(app, words)


def test_what_keeps_extract_from_being_pressed_is_said(dashboard: Dashboard, rules: None, words: Words) -> None:
    app = dashboard.open("extract", engine="rules")
    app.text_area(key="extract.text").input("  ").run()
    assert "Put a text into the field first" in said(app, words) and "Press Extract" not in said(app, words)
    app = extracted(dashboard)
    app.text_area(key="extract.text").input("").run()
    assert "before your last change. Put a text into the field first" in said(app, words)
    app.selectbox(key="extract.engine").select("llm").run()
    assert not app.exception and shown(app)
    assert any("name a checkpoint" in str(each.value) for each in app.info)  # beside what stands there already


def test_filters_need_no_new_run(dashboard: Dashboard, rules: None) -> None:
    app = extracted(dashboard)
    engine = extract_job.ENGINES.get(Which("rules"))
    assert engine.calls == 1  # type: ignore[attr-defined]
    assert shown(app)[:3] == ["Ada Lovelace", "Ada", "Lovelace"]
    app.slider(key="extract.threshold").set_value(0.8).run()
    assert "Ada Lovelace" not in shown(app)
    app.slider(key="extract.threshold").set_value(0.1).run()
    assert "7" in shown(app)
    app.toggle(key="extract.nested").set_value(False).run()
    assert "Ada Lovelace" not in shown(app) and "Ada" in shown(app)
    app.multiselect(key="extract.labels").select("date").run()
    assert shown(app) == ["7"]
    assert engine.calls == 1  # type: ignore[attr-defined]
    assert dict(app.query_params) == {"engine": "rules", "threshold": "0.10", "flat": "1", "only": "3"}


def test_a_link_restores_schema_and_settings_but_never_the_text(dashboard: Dashboard, rules: None) -> None:
    schema = Schema.read({"entities": ["人物", "<b>"], "events": {"fire": ["who"]}})
    secret = "Zanzibar spent 12 secrets on fire"
    app = extracted(dashboard, secret, schema=str(pack(schema)), threshold="0.30", only="0")
    assert shown(app) == ["Zanzibar"]
    address = dict(app.query_params)
    assert all("Zanzibar" not in value and "secrets" not in value for value in address.values())
    fresh = dashboard.open("extract", **address)
    assert not fresh.exception
    assert dict(fresh.query_params) == address
    assert fresh.session_state["extract.base"] == schema.to_json()
    assert "Zanzibar" not in fresh.text_area(key="extract.text").value


def test_filters_stand_when_one_comes_back_from_another_page(dashboard: Dashboard, rules: None) -> None:
    app = extracted(dashboard)
    app.slider(key="extract.threshold").set_value(0.1).run()
    app.toggle(key="extract.nested").set_value(False).run()
    app.multiselect(key="extract.labels").select("date").run()
    address = dict(app.query_params)
    app.switch_page("pages/start.py").run()
    app.query_params.clear()  # as the menu does
    app.switch_page("pages/extract.py").run()
    assert not app.exception
    assert dict(app.query_params) == address and shown(app) == ["7"]


def test_damaged_links_are_said(dashboard: Dashboard, rules: None, words: Words) -> None:
    app = dashboard.open("extract", schema="%%%", threshold="7", only="99,x", engine="no such")
    assert not app.exception
    assert "link is damaged" in said(app, words)


def test_schemas_are_packed_and_bounded() -> None:
    schema = Schema.read({"entities": ["a", {"name": "b", "threshold": 0.5}], "sentiment": {}})
    packed = pack(schema)
    assert packed is not None and unpack(packed) == schema
    import random

    draw = random.Random(0)
    assert pack(Schema.of(*{f"{draw.getrandbits(64):x}" for _ in range(600)})) is None
    for bad in ("", "A" * LONGEST, packed[:-8], "é"):
        with pytest.raises(SchemaError):
            unpack(bad)
    bomb = __import__("base64").urlsafe_b64encode(__import__("zlib").compress(b" " * 10_000_000, 9)).decode()
    with pytest.raises(SchemaError):
        unpack(bomb)
    assert to_address("news", schema, "usm", "usm", None, {"nested": True}) == {}
    assert from_address({"threshold": "nan", "only": "1,1,5"}, ("x", "y")) == {"nested": True, "labels": ["y"]}


def test_json_editor_says_what_is_wrong(dashboard: Dashboard, rules: None, words: Words) -> None:
    app = dashboard.open("extract", engine="rules")
    app.session_state["extract.editor"] = "JSON"
    app.run()
    app.text_area(key="extract.json").input('{"entities": ["a", "a"]}').run()
    assert "declared twice" in said(app, words)
    assert "Correct the schema first" in said(app, words) and "Press Extract" not in said(app, words)
    assert app.button(key="extract.go").disabled
    app.text_area(key="extract.json").input('{"entities": ["only"]}').run()
    assert not app.exception and not app.error
    assert app.session_state["extract.base"] == {"entities": ["only"]}
    assert dict(app.query_params)["schema"] == pack(Schema.of("only"))


def test_a_schema_too_long_for_a_link_is_said(dashboard: Dashboard, rules: None, words: Words) -> None:
    names = [hashlib.sha256(b"%d" % n).hexdigest() for n in range(100)]  # which no packing makes shorter
    app = dashboard.open("extract", engine="rules")
    app.session_state["extract.editor"] = "JSON"
    app.run()
    app.text_area(key="extract.json").input(Schema.of(*names[:3]).dumps()).run()
    assert "Too long for the address" not in said(app, words) and "schema" in dict(app.query_params)
    app.text_area(key="extract.json").input(Schema.of(*names).dumps()).run()
    assert "Too long for the address" in said(app, words) and "schema" not in dict(app.query_params)


def test_five_hundred_labels_are_edited_as_json(dashboard: Dashboard, rules: None) -> None:
    schema = Schema.of(*(f"type {n}" for n in range(700)))
    app = dashboard.open("extract", engine="rules")
    app.session_state["extract.editor"] = "JSON"
    app.run()
    app.text_area(key="extract.json").input(schema.dumps()).run()
    assert not app.exception
    app.button(key="extract.go").click().run()
    app = settled(app)
    assert not app.exception and shown(app)


def test_another_schema_brings_its_text_unless_one_was_written(dashboard: Dashboard, rules: None) -> None:
    app = dashboard.open("extract", engine="rules")
    app.selectbox(key="extract.ready").select("law").run()
    assert app.text_area(key="extract.text").value == ready()["law"][1][0].text
    app.text_area(key="extract.text").input("mine").run()
    app.selectbox(key="extract.ready").select("finance").run()
    assert app.text_area(key="extract.text").value == "mine"


def test_sentiment_has_its_triplets(dashboard: Dashboard, rules: None) -> None:
    app = dashboard.open("extract", engine="rules", ready="reviews")
    assert [tab.label for tab in app.tabs][:4] == ["Entities", "Relations", "Events", "Sentiment"]
    app.text_area(key="extract.text").input("Soup 4 Bread 5").run()
    app.button(key="extract.go").click().run()
    app = settled(app)
    app.slider(key="extract.threshold").set_value(0.2).run()
    assert not app.exception
    assert "Sentiment" in [tab.label for tab in app.tabs][4:]


def test_arcs_say_why_there_are_none(dashboard: Dashboard, rules: None, words: Words) -> None:
    relation = {"entities": ["person"], "relations": {"met": {"head": ["person"], "tail": ["person"]}}}
    app = extracted(dashboard, "Ada and Bo", schema=str(pack(Schema.read(relation))), threshold="0.50")
    assert len(app.get("plotly_chart")) == 1, "their relation has .6"
    app.slider(key="extract.threshold").set_value(0.8).run()
    assert "No link passes what is chosen; 1 weaker one would show" in said(app, words)
    app = extracted(dashboard, "Ada", schema=str(pack(Schema.read(relation))))
    assert "No relation and no argument was found" in said(app, words)
    app = extracted(dashboard, "Ada", schema=str(pack(Schema.read({"entities": ["person"]}))))
    assert "The schema asks for no relation and no event." in said(app, words)


def test_a_broken_engine_is_said(dashboard: Dashboard, rules: None, words: Words) -> None:
    app = extracted(dashboard, "BREAK it")
    assert "This text breaks the engine of the tests" in said(app, words)


def test_evidence_of_a_picked_result(dashboard: Dashboard, rules: None, words: Words) -> None:
    app = extracted(dashboard)
    app.session_state["extract.picked"] = ("entity", 0)
    app.run()
    app = settled(app)
    assert not app.exception
    assert "Why “Ada Lovelace: person”" in said(app, words)
    assert "attention is no measure of importance" in said(app, words)
    links = frame_with(app, "needed")
    assert list(links["link"]) == ["L2H", "L2T"]


def test_corrections_change_what_they_say() -> None:
    import streamlit as st

    given = document(3)
    assert all(s.score is None for s in without_scores(given).entities or ())
    draft = Document(id="1", text="Ada met Bo", entities=(), relations=(), events=())
    _put(draft, "entity", "person", [(0, 3)])
    _put(st.session_state[DRAFT], "entity", "person", [(8, 10)])
    draft = st.session_state[DRAFT]
    ada, bo = draft.entities
    _join(draft, "knows", ada, bo)
    _put(st.session_state[DRAFT], "trigger", "meeting", [(4, 7)])
    _put(st.session_state[DRAFT], "argument:0", "who", [(0, 3)])
    draft = st.session_state[DRAFT]
    assert [r.type for r in draft.relations] == ["knows"]
    assert [(e.type, [a.role for a in e.arguments]) for e in draft.events] == [("meeting", ["who"])]
    frame, picks = rows_for_table(draft)
    assert set(frame.columns) == set(columns_of_table())
    rows = [(frame["kind"][n], frame["type"][n], int(frame["at"][n]), picks[n]) for n in range(len(frame))]
    _drop(draft, [row for row in rows if row[0] == "argument"])
    assert st.session_state[DRAFT].events[0].arguments == ()
    _drop(draft, rows[:1])  # Ada, and the relation from her
    left = st.session_state[DRAFT]
    assert ([s.key for s in left.entities], left.relations) == ([(8, 10, "person")], ())


def test_an_entity_gets_another_type_and_keeps_its_relations() -> None:
    import streamlit as st

    draft = Document(id="1", text="Ada met Bo", entities=(), relations=())
    _put(draft, "entity", "person", [(0, 3), (8, 10)])
    ada, bo = st.session_state[DRAFT].entities
    _join(st.session_state[DRAFT], "knows", ada, bo)
    _retype(st.session_state[DRAFT], [1], "robot")
    left = st.session_state[DRAFT]
    assert [s.key for s in left.entities] == [(0, 3, "person"), (8, 10, "robot")]
    assert [(r.head.type, r.tail.type) for r in left.relations] == [("person", "robot")]


def test_words_can_be_typed_where_there_is_no_mouse(dashboard: Dashboard, rules: None, words: Words) -> None:
    app = extracted(dashboard, "ada met bo, ada slept")
    app.button(key="extract.correct.go").click().run()
    assert app.button(key="extract.add").disabled
    app.text_input(key="extract.add.words").input("Zoe").run()
    assert "“Zoe” does not stand in the text" in said(app, words) and app.button(key="extract.add").disabled
    app.text_input(key="extract.add.words").input("ada").run()
    app.button(key="extract.add").click().run()
    assert not app.exception
    assert [s.key[:2] for s in app.session_state[DRAFT].entities if s.type == "person"] == [(0, 3), (12, 15)]
    assert app.text_input(key="extract.add.words").value == ""


def test_an_empty_table_says_what_was_kept_and_shows_it(dashboard: Dashboard, rules: None, words: Words) -> None:
    app = extracted(dashboard, "call 7 times")
    app.slider(key="extract.threshold").set_value(0.99).run()
    assert not shown(app) and "Nothing passes what is chosen. 1 candidate was kept" in said(app, words)
    app.button(key="extract.show.weak").click().run()
    assert shown(app) == ["7"] and not app.exception
    nothing = extracted(dashboard, "nobody is here")
    assert "not even a weak candidate" in said(nothing, words)


def test_a_change_of_engine_is_said(dashboard: Dashboard, rules: None, words: Words) -> None:
    app = extracted(dashboard)
    assert "before your last change" not in said(app, words)
    app.text_input(key="extract.device").input("cpu").run()
    assert "What is below is of the engine before your last change" in said(app, words)
    app.text_area(key="extract.text").input("Cy").run()
    assert "What is below is of the text and engine before your last change" in said(app, words)


def test_a_fault_goes_with_what_it_was_of(dashboard: Dashboard, rules: None, words: Words) -> None:
    app = extracted(dashboard, "BREAK")
    assert app.main.error
    app.text_area(key="extract.text").input("Ada").run()
    assert not app.main.error
    assert "Press Extract" in said(app, words)
    app.text_area(key="extract.text").input("").run()
    assert not app.main.error and "Put a text into the field first" in said(app, words)


def test_a_correction_is_kept(dashboard: Dashboard, rules: None) -> None:
    app = extracted(dashboard, "Ada slept")
    app.button(key="extract.correct.go").click().run()
    app.button(key="extract.keep.gold").click().run()
    assert not app.exception
    (kept,) = app.session_state[GOLD]
    assert [s.to_json() for s in kept.entities] == [{"start": 0, "end": 3, "type": "person"}]


# ------------------------------------------------------------------ jobs
def test_a_long_text_shows_how_far_it_is_and_can_be_cancelled(
    dashboard: Dashboard, rules: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def extract(texts: Any, schema: Any, shots: Any = (), *, stopped: Any, passes: Any, **_: Any) -> list[Any]:
        passes(3, 12)
        while not stopped():
            time.sleep(0.02)
        return []

    engine = extract_job.ENGINES.get(Which("rules"))
    monkeypatch.setattr(engine, "extract", extract)
    app = dashboard.open("extract", engine="rules")
    app.text_area(key="extract.text").input("Ada met Bo").run()
    app.button(key="extract.go").click().run()
    assert "3 of 12" in str(app.get("progress")[0].proto.text) and not app.exception
    app.button(key="extract.text.cancel").click().run()
    assert session.jobs().snapshots()[0].stopping or session.jobs().snapshots()[0].state == "cancelled"
    settled(app)
    assert session.jobs().snapshots()[0].state == "cancelled" and "extract.text.cancel" not in {
        b.key for b in app.button
    }
    assert any("It was stopped and nothing is kept" in str(each.value) for each in app.info)


def test_engines_stay_loaded_and_make_room(rules: None) -> None:
    store = Engines(most=1)
    first = store.get(Which("rules"))
    assert store.get(Which("rules")) is first
    store.get(Which("rules", "other"))
    assert store.get(Which("rules")) is not first


def test_stored_predictions_are_scored_without_an_engine(tmp_path: Path) -> None:
    schema, texts = ready()["finance"]
    for name in ("gold", "predictions"):
        (tmp_path / f"{name}.jsonl").write_text("".join(d.dumps() + "\n" for d in texts))
    wish = EvaluationOrder(
        tmp_path / "gold.jsonl",
        "finance",
        "",
        "test",
        None,
        schema,
        None,
        tmp_path / "predictions.jsonl",
        None,
        True,
        "normal",
        None,
    )
    end = JobList().start("e", lambda task: run_evaluation(wish, task)).wait(30)
    assert end.error is None
    assert end.result.evaluation.scores[("entity",), "offset"].count.f1 == 1.0 and end.result.evaluation.outside == 0
    fewer = replace(wish, schema=Schema.of(schema.entities[0].name))
    left = JobList().start("e", lambda task: run_evaluation(fewer, task)).wait(30).result.evaluation
    asked = sum(s.type == schema.entities[0].name for d in texts for s in d.entities or ())
    items = sum(len(part or ()) for d in texts for part in (d.entities, d.relations, d.events))
    assert left.scores[("entity",), "offset"].count.gold == asked and left.outside == items - asked > 0


def test_evaluate_shows_scores_and_errors(dashboard: Dashboard, rules: None, words: Words) -> None:
    app = dashboard.open("evaluate")
    app.selectbox(key="evaluate.engine").select("rules").run()
    app.button(key="evaluate.go").click().run()
    app = settled(app)
    assert not app.exception
    scores = frame_with(app, "95 % interval")
    assert set(scores["what"]) >= {"Entities", "Event triggers"}
    assert "Where it is wrong" in said(app, words)
    categories = frame_with(app, "boundary")
    assert int(categories.loc[0, "type"]) > 0
    assert "run" in dict(app.query_params)
    gone = dashboard.open("evaluate", run="gone")
    assert "no longer kept" in said(gone, words) and not gone.exception


def test_downloads_say_what_is_shown(dashboard: Dashboard, rules: None) -> None:
    app = extracted(dashboard)
    keys = {b.key for b in app.get("download_button")}
    assert {f"extract.download.{kind}" for kind in ("json", "jsonl", "csv", "html")} <= keys
    assert json.loads(json.dumps(app.session_state["extract.base"]))


def test_the_html_file_has_no_columns_that_are_empty() -> None:
    found = Document.read(
        {"id": "t", "text": "Ada", "entities": [{"start": 0, "end": 3, "type": "name", "score": 0.5}]}
    )
    schema = Schema.of("name")
    run = Run("Ada", schema, Which("rules"), Extraction(text="Ada", wanted=schema), 0.1, "rules", "cpu")
    page = html_bytes(run, found, 0.3).decode()
    assert "<th>text</th>" in page and "<th>head" not in page and "<th>document" not in page
    page = html_bytes(run, Document(id="t", text="Ada"), 0.3).decode()
    assert "<table" not in page.partition("<body>")[2] and "Nothing was found at this least score." in page


def test_an_engine_whose_weights_are_named_stands_beside_another(
    dashboard: Dashboard, rules: None, words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rule_engine

    from workbench.extract.engines import EngineSpec

    asked: list[str | None] = []

    def load(model: str | None = None, **options: Any) -> Any:
        asked.append(model)
        return rule_engine.load(model, **options)

    spec = EngineSpec(name="other", title="Other", about="Weights have to be named.", load=load, named=True)
    monkeypatch.setattr(sys.modules["workbench.extract.engines"], "BUILT_IN", (spec,))
    app = dashboard.open("extract", engine="rules")
    app.text_area(key="extract.text").input("Ada Lovelace met Bo 7 times").run()
    app.selectbox(key="extract.beside").select("other").run()
    assert app.button(key="extract.go").disabled, "no weights are named yet"
    app.text_input(key="extract.beside_model").input("theirs").run()
    app.button(key="extract.go").click().run()
    app = settled(app)
    assert not app.exception and asked == ["theirs"]
    assert "rules beside other" in said(app, words)
    both = frame_with(app, "other")
    assert list(both["words"][:3]) == ["Ada Lovelace", "Ada", "Lovelace"] and (both["rules"] == both["other"]).all()
    app.toggle(key="extract.beside.differ").set_value(True).run()
    assert not len(frame_with(app, "other")) and "0 of rules alone, 0 of other alone" in said(app, words)
    app.selectbox(key="extract.beside").select("none").run()
    assert "is of the second engine before your last change" in said(app, words)


def test_two_engines_are_compared_by_place_and_type() -> None:
    def made(*spans: tuple[int, int, str, float]) -> Document:
        rows = [{"start": a, "end": b, "type": t, "score": s} for a, b, t, s in spans]
        return Document.read({"id": "", "text": "Ada met Bo", "entities": rows})

    frame = compared(
        made((0, 3, "person", 0.9), (8, 10, "city", 0.4)),
        made((8, 10, "person", 0.7), (0, 3, "person", 0.5)),
        ("a", "b"),
    )
    assert frame.fillna(-1).values.tolist() == [
        ["Ada", "person", 0.9, 0.5],
        ["Bo", "city", 0.4, -1],
        ["Bo", "person", -1, 0.7],
    ]
    assert compared(made(), made(), ("a", "b")).empty
