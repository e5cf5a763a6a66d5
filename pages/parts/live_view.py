"""What a live run looks like: tokens coloured by expert, experts of all layers filling, and the route of one token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st

from pages.parts.live_choices import ALL, key
from pages.parts.live_strip import show_strip
from pages.parts.views import heatmap_height
from pages.parts.words import count, plain
from workbench.analysis.trace import Trace
from workbench.analysis.words import site_title
from workbench.capture import Site
from workbench.figures import interactive
from workbench.figures.live import MOST_TOKENS, route, strip_data, token_words
from workbench.figures.live_html import LIMIT

_BAR_BELOW = {"orientation": "h", "y": -0.22, "yanchor": "top", "thickness": 12, "title": {"side": "bottom"}}
_CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}


def show_run(run: str, whole: Sequence[Trace], at: int, patches: int) -> None:
    """Draw the sequences of a run up to a token.

    Args:
        run: its id, so that charts keep their zoom while it goes on.
        whole: the traces.
        at: how many tokens of each are to be seen.
        patches: rows of picture or sound towers, which are not among the tokens.
    """
    site, only = _choose_colours(whole[0].sites)
    traces = [trace.upto(at) for trace in whole]
    lane, token = _picked(traces)
    columns = st.columns(len(traces), gap="medium") if len(traces) > 1 else [st.container()]
    for number, (trace, column) in enumerate(zip(traces, columns, strict=True)):
        with column:
            if len(traces) > 1:
                st.markdown(f"**{plain(trace.name)}**")
            _strip(number, trace, site, only, token if number == lane else None)
    if patches:
        st.caption(
            f"{count(patches, 'patch', 'patches')} of pictures or sounds were routed in a tower of their own; they are in the capture."
        )
    if len(traces) > 1:
        for number, (trace, column) in enumerate(zip(traces, st.columns(len(traces), gap="medium"), strict=True)):
            with column:
                _map(run, number, trace, site, only, side_by_side=True)
        _route(run, traces, lane, token)
        return
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _map(run, 0, traces[0], site, only)
    with right:
        _route(run, traces, lane, token)


def _choose_colours(sites: Sequence[Site]) -> tuple[str, int | None]:
    """The layer whose experts colour the tokens, and perhaps one of them alone."""
    state = st.session_state
    names = [site.id for site in sites]
    if state.get(key("layer")) not in names:
        state[key("layer")] = names[len(names) // 2]
    experts = next(site.experts for site in sites if site.id == state[key("layer")])
    if not ALL <= state.get(key("only"), ALL) < experts:
        state[key("only")] = ALL
    titles = {site.id: site_title(site) for site in sites}
    row = st.container(horizontal=True, vertical_alignment="bottom")
    site = row.selectbox(
        "Tokens coloured by their expert at", names, key=key("layer"), width=260,
        format_func=lambda name: titles[name][:1].upper() + titles[name][1:],
    )  # fmt: skip
    only = row.selectbox(
        "Experts", [ALL, *range(experts)], key=key("only"), width=260,
        format_func=lambda expert: "All: a colour each" if expert == ALL else f"Only expert {expert}, by gate weight",
    )  # fmt: skip
    row.toggle("Expert numbers", key=key("numbers"), help="Writes the number of the expert at each token.")
    return str(site), None if only == ALL else int(only)


def _picked(traces: Sequence[Trace]) -> tuple[int, int | None]:
    """Sequence and number of the token whose route is shown: the chosen one, else the newest that has gone through the layers."""
    state = st.session_state
    lane = min(int(state.get(key("lane")) or 0), len(traces) - 1)
    token = state.get(key("token"))
    if token is not None and token < len(traces[lane]):
        return lane, int(token)
    routed = np.flatnonzero(traces[lane].routed)
    return lane, int(routed[-1]) if routed.size else None


def _strip(number: int, trace: Trace, site: str, only: int | None, token: int | None) -> None:
    def take(place: int) -> None:
        st.session_state[key("lane")], st.session_state[key("token")] = number, place

    numbers = bool(st.session_state.get(key("numbers")))
    show_strip(
        strip_data(trace, site, picked=token, only=only, numbers=numbers), trace.name, key(f"strip.{number}"), take
    )
    if len(trace) > MOST_TOKENS:
        st.caption(
            f"The last {MOST_TOKENS:,} of {count(len(trace), 'token')} are drawn; the capture and the files hold all of them."
        )


def _map(run: str, number: int, trace: Trace, site: str, only: int | None, side_by_side: bool = False) -> None:
    table = trace.heatmap()
    figure = interactive.heatmap(
        table,
        selected=None if only is None else (site, only),
        limit=LIMIT,
        height=min(heatmap_height(len(table.sites)), 560),
    )
    figure.update_layout(uirevision=run)
    if side_by_side:  # half the width is too little for a colour bar beside the cells
        figure.update_traces(colorbar=_BAR_BELOW, selector={"name": "colours"})
        figure.update_layout(margin={"b": 110})
    st.plotly_chart(
        figure,
        key=key(f"map.{number}"),
        on_select=lambda: _click(number),
        selection_mode="points",
        config=_CONFIG,
        alt=table.caption,
    )
    st.caption(
        f"{plain(table.caption, limit=2000)} Special tokens are counted here as they are routed; a capture leaves them out."
    )


def _click(number: int) -> None:
    """A cell that was clicked: its layer gives the colours, and its expert alone is marked."""
    event = st.session_state.get(key(f"map.{number}"))
    points = event["selection"]["points"] if event else []
    data = points[0].get("customdata") if points else None
    if data and len(data) >= 2:
        st.session_state[key("layer")], st.session_state[key("only")] = str(data[0]), int(data[1])


def _route(run: str, traces: Sequence[Trace], lane: int, token: int | None) -> None:
    trace = traces[lane]
    if token is None:
        st.info("No token has gone through the layers yet: its route stands here when one has.")
        return
    figure = route(trace, token)
    figure.update_layout(uirevision=run)
    st.plotly_chart(figure, key=key("route"), config=_CONFIG, alt=f"Route of {token_words(trace, token)}")
    event = trace.event(token)
    how = (
        "read"
        if event.probability is None
        else f"written with probability {event.probability:.2g} (before temperature and top-p)"
    )
    st.caption(
        f"{plain(trace.name)}, {plain(token_words(trace, token))}: {how}. Each bar is a layer, cut into the experts that the token chose; it "
        "shows what the router decided, not why, nor what an expert computes."
    )
    _choose_token(traces, lane)


def _choose_token(traces: Sequence[Trace], lane: int) -> None:
    """The way of the keyboard to another token, beside a click.

    The field is empty while the newest token is followed: a number that changes by itself would race with what is typed.
    """
    state = st.session_state
    row = st.container(horizontal=True, vertical_alignment="bottom")
    if len(traces) > 1:
        state[key("choose.lane")] = lane
        row.selectbox(
            "Of",
            range(len(traces)),
            key=key("choose.lane"),
            format_func=lambda at: traces[at].name,
            on_change=_take_choice,
            width=150,
        )
    state[key("choose.token")] = state.get(key("token"))
    row.number_input(
        "Token",
        0,
        max(len(traces[lane]) - 1, state.get(key("token")) or 0),
        value=None,
        key=key("choose.token"),
        on_change=_take_choice,
        placeholder="newest",
        width=150,
        help="Or click a token above.",
    )
    following = state.get(key("token")) is None
    row.button(
        "Follow the newest",
        key=key("follow"),
        type="tertiary",
        disabled=following,
        on_click=_follow,
        help="The newest token is followed already." if following else None,
    )


def _take_choice() -> None:
    state = st.session_state
    state[key("token")] = state[key("choose.token")]
    if key("choose.lane") in state:
        state[key("lane")] = state[key("choose.lane")]


def _follow() -> None:
    st.session_state[key("token")] = None
