"""One flow through Map and one through Training in a real browser."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.browser.conftest import WAIT, Server, settle, start_server
from tests.browser.test_pages import CHART, exceptions, wait_for_text
from tests.capture_factory import make_capture
from workbench.training import RunWriter

# A quick machine may have laid it out before a page is looked at.
UNDER_WAY_OR_READY = re.compile("PCA is shown until UMAP is ready|neighbours kept together by UMAP")

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
Visit = Callable[..., Any]


def download(page: Any, label: str) -> tuple[str, bytes]:
    with page.expect_download(timeout=WAIT) as waiting:
        page.get_by_role("button", name=label, exact=True).first.click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def check_files(page: Any, stem: str) -> pd.DataFrame:
    """Every download of a figure; returns its numbers."""
    starts = {"PNG": b"\x89PNG", "PDF": b"%PDF", "SVG": b"<?xml", "HTML": b"<!doctype html>", "Parquet": b"PAR1"}
    for label, start in starts.items():
        name, data = download(page, label)
        assert name == f"{stem}.{label.lower()}" and data.lstrip().startswith(start), label
    name, data = download(page, "CSV")
    assert name == f"{stem}.csv"
    return pd.read_csv(io.BytesIO(data))


def lasso(page: Any, corners: list[tuple[float, float]]) -> None:
    """Draw round a part of the map, in shares of its width and height."""
    box = page.locator(CHART).first.bounding_box()
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*at[0])
    page.mouse.down()
    for x, y in (*at[1:], at[0]):
        page.mouse.move(x, y, steps=10)
    page.mouse.up()


def test_map_is_drawn_lassoed_and_downloaded(server: Server, visit: Visit) -> None:
    page = visit(f"map?capture={server.ids['small']}&what=experts")
    page.locator(CHART).first.wait_for()
    wait_for_text(page, "Trustworthiness")
    page.wait_for_timeout(1000)
    lasso(page, [(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99)])
    wait_for_text(page, "600 tokens in the lasso")
    settle(page)
    shown = page.locator("[class*='st-key-map-contexts']").first.inner_text()
    assert "token" in shown and "gate weight" not in shown and exceptions(page) == 0
    frame = check_files(page, "small-map-experts-pca")
    assert len(frame) == 600 and {"x", "y", "document", "token"} <= set(frame.columns)
    page.get_by_role("combobox", name="What is mapped").click()
    page.get_by_text("Experts by the groups that choose them").last.click()
    wait_for_text(page, "48 experts")
    page.wait_for_timeout(1000)
    lasso(page, [(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99)])
    wait_for_text(page, "48 experts in the lasso")
    assert exceptions(page) == 0 and "what=experts" not in page.url


@pytest.mark.full  # UMAP compiles for half a minute or more at each start
def test_umap_arrives_by_itself_and_is_cancelled(server: Server, visit: Visit) -> None:
    page = visit(f"map?capture={server.ids['small']}&method=umap")
    page.get_by_text(UNDER_WAY_OR_READY).first.wait_for()
    page.get_by_text("neighbours kept together by UMAP").first.wait_for(timeout=4 * WAIT)
    assert "wait" not in page.url and exceptions(page) == 0
    page = visit(f"map?capture={server.ids['small']}&method=umap&seed=3")
    page.get_by_role("button", name="Cancel").first.click()
    wait_for_text(page, "UMAP was stopped")
    assert exceptions(page) == 0


@pytest.fixture
def training(tmp_path: Path) -> Iterator[tuple[str, RunWriter]]:
    """A server with one run that is being written, and the run."""
    run = RunWriter.open(tmp_path / "home" / "runs" / "mine", model={"id": "tiny/moe"}, total_steps=40)
    for step in range(0, 21, 10):
        run.capture(step, make_capture(4, 8, 2, 100, seed=step))
        run.metrics(step + 1, {"loss/text": 3.0, "loss/image": 4.0}, loss=3.5)
    process, url = start_server(tmp_path / "home", tmp_path / "log")
    try:
        yield url, run
    finally:
        process.terminate()
        process.wait(20)


def test_run_is_followed_compared_played_and_downloaded(training: tuple[str, RunWriter], chromium: Any) -> None:
    url, run = training
    page = chromium.new_context(viewport={"width": 1440, "height": 1000}, accept_downloads=True).new_page()
    page.set_default_timeout(WAIT)
    page.goto(f"{url}/training")
    wait_for_text(page, "step 21 of 40")
    run.metrics(30, loss=0.125)  # while the page is open: it looks again by itself
    wait_for_text(page, "in 30 steps")
    run.finish(30)
    wait_for_text(page, "finished")
    settle(page)
    frame = check_files(page, "mine-overview")
    assert set(frame["measure"]) == {"Training loss", "Normalised entropy", "MaxVio"}
    for tab, said in (
        ("Balance", "a point a capture"),
        ("Saturation", "the last capture of the run chooses"),
        ("All metrics", "logged step"),
    ):
        page.get_by_role("tab", name=tab).click()
        wait_for_text(page, said)
    page.get_by_role("tab", name="Routing over time").click()
    wait_for_text(page, "a frame a capture")
    rail = page.locator(".js-plotly-plot .slider-rail-touch-rect").first
    rail.wait_for(state="attached")
    at = "document.querySelector('.js-plotly-plot').layout.sliders[0].active"
    rail.click(force=True, position={"x": 3, "y": 10})  # the first capture, by the slider
    page.wait_for_function(f"{at} === 0", timeout=WAIT)
    page.locator(".js-plotly-plot .updatemenu-button").first.click()  # play: it ends at the last one
    page.wait_for_function(f"{at} === 2", timeout=WAIT)
    page.get_by_role("combobox", name="Compare with").click()
    page.get_by_text("with-balance-loss").last.click()
    page.wait_for_url("**beside=sample-with-balance-loss**", timeout=WAIT)
    page.locator(".js-plotly-plot").nth(1).wait_for()
    settle(page)
    assert page.locator(".js-plotly-plot").count() == 2 and "beside=sample-" in page.url and exceptions(page) == 0
    page.context.close()
