"""The strip of tokens as a component of the page: a click, or arrow keys and Enter, choose a token."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import streamlit as st

from workbench.figures.live_script import STRIP_CSS, STRIP_JS

HEIGHT = 300  # pixels; longer texts scroll inside
_HTML = '<div class="strip" role="group"></div><div class="legend"></div>'
_CSS = (
    f":host {{ display: block; }} .strip, .legend {{ color: var(--st-text-color); font-family: var(--st-font); }} {STRIP_CSS}"
    f".strip {{ min-height: 8.5rem; max-height: {HEIGHT}px; box-sizing: border-box; border: 1px solid var(--st-border-color); border-radius: 0.4rem; }}"
)
_JS = (
    STRIP_JS
    + """
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const strip = parentElement.querySelector(".strip");
  strip.setAttribute("aria-label", `${data.name}: tokens, arrow keys move, Enter shows the route`);
  wbStrip(strip, data, (place) => setTriggerValue("pick", place));
  wbLegend(parentElement.querySelector(".legend"), data);
}
"""
)


@cache
def _component() -> Any:
    return st.components.v2.component("workbench_live_tokens", html=_HTML, css=_CSS, js=_JS)


def show_strip(data: dict[str, Any], name: str, key: str, picked: Callable[[int], None]) -> None:
    """Draw a strip.

    Args:
        data: from `workbench.figures.live.strip_data`.
        name: of the sequence, for screen readers.
        key: of the component.
        picked: is told the number of the token that was chosen.
    """

    def take() -> None:
        place = st.session_state[key].get("pick")
        if place is not None:
            picked(int(place))

    _component()(key=key, data={**data, "name": name}, on_pick_change=take)
