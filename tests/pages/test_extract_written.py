"""Extract with an engine that writes: the raw structure beside what was read, its steps, and the slider that cannot go lower."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts import extract_job
from pages.parts.extract_job import Engines
from tests.extract.uie.conftest import plain_tokenizer, words  # noqa: F401 - fixtures
from tests.extract.uie.test_engine import talkative
from tests.pages.conftest import Dashboard
from tests.pages.test_extract import frame_with, settled
from workbench.extract.seq2seq.weights import save_copy_model

TEXT = "Marie Curie worked in Paris for the University of Warsaw"


@pytest.fixture
def model(words: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    monkeypatch.setattr(extract_job, "ENGINES", Engines())
    monkeypatch.setattr("pages.parts.extract_written.ENGINES", extract_job.ENGINES)
    save_copy_model(tmp_path / "tiny", talkative(words), words)
    return tmp_path / "tiny"


def spoken(app: AppTest) -> str:
    return " ".join(each.value for kind in ("caption", "markdown", "info", "warning", "error") for each in getattr(app, kind)).replace("\\", "")  # fmt: skip


def test_raw_beside_parsed_and_every_step(dashboard: Dashboard, model: Path) -> None:
    app = dashboard.open("extract", engine="uie")
    app.text_input(key="extract.model").input(str(model)).run()
    app.text_area(key="extract.text").input(TEXT).run()
    app.button(key="extract.go").click().run()
    app = settled(app)
    assert not app.exception
    assert "what it did not write has no score" in spoken(app), "the slider says that it cannot go lower"
    assert "not calibrated" in spoken(app)
    app.button(key="extract.written.go").click().run()
    app = settled(app)
    assert not app.exception
    raw = next(each.value for each in app.code if "<extra_id_0>" in each.value)
    assert raw.startswith("<extra_id_0>") and raw.split()[-1] == "[SEP]" and "well-formed" in spoken(app)
    assert len(frame_with(app, "words")) and {"label", "at"} <= set(frame_with(app, "label").columns)
    first = frame_with(app, "written")
    assert list(first["token"]) == ["<extra_id_0>"] and first["probability"][0] == pytest.approx(1)
    assert "state “start”, 1 token allowed" in spoken(app)
    app.number_input(key="extract.written.step").set_value(2).run()
    second = frame_with(app, "written")
    assert sorted(second["token"]) == ["<extra_id_0>", "<extra_id_1>"] and sum(second["written"]) == 1
    assert second["probability"].sum() == pytest.approx(1, abs=1e-3) and "2 tokens allowed" in spoken(app)


def test_other_engines_have_no_such_box(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    from pages.parts.extract_written import own_cut

    class Which:
        engine = "usm"

    class Other:
        which = Which()

    check: Callable[[Any], str] = own_cut
    assert check(Other()) == ""
