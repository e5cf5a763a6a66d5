"""The What if page: the stored check at once, forms that say what is missing, a change of one's own as a job."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts.kept import Kept, kept
from pages.parts.what_if_jobs import Change, Order, run_change, run_check, tidy
from tests.analysis.test_causal import made
from tests.causal.test_causal import documents
from tests.pages.conftest import Dashboard
from tests.tiny_model import save_model
from workbench import session
from workbench.causal import CausalError
from workbench.causal.stored import StoredCheck, read_check
from workbench.jobs import JobList, Snapshot, Task

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

    wish = replace(order, mute=("text_0_mlp:0,1",), top_k=1)
    name, job = kept().start(session.jobs(), "x", lambda task: run_change(wish, task))
    done = job.wait(WAIT)
    assert done.state == "done" and isinstance(done.result, Change), done.error
    session.jobs().clear()  # and the result is still there
    app = dashboard.open("what_if", view="own", run=name)
    assert not app.exception and "nats a token" in words(app)
    assert "muted: text\\_0\\_mlp\\:0\\-1 · 1 expert a token" in words(app)
    html = "".join(element.proto.body for element in app.get("html"))
    assert "&lt;b&gt;cat" in html and "<b>" not in html
    app.segmented_control(key="what-if.view").set_value("check").run()
    assert not app.exception and dict(app.query_params) == {}
    app.segmented_control(key="what-if.view").set_value("own").run()
    assert app.query_params["run"] == name and "nats a token" in words(app)


def test_a_reload_finds_a_run_that_is_going_on_or_has_failed(dashboard: Dashboard, words: Words, shipped: Path) -> None:
    go_on = threading.Event()

    def work(task: Task) -> StoredCheck:
        go_on.wait(WAIT)
        raise CausalError("--share is a part of the experts: choose 0.25.")

    name, job = kept().start(session.jobs(), "x", work)
    try:
        app = dashboard.open("what_if", run=name)
        assert not app.exception and "It is being measured" in words(app) and "24 of 30 texts" in words(app)
        assert app.query_params["run"] == name
    finally:
        go_on.set()
        job.wait(WAIT)
    assert "the command line's \\-\\-share is a part" in words(app.run())


def test_a_link_to_a_result_that_is_gone_is_one_sentence(dashboard: Dashboard, words: Words, shipped: Path) -> None:
    app = dashboard.open("what_if", view="own", run="0" * 8)
    assert not app.exception and "no longer kept" in words(app) and "run" not in app.query_params


def test_results_are_bounded_and_the_one_not_looked_at_goes_first() -> None:
    jobs, store = JobList(), Kept(most=2)
    names = []
    for number in range(3):
        name, job = store.start(jobs, "x", lambda task, number=number: number + 1)
        job.wait(WAIT)
        names.append(name)
        if number == 1:
            assert store.get(names[0]).result == 1  # looked at: the second one is now the oldest
    assert [store.get(name) and store.get(name).result for name in names] == [1, None, 3]
    assert store.get(None) is None


def test_progress_moves_with_every_batch_and_every_written_token(order: Order) -> None:
    from dataclasses import replace

    seen: list[tuple[int, int | None, str | None]] = []

    class Watched(Task):
        def progress(self, done: int, total: int | None = None, step: str | None = None) -> None:
            seen.append((done, total, step))

    wish = replace(order, mute=("text_0_mlp:0",), draws=1, batch_size=2, new_tokens=3)
    done = JobList().start("x", lambda task: run_change(wish, Watched(task._job)), lambda: tidy(wish)).wait(WAIT)
    assert done.state == "done", done.error
    runs = [(at, of) for at, of, step in seen if step in ("The full model", "With the change")]
    rows = runs[0][1]
    assert rows is not None and rows % 3 == 0  # the full model, the change, one random set: each reads every row
    half = rows // 3
    assert [at for at, _ in runs] == [*range(0, half + 1, 2), *range(half, 2 * half + 1, 2)]
    written = [(at, of) for at, of, step in seen if step == "Writing with and without"]
    assert written == [(1, 6), (2, 6), (3, 6), (4, 6), (5, 6), (6, 6)]


def test_too_few_left_is_one_sentence_in_words_of_the_page(order: Order) -> None:
    from dataclasses import replace

    done = run(replace(order, mute=("text_0_mlp:0-2",)), run_change)
    assert done.state == "failed" and done.error is not None and "leaves 1, but a token gets 2" in done.error
    assert order.folder is not None and not order.folder.exists()
