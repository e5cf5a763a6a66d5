"""More measures of Routing, each drawn, changed and downloaded; and the null of untrained weights over the shipped captures."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.browser.conftest import WAIT, Server, settle
from tests.browser.driving import (
    charts,
    choose,
    choose_other,
    download,
    downloads,
    exceptions,
    pick,
    press,
    same_elsewhere,
    tab,
    wait_for_chart,
    wait_for_text,
)

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
Visit = Callable[..., Any]
FIGURE = ("PNG", "PDF", "SVG", "CSV", "Parquet")
# Of every measure: the box that changes it.
MORE = {
    "Overlap over all sizes of the set": "Group of tokens",
    "Repetition at the next token": "Layers",
    "Bound to words": "Word",
    "Groups within the same words": "Layers",
    "Next layer": "Layer",
    "Gate weight of the strongest": "Layers",
    "First choice against all": "Layer",
}
# Of every view: how its caption names the null.
DRAWN = {
    "Utilisation": "grey band: the null (",
    "Overlap": "less than the null gives (",
    "Balance": "pale band: the null (",
    "Specialisation": "within the null (",
}


@pytest.mark.full
def test_more_measures_are_drawn_changed_and_downloaded(server: Server, visit: Visit) -> None:
    page = visit(f"routing?capture={server.ids['small']}&view=more")
    files = set()
    for name, label in MORE.items():
        pick(page, name)
        wait_for_chart(page)
        if label == "Word":
            choose(page, label, "The one that follows")  # the last one was not recorded
        else:
            choose_other(page, label)
        wait_for_chart(page)
        file, data = download(page, "CSV")
        assert len(pd.read_csv(io.BytesIO(data))) and charts(page) >= 1, name
        files.add(file)
        if name == "Bound to words":
            page.get_by_text("Most bound tokens").click()
            page.get_by_test_id("stDataFrame").wait_for()
            choose_other(page, label)
            wait_for_text(page, "predicted")
            assert charts(page) == 0 and exceptions(page) == 0
    assert len(files) == len(MORE)
    downloads(page, FIGURE)


@pytest.mark.full  # a few seconds of one core on the shipped capture, by a job
def test_a_measure_that_takes_long_comes_by_itself(server: Server, visit: Visit) -> None:
    page = visit("routing?capture=sample-omni&view=more")
    wait_for_chart(page)
    before, _ = download(page, "CSV")
    pick(page, "Groups within the same words")
    # No press in between. A quick machine is done before the sentence that it is being counted can be seen, a slow one shows the old figure a moment longer.
    end = time.monotonic() + 5 * WAIT / 1000
    file = before
    while file == before:
        assert time.monotonic() < end, "the figure did not come"
        page.wait_for_timeout(500)
        wait_for_chart(page, 5 * WAIT)
        file, data = download(page, "CSV")
    assert len(pd.read_csv(io.BytesIO(data))) and exceptions(page) == 0


@pytest.mark.full
def test_null_of_untrained_weights_is_computed_and_drawn(server: Server, visit: Visit) -> None:
    """The shipped capture of the untrained model is found by itself; the drawn values stay those of the trained one."""
    page = visit("routing?capture=sample-omni&view=heatmap")
    wait_for_chart(page)
    plain = pd.read_csv(io.BytesIO(download(page, "CSV")[1]))
    choose(page, "Null", "Untrained weights")
    wait_for_text(page, "within the null of the load", 5 * WAIT)
    settle(page)
    assert "null=untrained" in page.url and exceptions(page) == 0
    frame = pd.read_csv(io.BytesIO(download(page, "CSV")[1]))
    with_null = frame[frame["group"] == "Text"].set_index(["site", "expert"]).sort_index()
    without = plain.set_index(["site", "expert"]).sort_index()
    assert len(without) == len(with_null) == 7 * 64
    share = without["count"] / without.groupby("site")["count"].transform("sum")
    assert np.allclose(with_null["value"], 64 * share, atol=1e-6)
    same_elsewhere(visit, server, page, {"Null": "Untrained weights"})
    for view, said in DRAWN.items():
        tab(page, view)
        page.wait_for_url(f"**view={view.lower()}**", timeout=WAIT)
        wait_for_text(page, said)
        wait_for_text(page, "if the weights were untrained")
        assert charts(page) >= 1 and exceptions(page) == 0, view


def test_null_of_untrained_weights_leads_to_its_recording(server: Server, visit: Visit) -> None:
    page = visit(f"routing?capture={server.ids['small']}&null=untrained")
    wait_for_text(page, "Without a null")
    press(page, "Record the untrained model")
    page.get_by_role("switch", name="Untrained weights").wait_for()
    assert page.get_by_role("switch", name="Untrained weights").is_checked() and exceptions(page) == 0
