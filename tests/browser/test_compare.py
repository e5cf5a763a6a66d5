"""Compare in a real browser: two captures chosen, a difference read, a figure downloaded, the link opened again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import WAIT, Server, settle
from tests.capture_factory import make_capture, make_logits
from workbench.capture import Capture
from workbench.capture.library import Library

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


@pytest.fixture
def pair(server: Server) -> Any:
    """Two captures of one model whose routing differs, for as long as the test runs."""
    logits = make_logits(2, 2, 8, seed=0)
    moved = logits.copy()
    moved[1, 0, 3] += 2.0
    library = Library(server.home / "captures")
    made: dict[str, Capture] = {
        "before": make_capture(2, 8, 2, 1000, seed=1, logits=logits, created="2026-01-01T00:00:00+00:00"),
        "after": make_capture(2, 8, 2, 1000, seed=2, logits=moved, created="2026-01-02T00:00:00+00:00"),
    }
    for name, capture in made.items():
        library.add(capture, name)
    yield
    for name in made:
        library.delete(name)


def choose(page: Any, label: str, option: str) -> None:
    box = page.get_by_role("combobox", name=label, exact=True)
    box.click()
    page.get_by_role("option", name=option, exact=True).click()
    settle(page)


def test_difference_is_chosen_read_downloaded_and_linked(server: Server, visit: Callable[..., Any], pair: None) -> None:
    page = visit("compare")
    choose(page, "Against", "before")
    choose(page, "Capture", "after")
    page.get_by_text("after differs from before beyond noise", exact=False).first.wait_for(timeout=WAIT)
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    assert page.locator('[data-testid="stException"]').count() == 0
    choose(page, "Measure", "Normalised entropy")
    with page.expect_download(timeout=WAIT) as download:
        page.get_by_role("button", name="CSV", exact=True).click()
    assert download.value.suggested_filename == "after-against-before-normalised-entropy.csv"
    assert "more_than_noise" in Path(download.value.path()).read_text(encoding="utf-8")
    fresh = visit(page.url.removeprefix(server.url + "/"))
    fresh.get_by_text("Difference in normalised entropy", exact=False).first.wait_for(timeout=WAIT)
    assert fresh.url == page.url
