"""Every box of Map, a lasso held against the coordinates, UMAP from its button with progress and Cancel, and a map of three tokens."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pandas as pd
import pytest

from tests.browser.conftest import WAIT, Server, _ids, settle
from tests.browser.driving import (
    charts,
    choose,
    choose_other,
    download,
    exceptions,
    number,
    pick,
    same_elsewhere,
    wait_for_chart,
    wait_for_text,
)
from tests.browser.test_map_and_training import UNDER_WAY_OR_READY, lasso
from tests.capture_factory import make_capture
from workbench.capture.library import Library

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1200), pytest.mark.xdist_group("browser")]
Visit = Callable[..., Any]


@pytest.mark.full
def test_boxes_of_the_map_and_its_tokens(server: Server, visit: Visit) -> None:
    page = visit(f"map?capture={server.ids['small']}")
    wait_for_text(page, "Trustworthiness")
    chosen = {label: choose_other(page, label) for label in ("Layer", "Colour by")}
    choose_other(page, "Expert")
    wait_for_text(page, "that chose it")
    same_elsewhere(visit, server, page, chosen)
    for what in ("Experts by their token ids", "Experts by what they are chosen with"):
        choose(page, "What is mapped", what)
        wait_for_chart(page)
    choose(page, "What is mapped", "Tokens by their router scores")  # not recorded in this capture
    wait_for_text(page, "scores")
    page.locator(".js-plotly-plot").first.wait_for(state="detached")
    assert exceptions(page) == 0
    choose(page, "What is mapped", "Tokens by their chosen experts")
    wait_for_chart(page)
    chosen = {"What is mapped": "Tokens by their chosen experts"}
    chosen |= {label: choose_other(page, label) for label in ("Tokens of", "Tokens on the map", "Layer", "Colour by")}
    number(page, "Seed", 7)
    page.wait_for_url("**seed=7**", timeout=WAIT)
    choose_other(page, "Or pick a text")
    wait_for_text(page, "By group:")
    name, data = download(page, "These tokens as CSV")
    assert name == "small-map-tokens.csv" and len(pd.read_csv(io.BytesIO(data)))
    assert exceptions(page) == 0 and charts(page) >= 1
    same_elsewhere(visit, server, page, chosen)


@pytest.mark.full
def test_lasso_brings_the_tokens_that_lie_inside(server: Server, visit: Visit) -> None:
    """The left part of the shipped map: exactly the points whose coordinate lies there."""
    page = visit("map?capture=sample-omni&what=experts&sample=500")
    wait_for_text(page, "Trustworthiness", 5 * WAIT)
    settle(page)
    chart = pd.read_csv(io.BytesIO(download(page, "CSV")[1]))
    low, high = page.evaluate("document.querySelector('.js-plotly-plot')._fullLayout.xaxis.range")
    border = low + 0.4 * (high - low)
    inside = chart[chart["x"] < border]
    assert 20 < len(inside) < len(chart) - 20
    lasso(page, [(0.002, 0.002), (0.4, 0.002), (0.4, 0.998), (0.002, 0.998)])
    page.get_by_text("in the lasso").first.wait_for()
    settle(page)
    count = int(page.get_by_text("in the lasso").first.inner_text().split()[0].replace(",", ""))
    assert abs(count - len(inside)) <= 1  # a point on the line may fall either way
    found = pd.read_csv(io.BytesIO(download(page, "These tokens as CSV")[1]))  # a row a passage
    assert len(found) and set(found["document"]) <= set(inside["document"])
    assert exceptions(page) == 0 and page.locator("[class*='st-key-map-contexts']").first.inner_text()


def _cancel_all(page: Any) -> None:
    """Press Cancel of every job that is still going on."""
    from playwright.sync_api import Error

    pressed = "n => [...document.querySelectorAll('button')].filter(b => b.innerText.trim() === 'Cancel' && !b.disabled).length < n"
    cancel = page.get_by_role("button", name="Cancel", exact=True)
    while going_on := cancel.count():
        with suppress(Error):  # it ended while it was pressed
            cancel.first.click(timeout=3_000)
        page.wait_for_function(pressed, arg=going_on)


@pytest.mark.full  # UMAP compiles for half a minute or more at each start
def test_umap_is_asked_for_cancelled_and_laid_out_again(server: Server, visit: Visit) -> None:
    page = visit(f"map?capture={server.ids['small']}&what=load")
    wait_for_text(page, "Trustworthiness")
    pick(page, "UMAP")
    page.wait_for_url("**method=umap**", timeout=WAIT)
    page.get_by_text(UNDER_WAY_OR_READY).first.wait_for()
    stopped = page.get_by_text("UMAP was stopped, so PCA is shown")
    for neighbours in ("5", "10", "30", "50"):
        choose(page, "Neighbours of UMAP", neighbours)
        wait_for_text(page, "UMAP of 48 experts")  # its job, under way or over
        _cancel_all(page)
        page.get_by_text(
            re.compile("UMAP was stopped, so PCA is shown|neighbours kept together by UMAP")
        ).first.wait_for()
        if stopped.count():  # else it was laid out before its Cancel was pressed
            break
    stopped.first.wait_for()
    settle(page)
    assert page.locator(".js-plotly-plot").count() == 1 and exceptions(page) == 0
    page.get_by_role("button", name="Lay out again").click()
    page.get_by_text("neighbours kept together by UMAP").first.wait_for(timeout=8 * WAIT)
    settle(page)
    name, data = download(page, "CSV")
    assert name == "small-map-load-umap.csv" and len(pd.read_csv(io.BytesIO(data))) == 48
    same_elsewhere(visit, server, page, {"Neighbours of UMAP": neighbours})


@pytest.mark.full
def test_a_map_of_three_tokens_is_one_sentence(server: Server, visit: Visit) -> None:
    library = Library(server.home / "captures")
    library.add(make_capture(2, 8, 1, 3, seed=5), "three-tokens")
    try:
        page = visit(f"map?capture={_ids(server.home)['three-tokens']}&what=experts")
        said = page.locator("[data-testid=stMain] [data-testid=stAlert]", has_text="any three points lie in a plane")
        said.wait_for()
        assert said.inner_text().startswith("3 token rows") and charts(page) == 0 and exceptions(page) == 0
        assert page.locator("[data-testid=stMain] [data-testid=stAlert]").count() == 1
    finally:
        library.delete("three-tokens")
