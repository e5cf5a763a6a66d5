"""The curve on the Elastic page: which one it is, the answer in one sentence, the figure and what it gives away."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from pages.parts.downloads import FIGURES, NUMBERS
from pages.parts.words import count, plain
from workbench.analysis.curve import MEASURES, Curve, CurveTable, load_curve, measure_words
from workbench.elastic.places import CurvePlace

CHART = "elastic.chart"


def open_curve(place: CurvePlace) -> Curve:
    """The curve, kept while its file does not change.

    Raises:
        CaptureError: saying what is wrong with its file.
    """
    return _open(str(place.path), place.stamp)


@st.cache_resource(max_entries=8, show_spinner=False)
def _open(path: str, stamp: str) -> Curve:
    return load_curve(path)


def identity(place: CurvePlace, curve: Curve) -> str:
    """The line that names what is shown."""
    first = curve.rows.iloc[0]
    gathered = int((curve.rows.get("measured") == "gathered").sum()) if "measured" in curve.rows else 0
    clock = f"{gathered} timed with weights gathered" if gathered else "none timed"
    parts = [
        plain(str(first.get("model", "unknown model"))),
        f"{plain(str(first.get('dtype', '')))} on {plain(str(first.get('device', '')))}",
        f"{count(len(curve.rows), 'sub-model')}, {clock}",
        f"n = {count(int(first.get('documents', 0)), 'document')}, {int(first.get('tokens', 0)):,} predicted tokens",
        plain(str(first.get("created", ""))[:10]),
    ]
    own = [plain(place.name)] if plain(place.name) != parts[0] else []
    return " · ".join([*own, *(part for part in parts if part.strip())])


def measure_name(curve: Curve, measure: str, group: str) -> str:
    """The words of a measure of quality; a task's name already says what it is."""
    title, unit = measure_words(curve, measure, group)
    return f"{title} ({unit})" if measure in MEASURES else title


def described(table: CurveTable, point: int) -> str:
    """A point in plain words: what is left of the whole model."""
    if table.full[point]:
        return "the whole model"
    whole = np.flatnonzero(table.full)
    parts = []
    for values, one, many in ((table.depth, "layer", "layers"), (table.experts, "expert a layer", "experts a layer")):
        if np.isnan(values[point]):
            return table.names[point]
        of = f" of {int(values[whole[0]])}" if len(whole) else ""
        parts.append(f"{int(values[point])}{of} {one if values[point] == 1 and not of else many}")
    return ", ".join([*parts, f"{int(table.chosen[point])} chosen for a token"])


def half_price(table: CurveTable) -> int:
    """The best point that costs at most half of what the whole model does, else the cheapest; a place in the table."""
    whole = table.x[table.full]
    limit = float(whole[0]) / 2 if len(whole) else float(np.median(table.x))
    inside = np.flatnonzero(table.x <= limit)
    if not len(inside):
        return int(table.x.argmin())
    badness = table.y if table.better == "lower" else -table.y
    return int(min(inside, key=lambda point: (badness[point], table.x[point])))


def answer(table: CurveTable) -> str:
    """One sentence: what half the price costs in quality."""
    whole = np.flatnonzero(table.full)
    place = half_price(table)
    title = table.x_title.partition(" (")[0].lower()
    if not len(whole):
        return f"The cheapest of {count(len(table.names), 'sub-model')} is **{plain(described(table, place))}**; the whole model was not measured."
    full = int(whole[0])
    share = table.x[place] / table.x[full]
    change = table.y[place] - table.y[full]
    measure = MEASURES.get(table.measure, (table.measure, ""))[0].lower()
    if place == full:
        return f"No sub-model costs less than the whole model in {title}."
    meaning = "worse" if (change > 0) == (table.better == "lower") else "better"
    return (
        f"At {share:.0%} of the whole model's {title}, the best sub-model is **{plain(described(table, place))}**: {measure} {table.y[place]:.2f} "
        f"instead of {table.y[full]:.2f}, {abs(change):.2f} {meaning}, without any training in between."
    )


def show_figure(place: CurvePlace, table: CurveTable, picked: int) -> None:
    """The figure, its caption and its downloads."""
    from workbench.figures.interactive_elastic import elastic

    st.plotly_chart(
        elastic(table, table.names[picked]),
        key=CHART,
        on_select=_click,
        selection_mode="points",
        config={"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]},
        alt=table.caption,
    )
    st.caption(plain(table.caption, limit=1000))
    _downloads(place, table)


def _click() -> None:
    """Note the point that was clicked."""
    event: Any = st.session_state.get(CHART)
    points = event["selection"]["points"] if event else []
    data = points[0].get("customdata") if points else None
    if data:
        st.session_state["elastic.clicked"] = int(data[0])


def _downloads(place: CurvePlace, table: CurveTable) -> None:
    name = f"{place.name}-{table.cost}"
    row = st.container(horizontal=True, vertical_alignment="center", gap="small", key="elastic.downloads")
    row.caption(":material/download: Figure", width="content")
    for form, mime in FIGURES.items():
        _button(row, form.upper(), f"{name}.{form}", mime, lambda form=form: _figure_bytes(table, form))
    row.caption("· Numbers", width="content")
    for form, mime in NUMBERS.items():
        label = form.upper() if form != "parquet" else "Parquet"
        _button(row, label, f"{name}.{form}", mime, lambda form=form: _number_bytes(table, form))
    row.caption("· Whole curve", width="content")
    _button(
        row,
        "curve.parquet",
        f"{place.name}.curve.parquet",
        NUMBERS["parquet"],
        (place.path / "curve.parquet").read_bytes,
    )


def _button(row: Any, label: str, name: str, mime: str, make: Any) -> None:
    row.download_button(
        label, data=make, file_name=name, mime=mime, key=f"elastic.download.{label}", type="tertiary", on_click="ignore"
    )


def _figure_bytes(table: CurveTable, form: str) -> bytes:
    from workbench import export
    from workbench.figures import paper_elastic

    return export.figure_bytes(paper_elastic.elastic(table), form)


def _number_bytes(table: CurveTable, form: str) -> bytes:
    from workbench import export

    return export.frame_bytes(table.frame(), form)
