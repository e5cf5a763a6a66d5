"""The controls of the Routing page, in the sidebar; one that does nothing in the open view is disabled and says why."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from pages.parts.more_views import More
from pages.parts.nulls import NULL_WORDS
from pages.parts.selection import ALL_PHASES, BY, MAX_SITES, MEASURES, NULLS, TOP_Q, Field, key
from pages.parts.views import View
from workbench.analysis.coactivation import NORMALISATIONS
from workbench.analysis.load import BALANCE_MEASURES
from workbench.analysis.select import all_sites, groups_with_tokens
from workbench.analysis.words import site_title
from workbench.capture import Capture

MEASURE_WORDS = {
    "utilisation": "Load against an even load",
    "share": "Share of tokens",
    "mass": "Gate weight against an even part",
}
PAIR_WORDS = {
    "lift": "Times as often as by chance (lift)",
    "conditional": "Share of the row's tokens",
    "count": "Number of tokens",
}
BY_WORDS = {"input": "The token itself", "next": "The one that follows", "predicted": "The one that the model predicts"}
PHASE_WORDS = {
    ALL_PHASES: "Reading and writing",
    "prefill": "Reading only (prefill)",
    "decode": "Writing only (decode)",
}
# Why a control does nothing in a view that does not use it.
WHY = {
    "group": "{label} shows every group at once, so no single group is chosen here.",
    "sites": "{label} shows one layer at a time: choose it below.",
    "phase": "A capture counts pairs of experts over reading and writing together, so {label} has no phase.",
}


def show_controls(capture: Capture, view: View | More, known: Mapping[str, Field]) -> None:
    """Draw the controls; their values are in the tab's state under `key(name)`."""
    st.markdown("##### Show")
    if "null" in view.uses:
        _null(capture)
    _group(capture, view)
    if "site" in view.uses:
        _one_site(capture, isinstance(view, More) and view.onward)
    else:
        _sites(capture, view)
    if "measure" in view.uses:
        st.selectbox("Measure", MEASURES, key=key("measure"), format_func=MEASURE_WORDS.__getitem__)
    if "balance" in view.uses:
        st.selectbox("Measure", list(BALANCE_MEASURES), key=key("balance"), format_func=_capital)
    if "pairs" in view.uses:
        st.selectbox("Measure", NORMALISATIONS, key=key("pairs"), format_func=PAIR_WORDS.__getitem__)
    if "q" in view.uses:
        st.select_slider(
            "Busiest experts compared",
            TOP_Q,
            key=key("q"),
            format_func=lambda q: f"{q} %",
            help="Part of a layer's experts that counts as a group's busiest ones. The ERNIE 5.0 report takes 25 %.",
        )
    if "by" in view.uses:
        st.selectbox(
            "Word", BY, key=key("by"), format_func=BY_WORDS.__getitem__,
            help="The predicted word has to be recorded: `workbench capture --streams predicted`.",
        )  # fmt: skip
    _phase(capture, view)


def _null(capture: Capture) -> None:
    alone = len(groups_with_tokens(capture)) < 2
    st.selectbox(
        "Null", NULLS, key=key("null"), format_func=NULL_WORDS.__getitem__,
        help="What the numbers would be if groups did not matter, drawn over the figure. Labels exchanged: among documents, or segments of one. "
        "Untrained weights: the same model before it learnt anything. Same load: every group drew from the layer's own load, with as much "
        "noise as its documents show; where groups share documents it finds too little." + (" This capture has one group, so only pairs of experts have a null." if alone else ""),
    )  # fmt: skip


def _group(capture: Capture, view: View | More) -> None:
    groups = [capture.group_index(name) for name in groups_with_tokens(capture)]
    why = _why("group", view)
    if why is None and len(groups) == 1:
        why = "This capture has tokens of one group only. Record it with --group-by to compare groups."
    st.selectbox(
        "Group of tokens",
        groups,
        key=key("group"),
        format_func=lambda index: capture.groups[index],
        disabled=why is not None,
        help=why,
    )


def _sites(capture: Capture, view: View | More) -> None:
    few = isinstance(view, View) and view.slug in ("utilisation", "overlap")
    st.multiselect(
        "Layers",
        all_sites(capture),
        key=key("sites"),
        format_func=lambda site: _capital(site_title(capture.site(site))),
        placeholder="First, middle and last" if few else "All layers",
        max_selections=MAX_SITES,
        help="Leave it empty for the first, the middle and the last layer."
        if few
        else "Leave it empty for all layers.",
    )


def _one_site(capture: Capture, onward: bool) -> None:
    from pages.parts.views import site_for_one, sites_for_one

    sites = sites_for_one(capture, onward)
    state = {name: st.session_state[key(name)] for name in ("site", "sites")}
    now = site_for_one(capture, state, onward)
    st.session_state[key("pairs.site")] = now
    st.selectbox(
        "Layer",
        sites,
        key=key("pairs.site"),
        format_func=lambda site: _capital(site_title(capture.site(site))),
        on_change=_take_site,
    )


def _take_site() -> None:
    st.session_state[key("site")] = st.session_state[key("pairs.site")]
    st.session_state[key("expert")] = 0 if st.session_state[key("expert")] is None else st.session_state[key("expert")]


def _phase(capture: Capture, view: View | More) -> None:
    counted = capture.table("tokens").sum("block", "site", "group")
    filled = [phase for phase, n in zip(capture.phases, counted.values, strict=True) if n > 0]
    why = _why("phase", view)
    if why is None and len(filled) < 2:
        only = PHASE_WORDS.get(filled[0], filled[0]) if filled else "nothing"
        why = f"This capture holds one phase only: {only.lower()}."
    st.selectbox(
        "Phase",
        (ALL_PHASES, *capture.phases),
        key=key("phase"),
        format_func=lambda phase: PHASE_WORDS.get(phase, phase),
        disabled=why is not None,
        help=why or "Reading is the prompt, taken in at once; writing is what the model generates, a token a step.",
    )


def _why(name: str, view: View | More) -> str | None:
    if name in view.uses:
        return None
    if name == "phase" and not isinstance(view, View):
        return f"{view.label} is counted over token rows of both phases together."
    return WHY[name].format(label=view.label)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
