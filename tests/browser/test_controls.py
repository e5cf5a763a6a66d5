"""Every control and download of Routing, Compare, Map and Training that no other test of this folder uses."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from tests.browser.conftest import WAIT, Server
from tests.browser.driving import (
    choose,
    choose_other,
    download,
    downloads,
    exceptions,
    labels_of,
    press,
    same_elsewhere,
    slide,
    value_of,
    wait_for_text,
)

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
Visit = Callable[..., Any]
FIGURE = ("PNG", "PDF", "SVG", "CSV", "Parquet")
# Of every view: boxes that can be used, and what is set in each (None: the last option).
VIEWS: dict[str, dict[str, str | None]] = {
    "heatmap": {"Null": "Same load for all groups", "Measure": None, "Layers": "Layer 2", "Group of tokens": None, "Phase": None},
    "utilisation": {"Null": "Labels exchanged", "Layers": "Layer 1", "Phase": None},
    "overlap": {"Null": "Labels exchanged", "Layers": "Layer 1", "Phase": None},
    "balance": {"Null": "Labels exchanged", "Measure": None, "Layers": "Layer 1", "Phase": None},
    "coactivation": {"Null": "Same load for all groups", "Measure": None, "Layer": "Layer 1"},
    "specialisation": {"Null": "Labels exchanged", "Layers": "Layer 2", "Group of tokens": None, "Phase": None},
}  # fmt: skip


@pytest.mark.parametrize("view", VIEWS)
def test_boxes_of_a_view_of_routing(server: Server, visit: Visit, view: str) -> None:
    page = visit(f"routing?capture={server.ids['small']}&view={view}")
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    wanted = VIEWS[view]
    usable = labels_of(page) - {"Expert", "Order", "Tokens of"} - ({"Layer"} - set(wanted))
    assert set(wanted) == usable - {"Busiest experts compared"}, "a box that no test uses, or one that is gone"
    chosen: dict[str, str] = {}
    for label, option in wanted.items():
        if option is None:
            chosen[label] = choose_other(page, label)
        else:
            choose(page, label, option)
            chosen[label] = option
        assert chosen[label] in value_of(page, label)
    if view == "overlap":
        slide(page, "Busiest experts compared")
        page.wait_for_url("**q=10**", timeout=WAIT)
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    same_elsewhere(visit, server, page, chosen)


def test_tokens_of_a_cell_are_chosen_by_boxes_and_taken_along(server: Server, visit: Visit) -> None:
    page = visit(f"routing?capture={server.ids['small']}")
    wait_for_text(page, "Tokens that choose expert")
    choose(page, "Layer", "Layer 2")
    choose(page, "Expert", "5")
    wait_for_text(page, "Tokens that choose expert 5 of layer 2")
    choose_other(page, "Tokens of")
    choose_other(page, "Order")
    assert "order=random" in page.url and "tokens=" in page.url
    name, data = download(page, "These tokens as CSV")
    frame = pd.read_csv(io.BytesIO(data))
    assert name.endswith(".csv") and len(frame) and exceptions(page) == 0


@pytest.mark.full  # forty figures in three formats
def test_every_view_as_a_zip(server: Server, visit: Visit) -> None:
    page = visit(f"routing?capture={server.ids['small']}")
    press(page, "Zip")
    page.get_by_role("button", name="Download small-figures.zip").wait_for(timeout=5 * WAIT)
    _, data = download(page, "Download small-figures.zip")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
    assert any(one.endswith("heatmap.pdf") for one in names) and any(one.endswith(".parquet") for one in names)


def test_specialisation_leads_to_what_if(server: Server, visit: Visit) -> None:
    page = visit(f"routing?capture={server.ids['small']}&view=specialisation")
    page.get_by_text("Does it matter?", exact=False).click()
    wait_for_text(page, "What happens without these experts?")
    assert "/what_if" in page.url and exceptions(page) == 0


def test_the_shipped_check_is_taken_along(server: Server, visit: Visit) -> None:
    """The check that is shipped can be taken along: the losses behind the table come back."""
    page = visit("what_if")
    wait_for_text(page, "nats a token")
    got = downloads(page, (*FIGURE, "JSON"))
    found = json.loads(got["JSON"][1])
    assert {"version", "settings", "experts", "losses"} <= set(found)
    frame = pd.read_csv(io.BytesIO(got["CSV"][1]))
    assert set(frame["group"]) == set(found["experts"]) and len(frame) == len(found["experts"]) ** 2
    assert not server.loaded_torch()
