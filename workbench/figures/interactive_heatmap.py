"""The site x expert heat map for the page, drawn with Plotly; `workbench.figures.interactive` gives it out.

Choices made here:
- Plotly reports no clicks on a heat map, so a transparent square marker lies over every cell: it carries the hover text, and a
  click or selection on it brings `customdata` = [site id, expert, ...]. The axis ranges are fixed, because markers widen them.
- Every heat map has the same layers: colours, grey for few tokens, hatching where there is nothing to colour.
- Names come from users and files: they are escaped, since Plotly reads a part of HTML in its texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go

from workbench.analysis.tables import HeatmapTable
from workbench.analysis.words import site_title
from workbench.figures.marks import VEIL, VEIL_STRENGTH, CellMarks
from workbench.figures.style import (
    ABSENT_COLOUR,
    FEW_COLOUR,
    SIGNED,
    GroupStyle,
    Scale,
    column_of,
    heatmap_scale,
    n_words,
    runs,
    site_axis,
    site_labels,
    thin_ticks,
)

CLEAR = "rgba(0,0,0,0)"


# ---------------------------------------------------------------------------------------------- site x expert
def heatmap(
    table: HeatmapTable,
    *,
    selected: tuple[str, int] | None = None,
    limit: float | None = None,
    height: int | None = None,
    marks: CellMarks | None = None,
) -> go.Figure:
    """Sites x experts of one group: utilisation, share, gate weight or specialisation.

    Args:
        table: from analysis.load.heatmap_table or analysis.specialisation.specialisation_table.
        selected: (site id, expert) to frame.
        limit: half range of a diverging scale in log2 units; default from the data.
        height: in pixels; default from the number of sites.
        marks: from figures.marks; cells within the null or noise are drawn pale.

    Returns:
        A figure whose trace "cells" carries customdata [site id, expert, number, count, share, n, note] for every cell.
    """
    scale = heatmap_scale([table], limit)[0]
    rows, experts = table.values.shape
    figure = go.Figure()
    figure.add_trace(coloured(scale))
    if marks is not None:
        veil(figure, marks)
    _grey_rows(figure, table)
    _hatch(figure, table)
    figure.add_trace(_cells(table, None if marks is None else marks.notes))
    labels = site_labels(table.sites)
    ticks = thin_ticks(rows, 30)
    figure.update_layout(
        height=height or int(np.clip(170 + rows * (26 if rows <= 12 else 9), 260, 900)),
        margin={"l": 60, "r": 20, "t": 44, "b": 50},
        title={"text": f"{column_of(table)}: {escape(table.group)}, {n_words(table.n)}", "font": {"size": 15}},
        clickmode="event+select",
        hovermode="closest",
        hoverdistance=200,  # px: a cell is hit anywhere, since its own marker is always the nearest
        showlegend=bool(table.few.any() or not table.exists.all() or marks is not None),
        legend={"orientation": "h", "y": 1.02, "x": 1, "xanchor": "right", "yanchor": "bottom"},
        xaxis={
            "title": "expert",
            "range": [-0.5, experts - 0.5],
            "showgrid": False,
            "zeroline": False,
            "constrain": "domain",
        },
        yaxis={
            "title": site_axis(table.sites),
            "range": [rows - 0.5, -0.5],  # first layer on top
            "tickvals": ticks,
            "ticktext": [escape(labels[index]) for index in ticks],
            "showgrid": False,
            "zeroline": False,
        },
    )
    if selected is not None:
        site, expert = selected
        ids = [site.id for site in table.sites]
        if site in ids:
            y = ids.index(site)
            box = {"type": "rect", "x0": expert - 0.5, "x1": expert + 0.5, "y0": y - 0.5, "y1": y + 0.5}
            figure.add_shape(**box, line={"color": "white", "width": 4})
            figure.add_shape(**box, line={"color": "black", "width": 2})
    return figure


def specialisation(table: HeatmapTable, **options: object) -> go.Figure:
    """The heat map of a specialisation table, diverging around 0; options as `heatmap`."""
    return heatmap(table, **options)  # type: ignore[arg-type]


def coloured(scale: Scale) -> go.Heatmap:
    """The coloured layer with its colour bar; it takes no hover."""
    return go.Heatmap(
        name="colours",
        z=scale.colour,
        zmin=scale.low,
        zmax=scale.high,
        zmid=scale.centre,
        colorscale=plotly_scale(scale.colours),
        hoverinfo="skip",
        showlegend=False,
        colorbar={
            "title": {"text": scale.title, "side": "right"},
            "tickvals": list(scale.ticks),
            "ticktext": list(scale.labels),
            "thickness": 14,
            "outlinewidth": 0,
        },
    )


def plotly_scale(colours: Sequence[str]) -> list[list[object]]:
    """Evenly spaced colours in Plotly's form."""
    return [[index / (len(colours) - 1), colour] for index, colour in enumerate(colours)]


def veil(figure: go.Figure, marks: CellMarks) -> None:
    """A pale cover over the cells that cannot be told from the null or from noise, and its entry in the legend."""
    figure.add_trace(
        go.Heatmap(
            name="veil",
            z=np.where(marks.veil, 1.0, np.nan),
            zmin=0,
            zmax=1,
            colorscale=[[0, VEIL], [1, VEIL]],
            opacity=VEIL_STRENGTH,
            showscale=False,
            hoverinfo="skip",
        )
    )
    figure.add_trace(legend_square(marks.label, VEIL).update(marker={"line": {"width": 1, "color": ABSENT_COLOUR}}))


def _grey_rows(figure: go.Figure, table: HeatmapTable) -> None:
    """A grey cover over sites with few tokens."""
    few = table.few & (table.n > 0)
    grey = np.where(few[:, None] & table.exists, 1.0, np.nan)
    if few.any():
        figure.add_trace(
            go.Heatmap(
                name="few",
                z=grey,
                zmin=0,
                zmax=1,
                colorscale=[[0, FEW_COLOUR], [1, FEW_COLOUR]],
                showscale=False,
                hoverinfo="skip",
            )
        )
        figure.add_trace(legend_square("few tokens", FEW_COLOUR))


def _hatch(figure: go.Figure, table: HeatmapTable) -> None:
    """Hatching where a site has no such expert, and where it saw no token."""
    experts = table.exists.shape[1]
    number = table.exists.sum(axis=1)
    boxes: dict[str, list[tuple[int, int, int, int]]] = {
        "no such expert": [],
        "no tokens": [],
    }  # left, right, top, bottom
    for count in np.unique(number[number < experts]):
        boxes["no such expert"] += [(int(count), experts, start, stop) for start, stop in runs(number == count)]
    for count in np.unique(number[table.n == 0]):
        boxes["no tokens"] += [(0, int(count), start, stop) for start, stop in runs((number == count) & (table.n == 0))]
    for name, shape in (("no such expert", "/"), ("no tokens", "x")):
        if not boxes[name]:
            continue
        x: list[float | None] = []
        y: list[float | None] = []
        for left, right, top, bottom in boxes[name]:
            x += [left - 0.5, right - 0.5, right - 0.5, left - 0.5, left - 0.5, None]
            y += [top - 0.5, top - 0.5, bottom - 0.5, bottom - 0.5, top - 0.5, None]
        figure.add_trace(
            go.Scatter(
                name=name,
                x=x,
                y=y,
                mode="lines",
                fill="toself",
                fillcolor=CLEAR,
                line={"width": 0},
                fillpattern={"shape": shape, "fgcolor": ABSENT_COLOUR, "size": 7, "solidity": 0.15},
                hoverinfo="skip",
                showlegend=True,
            )
        )


def legend_square(name: str, colour: str) -> go.Scatter:
    """An entry of the legend that draws nothing else."""
    return go.Scatter(
        name=name,
        x=[None],
        y=[None],
        mode="markers",
        marker={"symbol": "square", "size": 12, "color": colour},
        hoverinfo="skip",
    )


def legend_line(name: str, style: GroupStyle, group: str | None = None) -> go.Scatter:
    """A line in the legend alone: that of the points would take the colour of the first one, which may be grey.

    Args:
        name: escaped. group: the legend group of the traces that it switches, default the name.
    """
    return go.Scatter(
        x=[None],
        y=[None],
        mode="lines+markers",
        name=name,
        legendgroup=group or name,
        hoverinfo="skip",
        marker={"size": 7, "symbol": style.marker, "color": style.colour},
        line={"color": style.colour, "dash": style.dash, "width": 1.5},
    )


def _cells(table: HeatmapTable, notes: np.ndarray | None) -> go.Scattergl:
    """The transparent markers that take hover, click and selection."""
    row, expert = np.nonzero(table.exists)
    ids = np.array([site.id for site in table.sites], dtype=object)
    titles = np.array([site_title(site) for site in table.sites], dtype=object)
    note = np.full(len(row), "", dtype=object)
    note[table.identity[row, expert]] = "<br>identity expert: holds no weights"
    if notes is not None:
        note = note + notes[row, expert]
    note[table.few[row]] = "<br>few tokens: not to be read"
    note[table.n[row] == 0] = "<br>no tokens of this group here"
    data = np.empty((len(row), 8), dtype=object)
    data[:, 0] = ids[row]  # what a click gives
    data[:, 1] = expert
    data[:, 2] = _words(table.values[row, expert], "{:+.2f}" if table.measure in SIGNED else "{:.2f}")
    data[:, 3] = table.count[row, expert]
    data[:, 4] = _words(table.share[row, expert] * 100, "{:.2f} %")
    data[:, 5] = table.n[row]
    data[:, 6] = note
    data[:, 7] = titles[row]
    number = {
        "utilisation": "load %{customdata[2]} times even<br>",
        "mass": "gate weight %{customdata[2]} times even<br>",
        "specialisation": "log2 of share over the others' share %{customdata[2]}<br>",
        "difference": "difference in log2 of load %{customdata[2]}<br>",
        "share": "",
    }[table.measure]
    return go.Scattergl(
        name="cells",
        x=expert.astype(np.int32),
        y=row.astype(np.int32),
        mode="markers",
        marker={"symbol": "square", "size": 8, "color": CLEAR, "line": {"width": 0}},
        selected={"marker": {"color": CLEAR}},
        unselected={"marker": {"color": CLEAR}},
        customdata=data,
        hovertemplate=(
            "<b>%{customdata[7]}, expert %{customdata[1]}</b><br>"
            + number
            + "chosen %{customdata[3]:,} times: %{customdata[4]} of n = %{customdata[5]:,} tokens%{customdata[6]}<extra></extra>"
        ),
        showlegend=False,
    )


def _words(values: np.ndarray, form: str) -> list[str]:
    return ["–" if value != value else form.format(value) for value in values.tolist()]
