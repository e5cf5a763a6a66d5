"""The What if page: the stored check at once, forms that say what is missing, a change of one's own as a job."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts.what_if_jobs import Change, Order, run_change, run_check, tidy
from tests.analysis.test_causal import made
from tests.causal.test_causal import documents
from tests.pages.conftest import Dashboard
from tests.tiny_model import save_model
from workbench import session
from workbench.causal.stored import StoredCheck, read_check
from workbench.jobs import JobList, Snapshot

Words = Callable[[AppTest], str]
WAIT = 240.0
SETTINGS = {
    "model": "tiny", "device": "cpu", "group_by": "folder", "share": 0.25, "by": "used", "used": 24, "known": 30, "seed": 0,
    "resamples": 200, "level": 0.95, "separate": True,
}  # fmt: skip


def stored(hurt: float) -> StoredCheck:
    return StoredCheck(made(hurt), SETTINGS, {"x": [{"text_0_mlp": [1, 2]}, {"text_0_mlp": [1]}], "y": [{}, {}]})


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "shipped.json"
    file.write_bytes(stored(0.3).to_bytes())
    monkeypatch.setattr("workbench.causal.stored.SHIPPED", file)
    return file


def test_a_stored_check_comes_back_the_same(tmp_path: Path) -> None:
    before = stored(0.3)
    (tmp_path / "losses.json").write_bytes(before.to_bytes())
    after = read_check(tmp_path / "losses.json")
    assert after.table().frame().equals(before.table().frame()) and after.experts == before.experts
    for content in (
        "",
        "[]",
        '{"version": 9}',
        json.dumps({"version": 1, "settings": {}, "experts": {}, "losses": {}}),
    ):
        (tmp_path / "losses.json").write_text(content)
        with pytest.raises(Exception, match="make it again with `workbench causal`"):
            read_check(tmp_path / "losses.json")


@pytest.mark.parametrize(("hurt", "said"), [(0.3, "hurts every group more"), (0.0, "does not hurt it more")])
def test_first_view_answers(dashboard: Dashboard, words: Words, shipped: Path, hurt: float, said: str) -> None:
    shipped.write_bytes(stored(hurt).to_bytes())
    app = dashboard.open("what_if")
    assert not app.exception
    text = words(app)
    assert said in text and "24 of 30 texts" in text and "It does not prove" in text


def test_no_check_at_hand_and_forms_that_say_what_is_missing(
    dashboard: Dashboard, words: Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.causal.stored.SHIPPED", tmp_path / "none.json")
    app = dashboard.open("what_if")
    assert "No check is at hand" in words(app)
    app.segmented_control(key="what-if.check.which").set_value("My files").run()
    assert "Upload at least one file" in app.button(key="what-if.check.start").help
    app.segmented_control(key="what-if.view").set_value("own").run()
    assert not app.exception and "Name experts to mute" in app.button(key="what-if.own.start").help
    app.text_input(key="what-if.own.mute").set_value("text_0_mlp:0").run()
    assert not app.button(key="what-if.own.start").disabled


@pytest.fixture
def order(tmp_path: Path) -> Order:
    model = save_model(tmp_path / "tiny-moe")
    folder = tmp_path / "up"
    folder.mkdir()
    lines = [json.dumps({"id": one.id, "group": one.group, "text": one.text}) for one in documents(4)]
    (folder / "texts.jsonl").write_text("\n".join(lines))
    return Order(
        str(model), (folder / "texts.jsonl",), folder, group_by="group", draws=2, prompt="the <b>cat</b>", new_tokens=4
    )


def run(order: Order, work: Callable[..., object]) -> Snapshot:
    return JobList().start("what if", lambda task: work(order, task), lambda: tidy(order)).wait(WAIT)


def test_the_jobs(order: Order) -> None:
    checked = run(order, run_check)
    assert checked.state == "done", checked.error
    assert isinstance(checked.result, StoredCheck) and checked.result.table().groups == ("animals", "talk")
    assert order.folder is not None and not order.folder.exists(), "the files are not kept"


def test_a_change_is_shown_with_what_was_written(
    dashboard: Dashboard, words: Words, order: Order, shipped: Path
) -> None:
    from dataclasses import replace

    job = session.jobs().start("x", lambda task: run_change(replace(order, mute=("text_0_mlp:0,1",)), task))
    done = job.wait(WAIT)
    assert done.state == "done" and isinstance(done.result, Change), done.error
    app = dashboard.open("what_if", view="own")
    app.session_state["what-if.job.own"] = job.id
    app.run()
    assert not app.exception and "nats a token" in words(app)
    html = "".join(element.proto.body for element in app.get("html"))
    assert "&lt;b&gt;cat" in html and "<b>" not in html


def test_too_few_left_is_one_sentence_in_words_of_the_page(order: Order) -> None:
    from dataclasses import replace

    done = run(replace(order, mute=("text_0_mlp:0-2",)), run_change)
    assert done.state == "failed" and done.error is not None and "leaves 1, but a token gets 2" in done.error
    assert order.folder is not None and not order.folder.exists()
