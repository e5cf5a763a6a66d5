"""Every box and download of Compare; captures that do not match; the shipped model against its untrained weights."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.conftest import WAIT, Server, settle
from tests.browser.driving import (
    charts,
    choose,
    choose_other,
    downloads,
    exceptions,
    options_of,
    press,
    same_elsewhere,
    switch,
    wait_for_chart,
    wait_for_text,
)
from tests.capture_factory import make_capture, make_logits
from workbench.capture.library import Library

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
Visit = Callable[..., Any]
FIGURE = ("PNG", "PDF", "SVG", "CSV", "Parquet")


@pytest.fixture
def three(server: Server) -> Iterator[None]:
    """Three captures of one model, the last with fewer layers, for as long as a test runs."""
    logits = make_logits(3, 2, 8, seed=0)
    library = Library(server.home / "captures")
    made = {"one": (3, 1), "two": (3, 2), "three": (2, 3)}
    for name, (sites, seed) in made.items():
        library.add(
            make_capture(sites, 8, 2, 600, seed=seed, logits=logits[:sites], created=f"2026-02-0{seed}T00:00:00+00:00"),
            name,
        )
    yield
    for name in made:
        library.delete(name)


@pytest.mark.full
def test_boxes_and_downloads_of_compare(server: Server, visit: Visit, three: None) -> None:
    page = visit("compare")
    choose(page, "Against", "one")
    choose(page, "Capture", "two")
    choose(page, "Expert numbers", "Mean the same: one model, its checkpoints or parts")
    chosen = {"Against": "one", "Capture": "two", "Expert numbers": "Mean the same"}
    for label in ("Group of tokens", "Phase"):
        chosen[label] = choose_other(page, label)
    choose(page, "Layers", "Layer 1")
    wait_for_chart(page)
    got = downloads(page, FIGURE)
    assert {name.rpartition(".")[2] for name, _ in got.values()} == {"png", "pdf", "svg", "csv", "parquet"}
    same_elsewhere(visit, server, page, chosen)
    press(page, "All measures as zip")
    button = page.get_by_role("button", name="Download two-against-one.zip")
    button.wait_for(timeout=10 * WAIT)
    with page.expect_download(timeout=WAIT) as waiting:
        button.click()
    with zipfile.ZipFile(waiting.value.path()) as archive:
        assert any("entropy" in name for name in archive.namelist())
    # Of other models: measures of single experts are no longer offered.
    choose(page, "Expert numbers", "Mean nothing: other models, or untrained weights")
    assert "Load, expert by expert" not in options_of(page, "Measure")
    choose(page, "Expert numbers", "As the captures say")
    # A third capture of other layers: refused in one sentence, which names the field that mends it.
    choose(page, "Capture", "three")
    wait_for_text(page, "“Common layers only”")
    page.locator(".js-plotly-plot").first.wait_for(state="detached")
    assert exceptions(page) == 0
    switch(page, "Common layers only")
    wait_for_chart(page)
    choose(page, "And", "two")
    page.get_by_role("radio", name="two", exact=True).click()
    page.wait_for_url("**other=1**", timeout=WAIT)
    settle(page)
    assert exceptions(page) == 0 and charts(page) >= 1
    # Twice the same capture is one sentence.
    choose(page, "Capture", "one")
    wait_for_text(page, "A capture was chosen twice")
    assert exceptions(page) == 0


@pytest.mark.full
def test_shipped_model_against_its_untrained_weights(server: Server, visit: Visit) -> None:
    page = visit("compare?a=sample-omni-untrained&b=sample-omni")
    wait_for_text(page, "Expert numbers are not compared one by one")
    wait_for_chart(page, 5 * WAIT)
    assert exceptions(page) == 0 and "Load, expert by expert" not in options_of(page, "Measure")
    for measure in options_of(page, "Measure"):
        choose(page, "Measure", measure)
        wait_for_chart(page, 5 * WAIT)
    downloads(page, FIGURE)
