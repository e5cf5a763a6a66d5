"""Hands for the browser tests: find the controls of a page, use each one, take its downloads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.browser.conftest import WAIT, Server, settle

STARTS = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml", "html": b"<!doctype html>", "parquet": b"PAR1", "zip": b"PK"}  # fmt: skip


def exceptions(page: Any) -> int:
    return int(page.locator('[data-testid="stException"]').count())


def wait_for_text(page: Any, text: str, timeout: float = WAIT) -> None:
    page.get_by_text(text, exact=False).first.wait_for(timeout=timeout)


def box(page: Any, label: str) -> Any:
    """A selectbox or multiselect by its label."""
    return page.get_by_role("combobox", name=label, exact=True)


def value_of(page: Any, label: str) -> str:
    """What a box shows as chosen."""
    return str(
        box(page, label).locator("xpath=ancestor::*[@data-testid][1]").inner_text() + box(page, label).input_value()
    )


def options_of(page: Any, label: str) -> list[str]:
    """The options of a box, which stays as it was."""
    _open(page, label)
    found = page.get_by_role("option").all_inner_texts()
    page.keyboard.press("Escape")
    page.get_by_role("option").first.wait_for(state="detached")
    return [one.strip() for one in found]


def _open(page: Any, label: str) -> None:
    box(page, label).focus()
    page.keyboard.press("ArrowDown")
    page.get_by_role("option").first.wait_for()


def choose(page: Any, label: str, option: str) -> None:
    """Pick an option of a box, and wait until the page stands; a list that closes because the page moved is opened again."""
    from playwright.sync_api import TimeoutError as TooLong

    for patience in (10_000, WAIT):
        _open(page, label)
        try:
            page.get_by_role("option", name=option, exact=True).first.click(timeout=patience)
            break
        except TooLong:
            if patience == WAIT:
                raise
    page.wait_for_timeout(150)
    if page.get_by_role("option").count():  # a list of several stays open, and hides the page behind it
        page.keyboard.press("Escape")
    settle(page)
    assert exceptions(page) == 0, (label, option)


def choose_other(page: Any, label: str) -> str:
    """Pick the last option of a box; returns it."""
    option = options_of(page, label)[-1]
    choose(page, label, option)
    return option


def switch(page: Any, label: str) -> None:
    """Turn a toggle."""
    page.locator('[data-testid="stCheckbox"]', has_text=label).first.locator("label").click()
    page.wait_for_timeout(150)
    settle(page)
    assert exceptions(page) == 0, label


def fill(page: Any, label: str, text: str) -> None:
    """Type into a field, and leave it."""
    field = page.get_by_label(label, exact=True).first
    field.fill(text)
    field.press("Tab")
    page.wait_for_timeout(150)
    settle(page)


def number(page: Any, label: str, value: int) -> None:
    """Type into a field of numbers."""
    field = page.get_by_role("spinbutton", name=label, exact=True)
    field.fill(str(value))
    field.press("Enter")
    page.wait_for_timeout(150)
    settle(page)
    assert exceptions(page) == 0, label


def slide(page: Any, label: str, key: str = "ArrowLeft") -> None:
    """Move a slider by one step."""
    knob = page.locator('[data-testid="stSlider"]', has_text=label).first.get_by_role("slider")
    knob.focus()
    page.keyboard.press(key)
    page.wait_for_timeout(300)
    settle(page)
    assert exceptions(page) == 0, label


def pick(page: Any, name: str) -> None:
    """Choose among buttons that stand in a row."""
    page.get_by_role("radio", name=name, exact=True).last.click()
    page.wait_for_timeout(200)
    settle(page)
    assert exceptions(page) == 0, name


def press(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).first.click()
    page.wait_for_timeout(200)
    settle(page)


def tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()
    page.wait_for_timeout(200)
    settle(page)
    assert exceptions(page) == 0, name


def download(page: Any, label: str, *, exact: bool = True) -> tuple[str, bytes]:
    """(suggested name, content) of a download, whose first bytes are those of its kind."""
    with page.expect_download(timeout=WAIT) as waiting:
        page.get_by_role("button", name=label, exact=exact).first.click()
    name, data = waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()
    start = STARTS.get(name.rpartition(".")[2])
    assert data and (start is None or data.lstrip().startswith(start)), name
    return name, data


def downloads(page: Any, labels: Sequence[str]) -> dict[str, tuple[str, bytes]]:
    """Every one of these downloads."""
    return {label: download(page, label) for label in labels}


def charts(page: Any) -> int:
    """How many figures stand on the page."""
    return int(page.locator(".js-plotly-plot .main-svg").count())


def wait_for_chart(page: Any, timeout: float = WAIT) -> None:
    page.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=timeout)


def same_elsewhere(visit: Callable[..., Any], server: Server, page: Any, chosen: dict[str, str]) -> None:
    """A fresh tab with the address shows the same choices."""
    fresh = visit(page.url.removeprefix(f"{server.url}/"))
    assert exceptions(fresh) == 0
    for label, option in chosen.items():
        assert option in value_of(fresh, label), (label, option)
    fresh.context.close()


def labels_of(page: Any) -> set[str]:
    """Labels of the boxes, fields, sliders and toggles of a page that can be used now."""
    return set(
        page.evaluate(
            """() => [...document.querySelectorAll('[data-testid=stWidgetLabel]')]
                .filter(one => one.offsetParent !== null && !one.closest('[disabled]') &&
                    !one.parentElement.querySelector('[disabled],[aria-disabled=true]'))
                .map(one => one.innerText.trim()).filter(one => one)"""
        )
    )
