"""The right side of Routing: the tokens behind one expert of one site, in context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from pages.parts.context import contexts_html, legend_html
from pages.parts.selection import EVERY, ORDERS, SAME, key
from pages.parts.views import Cell, group_of, phase_of
from pages.parts.words import count, plain
from workbench import session
from workbench.analysis.examples import Examples, tokens_behind
from workbench.analysis.select import all_sites, groups_with_tokens
from workbench.analysis.words import site_title
from workbench.capture import Capture
from workbench.figures.style import group_styles

SHOWN = 20  # contexts; more are in the file
IN_FILE = 1000
ORDER_WORDS = {"strongest": "Strongest first", "random": "Random sample"}


@st.cache_data(max_entries=64, show_spinner=False)
def examples_of(
    place_id: str, stamp: str, site: str, expert: int, group: str | None, phase: str | None, order: str, limit: int
) -> Examples:
    """`tokens_behind` of a capture at hand, kept for the next click on the same cell."""
    place = session.find(place_id)
    if place is None:
        raise session.gone()
    return tokens_behind(
        session.open_capture(place),
        site,
        expert,
        group,
        phase,
        limit=limit,
        order="random" if order == "random" else "strongest",
    )


def show_tokens(
    place: session.Place, capture: Capture, cell: Cell, chosen: Mapping[str, Any], single_group: bool, height: int
) -> None:
    """Draw the panel.

    Args:
        place: the open capture; capture: the same, opened.
        cell: site and expert.
        chosen: the page's choices.
        single_group: whether the figure shows one group, whose tokens are then meant by default.
        height: of the passages, in pixels.
    """
    st.markdown(f"**Tokens that choose expert {cell[1]} of {site_title(capture.site(cell[0]))}**")
    _choose_cell(capture, cell)
    if not capture.has("tokens"):
        st.info(
            "This capture holds counts but no token rows, so the tokens themselves cannot be shown. Record the files again on Start, which keeps them."
        )
        return
    group = _filter(capture, chosen, single_group)
    phase = phase_of(chosen)
    examples = examples_of(place.id, place.stamp, *cell, group, phase, chosen["order"], SHOWN)
    _say_how_many(examples, group)
    if not examples.contexts:
        st.info(_empty(examples, group))
        return
    if not examples.has_text:
        st.caption("The texts were left out of this capture: a square stands for each token.")
    styles = group_styles(capture.manifest.groups)
    st.html(legend_html(examples.strongest))
    with st.container(height=height, border=True, key="routing.contexts"):
        st.html(contexts_html(examples, {name: style.colour for name, style in styles.items()}))
    st.caption("A token in colour chose this expert; that shows where the expert is used, not what it does.")
    st.download_button(
        "These tokens as CSV",
        data=lambda: _csv(place, cell, group, phase, chosen["order"]),
        file_name=f"{place.name}-{cell[0]}-expert-{cell[1]}-tokens.csv",
        mime="text/csv",
        key="routing.tokens.csv",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
        help=f"Up to {IN_FILE:,} contexts with document, position, group, gate weight and the text around.",
    )


def _csv(place: session.Place, cell: Cell, group: str | None, phase: str | None, order: str) -> bytes:
    return examples_of(place.id, place.stamp, *cell, group, phase, order, IN_FILE).frame().to_csv(index=False).encode()


def _choose_cell(capture: Capture, cell: Cell) -> None:
    """Layer and expert by select boxes: the way of the keyboard, and of a finger on a small screen."""
    site_key, expert_key = key("cell.site"), key("cell.expert")
    st.session_state[site_key], st.session_state[expert_key] = cell
    left, right = st.columns(2)
    left.selectbox(
        "Layer",
        all_sites(capture),
        key=site_key,
        format_func=lambda site: site_title(capture.site(site)).capitalize(),
        on_change=_take_cell,
        args=(capture,),
    )
    right.selectbox(
        "Expert", range(capture.site(cell[0]).experts), key=expert_key, on_change=_take_cell, args=(capture,)
    )


def _take_cell(capture: Capture) -> None:
    site = st.session_state[key("cell.site")]
    st.session_state[key("site")] = site
    # A layer may have fewer experts than the one before it.
    st.session_state[key("expert")] = min(st.session_state[key("cell.expert")], capture.site(site).experts - 1)


def _filter(capture: Capture, chosen: Mapping[str, Any], single_group: bool) -> str | None:
    groups = [capture.group_index(name) for name in groups_with_tokens(capture)]
    options: list[int | str] = [SAME, EVERY, *groups] if single_group else [EVERY, *groups]
    if st.session_state[key("tokens")] not in options:
        st.session_state[key("tokens")] = options[0]

    def said(option: int | str) -> str:
        if option == SAME:
            return f"As in the figure: {group_of(capture, chosen)}"
        return "All groups" if option == EVERY else capture.groups[int(option)]

    left, right = st.columns(2)
    picked = left.selectbox("Tokens of", options, key=key("tokens"), format_func=said)
    right.selectbox(
        "Order",
        ORDERS,
        key=key("order"),
        format_func=ORDER_WORDS.__getitem__,
        help="Strongest first shows the clearest cases; a random sample shows the usual ones.",
    )
    if picked == SAME:
        return group_of(capture, chosen)
    return None if picked == EVERY else capture.groups[int(picked)]


def _say_how_many(examples: Examples, group: str | None) -> None:
    whose = "all groups" if group is None else plain(group, 40)
    share = f" ({examples.found / examples.rows:.1%})" if examples.rows else ""
    sample = ""
    if examples.kept < examples.seen:
        sample = f" Rows were kept for {examples.kept:,} of {count(examples.seen, 'token')}, whole documents chosen at random."
    st.caption(
        f"{len(examples.contexts):,} passages for {examples.found:,} of {count(examples.rows, 'token')} of {whose} "
        f"that chose it{share}.{sample}"
    )


def _empty(examples: Examples, group: str | None) -> str:
    if examples.rows == 0:
        return "No token row of this group reached this layer: choose another group or phase."
    return (
        f"None of the {count(examples.rows, 'token row')} kept chose this expert: choose another cell, or “All groups”."
    )
