"""What if in a real browser: the shipped check, a change of one's own from form to files, a reload, and what is refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pages.parts.making import OTHER
from tests.browser.conftest import WAIT, Server, serving, settle
from tests.browser.driving import (
    choose,
    download,
    downloads,
    exceptions,
    fill,
    number,
    pick,
    press,
    switch,
    wait_for_chart,
    wait_for_text,
)
from tests.causal.test_causal import documents
from tests.tiny_model import save_model
from workbench.models import embedded_models

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1500), pytest.mark.xdist_group("browser")]
Visit = Callable[..., Any]
LONG = 600_000  # milliseconds: torch loads in the first run; a bound for a broken build
FILES = ("PNG", "PDF", "SVG", "CSV", "Parquet", "JSON")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own, because a run loads torch."""
    with serving(tmp_path_factory.mktemp("what-if-server")) as address:
        yield address


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("what-if-model") / "tiny-moe")


def open_tab(chromium: Any, address: str) -> Any:
    page = chromium.new_context(viewport={"width": 1300, "height": 1200}, accept_downloads=True).new_page()
    page.set_default_timeout(2 * WAIT)
    page.goto(address)
    settle(page)
    return page


def name_model_and_texts(page: Any, model: Path) -> None:
    """The tiny model's folder, and four texts of two groups as an upload."""
    choose(page, "Model", OTHER)
    fill(page, "Folder, GGUF file or hub id", str(model))
    pick(page, "My files")
    lines = [json.dumps({"id": one.id, "group": one.group, "text": one.text}) for one in documents(4)]
    page.locator("input[type=file]").last.set_input_files(
        {"name": "texts.jsonl", "mimeType": "application/jsonl", "buffer": "\n".join(lines).encode()}
    )
    page.get_by_text("texts.jsonl").first.wait_for()
    choose(page, "Groups of tokens by", "the field “group”")


def answer(page: Any) -> str:
    """The sentence above the figure."""
    found = page.locator("[data-testid=stMain] [data-testid=stMarkdown]", has_text="nats a token").first
    return str(found.inner_text())


def test_the_shipped_check_is_shown_and_downloaded(server: Server, visit: Visit) -> None:
    """The first view: sentence, figure, the experts that were muted, files; without torch."""
    page = visit("what_if")
    wait_for_chart(page)
    assert "nats a token" in answer(page)
    page.get_by_text("Which experts were muted").click()
    page.get_by_test_id("stDataFrame").first.wait_for()
    got = downloads(page, FILES)
    assert {name for name, _ in got.values()} == {f"what-if-check.{kind.lower()}" for kind in FILES}
    frame, kept = pd.read_csv(io.BytesIO(got["CSV"][1])), json.loads(got["JSON"][1])
    assert set(frame["group"]) == set(kept["experts"]) and exceptions(page) == 0 and not server.loaded_torch()


@pytest.mark.full  # torch loads, and six runs of a model
def test_a_change_of_my_own_from_form_to_files_and_a_reload(chromium: Any, url: str, model: Path) -> None:
    page = open_tab(chromium, f"{url}/what_if")
    shipped = answer(page)
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    pick(page, "A change of my own")
    page.wait_for_url("**view=own**")
    assert page.get_by_role("button", name="Try it").is_disabled()
    name_model_and_texts(page, model)
    # Too few experts left: one sentence, in the words of the form.
    fill(page, "Mute", "text_0_mlp:0-2")
    press(page, "Try it")
    said = page.locator("[data-testid=stMain] [data-testid=stAlert]", has_text="leaves 1, but a token gets 2")
    said.first.wait_for(timeout=LONG)  # torch loads in the first run
    assert said.count() == 1 and "--" not in said.inner_text() and exceptions(page) == 0
    # Muted, forced and limited at once, and written on.
    fill(page, "Mute", "text_0_mlp:0,1")
    fill(page, "Force", "text_1_mlp:3")
    number(page, "Experts a token", 1)
    number(page, "Random sets of equal load", 2)
    fill(page, "Write on from", "the <b>cat</b> sat")
    number(page, "Tokens to write", 5)
    switch(page, "Draw tokens")
    press(page, "Try it")
    force = page.get_by_label("Force", exact=True)
    force.press("End")
    force.press_sequentially(" text_0_mlp")  # and the field is not left
    wait_for_text(page, "Written with and without", LONG)
    settle(page)
    # The form has moved down; what was being typed, and the cursor, stay.
    assert force.input_value() == "text_1_mlp:3 text_0_mlp" and force.evaluate("one => one === document.activeElement")
    found = answer(page)
    main = page.locator("[data-testid=stMain]").inner_text()
    assert "muted: text_0_mlp:0-1 · forced: text_1_mlp:3 · 1 expert a token" in main and "<b>cat</b>" in main
    assert "run=" in page.url and "cat" not in page.url and "tiny" not in page.url and exceptions(page) == 0
    got = downloads(page, FILES)
    assert {name for name, _ in got.values()} == {f"what-if-own.{kind.lower()}" for kind in FILES}
    kept = json.loads(got["JSON"][1])
    assert kept["experts"] == {"mute": {"text_0_mlp": [0, 1]}, "force": {"text_1_mlp": [3]}, "top_k": 1}
    frame = pd.read_csv(io.BytesIO(got["CSV"][1]))
    assert set(frame["group"]) == {"animals", "talk"} and set(frame["draws"]) == {2}
    # The result outlives the reload, another tab, and the list of jobs; the other view is as it was.
    press(page, "Clear finished jobs")
    page.reload()
    wait_for_text(page, "Written with and without", LONG)
    other = open_tab(chromium, page.url)
    assert answer(page) == answer(other) == found and other.url == page.url
    pick(other, "Check the groups")
    assert answer(other) == shipped and "run=" not in other.url
    other.go_back()
    wait_for_text(other, "Written with and without", LONG)
    page.goto(page.url.split("run=")[0] + "run=00000000")
    wait_for_text(page, "no longer kept")
    assert exceptions(page) == 0
    for one in (page, other):
        one.context.close()


@pytest.mark.full
def test_a_check_of_the_groups_is_made_and_kept(chromium: Any, url: str, model: Path) -> None:
    page = open_tab(chromium, f"{url}/what_if")
    page.get_by_text("Which experts were muted").click()
    page.get_by_test_id("stDataFrame").first.wait_for()
    page.get_by_text("New check").click()
    page.get_by_role("button", name="Check", exact=True).wait_for()
    settle(page)
    name_model_and_texts(page, model)
    choose(page, "A group's experts", "those it prefers most over the other groups")
    number(page, "Random sets of equal load", 2)
    number(page, "Texts a group", 3)
    press(page, "Check")
    wait_for_text(page, "a check of yours", LONG)
    settle(page)
    assert (
        "run=" in page.url
        and "those it prefers most over the other groups" in page.locator("[data-testid=stMain]").inner_text()
    )
    name, data = download(page, "JSON")
    assert name == "what-if-check.json" and set(json.loads(data)["experts"]) == {"animals", "talk"}
    before = answer(page)
    page.reload()
    wait_for_text(page, "a check of yours", LONG)
    assert answer(page) == before and exceptions(page) == 0
    page.context.close()


@pytest.mark.full
@pytest.mark.skipif(
    "omni-mini" not in [one.name for one in embedded_models()], reason="needs sample_data/checkpoints/omni-mini"
)
def test_an_embedded_model_on_the_shipped_texts(chromium: Any, url: str) -> None:
    """The form as it stands: a shipped model, the shipped texts, two experts muted."""
    page = open_tab(chromium, f"{url}/what_if?view=own")
    choose(page, "Model", "omni-mini")
    number(page, "Texts a group", 1)
    number(page, "Random sets of equal load", 1)
    fill(page, "Mute", "text_3_mlp:0,1")
    press(page, "Try it")
    wait_for_text(page, "omni-mini on cpu", LONG)
    settle(page)
    main = page.locator("[data-testid=stMain]").inner_text()
    assert "5 of 50 texts" in main and "muted: text_3_mlp:0-1" in main and "Written with" not in main
    frame = pd.read_csv(io.BytesIO(download(page, "CSV")[1]))
    assert set(frame["group"]) == {"code", "dialogue", "german", "prose", "tables"} and exceptions(page) == 0
    page.context.close()
