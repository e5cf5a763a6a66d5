"""Every page in a real browser: opened, looked at, clicked, downloaded from, linked to."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.browser.conftest import WAIT, Server, settle, start_server
from workbench.models import embedded_models

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
Visit = Callable[..., Any]
VIEWS = ("heatmap", "utilisation", "overlap", "balance", "coactivation", "specialisation")
CHART = ".js-plotly-plot .nsewdrag"


def exceptions(page: Any) -> int:
    return int(page.locator('[data-testid="stException"]').count())


def navigation(page: Any) -> list[str]:
    """Names of the pages in the sidebar; the line before a name is its icon."""
    return [
        link.inner_text().strip().splitlines()[-1] for link in page.locator('[data-testid="stSidebarNavLink"]').all()
    ]


def click_cell(page: Any, site: int, expert: int, sites: int, experts: int) -> None:
    """Click into the middle of a cell of the heat map."""
    box = page.locator(CHART).first.bounding_box()
    page.mouse.click(
        box["x"] + box["width"] * (expert + 0.5) / experts, box["y"] + box["height"] * (site + 0.5) / sites
    )


def wait_for_text(page: Any, text: str) -> None:
    page.get_by_text(text, exact=False).first.wait_for(timeout=WAIT)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", ["", "routing"])
def test_every_page_opens_in_both_themes(server: Server, visit: Visit, path: str, theme: str) -> None:
    page = visit(path, theme=theme)
    assert exceptions(page) == 0 and page.locator("h1").count() == 1
    colour = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    level = [int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    assert (sum(level) > 3 * 200) == (theme == "light"), colour
    assert navigation(page)[:2] == ["Start", "Routing"]


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_draws_a_figure(server: Server, visit: Visit, view: str) -> None:
    page = visit(f"routing?capture={server.ids['small']}&view={view}")
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    assert exceptions(page) == 0 and page.locator(".js-plotly-plot").count() == 1


@pytest.mark.parametrize("width", [400])
@pytest.mark.parametrize("path", ["", "routing"])
def test_nothing_is_wider_than_a_small_screen(server: Server, visit: Visit, path: str, width: int) -> None:
    page = visit(path, width=width)
    over = page.evaluate(
        "(() => { const m = document.querySelector('[data-testid=stMain]'); return m.scrollWidth - m.clientWidth })()"
    )
    assert exceptions(page) == 0 and over <= 1


def test_click_on_a_cell_brings_its_tokens_and_a_fresh_tab_the_same(server: Server, visit: Visit) -> None:
    page = visit(f"routing?capture={server.ids['small']}")
    page.locator(CHART).first.wait_for()
    page.wait_for_timeout(1000)
    click_cell(page, 2, 7, 4, 12)
    wait_for_text(page, "Tokens that choose expert 7 of layer 2")
    settle(page)
    assert "site=text_2_mlp" in page.url and "expert=7" in page.url
    shown = page.locator(".st-key-routing\\.contexts, [class*='st-key-routing-contexts']").first.inner_text()
    assert "weight" in shown and "token" in shown
    fresh = visit(page.url.removeprefix(server.url + "/"))
    wait_for_text(fresh, "Tokens that choose expert 7 of layer 2")
    assert fresh.locator(".st-key-routing\\.contexts, [class*='st-key-routing-contexts']").first.inner_text() == shown
    click_cell(page, 0, 3, 4, 12)
    wait_for_text(page, "Tokens that choose expert 3 of layer 0")
    settle(page)  # while the tokens come, the figure may still move
    click_cell(page, 0, 3, 4, 12)  # a second click un-selects in Plotly; the tokens stay
    page.wait_for_timeout(800)
    settle(page)
    wait_for_text(page, "Tokens that choose expert 3 of layer 0")


def test_click_works_on_the_largest_map(server: Server, visit: Visit) -> None:
    page = visit(f"routing?capture={server.ids['large']}")
    page.locator(CHART).first.wait_for()
    page.wait_for_timeout(2500)
    click_cell(page, 30, 128, 60, 256)
    wait_for_text(page, "Tokens that choose expert 128 of layer 30")
    assert exceptions(page) == 0


def test_group_is_chosen_by_keyboard_and_stands_in_the_address_as_a_number(server: Server, visit: Visit) -> None:
    page = visit(f"routing?capture={server.ids['small']}")
    box = page.get_by_role("combobox", name="Group of tokens")
    box.focus()
    for press in ("Enter", "ArrowDown", "Enter"):
        page.keyboard.press(press)
        page.wait_for_timeout(300)
    page.wait_for_url("**group=1**", timeout=WAIT)
    wait_for_text(page, "Image und.")


def test_back_button_goes_to_the_choice_before(server: Server, visit: Visit) -> None:
    page = visit(f"routing?capture={server.ids['small']}")
    page.locator(CHART).first.wait_for()
    page.wait_for_timeout(1000)
    for site, expert in ((1, 2), (3, 9)):
        click_cell(page, site, expert, 4, 12)
        wait_for_text(page, f"Tokens that choose expert {expert} of layer {site}")
        settle(page)
    page.go_back()
    wait_for_text(page, "Tokens that choose expert 2 of layer 1")


def test_figure_and_numbers_are_downloaded(server: Server, visit: Visit) -> None:
    page = visit(f"routing?capture={server.ids['small']}")
    got: dict[str, bytes] = {}
    for label in ("PNG", "PDF", "SVG", "CSV", "Parquet"):
        with page.expect_download(timeout=WAIT) as download:
            page.get_by_role("button", name=label, exact=True).click()
        assert download.value.suggested_filename == f"small-heatmap.{label.lower()}"
        got[label] = Path(download.value.path()).read_bytes()
    assert got["PNG"].startswith(b"\x89PNG") and got["PDF"].startswith(b"%PDF") and b"<svg" in got["SVG"][:1000]
    numbers = pd.read_csv(io.BytesIO(got["CSV"]))
    assert len(numbers) == 4 * 12 and numbers["count"].sum() == 4 * 300 * 2
    assert len(pd.read_parquet(io.BytesIO(got["Parquet"]))) == 48


def test_report_is_made_in_the_background_and_downloaded(server: Server, visit: Visit) -> None:
    page = visit(f"routing?capture={server.ids['small']}")
    page.get_by_role("button", name="Report", exact=True).click()
    button = page.get_by_role("button", name="Download small-report.html")
    button.wait_for(timeout=WAIT)
    with page.expect_download(timeout=WAIT) as download:
        button.click()
    html = Path(download.value.path()).read_text(encoding="utf-8")
    assert html.lower().startswith("<!doctype html>") and 'src="http' not in html
    again = visit("")  # another tab, as after a reload: the list of jobs is still there
    again.get_by_role("button", name="Download small-report.html").wait_for(timeout=WAIT)


def test_capture_is_downloaded_as_zip(server: Server, visit: Visit) -> None:
    page = visit("")
    key = server.ids["small"]
    page.locator(
        f".st-key-start-more-{key} button, [class*='st-key-start'][class*='more'][class*='{key}'] button"
    ).first.click()
    with page.expect_download(timeout=WAIT) as download:
        page.get_by_role("button", name="Download as zip").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert {"manifest.json", "load.safetensors", "tokens/text.parquet"} <= set(archive.namelist())


def test_broken_upload_is_one_sentence(server: Server, visit: Visit) -> None:
    page = visit("")
    page.locator('input[type="file"]').first.set_input_files(
        {"name": "bad.capture.zip", "mimeType": "application/zip", "buffer": b"no zip"}
    )
    wait_for_text(page, "is not a whole zip archive")
    assert exceptions(page) == 0
    assert sorted(path.name for path in (server.home / "captures").iterdir()) == ["large", "small"]


def test_way_in_leads_to_routing(server: Server, visit: Visit) -> None:
    page = visit("")
    page.get_by_role("button", name="See routing", exact=False).first.click()
    wait_for_text(page, "Which experts take which tokens?")
    assert "/routing?capture=" in page.url


def test_link_opened_on_a_server_that_has_just_started(server: Server, chromium: Any, tmp_path: Path) -> None:
    """The very first page asked for is a link to Routing: it must come inside its frame."""
    process, url = start_server(server.home, tmp_path / "log")
    try:
        page = chromium.new_page()
        page.goto(f"{url}/routing?capture={server.ids['small']}&view=balance")
        wait_for_text(page, "spreads most evenly")
        settle(page)
        assert navigation(page)[:2] == ["Start", "Routing"]
        page.close()
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.skipif(not embedded_models(), reason="needs the embedded model in sample_data/checkpoints")
def test_new_capture_from_a_file_opens_by_itself(chromium: Any, tmp_path: Path) -> None:
    """A server of its own, because recording loads torch."""
    process, url = start_server(tmp_path / "home", tmp_path / "log")
    try:
        page = chromium.new_page()
        page.goto(url)
        settle(page)
        text = ("The river was low that summer, and the mill stood still. " * 20).encode()
        page.locator(".st-key-start-make-files input[type=file]").set_input_files(
            {"name": "river.txt", "mimeType": "text/plain", "buffer": text}
        )
        record = page.get_by_role("button", name="Record", exact=True)
        page.wait_for_function("!document.querySelector('.st-key-start-make-start button').disabled", timeout=WAIT)
        record.click()
        page.wait_for_url("**/routing?capture=mine-**", timeout=3 * WAIT)
        wait_for_text(page, "Tokens that choose expert")
        settle(page)
        assert exceptions(page) == 0 and (tmp_path / "home" / "captures" / "river" / "manifest.json").is_file()
        page.close()
    finally:
        process.terminate()
        process.wait(20)


def test_pages_of_stored_captures_load_no_torch_and_ask_nobody_else(server: Server, visit: Visit) -> None:
    visit("")
    visit(f"routing?capture={server.ids['small']}")
    assert not server.loaded_torch()
    assert server.foreign == []


def test_the_server_reported_no_error(server: Server, visit: Visit) -> None:
    """Runs last in this file: what all the tests above made the server say."""
    visit("routing")
    log = server.log.read_text()
    assert "Traceback" not in log and "Uncaught" not in log, log[-3000:]
