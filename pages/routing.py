"""Routing: which experts take which tokens, by modality?

The answer first: one sentence, then the figure. A click on a cell, or the select boxes beside it, bring the tokens behind
that expert. What is chosen stands in the address bar, so that a link shows the same view again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from pages.parts import selection
from pages.parts.answers import busiest
from pages.parts.controls import show_controls
from pages.parts.downloads import show_downloads
from pages.parts.faults import in_words
from pages.parts.frame import START, WHAT_IF, framed
from pages.parts.more_views import MORE
from pages.parts.nulls import Null, null_of, say
from pages.parts.selection import VIEWS, key
from pages.parts.show_more import show_more
from pages.parts.tokens import show_tokens
from pages.parts.untrained import show_untrained
from pages.parts.views import Cell, View, by_label, heatmap_height
from pages.parts.words import identity, plain
from workbench import session
from workbench.analysis.select import all_sites
from workbench.capture import Capture, CaptureError

SINGLE_GROUP = ("heatmap", "specialisation")


def main() -> None:
    """Draw the page."""
    place = session.chosen()
    st.title("Which experts take which tokens?")
    linked = st.query_params.get("capture")
    if linked and (place is None or place.id != linked):
        st.warning(
            "The link names a capture that is not on this machine; another one is shown. Open or upload the capture on Start."
        )
    if place is None:
        st.info("No capture is at hand. Make one from your own files, or open one, on the Start page.")
        st.page_link(START, label="Go to Start", icon=":material/home:")
        return
    try:
        capture = session.open_capture(place)
        _page(place, capture)
    except CaptureError as fault:
        st.error(in_words(fault, 600))
        st.page_link(START, label="Choose another capture on Start", icon=":material/home:")


def _page(place: session.Place, capture: Capture) -> None:
    st.caption(f"{plain(place.name)} · {identity(capture.manifest)}")
    _flags(capture)
    known = selection.fields(capture)
    address = st.query_params.to_dict()
    chosen = selection.settle(place.id, known, st.session_state, address)
    tabs = st.tabs(list(VIEWS.values()), key=key("view"), on_change="rerun")
    slug = next(slug for slug, label in VIEWS.items() if label == st.session_state[key("view")])
    more = slug == "more"
    view = MORE[st.session_state[key("more")]] if more else by_label(st.session_state[key("view")])
    with st.sidebar:
        show_controls(capture, view, known)
    # Widgets may have taken another value while they were drawn: the choices are read once more.
    chosen = {name: st.session_state[key(name)] for name in known}
    with tabs[list(VIEWS).index(slug)]:
        if more:
            show_more(place, capture, chosen)
        else:
            _view(place, capture, by_label(VIEWS[slug]), chosen)
    chosen = {name: st.session_state[key(name)] for name in known}
    _write_address(place, chosen, known)


def _flags(capture: Capture) -> None:
    """What a reader has to know about this capture before believing it."""
    said = [flag.detail or flag.kind for flag in capture.manifest.flags]
    said += [f"check “{check.name}” failed: {check.detail}" for check in capture.manifest.checks if not check.passed]
    for words in dict.fromkeys(said):
        st.warning(plain(words, limit=400))


def _view(place: session.Place, capture: Capture, view: View, chosen: dict[str, Any]) -> None:
    try:
        table = view.table(capture, chosen)
    except CaptureError as fault:
        st.info(in_words(fault, 400))
        return
    cell = _cell(capture, view, chosen, table)
    st.markdown(view.answer(table))
    if view.slug == "specialisation":
        st.page_link(
            WHAT_IF, label="Does it matter? Mute such experts and see whom it hurts", icon=":material/volume_off:"
        )
    null = _null(place, capture, view, chosen, table)
    if not view.cells or cell is None:
        _figure(place, view, table, None, null)
        return
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _figure(place, view, table, cell, null)
    with right:
        show_tokens(place, capture, cell, chosen, view.slug in SINGLE_GROUP, heatmap_height(len(table.sites)) - 130)


def _null(place: session.Place, capture: Capture, view: View, chosen: dict[str, Any], table: Any) -> Null | None:
    """The null of the figure, and the sentence that it supports; what hinders it is said instead."""
    try:
        null = null_of(place, capture, view.slug, chosen, table)
    except CaptureError as fault:
        st.info(f"Without a null: {in_words(fault, 400)}")
        if chosen["null"] == "untrained":
            show_untrained()
        return None
    if null is not None:
        say(null)
    return null


def _figure(place: session.Place, view: View, table: Any, cell: Cell | None, null: Null | None) -> None:
    if null is not None:
        table = replace(table, caption=f"{table.caption} {null.note[:1].upper()}{null.note[1:]}.")
    st.plotly_chart(
        view.figure(table, cell, null),
        key=f"routing.chart.{view.slug}",
        on_select=_click if view.cells else "ignore",
        selection_mode="points",
        config={"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]},
        alt=table.caption,
    )
    st.caption(plain(table.caption, limit=2000))
    numbers = table if null is None else null.table
    show_downloads(place, view.slug, lambda: view.paper(table, null), numbers.frame)


def _cell(capture: Capture, view: View, chosen: dict[str, Any], table: Any) -> Cell | None:
    """The cell chosen by the user, else the busiest one of the figure, else the first of the capture."""
    site, expert = chosen["site"], chosen["expert"]
    if site is not None and expert is not None and expert < capture.site(site).experts:
        return site, expert
    if view.slug in SINGLE_GROUP:
        best = busiest(table)
        if best is not None:
            return table.sites[best[0]].id, best[1]
    return all_sites(capture)[0], 0


def _click() -> None:
    """Take the cell that was clicked; a second click on it un-selects it in the browser, and means it all the same."""
    view = by_label(st.session_state[key("view")])
    event = st.session_state.get(f"routing.chart.{view.slug}")
    points = event["selection"]["points"] if event else []
    if points:
        data = points[0].get("customdata") or []
        if len(data) >= 2:
            st.session_state[key("clicked")] = (str(data[0]), int(data[1]))
    clicked = st.session_state.get(key("clicked"))
    if clicked is not None:
        st.session_state[key("site")], st.session_state[key("expert")] = clicked


def _write_address(place: session.Place, chosen: dict[str, Any], known: dict[str, selection.Field]) -> None:
    wanted = selection.to_address(place.id, chosen, known)
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)
    selection.remember(place.id, chosen, wanted, st.session_state)


framed(main)
