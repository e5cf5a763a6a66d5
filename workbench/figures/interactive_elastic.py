"""The curve of sub-models for the page: quality against what it costs; every point tells its three axes and n."""

from __future__ import annotations

from html import escape

import numpy as np
import plotly.graph_objects as go

from workbench.analysis.curve import CurveTable
from workbench.figures.elastic_style import (
    FRONT_COLOUR,
    FULL_COLOUR,
    PALE,
    SHAPES,
    STRONG,
    front_steps,
    look,
    shape_name,
)
from workbench.figures.style import NEUTRAL, SEQUENTIAL

HEIGHT = 520


def elastic(table: CurveTable, picked: str | None = None) -> go.Figure:
    """Quality against one cost.

    Args:
        table: from `analysis.curve.curve_table`.
        picked: words of the sub-model to ring.

    Returns:
        A figure whose points carry their number in the table as `customdata[0]`.
    """
    drawn = look(table)
    figure = go.Figure()
    x, y = front_steps(table)
    # From a front point on, its quality is what can be had, until the next one is affordable.
    figure.add_trace(
        go.Scatter(
            x=x,
            y=y,
            mode="lines",
            name="Pareto front",
            line={"color": FRONT_COLOUR, "width": 1.5, "shape": "hv"},
            hoverinfo="skip",
        )
    )
    _bars(figure, table)
    for number, chosen in enumerate(drawn.shapes):
        points = np.flatnonzero((drawn.shape == number % len(SHAPES)) & ~table.full)
        points = points[np.nan_to_num(table.chosen[points], nan=0.0).astype(int) == chosen]
        if len(points):
            figure.add_trace(_points(table, points, drawn.size, SHAPES[number % len(SHAPES)], shape_name(chosen)))
    whole = np.flatnonzero(table.full)
    if len(whole):
        trace = _points(table, whole, np.full(len(table.x), 19.0), "star", "whole model")
        trace.marker.update(color=FULL_COLOUR, opacity=1.0, coloraxis=None)
        figure.add_trace(trace)
    if picked in table.names:
        place = table.names.index(picked)
        figure.add_trace(
            go.Scatter(
                x=[table.x[place]],
                y=[table.y[place]],
                mode="markers",
                name="chosen",
                hoverinfo="skip",
                showlegend=False,
                marker={"symbol": "circle-open", "size": 26, "color": FRONT_COLOUR, "line": {"width": 2}},
            )
        )
    steps = sorted({int(depth) for depth in table.depth[~np.isnan(table.depth)]})
    figure.update_layout(
        height=HEIGHT,
        margin={"l": 10, "r": 10, "t": 36, "b": 10},
        xaxis={"title": table.x_title, "rangemode": "tozero" if _near_zero(table.x) else "normal"},
        yaxis={"title": table.y_title},
        coloraxis={
            "colorscale": [list(pair) for pair in zip(np.linspace(0, 1, len(SEQUENTIAL)).tolist(), SEQUENTIAL, strict=True)],
            "cmin": drawn.low, "cmax": drawn.high,
            "colorbar": {"title": {"text": "layers"}, "thickness": 12, "tickvals": steps if len(steps) <= 12 else None},
        },
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        clickmode="event+select",
        hoverlabel={"align": "left"},
    )  # fmt: skip
    return figure


def _points(table: CurveTable, points: np.ndarray, size: np.ndarray, symbol: str, name: str) -> go.Scatter:
    return go.Scatter(
        x=table.x[points],
        y=table.y[points],
        mode="markers",
        name=name,
        marker={
            "symbol": symbol,
            "size": size[points],
            "color": table.depth[points],
            "coloraxis": "coloraxis",
            "opacity": np.where(table.front[points], STRONG, PALE),
            "line": {
                "width": np.where(table.front[points], 1.5, 0.5),
                "color": FRONT_COLOUR if table.front[points].any() else NEUTRAL,
            },
        },
        customdata=[[int(point)] for point in points],
        text=[_words(table, int(point)) for point in points],
        hovertemplate="%{text}<extra></extra>",
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": PALE}},
    )


def _bars(figure: go.Figure, table: CurveTable) -> None:
    """Intervals of the front's points; of all of them they would hide the points."""
    chosen = np.flatnonzero(table.front)
    for axis, low, high, middle in (
        ("y", table.y_low, table.y_high, table.y),
        ("x", table.x_low, table.x_high, table.x),
    ):
        points = chosen[~np.isnan(low[chosen]) & ~np.isnan(high[chosen])]
        if not len(points):
            continue
        error = {
            "type": "data", "symmetric": False, "array": high[points] - middle[points], "arrayminus": middle[points] - low[points],
            "thickness": 1, "width": 3, "color": NEUTRAL,
        }  # fmt: skip
        figure.add_trace(
            go.Scatter(
                x=table.x[points],
                y=table.y[points],
                mode="markers",
                marker={"size": 1, "color": NEUTRAL},
                hoverinfo="skip",
                name="95 % interval",
                legendgroup="interval",
                showlegend=False,
                **{f"error_{axis}": error},
            )
        )


def _words(table: CurveTable, point: int) -> str:
    layers, experts, top_k = table.axes[point]
    spread = "" if np.isnan(table.y_low[point]) else f" [{table.y_low[point]:.3f}, {table.y_high[point]:.3f}]"
    clock = "" if np.isnan(table.x_low[point]) else f" [{table.x_low[point]:.4g}, {table.x_high[point]:.4g}]"
    n = [] if np.isnan(table.documents[point]) else [f"{int(table.documents[point]):,} documents"]
    n += [] if np.isnan(table.tokens[point]) else [f"{int(table.tokens[point]):,} tokens"]
    lines = [
        f"<b>{'The whole model' if table.full[point] else escape(table.names[point])}</b>",
        f"layers {escape(layers)}{_count(table.depth[point])} · experts {escape(experts)}{_count(table.experts[point])} · top-k {escape(top_k)}{_count(table.chosen[point])}",
        f"{escape(table.y_title)}: {table.y[point]:.3f}{spread}",
        f"{escape(table.x_title)}: {table.x[point]:.4g}{clock}",
        f"n = {', '.join(n) or 'not told'}{' · on the Pareto front' if table.front[point] else ''}",
    ]
    return "<br>".join(lines)


def _count(number: float) -> str:
    return "" if np.isnan(number) else f" ({int(number)})"


def _near_zero(x: np.ndarray) -> bool:
    return bool(len(x)) and float(x.min()) < 0.35 * float(x.max())
