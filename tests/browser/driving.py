"""Hands for the browser tests: find the controls of a page, use each one, take its downloads."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.browser.conftest import WAIT, Server, settle

STARTS = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml", "html": b"<!doctype html>", "parquet": b"PAR1", "zip": b"PK"}  # fmt: skip
TRIES = (3_000, 5_000, 10_000, WAIT)  # milliseconds that a press may take to be seen before it is made again


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
    _close(page)
    return [one.strip() for one in found]


def _open(page: Any, label: str) -> None:
    """Open the list of a box: by key and by hand in turn, again where the page moved and a try was lost."""
    from playwright.sync_api import TimeoutError as TooLong

    where, options = box(page, label), page.get_by_role("option")
    for turn, patience in enumerate(TRIES):
        try:
            if turn % 2 == 0:
                where.focus(timeout=patience)
                where.press("ArrowDown", timeout=patience)
            else:
                where.click(timeout=patience)
            options.first.wait_for(timeout=patience)
            return
        except TooLong:
            if patience == TRIES[-1]:
                raise AssertionError(f"the list of “{label}” did not open: {_condition(where)}") from None
        _close(page)
        settle(page)


def _close(page: Any) -> None:
    """Close a list that is open; without effect where none is."""
    if page.get_by_role("option").count():
        page.keyboard.press("Escape")
        page.get_by_role("option").first.wait_for(state="detached")


def _condition(where: Any) -> str:
    """How a box stands on the page, for a failure's message."""
    found = where.evaluate_all(
        """all => all.map(one => ({disabled: one.disabled, expanded: one.getAttribute("aria-expanded"),
            focused: document.activeElement === one, shown: one.offsetParent !== null, value: one.value}))"""
    )
    return f"{len(found)} of that name, {found}"


def choose(page: Any, label: str, option: str) -> None:
    """Pick an option of a box, and wait until the page stands; a list that closes because the page moved is opened again."""
    from playwright.sync_api import TimeoutError as TooLong

    for patience in TRIES:
        _open(page, label)
        try:
            page.get_by_role("option", name=option, exact=True).first.click(timeout=patience)
            break
        except TooLong:
            if patience == TRIES[-1]:
                raise
    page.wait_for_timeout(150)
    _close(page)  # a list of several stays open, and hides the page behind it
    settle(page)
    assert exceptions(page) == 0, (label, option)


def choose_other(page: Any, label: str) -> str:
    """Pick the last option of a box; returns it."""
    option = options_of(page, label)[-1]
    choose(page, label, option)
    return option


def switch(page: Any, label: str) -> None:
    """Turn a toggle."""
    toggle = page.locator('[data-testid="stCheckbox"]', has_text=label).first
    before = toggle.locator("input").is_checked()
    _until(
        page, toggle.locator("label").click, lambda: toggle.locator("input").is_checked() != before, f"“{label}” stays as it was"
    )  # fmt: skip
    assert exceptions(page) == 0, label


def fill(page: Any, label: str, text: str) -> None:
    """Type into a field, and leave it."""
    _type(page, page.get_by_label(label, exact=True).first, text, "Tab")


def number(page: Any, label: str, value: int) -> None:
    """Type into a field of numbers."""
    _type(page, page.get_by_role("spinbutton", name=label, exact=True), str(value), "Enter")
    assert exceptions(page) == 0, label


def _type(page: Any, field: Any, text: str, leave: str) -> None:
    """Type, and hand over by a key; the field holds the text once the page has taken it."""

    def typed() -> None:
        field.fill(text)
        field.press(leave)

    _until(page, typed, lambda: field.input_value() == text, f"{text!r} was typed and is not there")


def _until(page: Any, act: Callable[[], None], seen: Callable[[], bool], otherwise: str) -> None:
    """Use a control until its effect is seen: where the page moves at the same moment, a press or a word can be lost."""
    for _ in TRIES:
        act()
        page.wait_for_timeout(150)
        settle(page)
        if seen():
            return
    raise AssertionError(otherwise)


def slide(page: Any, label: str, key: str = "ArrowLeft") -> None:
    """Move a slider by a key; again where the press was lost."""
    knob = page.locator('[data-testid="stSlider"]', has_text=label).first.get_by_role("slider")
    before = _at(knob)
    for patience in TRIES:
        knob.focus()
        knob.press(key)
        end = time.monotonic() + patience / 1000
        while _at(knob) == before and time.monotonic() < end:
            page.wait_for_timeout(50)
        if _at(knob) != before:
            break
    assert _at(knob) != before, f"“{label}” stays at {before} when {key} is pressed"
    page.wait_for_timeout(300)
    settle(page)
    assert exceptions(page) == 0, label


def _at(knob: Any) -> str:
    """The number at which a slider stands, as text."""
    return str(knob.evaluate("one => one.getAttribute('aria-valuenow') ?? one.value"))


def pick(page: Any, name: str) -> None:
    """Choose among buttons that stand in a row."""
    button = page.get_by_role("radio", name=name, exact=True).last
    _until(page, button.click, button.is_checked, f"“{name}” was not chosen")
    assert exceptions(page) == 0, name


def press(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).first.click()
    page.wait_for_timeout(200)
    settle(page)


def press_until(page: Any, name: str, text: str) -> None:
    """Press a button until a text is seen, on a page that moves all the while; again where the press was lost."""
    from playwright.sync_api import Error

    button = page.get_by_role("button", name=name, exact=True).first
    for patience in TRIES:
        with suppress(Error):  # the button went while it was pressed
            button.click(timeout=patience)
        with suppress(Error):
            page.get_by_text(text).first.wait_for(timeout=patience)
            return
    raise AssertionError(f"“{text}” is not seen when {name} is pressed")


def tab(page: Any, name: str) -> None:
    label = page.get_by_role("tab", name=name, exact=True)
    _until(page, label.click, lambda: label.get_attribute("aria-selected") == "true", f"“{name}” was not opened")
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
