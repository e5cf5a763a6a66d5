"""Live: a run held, stepped, replayed and kept; a shipped picture read; two prompts side by side."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from tests.browser.conftest import WAIT, serving, settle
from tests.browser.driving import (
    choose,
    download,
    exceptions,
    fill,
    number,
    press,
    press_until,
    slide,
    switch,
    wait_for_chart,
    wait_for_text,
)
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
ADDRESS = "live?model=omni-mini&new=900&temperature=0"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own, because a run loads torch."""
    with serving(tmp_path_factory.mktemp("live-controls")) as address:
        yield address


def open_tab(chromium: Any, address: str) -> Any:
    page = chromium.new_context(viewport={"width": 1440, "height": 1100}, accept_downloads=True).new_page()
    page.set_default_timeout(LONG)
    page.goto(address)
    settle(page)
    return page


def shown(page: Any) -> int:
    """Tokens that stand on the page."""
    return int(page.locator(".strip .tok").count())


def test_held_stepped_replayed_and_kept(chromium: Any, url: str) -> None:
    page = open_tab(chromium, f"{url}/{ADDRESS}")
    page.get_by_role("button", name="Step by step").click()
    page.get_by_text("Paused ·").first.wait_for()  # torch and the model load
    page.set_default_timeout(2 * WAIT)
    # Held: the model computes nothing, and a step is one token.
    press(page, "Step")
    page.locator(".strip .tok.waiting").wait_for()
    held = shown(page)
    press(page, "Step")
    page.locator(f".strip .tok >> nth={held}").wait_for()
    page.wait_for_timeout(1_500)
    assert shown(page) == held + 1
    # It plays, and is paused: the longest run that the model holds, so that it does not end first.
    page.get_by_role("button", name="Play", exact=True).click()
    page.locator(f".strip .tok >> nth={held + 3}").wait_for()
    press_until(page, "Pause", "Paused ·")
    settle(page)
    held = shown(page)
    page.wait_for_timeout(1_500)
    assert shown(page) == held
    press(page, "Stop")
    page.get_by_text("Stopped ·").first.wait_for()
    settle(page)
    # The replay begins at the first token, and is held on its way.
    whole = shown(page)
    page.get_by_role("button", name="Replay", exact=True).click()
    page.get_by_role("button", name="Hold", exact=True).click()
    page.get_by_role("button", name="Replay", exact=True).wait_for()
    settle(page)
    early = shown(page)
    assert early < whole
    page.wait_for_timeout(1_500)
    assert shown(page) == early
    slide(page, "Tokens shown", "End")
    page.locator(f".strip .tok >> nth={whole - 1}").wait_for()
    slide(page, "Tokens shown", "ArrowLeft")
    page.locator(f".strip .tok >> nth={whole - 1}").wait_for(state="detached")
    assert shown(page) == whole - 1
    # What is kept is the whole run, and Routing opens it.
    fill(page, "Name of the capture", "held and stepped")
    press(page, "Keep as a capture")
    page.get_by_text("Kept as").first.wait_for()
    press(page, "See its routing")
    page.wait_for_url("**/routing?**capture=**")
    wait_for_chart(page)
    assert "held-and-stepped" in page.locator("[data-testid=stSidebar]").inner_text() and exceptions(page) == 0
    page.context.close()


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
    page = open_tab(chromium, f"{url}/{ADDRESS.replace('new=900', 'new=8')}")
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
