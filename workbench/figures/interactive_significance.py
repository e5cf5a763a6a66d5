"""Numbers with their interval and null band, and the measures over token rows, drawn with Plotly.

bands               a statistic by site: line, interval as bars, null as a pale band, a ring where it is more than chance
iou_curve           IoU over all sizes of the top set, chance dotted, null band pale
lines_with_chance   repetition, saturation or vocabulary by site, chance dotted
affinity            experts here x experts at the next site
ranks               first choices above, all choices below
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
from workbench.capture import CaptureError, Group, Site
from workbench.figures.interactive_heatmap import plotly_scale
from workbench.figures.style import (
    DIVERGING,
    FEW_COLOUR,
    NEUTRAL,
    PALETTE,
    group_styles,
    site_axis,
    site_labels,
    site_places,
    site_title,
    thin_ticks,
)


def bands(table: SignificanceTable, cells: Sequence[int] | None = None) -> go.Figure:
    """A group's or pair's statistic by site with interval and null band.

    Args:
        table: of kind "group" or "pair". cells: groups or pairs to draw; default all.

    Raises:
        CaptureError: for a table of single experts.
    """
    if table.kind == "expert":
        raise CaptureError(
            "Bands are drawn for groups or pairs of groups, not for single experts: choose another measure."
        )
    places, breaks = site_places(table.strand)
    figure = go.Figure()
    shown = range(table.value.shape[1]) if cells is None else cells
    few = table.cell_few
    for turn, cell in enumerate(shown):
        colour = colour_of(table, cell, turn)
        name = escape(table.label(cell))
        low, high = table.low[:, cell], table.high[:, cell]
        value = table.value[:, cell]
        if table.null is not None:
            for part in strands(table.strand):
                around = np.concatenate([table.null.high[part, cell], table.null.low[part, cell][::-1]])
                x = np.concatenate([places[part], places[part][::-1]])
                figure.add_trace(
                    go.Scatter(
                        x=x,
                        y=around,
                        fill="toself",
                        fillcolor=colour,
                        opacity=0.15,
                        line={"width": 0},
                        hoverinfo="skip",
                        name=f"{name}: null",
                        legendgroup=name,
                        showlegend=False,
                    )
                )
        sure = table.significant[:, cell]
        y, x = with_gaps(value, places)
        figure.add_trace(
            go.Scatter(
                x=x,
                y=y,
                mode="lines",
                line={"color": colour, "width": 2},
                name=name,
                legendgroup=name,
                showlegend=False,
                hoverinfo="skip",
            )
        )
        figure.add_trace(
            go.Scatter(
                x=places,
                y=value,
                mode="markers",
                name=name,
                legendgroup=name,
                marker={
                    "size": 7,
                    "color": np.where(few[:, cell], FEW_COLOUR, colour).tolist(),
                    "line": {"width": np.where(sure, 2, 0).tolist(), "color": "black"},
                },
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": np.maximum(high - value, 0),
                    "arrayminus": np.maximum(value - low, 0),
                    "width": 2,
                    "thickness": 1,
                },
                text=[escape(table.sentence(site, cell)) for site in range(len(table.sites))],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    for gap in breaks:
        figure.add_vline(x=gap, line={"color": NEUTRAL, "width": 1})
    _axis(figure, table.sites, places)
    ring = "; ring: more than chance" if table.null is not None else ""
    figure.update_layout(
        height=440,
        yaxis_title=f"{table.name} ({table.unit})",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )
    figure.update_layout(
        title={"text": f"Bars: {table.level:.0%} interval; pale: null{ring}" if ring else "", "font": {"size": 12}}
    )
    return figure


def iou_curve(table: IouCurveTable, pairs: Sequence[int] | None = None) -> go.Figure:
    """IoU by size of the top set, a line a pair."""
    names = [escape(group.name) for group in table.groups]
    figure = go.Figure()
    for turn, pair in enumerate(range(len(table.first)) if pairs is None else pairs):
        colour = PALETTE[turn % len(PALETTE)]
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
                opacity=0.12,
                line={"width": 0},
                legendgroup=name,
                showlegend=False,
                hoverinfo="skip",
                name="null",
            )
        )
        for values, dash, hover in ((table.iou[pair], "solid", True), (table.chance[pair], "dot", False)):
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
        xaxis_title=f"experts in a top set, of {len(table.size)} ({escape(table.site.id)})",
        yaxis={"title": "IoU", "range": [0, 1.02]},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )
    return figure


def lines_with_chance(
    sites: Sequence[Site],
    strand: np.ndarray,
    groups: Sequence[Group],
    all_groups: Sequence[Group],
    value: np.ndarray,
    chance: np.ndarray | None,
    n: np.ndarray,
    title: str,
    low: np.ndarray | None = None,
    high: np.ndarray | None = None,
) -> go.Figure:
    """A measure over token rows by site, a line a group: value, chance, low, high float64 [S, G]; n int64 [S, G]."""
    places, _ = site_places(strand)
    styles = group_styles(all_groups)
    figure = go.Figure()
    for index, group in enumerate(groups):
        style, name = styles[group.name], f"{escape(group.name)} (n = {int(n[:, index].max(initial=0)):,})"
        error = None
        if low is not None and high is not None:
            error = {
                "type": "data",
                "symmetric": False,
                "array": high[:, index] - value[:, index],
                "arrayminus": value[:, index] - low[:, index],
            }
        y, x = with_gaps(value[:, index], places)
        line = {"color": style.colour, "dash": style.dash}
        figure.add_trace(
            go.Scatter(x=x, y=y, mode="lines", line=line, legendgroup=name, showlegend=False, hoverinfo="skip")
        )
        figure.add_trace(
            go.Scatter(
                x=places,
                y=value[:, index],
                mode="markers",
                marker={"color": style.colour, "symbol": style.marker},
                error_y=error,
                name=name,
                legendgroup=name,
                customdata=n[:, index],
                hovertemplate="%{y:.3f}, n = %{customdata:,}<extra></extra>",
            )
        )
        if chance is not None:
            y, x = with_gaps(chance[:, index], places)
            dotted = {"color": style.colour, "dash": "dot", "width": 1}
            figure.add_trace(
                go.Scatter(
                    x=x,
                    y=y,
                    mode="lines",
                    line=dotted,
                    legendgroup=name,
                    showlegend=False,
                    hoverinfo="skip",
                    name="chance",
                )
            )
    _axis(figure, sites, places)
    figure.update_layout(height=420, yaxis_title=title, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})
    return figure


def affinity(table: AffinityTable, *, limit: float = 3.0) -> go.Figure:
    """log2 of lift, experts of the next site across, those of this site down; cells with few tokens grey."""
    with np.errstate(divide="ignore"):
        colour = np.clip(np.log2(table.lift), -limit, limit)
    figure = go.Figure()
    figure.add_trace(
        go.Heatmap(
            z=np.where(table.few, np.nan, colour),
            zmin=-limit,
            zmax=limit,
            colorscale=plotly_scale(DIVERGING),
            customdata=np.stack([table.pairs, np.round(table.lift, 3)], axis=-1),
            hovertemplate="expert %{y} then %{x}<br>%{customdata[0]:,} tokens, %{customdata[1]} times unrelated<extra></extra>",
            colorbar={"title": {"text": "log2 of lift, 0 = unrelated", "side": "right"}},
        )
    )
    if table.few.any():
        grey = [[0, FEW_COLOUR], [1, FEW_COLOUR]]
        figure.add_trace(
            go.Heatmap(
                z=np.where(table.few, 1.0, np.nan), colorscale=grey, showscale=False, hoverinfo="skip", name="few"
            )
        )
    figure.update_layout(
        height=560,
        xaxis={"title": f"expert at {escape(table.after.id)}", "constrain": "domain"},
        yaxis={
            "title": f"expert at {escape(table.site.id)}",
            "autorange": "reversed",
            "scaleanchor": "x",
            "constrain": "domain",
        },
    )
    return figure


def ranks(table: RankTable) -> go.Figure:
    """Share of tokens by expert, a row a group: first choices dark, all k choices pale behind."""
    styles = group_styles(table.all_groups)
    rows = len(table.groups)
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, vertical_spacing=min(0.05, 0.3 / max(rows, 1)))
    for row, group in enumerate(table.groups):
        for share, opacity, name in (
            (table.share_any[row], 0.35, "among all choices"),
            (table.share_first[row], 1.0, "first choice"),
        ):
            bar = go.Bar(
                y=100 * share,
                marker={"color": styles[group.name].colour},
                opacity=opacity,
                name=name,
                showlegend=row == 0,
            )
            figure.add_trace(
                bar.update(hovertemplate=f"expert %{{x}}: %{{y:.2f}} % ({name})<extra></extra>"), row=row + 1, col=1
            )
        figure.get_subplot(row + 1, 1).yaxis.update(
            title=f"{escape(group.name)}<br><sup>n = {int(table.n[row]):,}</sup>", ticksuffix=" %"
        )
    figure.get_subplot(rows, 1).xaxis.update(title=f"expert ({escape(site_title(table.site))})")
    figure.update_layout(barmode="overlay", bargap=0, height=120 + 130 * rows)
    return figure


def colour_of(table: SignificanceTable, cell: int, turn: int) -> str:
    """The group's own colour; pairs take the palette in turn."""
    if table.kind == "pair":
        return PALETTE[turn % len(PALETTE)]
    return group_styles(table.all_groups)[table.groups[cell].name].colour


def strands(strand: np.ndarray) -> list[np.ndarray]:
    """Indices of each unbroken run of one strand."""
    return np.split(np.arange(len(strand)), np.flatnonzero(np.diff(strand)) + 1)


def with_gaps(values: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values on every place of the axis, NaN at the empty places between strands, and the places."""
    x = np.arange(int(places.max()) + 1)
    y = np.full(len(x), np.nan)
    y[places] = values
    return y, x


def _axis(figure: go.Figure, sites: Sequence[Site], places: np.ndarray) -> None:
    labels = site_labels(sites)
    shown = thin_ticks(len(labels), 30)
    figure.update_xaxes(
        title=site_axis(sites),
        tickvals=places[shown].tolist(),
        ticktext=[escape(labels[at]) for at in shown],
        zeroline=False,
    )
