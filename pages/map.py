"""Map: which experts, or tokens, are alike?

PCA at once; UMAP arrives when its process is ready. A lasso brings the tokens behind the points to the right.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from pages.parts import map_data
from pages.parts.faults import in_words
from pages.parts.frame import START, follow, framed
from pages.parts.map_controls import PREFIX, choice_of, fields, show_controls, words_by
from pages.parts.map_downloads import show_downloads
from pages.parts.map_tokens import show_points
from pages.parts.selection import key, remember, settle, to_address
from pages.parts.words import count, identity, plain
from workbench import session
from workbench.analysis.projection import MapTable
from workbench.capture import Capture, CaptureError
from workbench.jobs import FINISHED

HEIGHT = 620  # pixels of the map


def main() -> None:
    """Draw the page."""
    place = session.chosen()
    st.title("Which experts, or tokens, are alike?")
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
    except CaptureError as fault:
        st.error(in_words(fault, 600))
        st.page_link(START, label="Choose another capture on Start", icon=":material/home:")
        return
    st.caption(f"{plain(place.name)} · {identity(capture.manifest)}")
    known = fields(capture)
    settle(place.id, known, st.session_state, st.query_params.to_dict(), PREFIX)
    with st.sidebar:
        show_controls(capture)
    chosen = {name: st.session_state[key(name, PREFIX)] for name in known}
    try:
        _map(place, capture, chosen)
    except CaptureError as fault:
        st.info(in_words(fault, 500))
    wanted = to_address(place.id, chosen, known)
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)
    remember(place.id, chosen, wanted, st.session_state, PREFIX)


def _map(place: session.Place, capture: Capture, chosen: dict[str, Any]) -> None:
    choice = choice_of(place, capture, chosen)
    table = map_data.pca_of(choice)
    if chosen["method"] == "umap":
        table = _umap(place, choice) or table
    words = words_by(choice, chosen["colour"])
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.markdown(_answer(table))
        selected = _chart(table, choice, chosen, words)
        st.caption(plain(table.caption, limit=1500))
        trust = st.empty()
        show_downloads(place, choice, table, chosen["colour"], words)
    with right:
        show_points(place, capture, choice, table, selected, HEIGHT - 40)
    # Last, because scikit-learn takes a moment to load: the picture stands already.
    with trust.container():
        _trust(choice, table)


def _chart(
    table: MapTable, choice: map_data.Choice, chosen: dict[str, Any], words: list[str | None] | None
) -> list[int]:
    """The map; returns the numbers of the points inside the lasso."""
    from workbench.figures.interactive_map import scatter

    figure = scatter(table, chosen["colour"], words=words, height=HEIGHT)
    # Another map is another chart: a lasso round points of one must not pick those of the other.
    name = f"map.chart.{abs(hash((choice, table.method, chosen['colour'])))}"
    event: Any = st.plotly_chart(
        figure,
        key=name,
        on_select="rerun",
        selection_mode=("points", "lasso"),
        config={"displaylogo": False, "scrollZoom": True},
        alt=table.caption,
    )
    points = event["selection"]["points"] if event else []
    return sorted({int(point["customdata"][0]) for point in points if point.get("customdata")})


def _answer(table: MapTable) -> str:
    """One sentence: what is on the map."""
    n = len(table.xy)
    what = count(n, "expert") if table.features.kind == "experts" else count(n, "token")
    if table.features.kind == "tokens" and n < table.features.seen:
        what = f"{n:,} of {count(table.features.seen, 'token')}"
    if table.explained is not None:
        return f"**{what}**: the two axes hold **{table.explained.sum():.0%}** of the variance. Draw a lasso round points to read their tokens."
    return f"**{what}**, neighbours kept together by UMAP. Draw a lasso round points to read their tokens."


def _umap(place: session.Place, choice: map_data.Choice) -> MapTable | None:
    """The layout, or None while its job runs: it is started here when it was not yet."""
    found = map_data.umap_of(choice)
    if found is not None:
        return found
    layouts = map_data.layouts()
    number = layouts.job(choice)
    job = session.jobs().get(number) if number is not None else None
    state = job.snapshot().state if job is not None else None
    if state in ("failed", "cancelled"):
        said = job.snapshot().error if job is not None and state == "failed" else "UMAP was stopped, so PCA is shown."
        st.info(plain(said or "UMAP failed, so PCA is shown.", limit=400))
        if st.button("Lay out again", key="map.again", icon=":material/replay:"):
            _start(place, choice)
            st.rerun()
        return None
    if state is None or state in FINISHED:
        _start(place, choice)
    st.info(
        "PCA is shown until UMAP is ready: its progress and Cancel stand under Jobs on the left. The first rounds take half a minute or more, "
        "because it compiles itself.",
        icon=":material/hourglass_top:",
    )
    return None


def _start(place: session.Place, choice: map_data.Choice) -> None:
    features = map_data.features_of(choice)
    job = session.jobs().start(
        f"UMAP of {count(len(features.rows), features.kind.removesuffix('s'))}, {place.name}",
        partial(map_data.lay_out, features, choice, map_data.layouts()),
    )
    map_data.layouts().note(choice, job.id)
    follow(job.id)


def _trust(choice: map_data.Choice, table: MapTable) -> None:
    value, n = map_data.trust_of(choice, table.method, table)
    st.markdown(
        f"Trustworthiness **{value:.2f}** of 1 (n = {n:,} points)",
        help="Part of the neighbours on the map that are neighbours in all dimensions too: 1 means all of them, about 0.5 what a random map "
        "would give (Venna and Kaski 2001).",
    )


framed(main)
