"""Compare: what differs between two or more captures, beyond noise?

The first capture is the one that the others are compared with. Captures that do not line up say why in one sentence.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from pages.parts import compare_choices as choices
from pages.parts.compare_choices import APART, AUTO, SATURATION, key
from pages.parts.compare_view import draw
from pages.parts.faults import in_words
from pages.parts.frame import START, framed
from pages.parts.words import identity, plain
from workbench import session
from workbench.capture import CaptureError


def main() -> None:
    """Draw the page."""
    st.title("What differs between two captures, beyond noise?")
    places = [place for place in session.places() if place.fault is None]
    if len(places) < 2:
        st.info(
            "Two captures are compared, and fewer are at hand. On Start, record the same files with another model, checkpoint, number format or "
            "prompt, or open a capture that you have."
        )
        st.page_link(START, label="Go to Start", icon=":material/home:")
        return
    known = choices.fields(places, session.chosen())
    choices.settle(known)
    with st.sidebar:
        choices.show_captures(places)
    shown = _shown(places)
    for place in shown:
        if place.manifest is not None:
            st.caption(f"**{plain(place.name)}** · {identity(place.manifest)}")
    try:
        if len({place.id for place in shown}) < len(shown):
            raise CaptureError(
                "A capture was chosen twice, and nothing differs from itself: choose another one on the left."
            )
        _compare(shown)
    except CaptureError as fault:
        st.info(in_words(fault, 600), icon=":material/info:")
    choices.write_address(known)


def _shown(places: list[session.Place]) -> list[session.Place]:
    by_id = {place.id: place for place in places}
    state = st.session_state
    return [by_id[chosen] for chosen in (state[key("a")], state[key("b")], *state[key("more")])]


def _compare(shown: list[session.Place]) -> None:
    from workbench.analysis.align import align

    captures = [session.open_capture(place) for place in shown]
    names = choices.names_of(shown)
    state: Any = st.session_state
    lineage = None if state[key("experts")] == AUTO else state[key("experts")]
    lined = align(captures, names, lineage=lineage, common=state[key("common")])
    with st.sidebar:
        choices.show_measure(lined)
    if state[key("experts")] == AUTO:
        how = "not compared one by one" if lined.lineage == APART else "taken to mean the same"
        st.caption(
            f"Expert numbers are {how}, because {plain(lined.reason, limit=300)}. Choose otherwise under “Expert numbers” on the left."
        )
    draw(shown, lined, str(state[key("measure")]), saturation=state[key("measure")] == SATURATION)


framed(main)
