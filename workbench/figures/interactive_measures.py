"""The measures that stand beside the report's figures, drawn with Plotly.

bands       a statistic by site with interval and null band; the other lines over sites are of `interactive_lines` too
iou_curve   IoU over all sizes of the top set, chance dotted, null band pale
affinity    experts here x experts at the next site
ranks       first choices dark, all choices pale behind
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.analysis.affinity import AffinityTable
from workbench.analysis.concentration import RankTable
from workbench.analysis.iou_curve import IouCurveTable
from workbench.analysis.significance import SignificanceTable
from workbench.analysis.words import site_title
from workbench.figures.interactive_heatmap import coloured, legend_square
from workbench.figures.interactive_lines import site_lines
from workbench.figures.lines import of_significance, pair_style
from workbench.figures.style import FEW_COLOUR, affinity_scale, group_styles


def bands(table: SignificanceTable, cells: Sequence[int] | None = None) -> go.Figure:
    """A group's or pair's statistic by site with interval and null band; raises CaptureError for a table of single experts."""
    return site_lines(of_significance(table, cells))


def iou_curve(table: IouCurveTable, pairs: Sequence[int] | None = None) -> go.Figure:
    """IoU by size of the top set, a line a pair."""
    names = [escape(group.name) for group in table.groups]
    figure = go.Figure()
    for turn, pair in enumerate(range(len(table.first)) if pairs is None else pairs):
        look = pair_style(turn)
        colour = look.colour
        few = bool(table.few[table.first[pair]] | table.few[table.second[pair]])
        colour = FEW_COLOUR if few else colour
        name = f"{names[table.first[pair]]}, {names[table.second[pair]]}" + (" (few tokens)" if few else "")
        band = np.concatenate([table.null_high[pair], table.null_low[pair][::-1]])
        figure.add_trace(
            go.Scatter(
                x=np.concatenate([table.size, table.size[::-1]]),
                y=band,
                fill="toself",
                fillcolor=colour,
                opacity=0.08,
                line={"width": 0},
                legendgroup=name,
                showlegend=False,
                hoverinfo="skip",
                name="null",
            )
        )
        for values, dash, hover in ((table.iou[pair], look.dash, True), (table.chance[pair], "dot", False)):
            figure.add_trace(
                go.Scatter(
                    x=table.size,
                    y=values,
                    mode="lines",
                    line={"color": colour, "dash": dash, "width": 2 if hover else 1},
                    name=name,
                    legendgroup=name,
                    showlegend=hover,
                    hovertemplate=f"<b>{name}</b><br>top %{{x}} experts: %{{y:.2f}}<extra></extra>" if hover else None,
                    hoverinfo=None if hover else "skip",
                )
            )
    figure.update_layout(
        height=440,
        xaxis_title=f"experts in a top set, of {len(table.size)} ({escape(site_title(table.site))})",
        yaxis={"title": "IoU", "range": [0, 1.02]},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        margin={"l": 60, "r": 20, "t": 40, "b": 60},
    )
    return figure


def affinity(table: AffinityTable, *, limit: float = 3.0) -> go.Figure:
    """log2 of lift, experts of the next site across, those of this site down; cells with few tokens grey."""
    scale = affinity_scale(table, limit)
    figure = go.Figure()
    figure.add_trace(
        coloured(scale).update(
            hoverinfo=None,
            hoverongaps=False,
            customdata=np.stack([table.pairs, np.round(table.lift, 3)], axis=-1),
            hovertemplate="expert %{y} then %{x}<br>%{customdata[0]:,} tokens, %{customdata[1]} times unrelated<extra></extra>",
        )
    )
    if table.few.any():
        grey = [[0, FEW_COLOUR], [1, FEW_COLOUR]]
        figure.add_trace(
            go.Heatmap(
                z=np.where(table.few, 1.0, np.nan), colorscale=grey, showscale=False, hoverinfo="skip", name="few"
            )
        )
        figure.add_trace(legend_square("few tokens", FEW_COLOUR))
    figure.update_layout(
        height=560,
        margin={"l": 60, "r": 20, "t": 30, "b": 50},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        showlegend=bool(table.few.any()),
        xaxis={"title": f"expert at {escape(site_title(table.after))}", "constrain": "domain", "showgrid": False},
        yaxis={
            "title": f"expert at {escape(site_title(table.site))}",
            "autorange": "reversed",
            "scaleanchor": "x",
            "constrain": "domain",
            "showgrid": False,
        },
    )
    return figure


def ranks(table: RankTable) -> go.Figure:
    """Share of tokens by expert, a row a group: first choices dark, all k choices pale behind."""
    styles = group_styles(table.all_groups)
    rows = len(table.groups)
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, vertical_spacing=min(0.05, 0.3 / max(rows, 1)))
    for row, group in enumerate(table.groups):
        colour = FEW_COLOUR if table.few[row] else styles[group.name].colour
        for share, opacity, name in (
            (table.share_any[row], 0.35, f"among all {table.site.top_k} choices"),
            (table.share_first[row], 1.0, "first choice"),
        ):
            bar = go.Bar(y=100 * share, marker={"color": colour, "line": {"width": 0}}, opacity=opacity, name=name)
            bar.update(showlegend=row == 0, hovertemplate=f"expert %{{x}}: %{{y:.2f}} % ({name})<extra></extra>")
            figure.add_trace(bar, row=row + 1, col=1)
        few = ", few tokens" if table.few[row] else ""
        figure.get_subplot(row + 1, 1).yaxis.update(
            title=f"{escape(group.name)}<br><sup>n = {int(table.n[row]):,}{few}</sup>", ticksuffix=" %", nticks=4
        )
    figure.get_subplot(rows, 1).xaxis.update(title=f"expert ({escape(site_title(table.site))})")
    figure.update_layout(
        barmode="overlay",
        bargap=0,
        height=120 + 130 * rows,
        margin={"l": 80, "r": 20, "t": 40, "b": 50},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )
    return figure
