"""The Live page in a real browser: one run from the prompt to its files, and two tabs with different models at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import serving, settle
from tests.tiny_model import save_model
from workbench.models import embedded_models

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(1500),
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(not embedded_models(), reason="needs the embedded model in sample_data/checkpoints"),
]
LONG = 600_000  # milliseconds: torch and the model load in the first run; a bound for a broken build


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own, because a run loads torch."""
    with serving(tmp_path_factory.mktemp("live-server")) as address:
        yield address


def open_tab(chromium: Any, url: str, address: str = "") -> Any:
    page = chromium.new_context(viewport={"width": 1300, "height": 1100}, accept_downloads=True).new_page()
    page.set_default_timeout(LONG)
    page.goto(f"{url}/live{address}")
    settle(page)
    return page


def text_of(page: Any) -> str:
    """The tokens as they stand on the page, without the marks that stand for line breaks."""
    return "".join(page.locator(".strip .tok").all_text_contents()).replace("↵", "")


def start(page: Any, prompt: str, button: str = "Read and write") -> None:
    box = page.get_by_label("Prompt", exact=True)
    box.fill(prompt)
    box.press("Control+Enter")
    settle(page)
    page.get_by_role("button", name=button).click()


def done(page: Any) -> None:
    page.get_by_text("Done ·").first.wait_for(timeout=LONG)
    settle(page)


def press(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()
    page.wait_for_timeout(300)
    settle(page)


def test_one_run_from_the_prompt_to_its_files(chromium: Any, url: str, tmp_path: Path) -> None:
    page = open_tab(chromium, url, "?new=12&seed=3")
    assert page.get_by_text("Nothing is running yet").count() == 1
    start(page, "The <b>river</b> was low, and", "Step by step")
    page.get_by_text("Paused ·").first.wait_for(timeout=LONG)
    press(page, "Step")
    page.locator(".strip .tok.waiting").wait_for()
    assert "<b>river</b>" in text_of(page)  # as words, not as bold letters
    read = page.locator(".strip .tok").count()
    press(page, "Step")
    page.locator(f".strip .tok >> nth={read}").wait_for()
    page.wait_for_timeout(1500)
    assert page.locator(".strip .tok").count() == read + 1  # held: no token comes by itself
    press(page, "Play")
    done(page)
    assert page.locator(".strip .tok.written").count() == 12
    assert "river" not in page.url and "run=" in page.url

    # A click on a token shows its route; arrow keys and Enter do the same.
    page.locator(".strip .tok").nth(3).click()
    page.get_by_text("Route of token 3").first.wait_for()
    page.wait_for_url("**token=3**", timeout=LONG)
    page.locator(".strip .tok").nth(3).press("ArrowRight")
    page.keyboard.press("Enter")
    page.get_by_text("Route of token 4").first.wait_for()

    # Another tab with the link shows the same run.
    other = open_tab(chromium, url, page.url.split("/live")[1])
    other.locator(".strip .tok").first.wait_for()
    assert text_of(other) == text_of(page)
    other.context.close()

    press(page, "Keep as a capture")
    page.get_by_text("Kept as").first.wait_for()
    for label, suffix in (("Capture as zip", ".capture.zip"), ("Tokens as CSV", ".csv"), ("Replay as HTML", ".html")):
        with page.expect_download(timeout=LONG) as download:
            page.get_by_role("button", name=label).click()
        assert download.value.suggested_filename.endswith(suffix)
    download.value.save_as(tmp_path / "run.html")
    check_replay(chromium, tmp_path / "run.html", text_of(page))
    assert page.locator('[data-testid="stException"]').count() == 0
    page.context.close()


def check_replay(chromium: Any, file: Path, text: str) -> None:
    """The exported file plays by itself, shows the same text, and asks nobody for anything."""
    page = chromium.new_page()
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    page.goto(file.as_uri())
    assert text_of(page) == text and page.locator("b").count() == 0
    page.locator("#at").fill("3")
    _, _, layers = embedded_models()[0].experts or (0, 0, 0)
    assert page.locator(".strip .tok").count() == 3 and page.locator(".route tr").count() == layers
    page.locator("#play").click()
    page.wait_for_timeout(600)
    assert page.locator(".strip .tok").count() > 3
    assert asked == [file.as_uri()] and not faults
    page.close()


def test_two_tabs_with_different_models_never_mix(chromium: Any, url: str, tmp_path: Path) -> None:
    """Two browser contexts, two models, both writing at the same time: each shows what it shows alone."""
    tiny = save_model(tmp_path / "tiny-model")
    sampling = "?new=40&seed=5&temperature=1"
    jobs = [
        (sampling, None, "The river was low that summer, and"),
        (f"{sampling}&model=other", tiny, "the cat sat on a mat"),
    ]

    def open_job(address: str, folder: Path | None) -> Any:
        page = open_tab(chromium, url, address)
        if folder is not None:
            box = page.get_by_role("textbox", name="Folder, GGUF file or hub id")
            box.fill(str(folder))
            box.press("Enter")
            settle(page)
        return page

    alone = []
    for address, folder, prompt in jobs:
        page = open_job(address, folder)
        start(page, prompt)
        done(page)
        alone.append((text_of(page), page.get_by_text("experts,").first.inner_text().split(" · ")[:3]))
        page.context.close()
    pages = [open_job(address, folder) for address, folder, _ in jobs]
    for page, (_, _, prompt) in zip(pages, jobs, strict=True):
        start(page, prompt, "Step by step")
    for page in pages:
        page.get_by_text("Paused ·").first.wait_for(timeout=LONG)
    for _ in range(3):  # one step here, one there
        for page in pages:
            press(page, "Step")
    for page in pages:
        page.get_by_role("button", name="Play", exact=True).click()
    for page, (text, line) in zip(pages, alone, strict=True):
        done(page)
        assert text_of(page) == text
        assert page.get_by_text("experts,").first.inner_text().split(" · ")[:3] == line
        assert page.locator('[data-testid="stException"]').count() == 0
    assert alone[0][0] != alone[1][0] and pages[0].url != pages[1].url
    assert "tiny-model" not in pages[1].url  # a folder is in no address
    for page in pages:
        page.context.close()
