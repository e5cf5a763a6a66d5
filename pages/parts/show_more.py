"""The tab "More measures" of Routing: choose one, read its answer, its figure, its downloads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from pages.parts.downloads import show_downloads
from pages.parts.faults import in_words
from pages.parts.more_views import MORE, table_of
from pages.parts.selection import key
from pages.parts.words import plain
from workbench import session
from workbench.capture import Capture, CaptureError


def show_more(place: session.Place, capture: Capture, chosen: Mapping[str, Any]) -> None:
    """Draw the chosen measure, or say what it needs."""
    st.pills(
        "Measure",
        list(MORE),
        key=key("more"),
        format_func=lambda slug: MORE[slug].label,
        required=True,
        label_visibility="collapsed",
    )
    slug = chosen["more"]
    more = MORE[slug]
    st.caption(more.asks)
    try:
        table = table_of(place, capture, slug, chosen)
    except CaptureError as fault:
        st.info(in_words(fault, 400))
        return
    if table is None:
        st.info(
            "This is being counted; how far it is stands in the list of jobs on the left, and the figure comes by itself."
        )
        return
    st.markdown(more.answer(table))
    st.plotly_chart(
        more.figure(table, chosen, capture), key="routing.chart.more", config={"displaylogo": False}, alt=table.caption
    )
    st.caption(plain(table.caption, limit=2000))
    show_downloads(place, slug, lambda: more.paper(table, chosen, capture), table.frame)
    if slug == "vocabulary" and len(table.top):
        with st.expander("Most bound tokens"):
            st.dataframe(table.top, key="routing.more.top", hide_index=True)
