"""Elastic: how small can I go, at what price?

The answer first: one sentence, then quality against cost with the Pareto front. A click on a point, or the box beside it,
brings its numbers, its routing beside the whole model's, and the button that carves it. What is chosen stands in the
address bar.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from pages.parts import elastic_view as view
from pages.parts.elastic_form import show_form, show_unfinished
from pages.parts.elastic_point import show_budget, show_point
from pages.parts.faults import in_words
from pages.parts.frame import framed
from pages.parts.selection import Field, key, remember, settle, to_address
from pages.parts.words import plain
from workbench import session
from workbench.analysis.curve import COSTS, Curve, CurveTable, curve_table
from workbench.capture import WorkbenchError
from workbench.elastic.places import CurvePlace, curve_places

PREFIX = "elastic."


def main() -> None:
    """Draw the page."""
    st.title("How small can I go, at what price?")
    at_hand = curve_places()
    _wish_finished(at_hand)
    # What comes and grows stands in a container: below it all keeps its place, and with it what is being typed.
    with st.container():
        if at_hand:
            _curve(at_hand)
        else:
            st.info("No curve is at hand yet: start a sweep below, on your own texts or on the shipped ones.")
        show_unfinished()
    st.header("New sweep")
    show_form()


def _wish_finished(at_hand: list[CurvePlace]) -> None:
    """A sweep that this tab started has ended: its curve is opened."""
    begun = st.session_state.get("elastic.jobs", {})
    for name, number in list(begun.items()):
        job = session.jobs().get(number)
        found = None if job is None else job.snapshot()
        if found is not None and not found.finished:
            continue
        del begun[name]
        place = next((one for one in at_hand if one.origin == "mine" and one.name == name), None)
        if place is not None and found is not None and found.state == "done":
            st.session_state["elastic.open"] = place.id
            st.toast(f"The curve {plain(name)} is ready.")


def _curve(at_hand: list[CurvePlace]) -> None:
    linked = st.query_params.get("curve")
    if linked and all(place.id != linked for place in at_hand):
        st.warning("The link names a curve that is not on this machine; another one is shown.")
    place = _choose(at_hand, linked)
    try:
        curve = view.open_curve(place)
    except WorkbenchError as fault:
        st.error(in_words(fault, 500))
        return
    known = _fields(curve)
    chosen = settle(place.id, known, st.session_state, st.query_params.to_dict(), PREFIX, "curve")
    with st.sidebar:
        _controls(curve)
    chosen = {name: st.session_state[key(name, PREFIX)] for name in known}
    st.caption(view.identity(place, curve))
    try:
        table = curve_table(curve, chosen["cost"], curve.groups[chosen["group"]], curve.measures[chosen["measure"]])
    except WorkbenchError as fault:
        st.info(in_words(fault, 500))
        return
    st.markdown(view.answer(table))
    picked = _picked(curve, table, chosen["point"])
    view.show_figure(place, table, picked)
    show_point(place, curve, table, picked)
    show_budget(place, curve, table)
    # Drawing may have moved a choice on: what stands in the address is what is shown.
    chosen = {name: st.session_state[key(name, PREFIX)] for name in known}
    wanted = to_address(place.id, chosen, known, "curve")
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)
    remember(place.id, chosen, wanted, st.session_state, PREFIX)


def _choose(at_hand: list[CurvePlace], linked: str | None) -> CurvePlace:
    """The curve, chosen in the sidebar."""
    ids = [place.id for place in at_hand]
    names = {place.id: f"{place.name} (sample)" if place.origin == "sample" else place.name for place in at_hand}
    box = key("id", PREFIX)
    wished = st.session_state.pop("elastic.open", None) or (linked if box not in st.session_state else None)
    held = st.session_state.get(box, st.session_state.get("elastic.choice"))
    st.session_state[box] = next((one for one in (wished, held) if one in ids), ids[0])
    with st.sidebar:
        chosen = st.selectbox("Curve", ids, key=box, format_func=names.__getitem__)
    st.session_state["elastic.choice"] = chosen
    return next(place for place in at_hand if place.id == chosen)


def _fields(curve: Curve) -> dict[str, Field]:
    """The choices of this page, by the name that stands in the address; names of groups and tasks stand there as numbers."""

    def below(limit: int) -> Any:
        def read(text: str) -> int:
            if not 0 <= int(text) < limit:
                raise ValueError(text)
            return int(text)

        return read

    def cost(text: str) -> str:
        if text not in curve.costs:
            raise ValueError(text)
        return text

    return {
        "cost": Field(curve.costs[0], cost),
        "measure": Field(0, below(len(curve.measures))),
        "group": Field(0, below(len(curve.groups))),
        "point": Field(None, below(len(curve.rows))),
    }


def _controls(curve: Curve) -> None:
    group = curve.groups[st.session_state[key("group", PREFIX)]]  # the unit of the quality may hang on it
    st.selectbox(
        "Cost",
        curve.costs,
        key=key("cost", PREFIX),
        format_func=lambda name: f"{COSTS[name].title} ({COSTS[name].unit})",
        help="The horizontal axis. Times and peak memory were measured with the other weights really absent.",
    )
    st.selectbox(
        "Quality",
        list(range(len(curve.measures))),
        key=key("measure", PREFIX),
        format_func=lambda number: view.measure_name(curve, curve.measures[number], group),
        help="The vertical axis.",
    )
    st.selectbox(
        "Texts",
        list(range(len(curve.groups))),
        key=key("group", PREFIX),
        format_func=lambda number: curve.groups[number],
        help="Whose quality is shown: all texts together, or one group.",
    )


def _picked(curve: Curve, table: CurveTable, number: int | None) -> int:
    """The point that the address names (its row in the curve), else the best one of half the cost, as a place in the table."""
    names = list(curve.rows["sub_model"])
    clicked = st.session_state.pop("elastic.clicked", None)
    if isinstance(clicked, int) and 0 <= clicked < len(table.names):
        st.session_state[key("point", PREFIX)] = names.index(table.names[clicked])
        return clicked
    if number is not None and names[number] in table.names:
        return table.names.index(names[number])
    return view.half_price(table)


framed(main)
