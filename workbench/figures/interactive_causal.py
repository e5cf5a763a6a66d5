"""The causal table for the page: two squares on one scale, and each group's difference with its interval."""

from __future__ import annotations

from html import escape

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.analysis.causal import CausalTable, Estimate
from workbench.figures.causal_style import MOST_NUMBERS, RIGHT, causal_scale, own_rows, panels
from workbench.figures.style import NEUTRAL, PALETTE, Scale


def causal(table: CausalTable) -> go.Figure:
    """What muting costs whom.

    Args:
        table: from analysis.causal.causal_table.

    Returns:
        A row a muted set, a column a group; the cell of a row's own group is framed. On the right the difference between the two
        squares for the row's own group; a point is filled where its interval lies above zero.
    """
    squares, rows = panels(table), own_rows(table)
    columns = len(squares) + bool(rows)
    figure = make_subplots(
        1,
        columns,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        column_widths=[1.0] * len(squares) + ([0.8] if rows else []),
        subplot_titles=[*(title for title, _ in squares), *([RIGHT] if rows else [])],
    )
    names = [escape(row) for row in table.rows]
    for number, (_, estimate) in enumerate(squares):
        figure.add_trace(_square(table, estimate, names, number == 0), row=1, col=number + 1)
        for row in range(len(names)):
            if table.own[row] >= 0:
                column = int(table.own[row])
                box = {"x0": column - 0.5, "x1": column + 0.5, "y0": row - 0.5, "y1": row + 0.5}
                figure.add_shape(type="rect", line={"color": NEUTRAL, "width": 2}, row=1, col=number + 1, **box)
        figure.update_xaxes(title_text="loss of group", tickangle=-40, row=1, col=number + 1)
        figure.update_xaxes(
            tickvals=list(range(len(table.groups))), ticktext=[escape(name) for name in table.groups], row=1, col=number + 1
        )  # fmt: skip
    if rows:
        figure.add_trace(_differences(table, rows), row=1, col=columns)
        figure.add_vline(x=0, line={"color": NEUTRAL, "width": 1, "dash": "dot"}, row=1, col=columns)
        figure.update_xaxes(title_text="nats a token", zeroline=False, row=1, col=columns)
    figure.update_yaxes(autorange="reversed", tickvals=list(range(len(names))), ticktext=names)
    figure.update_yaxes(title_text="muted: favourites of", row=1, col=1)
    figure.update_layout(height=230 + 34 * max(len(names), 3), margin={"t": 92, "b": 40}, showlegend=False)
    figure.update_annotations(font_size=13)
    return figure


def _square(table: CausalTable, estimate: Estimate, names: list[str], with_bar: bool) -> go.Heatmap:
    scale: Scale = causal_scale(table, estimate.value)
    low, high = (np.where(np.isnan(part), np.nan, part) for part in (estimate.low, estimate.high))
    says = np.empty((*estimate.value.shape, 5), dtype=object)
    for row in range(len(names)):
        for column, group in enumerate(table.groups):
            ends = (
                "no interval" if np.isnan(low[row, column]) else f"{low[row, column]:+.3f} to {high[row, column]:+.3f}"
            )
            says[row, column] = [
                names[row],
                escape(group),
                ends,
                f"{table.tokens[column]:,}",
                f"{table.documents[column]:,}",
            ]
    many = len(table.groups) > MOST_NUMBERS
    return go.Heatmap(
        z=scale.colour,
        zmin=scale.low,
        zmax=scale.high,
        colorscale=[[place / (len(scale.colours) - 1), colour] for place, colour in enumerate(scale.colours)],
        colorbar={"title": scale.title, "tickvals": list(scale.ticks), "ticktext": list(scale.labels), "orientation": "h", "y": 1.14, "yanchor": "bottom", "len": 0.5, "thickness": 10, "title_side": "top"},
        showscale=with_bar,
        customdata=says,
        texttemplate=None if many else "%{z:+.2f}",
        hovertemplate=(
            "<b>without %{customdata[0]}'s favourites</b><br>loss of %{customdata[1]}: %{z:+.3f} nats a token"
            f"<br>{table.level:.0%} interval %{{customdata[2]}}<br>n = %{{customdata[3]}} tokens, %{{customdata[4]}} documents<extra></extra>"
        ),
    )  # fmt: skip


def _differences(table: CausalTable, rows: list[int]) -> go.Scatter:
    own = table.own[rows]
    value, low, high = (part[rows, own] for part in (table.excess.value, table.excess.low, table.excess.high))
    sure = low > 0
    return go.Scatter(
        x=value,
        y=rows,
        mode="markers",
        error_x={"type": "data", "symmetric": False, "array": high - value, "arrayminus": value - low, "color": NEUTRAL, "thickness": 1.5, "width": 4},
        marker={"size": 9, "color": [PALETTE[5] if one else "white" for one in sure], "line": {"color": PALETTE[5], "width": 1.5}},
        customdata=[[escape(table.rows[row]), f"{a:+.3f} to {b:+.3f}", "more than random" if one else "not more than random"] for row, a, b, one in zip(rows, low, high, sure, strict=True)],
        hovertemplate="<b>%{customdata[0]}</b><br>difference %{x:+.3f} nats a token<br>interval %{customdata[1]}<br>%{customdata[2]}<extra></extra>",
    )  # fmt: skip
