"""The right side of Map: the tokens behind the points inside the lasso, in context."""

from __future__ import annotations

import streamlit as st

from pages.parts.context import contexts_html, legend_html
from pages.parts.map_data import Choice
from pages.parts.tokens import IN_FILE, SHOWN, examples_of
from pages.parts.words import count, plain
from workbench import session
from workbench.analysis.examples import Examples, tokens_at
from workbench.analysis.projection import MapTable
from workbench.analysis.words import site_title
from workbench.capture import Capture
from workbench.figures.map_style import shown
from workbench.figures.style import group_styles

MOST_NAMED = 200  # points that can be picked by name; more are picked by the lasso


@st.cache_data(max_entries=32, show_spinner=False)
def picked_tokens(place_id: str, stamp: str, stack: str, places: tuple[tuple[str, int], ...], limit: int) -> Examples:
    """`tokens_at` of a capture at hand."""
    place = session.find(place_id)
    if place is None:
        raise session.gone()
    return tokens_at(session.open_capture(place), stack, places, limit=limit)


def show_points(
    place: session.Place, capture: Capture, choice: Choice, table: MapTable, selected: list[int], height: int
) -> None:
    """Draw the panel; without a lasso, points can be picked by name."""
    if table.features.kind == "experts":
        _experts(place, capture, table, selected, height)
    else:
        _tokens(place, capture, choice, table, selected, height)


def _experts(place: session.Place, capture: Capture, table: MapTable, selected: list[int], height: int) -> None:
    rows = table.features.rows
    among = selected or list(range(len(rows)))
    st.markdown(f"**{count(len(selected), 'expert')} in the lasso**" if selected else "**Tokens behind an expert**")
    known = [index for index in among if 0 <= index < len(rows)]
    if st.session_state.get("map.expert") not in known:
        st.session_state["map.expert"] = max(known, key=lambda index: int(rows["n_choices"].iloc[index]))
    index = st.selectbox(
        "Expert",
        known,
        key="map.expert",
        format_func=lambda point: (
            f"{site_title(capture.site(rows['site'].iloc[point])).capitalize()}, expert {rows['expert'].iloc[point]}"
        ),
        help="Of the lasso, or of all when nothing is picked.",
    )
    if not capture.has("tokens"):
        st.info(
            "This capture holds counts but no token rows, so the tokens themselves cannot be shown. Record the files again on Start, which keeps them."
        )
        return
    cell = str(rows["site"].iloc[index]), int(rows["expert"].iloc[index])
    examples = examples_of(place.id, place.stamp, *cell, None, None, "strongest", SHOWN)
    share = f" ({examples.found / examples.rows:.1%})" if examples.rows else ""
    st.caption(
        f"{len(examples.contexts):,} passages for {examples.found:,} of {count(examples.rows, 'token')} that chose it{share}, strongest first."
    )
    st.html(legend_html(examples.strongest))
    _passages(capture, examples, height - 60)
    st.caption("A token in colour chose this expert; that shows where the expert is used, not what it does.")


def _tokens(
    place: session.Place, capture: Capture, choice: Choice, table: MapTable, selected: list[int], height: int
) -> None:
    rows = table.features.rows
    st.markdown(f"**{count(len(selected), 'token')} in the lasso**" if selected else "**Tokens behind points**")
    if not selected:
        counts = rows["token"].value_counts()
        words = [word for word in counts.index[:MOST_NAMED] if word]
        word = st.selectbox(
            "Or pick a text",
            words,
            index=None,
            key="map.word",
            format_func=lambda text: f"{shown(text)} ({counts[text]:,} points)",
            placeholder="a token",
            disabled=not words,
            help="All points of this text." if words else "The texts were left out of this capture: use the lasso.",
        )
        if word is None:
            st.info("Draw a lasso round points of the map: their tokens stand here, in context.")
            return
        selected = [index for index, text in enumerate(rows["token"]) if text == word]
    picked = rows.iloc[[index for index in selected if 0 <= index < len(rows)]]
    groups = picked["group"].value_counts()
    st.caption(
        "By group: "
        + ", ".join(f"{plain(str(name), 40)} {number:,}" for name, number in groups.items())
        + f" · n = {len(picked):,} points"
    )
    places = tuple(zip(picked["document"].tolist(), picked["position"].astype(int).tolist(), strict=True))
    stack = str(picked["stack"].iloc[0])
    examples = picked_tokens(place.id, place.stamp, stack, places, SHOWN)
    if not examples.has_text:
        st.caption("The texts were left out of this capture: a square stands for each token.")
    _passages(capture, examples, height - 60)
    st.caption(
        f"A token in colour is inside the lasso; {len(examples.contexts):,} passages at random of {examples.found:,} tokens."
    )
    st.download_button(
        "These tokens as CSV",
        data=lambda: _csv(place, stack, places),
        file_name=f"{place.name}-map-tokens.csv",
        mime="text/csv",
        key="map.tokens.csv",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
        help=f"Up to {IN_FILE:,} contexts with document, position, group and the text around.",
    )


def _csv(place: session.Place, stack: str, places: tuple[tuple[str, int], ...]) -> bytes:
    frame = picked_tokens(place.id, place.stamp, stack, places, IN_FILE).frame()
    return frame.drop(columns=["site", "expert", "gate_weight"]).to_csv(index=False).encode()


def _passages(capture: Capture, examples: Examples, height: int) -> None:
    styles = group_styles(capture.manifest.groups)
    with st.container(height=height, border=True, key="map.contexts"):
        st.html(contexts_html(examples, {name: style.colour for name, style in styles.items()}))
