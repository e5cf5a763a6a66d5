"""What the Map page gives away: the figure as HTML and for paper, the coordinates with their labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from pages.parts.downloads import FIGURES, NUMBERS
from pages.parts.map_data import Choice
from workbench import session
from workbench.analysis.projection import MapTable


def show_downloads(
    place: session.Place, choice: Choice, table: MapTable, by: str, words: list[str | None] | None
) -> None:
    """The row of buttons under the map."""
    stem = f"{place.name}-map-{choice.what}-{table.method}"
    row = st.container(horizontal=True, vertical_alignment="center", gap="small", key="map.downloads")
    row.caption(":material/download: Figure", width="content")

    def page() -> bytes:
        from workbench import export
        from workbench.figures.interactive_map import scatter

        return export.plotly_html(scatter(table, by, words=words, height=760)).encode()

    def paper(form: str) -> bytes:
        from workbench import export
        from workbench.figures import paper_map

        return export.figure_bytes(paper_map.scatter(table, by, words=words), form)

    def numbers(form: str) -> bytes:
        from workbench import export

        frame = table.frame()
        return export.frame_bytes(frame if words is None else frame.assign(token=words), form)

    _button(row, "HTML", f"{stem}.html", "text/html", page)
    for form, mime in FIGURES.items():
        _button(row, form.upper(), f"{stem}.{form}", mime, lambda form=form: paper(form))
    row.caption("· Coordinates", width="content")
    for form, mime in NUMBERS.items():
        label = "Parquet" if form == "parquet" else form.upper()
        _button(row, label, f"{stem}.{form}", mime, lambda form=form: numbers(form))


def _button(row: Any, label: str, name: str, mime: str, make: Callable[[], bytes]) -> None:
    row.download_button(
        label,
        data=make,
        file_name=name,
        mime=mime,
        key=f"map.download.{label.lower()}",
        type="tertiary",
        on_click="ignore",
    )
