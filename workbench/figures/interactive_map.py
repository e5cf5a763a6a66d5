"""Maps of experts and tokens for the page, drawn with Plotly from `analysis.projection`; a lasso brings the points' numbers.

Names and tokens come from users and files: they are escaped, since Plotly reads a part of HTML in its texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go

from workbench.analysis.projection import MapTable
from workbench.figures.map_style import classes, shown

MOST_SVG = 3000  # points above which the browser draws by WebGL


def scatter(
    table: MapTable, by: str = "group", *, words: Sequence[str | None] | None = None, height: int = 620
) -> go.Figure:
    """The map, a trace a class of points.

    Args:
        table: from analysis.projection. by: what colours the points, see `map_style.classes`. words: a text a point.

    Returns:
        A figure whose points carry customdata [number of the point], which a lasso brings back.
    """
    figure = go.Figure()
    kind = go.Scattergl if len(table.xy) > MOST_SVG else go.Scatter
    texts = hovers(table, words)
    size = 9 if len(table.xy) <= 400 else 6
    for part in classes(table, by, words):
        figure.add_trace(
            kind(
                x=table.xy[part.points, 0],
                y=table.xy[part.points, 1],
                mode="markers",
                name=f"{escape(part.name)} ({len(part.points):,})",
                marker={
                    "color": part.colour,
                    "symbol": part.marker,
                    "size": size,
                    "opacity": 0.75,
                    "line": {"width": 0},
                },
                selected={"marker": {"opacity": 1.0}},
                unselected={"marker": {"opacity": 0.15}},
                # Lists: of an encoded array the browser gives back no list.
                customdata=[[int(point)] for point in part.points],
                text=[texts[index] for index in part.points],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    first, second = table.axes
    ticks = table.explained is not None  # a position of UMAP is no number to be read
    axis = {"zeroline": False, "showticklabels": ticks, "showgrid": ticks}
    figure.update_layout(
        height=height,
        margin={"l": 55, "r": 15, "t": 20, "b": 45},
        dragmode="lasso",
        hovermode="closest",
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "itemsizing": "constant"},
        xaxis=axis | {"title": first},
        # One unit is as long in both directions: distances on the map are what it shows.
        yaxis=axis | {"title": second, "scaleanchor": "x"},
    )
    return figure


def hovers(table: MapTable, words: Sequence[str | None] | None = None) -> list[str]:
    """What a point says when pointed at."""
    rows = table.features.rows
    if table.features.kind == "experts":
        bound = words if words is not None else [None] * len(rows)
        return [
            f"<b>{escape(str(site))}, expert {expert}</b><br>chosen {choices:,} times, most by {escape(str(group))}"
            + (f"<br>most bound token: {escape(shown(word))}" if word else "")
            for site, expert, choices, group, word in zip(
                rows["site"], rows["expert"], rows["n_choices"], rows["group"], bound, strict=True
            )
        ]
    expert = rows["expert"] if "expert" in rows else np.full(len(rows), -1)
    return [
        f"<b>{escape(shown(token)) if token else '(no text)'}</b><br>{escape(str(group))}, {escape(str(document)[:40])}, token {position:,}"
        + (f"<br>first choice: expert {first}" if first >= 0 else "")
        for token, group, document, position, first in zip(
            rows["token"], rows["group"], rows["document"], rows["position"], expert, strict=True
        )
    ]
