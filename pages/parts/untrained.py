"""The way from the null of untrained weights to the capture that it needs."""

from __future__ import annotations

import streamlit as st

from pages.parts.frame import START


def show_untrained() -> None:
    """A button to Start, whose form then has the switch for untrained weights on."""
    if st.button(
        "Record the untrained model",
        key="routing.untrained",
        icon=":material/restart_alt:",
        help="Opens the form on Start with “Untrained weights” switched on: choose the same model, files and groups.",
    ):
        st.session_state["start.make.untrained"] = True
        st.session_state["start.make.open"] = True  # the switch is seen
        st.switch_page(START)
