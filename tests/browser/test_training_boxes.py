"""Every choice and download of Training, and a folder of runs opened from the page."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.browser.conftest import WAIT, settle, start_server
from tests.browser.driving import (
    charts,
    choose,
    choose_other,
    downloads,
    exceptions,
    fill,
    tab,
    value_of,
    wait_for_chart,
    wait_for_text,
)
from tests.capture_factory import make_capture
from workbench.training import RunWriter

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
FILES = ("HTML", "PNG", "PDF", "SVG", "CSV", "Parquet")


@pytest.mark.full
def test_choices_of_training_and_a_folder_of_runs(chromium: Any, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    run = RunWriter.open(folder / "far", model={"id": "tiny/moe"}, total_steps=4)
    for step in range(1, 5):
        run.metrics(step, {"loss/text": 3 / step}, loss=3.5 / step)
        run.capture(step, make_capture(3, 8, 2, 100, seed=step))
    run.finish(4)
    process, url = start_server(tmp_path / "home", tmp_path / "log")
    try:
        page = chromium.new_context(viewport={"width": 1440, "height": 1000}, accept_downloads=True).new_page()
        page.set_default_timeout(WAIT)
        page.goto(f"{url}/training?view=nonsense")
        settle(page)
        assert exceptions(page) == 0
        page.get_by_text("Log a run of your own").first.click()
        page.get_by_text("RoutingLog").first.wait_for()
        page.get_by_text("Open a folder of runs").first.click()
        field = "Path of a run, or of a folder of runs"
        page.get_by_label(field, exact=True).wait_for()
        for path in (tmp_path / "nowhere", folder):
            fill(page, field, str(path))
            page.get_by_role("button", name="Open", exact=True).last.click()
            if path != folder:
                page.locator("[data-testid=stMain] [data-testid=stAlert]").last.wait_for()
        wait_for_text(page, "step 4 of 4")
        settle(page)
        assert "far" in value_of(page, "Run") and exceptions(page) == 0
        tab(page, "Balance")
        chosen = choose_other(page, "Measure")
        page.get_by_role("radio", name="Groups, a panel a layer").click()
        page.wait_for_url("**lines=groups**", timeout=WAIT)
        settle(page)
        assert chosen in value_of(page, "Measure")
        got = downloads(page, FILES)
        frame = pd.read_csv(io.BytesIO(got["CSV"][1]))
        assert set(frame["step"]) == {1, 2, 3, 4}
        tab(page, "Saturation")
        wait_for_text(page, "the last capture of the run chooses")
        downloads(page, FILES)
        tab(page, "All metrics")
        wait_for_text(page, "logged step")
        frame = pd.read_csv(io.BytesIO(downloads(page, FILES)["CSV"][1]))
        assert len(frame) >= 8
        tab(page, "Routing over time")
        wait_for_text(page, "a frame a capture")
        choose_other(page, "Group of tokens")
        wait_for_chart(page)
        assert charts(page) >= 1 and "group=" in page.url
        frame = pd.read_csv(io.BytesIO(downloads(page, FILES)["CSV"][1]))
        assert len(frame) == 4 * 3 * 8
        choose(page, "Run", "with-balance-loss (sample)")
        wait_for_text(page, "a frame a capture")
        choose(page, "Run", "far")
        wait_for_text(page, "step 4 of 4")
        assert str(tmp_path) not in page.url
        page.get_by_role("button", name="See the last capture in Routing").click()
        wait_for_text(page, "Which experts take which tokens?")
        settle(page)
        assert exceptions(page) == 0 and "/routing?capture=" in page.url
        page.context.close()
    finally:
        process.terminate()
        process.wait(20)
