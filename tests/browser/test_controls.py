"""Every control and download of Routing, Compare, Map and Training that no other test of this folder uses."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest

from tests.browser.conftest import WAIT, Server, settle, start_server
from tests.browser.driving import (
    choose,
    choose_other,
    download,
    downloads,
    exceptions,
    labels_of,
    pick,
    press,
    slide,
    switch,
    tab,
    value_of,
    wait_for_text,
)
from tests.capture_factory import make_capture, make_logits
from workbench.capture.library import Library
from workbench.training import RunWriter

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
MORE = {
    "Repetition at the next token": "Layers",
    "Bound to words": "Word",
    "Groups within the same words": "Layers",
    "Next layer": "Layer",
    "Gate weight of the strongest": "Layers",
    "First choice against all": "Layer",
    "Overlap over all sizes of the set": "Group of tokens",
}


def charts(page: Any) -> int:
    return int(page.locator(".js-plotly-plot .main-svg").count())


def same_elsewhere(visit: Visit, server: Server, page: Any, chosen: dict[str, str]) -> None:
    """A fresh tab with the address shows the same choices."""
    fresh = visit(page.url.removeprefix(f"{server.url}/"))
    assert exceptions(fresh) == 0
    for label, option in chosen.items():
        assert option in value_of(fresh, label), (label, option)
    fresh.context.close()


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


@pytest.mark.full
def test_more_measures_are_drawn_changed_and_downloaded(server: Server, visit: Visit) -> None:
    page = visit(f"routing?capture={server.ids['small']}&view=more")
    slugs = set()
    for name, label in MORE.items():
        pick(page, name)
        page.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=WAIT)
        settle(page)
        choose_other(page, label)
        page.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=WAIT)
        file, data = download(page, "CSV")
        assert len(pd.read_csv(io.BytesIO(data))) and charts(page) >= 1
        slugs.add(file)
        if name == "Bound to words":
            page.get_by_text("Most bound tokens").click()
            page.get_by_test_id("stDataFrame").wait_for()
    assert len(slugs) == len(MORE)
    downloads(page, FIGURE)


def test_specialisation_leads_to_what_if(server: Server, visit: Visit) -> None:
    page = visit(f"routing?capture={server.ids['small']}&view=specialisation")
    page.get_by_text("Does it matter?", exact=False).click()
    wait_for_text(page, "What happens without these experts?")
    assert "/what_if" in page.url and exceptions(page) == 0


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
    chosen = {"Against": "one", "Capture": "two"}
    for label in ("Expert numbers", "Group of tokens", "Phase"):
        chosen[label] = choose_other(page, label)
    choose(page, "Layers", "Layer 1")
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    got = downloads(page, FIGURE)
    assert {name.rpartition(".")[2] for name, _ in got.values()} == {"png", "pdf", "svg", "csv", "parquet"}
    same_elsewhere(visit, server, page, chosen)
    press(page, "All measures as zip")
    button = page.get_by_role("button", name="Download", exact=False).last
    button.wait_for(timeout=WAIT)
    with page.expect_download(timeout=WAIT) as waiting:
        button.click()
    with zipfile.ZipFile(waiting.value.path()) as archive:
        assert any("entropy" in name for name in archive.namelist())
    # A third capture of other layers: refused in one sentence, which names the field that mends it.
    choose(page, "Capture", "three")
    wait_for_text(page, "“Common layers only”")
    assert charts(page) == 0 and exceptions(page) == 0
    switch(page, "Common layers only")
    page.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=WAIT)
    choose(page, "And", "two")
    page.get_by_role("button", name="two", exact=True).last.click()
    settle(page)
    wait_for_text(page, "two")
    assert exceptions(page) == 0 and charts(page) >= 1


@pytest.mark.full
def test_boxes_of_the_map_and_its_tokens(server: Server, visit: Visit) -> None:
    page = visit(f"map?capture={server.ids['small']}")
    wait_for_text(page, "Trustworthiness")
    chosen = {label: choose_other(page, label) for label in ("Layer", "Colour by")}
    choose_other(page, "Expert")
    name, data = download(page, "These tokens as CSV")
    assert name.endswith(".csv") and len(pd.read_csv(io.BytesIO(data)))
    same_elsewhere(visit, server, page, chosen)
    choose(page, "What is mapped", "Tokens by their chosen experts")
    chosen = {"What is mapped": "Tokens by their chosen experts"}
    chosen |= {label: choose_other(page, label) for label in ("Tokens of", "Tokens on the map", "Layer", "Colour by")}
    field = page.get_by_role("spinbutton", name="Seed")
    field.fill("7")
    field.press("Enter")
    page.wait_for_url("**seed=7**", timeout=WAIT)
    choose_other(page, "Or pick a text")
    wait_for_text(page, "token")
    assert exceptions(page) == 0 and charts(page) >= 1
    same_elsewhere(visit, server, page, chosen)


@pytest.mark.full
def test_a_map_of_three_tokens_is_one_sentence(server: Server, visit: Visit) -> None:
    library = Library(server.home / "captures")
    library.add(make_capture(2, 8, 1, 3, seed=5), "three-tokens")
    try:
        page = visit("")
        page.get_by_text("three-tokens").first.wait_for()
        page.locator("[data-testid=stVerticalBlock]", has_text="three-tokens").get_by_role(
            "button", name="See routing"
        ).last.click()
        wait_for_text(page, "Which experts take which tokens?")
        page.goto(page.url.replace("/routing?", "/map?") + "&what=experts")
        settle(page)
        wait_for_text(page, "A map needs")
        assert charts(page) == 0 and exceptions(page) == 0
    finally:
        library.delete("three-tokens")


@pytest.mark.full
def test_choices_of_training_and_a_folder_of_runs(chromium: Any, tmp_path: Any) -> None:
    process, url = start_server(tmp_path / "home", tmp_path / "log")
    try:
        folder = tmp_path / "elsewhere"
        run = RunWriter.open(folder / "far", model={"id": "tiny/moe"}, total_steps=4)
        for step in range(1, 5):
            run.metrics(step, {"loss/text": 3 / step}, loss=3.5 / step)
            run.capture(step, make_capture(3, 8, 2, 100, seed=step))
        run.finish(4)
        page = chromium.new_context(viewport={"width": 1440, "height": 1000}, accept_downloads=True).new_page()
        page.set_default_timeout(WAIT)
        page.goto(f"{url}/training?view=nonsense")
        settle(page)
        assert exceptions(page) == 0
        page.get_by_text("Log a run of your own").first.click()
        wait_for_text(page, "RoutingLog")
        page.get_by_text("Open a folder of runs").first.click()
        field = page.get_by_role("textbox").last
        field.fill(str(tmp_path / "nowhere"))
        field.press("Enter")
        settle(page)
        page.get_by_role("button", name="Open", exact=True).last.click()
        page.get_by_test_id("stAlert").last.wait_for()
        field.fill(str(folder))
        field.press("Enter")
        settle(page)
        page.get_by_role("button", name="Open", exact=True).last.click()
        settle(page)
        choose(page, "Run", "far")
        wait_for_text(page, "step 4 of 4")
        tab(page, "Balance")
        chosen = choose_other(page, "Measure")
        page.get_by_role("radio", name="groups", exact=False).first.click()
        settle(page)
        assert "lines=groups" in page.url and chosen in value_of(page, "Measure")
        downloads(page, ("HTML", *FIGURE))
        tab(page, "Saturation")
        downloads(page, ("CSV",))
        tab(page, "Routing over time")
        choose_other(page, "Group of tokens")
        assert charts(page) >= 1 and "group=" in page.url
        name, _ = download(page, "HTML")
        assert name.endswith(".html")
        tab(page, "All metrics")
        downloads(page, ("CSV",))
        page.get_by_role("button", name="See the last capture in Routing").click()
        wait_for_text(page, "Which experts take which tokens?")
        assert exceptions(page) == 0 and str(tmp_path) not in page.url
    finally:
        process.terminate()
        process.wait(20)


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
