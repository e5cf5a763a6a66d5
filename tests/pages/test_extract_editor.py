"""The editors of Extract: a schema opened from a file, and a correction that offers only what fits."""

from __future__ import annotations

import json
from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from pages.parts.extract_gold import DRAFT
from tests.pages.conftest import Dashboard
from tests.pages.test_extract import extracted
from workbench.extract import Document, Relation, Schema, Span

Words = Callable[[AppTest], str]
MINE = {"entities": ["ship", "port"], "relations": {"calls at": {"head": ["ship"], "tail": ["port"]}}}


def _file(app: AppTest) -> str:
    return next(str(f.key) for f in app.file_uploader if str(f.key).startswith("extract.schema.file"))


def test_a_schema_file_takes_the_place_of_the_schema(dashboard: Dashboard, rules: None) -> None:
    app = dashboard.open("extract", engine="rules")
    app.file_uploader(key=_file(app)).upload("mine.json", json.dumps(MINE).encode(), "application/json").run()
    assert not app.exception
    assert Schema.read(app.session_state["extract.current"]) == Schema.read(MINE)
    assert app.selectbox(key="extract.ready").value == "own"


def test_a_file_that_is_no_schema_is_named_and_changes_nothing(dashboard: Dashboard, rules: None, words: Words) -> None:
    app = dashboard.open("extract", engine="rules")
    before = app.session_state["extract.current"]
    for name, data in (("broken.json", b"{"), ("latin.json", b'{"entities": ["\xe9"]}'), ("empty.json", b"{}")):
        app.file_uploader(key=_file(app)).upload(name, data, "application/json").run()
        assert not app.exception
        assert len(app.error) == 1 and "schema" in app.error[0].value, name
        assert app.session_state["extract.current"] == before


def test_only_ends_that_a_relation_may_join_are_offered(dashboard: Dashboard, rules: None, words: Words) -> None:
    app = extracted(dashboard, "Ada met Bo in Oslo")
    app.button(key="extract.correct.go").click().run()
    relations = app.session_state["extract.base"]["relations"]
    name, rule = next((n, r) for n, r in relations.items() if r["head"] and r["tail"] and r["head"] != r["tail"])
    tail, head = Span(start=0, end=3, type=rule["tail"][0]), Span(start=8, end=10, type=rule["head"][0])
    app.session_state[DRAFT] = Document(id="1", text="Ada met Bo in Oslo", entities=(tail, head), relations=())
    app.run()
    app.selectbox(key="extract.rel.name").select(name).run()
    assert [o.split(" (")[0] for o in app.selectbox(key="extract.rel.head").options] == ["Bo"]
    assert [o.split(" (")[0] for o in app.selectbox(key="extract.rel.tail").options] == ["Ada"]
    app.button(key="extract.rel.add").click().run()
    (made,) = app.session_state[DRAFT].relations
    assert (made.type, made.head.key, made.tail.key) == (name, head.key, tail.key)
    assert app.button(key="extract.rel.add").disabled, "they are joined"
    alone = Document(
        id="1", text="Ada met Bo in Oslo", entities=(tail, tail.model_copy(update={"start": 8, "end": 10}))
    )
    app.session_state[DRAFT] = alone
    app.run()
    assert not app.exception and "may join" in words(app)


def test_the_row_of_relations_starts_at_a_pair_that_is_not_joined(
    dashboard: Dashboard, rules: None, words: Words
) -> None:
    text = "Ada met Bo in Oslo"
    app = extracted(dashboard, text)
    app.button(key="extract.correct.go").click().run()
    relations = app.session_state["extract.base"]["relations"]
    name, rule = next((n, r) for n, r in relations.items() if r["head"] and r["tail"] and r["head"] != r["tail"])
    ada, bo, oslo = (
        Span(start=text.index(word), end=text.index(word) + len(word), type=type_)
        for word, type_ in (("Ada", rule["tail"][0]), ("Bo", rule["head"][0]), ("Oslo", rule["tail"][0]))
    )
    done = Relation(type=name, head=bo, tail=ada)
    app.session_state[DRAFT] = Document(id="1", text=text, entities=(ada, bo, oslo), relations=(done,))
    app.run()
    app.selectbox(key="extract.rel.name").select(name).run()
    assert app.selectbox(key="extract.rel.tail").value == 2, "Bo and Ada are joined, Bo and Oslo are not"
    assert not app.button(key="extract.rel.add").disabled
    app.button(key="extract.rel.add").click().run()
    assert {relation.tail.key for relation in app.session_state[DRAFT].relations} == {ada.key, oslo.key}
    assert not app.exception and app.button(key="extract.rel.add").disabled
