"""Live: a shipped picture read, and two prompts side by side."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from tests.browser.conftest import settle, start_server
from tests.browser.driving import choose, download, exceptions, fill, number, press, switch, wait_for_text
from workbench.models import embedded_models

pytestmark = [
    pytest.mark.browser,
    pytest.mark.full,  # torch and a model load
    pytest.mark.timeout(1500),
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(
        "omni-mini" not in [one.name for one in embedded_models()], reason="needs sample_data/checkpoints/omni-mini"
    ),
]
LONG = 600_000  # milliseconds: torch and the model load in the first run; a bound for a broken build
ADDRESS = "live?model=omni-mini&new=300&temperature=0"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own, because a run loads torch."""
    base = tmp_path_factory.mktemp("live-controls")
    process, address = start_server(base / "home", base / "log")
    try:
        yield address
    finally:
        process.terminate()
        process.wait(20)


def open_tab(chromium: Any, address: str) -> Any:
    page = chromium.new_context(viewport={"width": 1440, "height": 1100}, accept_downloads=True).new_page()
    page.set_default_timeout(LONG)
    page.goto(address)
    settle(page)
    return page


def test_a_shipped_picture_is_read(chromium: Any, url: str) -> None:
    """An example that suits the model: its parts stand as signs, and the model writes what it sees behind them."""
    page = open_tab(chromium, f"{url}/live?model=omni-mini&new=3&temperature=0")
    press(page, "A picture")
    wait_for_text(page, "garment-boot-1.png, read before the text")
    page.get_by_role("button", name="Read and write").click()
    page.get_by_text("Done ·").first.wait_for()
    settle(page)
    assert (
        page.locator(".strip .tok", has_text="▦").count() == 16
        and "image" not in page.locator(".strip").first.inner_text()
    )
    assert page.locator(".strip .tok.written").count() and exceptions(page) == 0
    page.context.close()


def test_two_prompts_side_by_side(chromium: Any, url: str) -> None:
    page = open_tab(chromium, f"{url}/{ADDRESS.replace('new=300', 'new=8')}")
    fill(page, "Prompt", "the duck went to the pond.")
    switch(page, "Second prompt beside it")
    page.get_by_label("Second prompt", exact=True).wait_for()
    said = page.get_by_role("button", name="Read and write")
    assert said.is_disabled()  # a second prompt is missing
    fill(page, "Second prompt", "snow fell on the town.")
    page.get_by_role("button", name="Read and write").click()
    page.get_by_text("Done ·").first.wait_for()
    settle(page)
    strips = page.locator(".strip")
    assert strips.count() == 2 and page.locator(".js-plotly-plot").count() == 3  # a map each, and one route
    assert "duck" in strips.nth(0).inner_text() and "duck" not in strips.nth(1).inner_text()
    assert "snow" in strips.nth(1).inner_text() and "pair=1" in page.url
    # The route of a token of the second one, by its boxes.
    choose(page, "Of", "Prompt 2")
    number(page, "Token", 1)
    page.get_by_text("Prompt 2, token 1").first.wait_for()
    assert "lane=1" in page.url and "duck" not in page.url and exceptions(page) == 0
    frame = pd.read_csv(io.BytesIO(download(page, "Tokens as CSV")[1]))
    assert set(frame["sequence"]) == {"Prompt 1", "Prompt 2"}
    page.context.close()
