"""Curves of training runs for the page, drawn with Plotly from `analysis.curves`, and routing that plays over time.

    curves      panels with lines by step; two runs: solid and dotted
    playback    the heat map of every capture of a run as frames of one figure, with a slider and a play button

Names come from users and files: they are escaped, since Plotly reads a part of HTML in its texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.analysis.curves import ALL, CurvesTable
from workbench.analysis.tables import HeatmapTable
from workbench.capture import CaptureError
from workbench.figures.curve_style import columns_of, line_colours, run_dash
from workbench.figures.interactive_heatmap import plotly_scale
from workbench.figures.style import FEW_COLOUR, NEUTRAL, heatmap_scale, site_axis, site_labels, thin_ticks

PANEL_HEIGHT = 250  # pixels
MOST_MARKERS = 40  # points up to which a line shows them


def curves(table: CurvesTable, *, columns: int | None = None) -> go.Figure:
    """A panel for each of the table's, lines by step.

    Args:
        table: from analysis.curves. columns: panels side by side, default by their number.
    """
    wide = columns or columns_of(len(table.panels))
    rows = -(-len(table.panels) // wide)
    figure = make_subplots(
        rows=rows,
        cols=wide,
        subplot_titles=[escape(panel.title) for panel in table.panels],
        horizontal_spacing=0.1 if wide > 1 else 0,
        vertical_spacing=0.3 / rows if rows > 1 else 0,
    )
    colours = line_colours(table)
    shown: set[str] = set()
    for curve in table.curves:
        row, column = divmod(curve.panel, wide)
        at = {"row": row + 1, "col": column + 1}
        colour, dash = colours[curve.name], run_dash(table, curve.run, curve.name)
        label = curve.name if len(table.runs) == 1 else f"{curve.name} · {curve.run}"
        if curve.low is not None and curve.high is not None:
            figure.add_trace(_band(curve.x, curve.low, curve.high, colour), **at)
        figure.add_trace(
            go.Scatter(
                x=curve.x,
                y=curve.y,
                mode="lines+markers" if len(curve.x) <= MOST_MARKERS else "lines",
                name=escape(curve.name),
                legendgroup=escape(curve.name),
                showlegend=curve.name not in shown,
                line={"color": colour, "dash": dash, "width": 2.6 if curve.name == ALL else 1.5},
                marker={"size": 5},
                customdata=curve.n,
                hovertemplate=(
                    f"<b>{escape(label)}</b><br>step %{{x:,}}: %{{y:.4g}}"
                    + ("<br>n = %{customdata:,} tokens" if curve.n.any() else "")
                    + "<extra></extra>"
                ),
            ),
            **at,
        )
        shown.add(curve.name)
        if curve.broken is not None and len(curve.broken):
            figure.add_trace(_broken(curve.broken, curve.y, colour, label), **at)
    for index, panel in enumerate(table.panels):
        row, column = divmod(index, wide)
        if column == 0 or panel.unit != table.panels[index - 1].unit:
            figure.update_yaxes(title_text=escape(panel.unit), row=row + 1, col=column + 1)
        lowest = index + wide >= len(table.panels)
        figure.update_xaxes(title_text="step" if lowest else None, row=row + 1, col=column + 1, rangemode="tozero")
        if panel.level is not None:
            figure.add_hline(
                y=panel.level, line={"color": NEUTRAL, "dash": "dot", "width": 1}, row=row + 1, col=column + 1,
                annotation={"text": "even load", "font": {"size": 10, "color": NEUTRAL}},
                annotation_position="bottom right" if panel.upper is not None else "top right",
            )  # fmt: skip
    if len(table.runs) > 1:
        for run in table.runs:
            look = {"color": NEUTRAL, "dash": run_dash(table, run, ""), "width": 2}
            figure.add_trace(go.Scatter(x=[None], y=[None], mode="lines", name=escape(run), line=look), row=1, col=1)
    figure.update_layout(
        height=rows * PANEL_HEIGHT + 150,
        margin={"l": 60, "r": 20, "t": 40, "b": 90},
        hovermode="closest",
        legend={"orientation": "h", "y": -0.24 / rows, "yanchor": "top", "x": 0},
    )
    figure.update_annotations(font_size=13)
    return figure


def _band(x: np.ndarray, low: np.ndarray, high: np.ndarray, colour: str) -> go.Scatter:
    good = np.isfinite(low) & np.isfinite(high)
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return go.Scatter(
        x=np.concatenate([x[good], x[good][::-1]]),
        y=np.concatenate([high[good], low[good][::-1]]),
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},0.13)",
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
    )


def _broken(steps: np.ndarray, y: np.ndarray, colour: str, label: str) -> go.Scatter:
    """Crosses where a value was measured and was not finite: a loss that overflowed must not look like a gap."""
    finite = y[np.isfinite(y)]
    return go.Scatter(
        x=steps,
        y=np.full(len(steps), finite.max() if finite.size else 0.0),
        mode="markers",
        marker={"symbol": "x", "color": colour, "size": 9},
        showlegend=False,
        hovertemplate=f"<b>{escape(label)}</b><br>step %{{x:,}}: not finite<extra></extra>",
    )


def playback(
    tables: Sequence[HeatmapTable], steps: Sequence[int], *, limit: float | None = None, height: int | None = None
) -> go.Figure:
    """The heat map of one group at every capture, played by a button or moved by a slider; one colour scale for all.

    Args:
        tables: of one measure and the same sites, a capture each. steps: of the captures.
        limit: half range of the scale in log2 units, so that two runs can share one; default from the data.

    Raises:
        CaptureError: if there is no table.
    """
    if not tables:
        raise CaptureError("This run has no capture yet: routing plays once the first one is written.")
    scales = heatmap_scale(tables, limit)
    rows, experts = tables[0].values.shape
    labels = site_labels(tables[0].sites)
    ticks = thin_ticks(rows, 30)

    def layers(index: int) -> list[go.Heatmap]:
        table, scale = tables[index], scales[index]
        few = np.where(table.few[:, None] & table.exists, 1.0, np.nan)
        return [
            go.Heatmap(
                z=np.round(scale.colour, 4),
                zmin=scale.low,
                zmax=scale.high,
                colorscale=plotly_scale(scale.colours),
                customdata=np.round(100 * table.share, 2),
                hovertemplate=(
                    f"step {steps[index]:,}, layer %{{y}}, expert %{{x}}<br>%{{customdata}} % of the group's tokens<extra></extra>"
                ),
                colorbar={
                    "title": {"text": scale.title, "side": "right"}, "tickvals": list(scale.ticks),
                    "ticktext": list(scale.labels), "thickness": 14, "outlinewidth": 0,
                },
            ),
            go.Heatmap(z=few, colorscale=[[0, FEW_COLOUR], [1, FEW_COLOUR]], showscale=False, hoverinfo="skip"),
        ]  # fmt: skip

    last = len(tables) - 1
    figure = go.Figure(
        data=layers(last),
        frames=[go.Frame(name=str(step), data=layers(index)) for index, step in enumerate(steps)],
    )
    still = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    moving = {"fromcurrent": False, "frame": {"duration": 600, "redraw": True}, "transition": {"duration": 0}}
    figure.update_layout(
        height=height or int(np.clip(260 + rows * (26 if rows <= 12 else 9), 360, 900)),
        margin={"l": 60, "r": 20, "t": 30, "b": 40},
        xaxis={"title": "expert", "range": [-0.5, experts - 0.5], "showgrid": False, "zeroline": False},
        yaxis={
            "title": site_axis(tables[0].sites), "range": [rows - 0.5, -0.5], "tickvals": ticks,
            "ticktext": [escape(labels[index]) for index in ticks], "showgrid": False, "zeroline": False,
        },
        sliders=[
            {
                "active": last, "currentvalue": {"prefix": "step "}, "pad": {"t": 58, "l": 130}, "x": 0, "len": 1.0,
                "steps": [{"label": f"{step:,}", "method": "animate", "args": [[str(step)], still]} for step in steps],
            }
        ],
        updatemenus=[
            {
                "type": "buttons", "direction": "left", "showactive": False, "x": 0, "xanchor": "left", "y": 0,
                "yanchor": "top", "pad": {"t": 78}, "bgcolor": "#e6eaf0", "font": {"color": "#1d2530"},
                "buttons": [
                    {"label": "▶ Play", "method": "animate", "args": [None, moving]},
                    {"label": "❚❚", "method": "animate", "args": [[None], still]},
                ],
            }
        ],
    )  # fmt: skip
    return figure
