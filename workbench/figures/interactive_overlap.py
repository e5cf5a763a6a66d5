"""IoU of pairs of groups for the page: Figure 9 of the ERNIE 5.0 report with chance, null and the agreement of a group with itself."""

from __future__ import annotations

from html import escape

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.analysis.tables import OverlapTable
from workbench.analysis.words import site_title
from workbench.capture import Site
from workbench.figures.interactive_heatmap import plotly_scale
from workbench.figures.marks import OverlapMarks, arrow
from workbench.figures.style import FEW_COLOUR, overlap_scale

MOST_CELL_TEXTS = 12  # groups up to which a panel prints its numbers


def overlap(table: OverlapTable, *, marks: OverlapMarks | None = None) -> go.Figure:
    """IoU of the top sets of every pair of groups, a panel a site (Figure 9 of the ERNIE 5.0 report).

    Args:
        table: from analysis.overlap.overlap_table.
        marks: from figures.marks: ▲ and ▼ beyond the null; on the diagonal a group with itself in two halves of its documents.

    Returns:
        A figure with a heat map for each site on one scale from 0 to 1, chance marked on the colour bar, the diagonal blank.
    """
    names = [escape(group.name) for group in table.groups]
    panels, size = len(table.sites), len(names)
    columns = min(3, panels)
    rows = -(-panels // columns)
    figure = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=[
            f"{escape(site_title(site))}<br><sup>{wanted} of {_real(site)} experts, chance {chance:.2f}</sup>"
            for site, wanted, chance in zip(table.sites, table.wanted, table.even_chance, strict=True)
        ],
        horizontal_spacing=0.06,
        vertical_spacing=0.28 / rows,
        shared_yaxes=True,
    )
    for index in range(panels):
        at = {"row": index // columns + 1, "col": index % columns + 1}
        few = table.few[index][:, None] | table.few[index][None, :]
        figure.add_trace(_overlap_cells(table, index, few, names, marks), **at)
        if (few & ~np.eye(size, dtype=bool)).any():
            grey = np.where(few & ~np.eye(size, dtype=bool), 1.0, np.nan)
            figure.add_trace(
                go.Heatmap(
                    z=grey,
                    x=names,
                    y=names,
                    colorscale=[[0, FEW_COLOUR], [1, FEW_COLOUR]],
                    showscale=False,
                    hoverinfo="skip",
                    name="few",
                ),
                **at,
            )
        subplot = figure.get_subplot(at["row"], at["col"])
        subplot.yaxis.update(autorange="reversed", showgrid=False)
        subplot.xaxis.update(showgrid=False, tickangle=-40)
    scale = overlap_scale(table, 0)
    figure.update_layout(
        height=150 + rows * int(np.clip(60 + 40 * size, 220, 620)),
        margin={"l": 90, "r": 20, "t": 70, "b": 90},
        coloraxis={
            "cmin": 0,
            "cmax": 1,
            "colorscale": plotly_scale(scale.colours),
            "colorbar": {
                "title": {"text": scale.title, "side": "right"},
                "tickvals": list(scale.ticks),
                "ticktext": list(scale.labels),
                "thickness": 14,
                "outlinewidth": 0,
            },
        },
    )
    return figure


def _real(site: Site) -> int:
    return site.experts - site.identity_experts


def _overlap_cells(
    table: OverlapTable, index: int, few: np.ndarray, names: list[str], marks: OverlapMarks | None
) -> go.Heatmap:
    size = len(names)
    data = np.empty((size, size, 6), dtype=object)
    data[..., 0] = np.array(
        [[f"{value:.2f}" if value == value else "none" for value in row] for row in table.chance[index]]
    )
    data[..., 1], data[..., 2] = table.size[index][:, None], table.size[index][None, :]
    data[..., 3], data[..., 4] = table.n[index][:, None], table.n[index][None, :]
    data[..., 5] = np.where(few, "<br>few tokens: not to be read", "")
    values = table.iou[index].copy()
    texts = [[f"{value:.2f}" if value == value else "" for value in row] for row in values]
    if marks is not None:
        data[..., 5] = np.where(few, data[..., 5], marks.notes[index])
        for a, b in np.argwhere(~few):
            texts[a][b] += arrow(int(marks.sign[index, a, b]))
        for at, itself in enumerate([] if marks.itself is None else marks.itself[index]):
            values[at, at] = itself
            texts[at][at] = "" if np.isnan(itself) else f"<i>{itself:.2f}</i>"
            data[at, at, 5] = "<br>the group with itself, in two halves of its documents"
    printed = size <= MOST_CELL_TEXTS
    return go.Heatmap(
        name=table.sites[index].id,
        z=np.where(few, np.nan, values) if few.all() else values,
        x=names,
        y=names,
        coloraxis="coloraxis",
        customdata=data,
        hoverongaps=False,
        text=texts if printed else None,
        texttemplate="%{text}" if printed else None,
        textfont={"size": 12 if size <= 7 else 9},
        hovertemplate=(
            "<b>%{y} and %{x}</b><br>IoU %{z:.3f}, chance %{customdata[0]}<br>top sets of %{customdata[1]} and %{customdata[2]} experts"
            "<br>n = %{customdata[3]:,} and %{customdata[4]:,} tokens%{customdata[5]}<extra></extra>"
        ),
    )
