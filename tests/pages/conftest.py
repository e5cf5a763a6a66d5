"""The dashboard run without a browser, on a library and samples of the test's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from pages.parts import extract_job
from pages.parts.extract_job import Engines
from tests.extract.conftest import PLUGIN
from workbench import session
from workbench.capture import Capture

ROOT = Path(__file__).resolve().parents[2]


class Dashboard:
    """`app.py` under test.

    Attributes:
        library: folder of the user's captures.
        samples: folder of the shipped captures, empty at first.
    """

    def __init__(self, home: Path, samples: Path) -> None:
        self.library = home / "captures"
        self.samples = samples

    def put(self, name: str, capture: Capture) -> session.Place:
        """Save a capture into the library."""
        capture.save(self.library / name)
        place = session.find_path(self.library / name)
        assert place is not None
        return place

    def open(self, page: str = "start", **address: Any) -> AppTest:
        """A fresh browser tab at this page and address."""
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
        if page != "start":
            app.run()
            app.switch_page(f"pages/{page}.py")
        for name, value in address.items():
            app.query_params[name] = str(value)
        return app.run()


@pytest.fixture
def dashboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dashboard]:
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    samples = tmp_path / "samples"
    samples.mkdir()
    monkeypatch.setattr(session, "SAMPLES", samples)
    st.cache_data.clear()
    st.cache_resource.clear()
    yield Dashboard(tmp_path / "home", samples)
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def words() -> Callable[[AppTest], str]:
    """Everything that a page says, in one text."""

    def said(app: AppTest) -> str:
        kinds = (app.title, app.header, app.subheader, app.markdown, app.caption, app.info, app.warning, app.error)
        return "\n".join(element.value for kind in kinds for element in kind)

    return said


@pytest.fixture
def rules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Extract on the deterministic engine of the tests, found as any plug-in is."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.setattr(extract_job, "ENGINES", Engines())
    yield
    sys.modules.pop("rule_engine", None)
