"""Start: what can I do here, and with what?"""

from __future__ import annotations

import streamlit as st

from pages.parts.cards import show_cards
from pages.parts.frame import ELASTIC, EXTRACT, framed, open_place
from pages.parts.machine import machine_line
from pages.parts.making import show_making, show_models
from pages.parts.opening import show_opening, show_upload_fault
from pages.parts.words import plain
from workbench import session


def main() -> None:
    """Draw the page."""
    places = session.places()
    st.title("See which experts take which tokens")
    st.caption(f":material/memory: {machine_line()}")
    said = st.session_state.pop("start.said", None)
    if said:
        st.toast(said)
    fault = st.session_state.pop("start.fault", None)
    # What comes and grows stands in a container: below it all keeps its place, and with it what is being typed.
    with st.container():
        if fault:
            st.error(plain(fault, limit=400))
    _ways_in(places)
    st.header("Captures")
    with st.container():
        if places:
            show_cards(places)
        else:
            st.info(
                "No capture is at hand yet. Make one from your own files below, or run `make app` again in a full checkout: "
                "the shipped captures lie in sample_data/captures."
            )
    st.subheader("Open another capture")
    show_opening()
    with st.container():
        show_upload_fault()
    st.header("New capture from files")
    show_models()
    show_making()


def _ways_in(places: list[session.Place]) -> None:
    first = next((place for place in places if place.fault is None), None)
    routing, extraction, smaller = st.columns(3)
    with routing, st.container(border=True, height="stretch"):
        st.markdown("**:material/grid_on: See routing**")
        st.caption(
            "Which experts take which tokens, layer by layer, for every kind of input; click a cell to read the tokens."
        )
        why = None if first is not None else "There is no capture to show yet: make or open one below."
        if (
            st.button("See routing", key="start.way.routing", type="primary", disabled=first is None, help=why)
            and first
        ):
            open_place(first)
    with extraction, st.container(border=True, height="stretch"):
        st.markdown("**:material/format_quote: Try extraction**")
        st.caption(
            "Entities, relations, events and sentiment of a text, in a schema of your own, with the evidence beside."
        )
        if st.button("Try extraction", key="start.way.extraction", type="primary"):
            st.switch_page(EXTRACT)
    with smaller, st.container(border=True, height="stretch"):
        st.markdown("**:material/compress: Find a smaller model**")
        st.caption(
            "Quality against latency of sub-models with fewer layers, experts or choices, measured on this machine."
        )
        if st.button("Find a smaller model", key="start.way.smaller", type="primary"):
            st.switch_page(ELASTIC)


framed(main)
