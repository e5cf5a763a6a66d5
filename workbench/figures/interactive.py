"""Figures for the page, drawn with Plotly from the tables of `workbench.analysis`: one function a figure.

    heatmap, specialisation   sites x experts of one group, cells can be clicked (interactive_heatmap.py)
    utilisation               Figure 8 of the ERNIE 5.0 report: share of tokens by expert, a panel a site and group
    overlap                   Figure 9: IoU of the top experts of two groups, a panel a site
    balance                   Figure 10: one number a site, a line a group
    coactivation              experts x experts of one site

Names come from users and files: they are escaped, since Plotly reads a part of HTML in its texts.
"""

from __future__ import annotations

from html import escape

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.analysis.tables import BalanceTable, CoactivationTable, UtilisationTable
from workbench.analysis.words import site_title
from workbench.figures.interactive_heatmap import coloured, heatmap, legend_line, legend_square, specialisation, veil
from workbench.figures.interactive_overlap import overlap
from workbench.figures.marks import CellMarks, ShareMarks
from workbench.figures.style import (
    ABSENT_COLOUR,
    FEW_COLOUR,
    NEUTRAL,
    balance_range,
    coactivation_scale,
    group_styles,
    site_axis,
    site_labels,
    site_places,
    thin_ticks,
    utilisation_tops,
)

__all__ = ["balance", "coactivation", "heatmap", "overlap", "specialisation", "utilisation"]


def utilisation(table: UtilisationTable, *, same_scale: bool = False, marks: ShareMarks | None = None) -> go.Figure:
    """Share of tokens by expert, a column a site and a row a group (Figure 8 of the ERNIE 5.0 report).

    Args:
        table: from analysis.load.utilisation_table.
        same_scale: one y range for all groups; otherwise one for each group (row), as in the report.
        marks: from figures.marks; the null's band is drawn, and bars inside it are pale.

    Returns:
        A figure with a bar trace for every site and group that has tokens; the dashed line in each panel is chance, k / E.
    """
    styles = group_styles(table.all_groups)
    rows, columns = len(table.groups), len(table.sites)
    figure = make_subplots(
        rows=rows,
        cols=columns,
        shared_yaxes="all" if same_scale else True,
        horizontal_spacing=0.03,
        vertical_spacing=min(0.06, 0.3 / max(rows, 1)),
        column_titles=[
            f"{escape(site_title(site))}<br><sup>dashed: chance k / E = {chance:.2%}</sup>"
            for site, chance in zip(table.sites, table.chance, strict=True)
        ],
    )
    highest = utilisation_tops(table, same_scale)
    for row, group in enumerate(table.groups):
        style = styles[group.name]
        for column, site in enumerate(table.sites):
            at = {"row": row + 1, "col": column + 1}
            axis = figure.get_subplot(row + 1, column + 1)
            few, n = bool(table.few[column, row]), int(table.n[column, row])
            if n:
                bars = _bars(table, column, row, style.colour, style.hatch)
                if marks is not None:
                    _mark_bars(bars, marks, column, row, site.experts)
                    figure.add_trace(_null_steps(marks, column, row, site.experts), **at)
                figure.add_trace(bars, **at)
                figure.add_trace(
                    go.Scatter(
                        x=[-0.5, site.experts - 0.5],
                        y=[100 * table.chance[column]] * 2,
                        mode="lines",
                        line={"dash": "dash", "width": 1, "color": NEUTRAL},
                        name="chance",
                        hoverinfo="skip",
                        showlegend=False,
                    ),
                    **at,
                )
            else:
                figure.add_trace(
                    go.Scatter(x=[None], y=[None], showlegend=False, hoverinfo="skip"), **at
                )  # else no panel is drawn
                _panel_note(figure, row, column, "no tokens")
            if few and n:
                _panel_note(figure, row, column, f"few tokens (n = {n:,})")
            axis.xaxis.update(range=[-0.5, site.experts - 0.5], showgrid=False, zeroline=False)
            axis.yaxis.update(range=[0, 1.05 * highest[row]], ticksuffix=" %", nticks=4)
            if row == rows - 1:
                axis.xaxis.update(title="expert")
            if column == 0:
                axis.yaxis.update(title=f"{escape(group.name)}<br><sup>n = {int(table.n[:, row].max()):,}</sup>")
    figure.update_layout(
        height=int(90 + rows * (150 if rows <= 8 else 110)),
        margin={"l": 80, "r": 20, "t": 60, "b": 50},
        bargap=0,
        showlegend=False,
        hovermode="closest",
    )
    return figure


def _bars(table: UtilisationTable, column: int, row: int, colour: str, hatch: str) -> go.Bar:
    site, group = table.sites[column], table.groups[row]
    experts = site.experts
    few = bool(table.few[column, row])
    data = np.empty((experts, 3), dtype=object)
    data[:, 0] = table.count[column, row, :experts]
    data[:, 1] = int(table.n[column, row])
    data[:, 2] = np.where(table.identity[column, :experts], "<br>identity expert: holds no weights", "")
    pattern = (
        {"shape": hatch, "fillmode": "replace", "fgcolor": FEW_COLOUR if few else colour, "size": 4, "solidity": 0.6}
        if hatch
        else None
    )
    return go.Bar(
        name=escape(group.name),
        x=np.arange(experts, dtype=np.int32),
        y=100 * table.share[column, row, :experts],
        marker={"color": FEW_COLOUR if few else colour, "line": {"width": 0}, "pattern": pattern},
        customdata=data,
        hovertemplate=(
            f"<b>{escape(group.name)}, {escape(site_title(site))}, expert %{{x}}</b><br>%{{y:.2f}} % of n = %{{customdata[1]:,}} tokens"
            "<br>chosen %{customdata[0]:,} times%{customdata[2]}<extra></extra>"
        ),
    )


MOST_BARS = 64  # experts up to which every bar has its interval


def _mark_bars(bars: go.Bar, marks: ShareMarks, column: int, row: int, experts: int) -> None:
    """Bars inside the null's band pale, and the interval of each where there is room."""
    bars.marker.opacity = np.where(marks.sure[column, row, :experts], 1.0, 0.4).tolist()
    if experts > MOST_BARS:
        return
    value = np.asarray(bars.y)
    bars.error_y = {
        "type": "data",
        "symmetric": False,
        "array": np.maximum(100 * marks.high[column, row, :experts] - value, 0),
        "arrayminus": np.maximum(value - 100 * marks.low[column, row, :experts], 0),
        "width": 0,
        "thickness": 1,
        "color": NEUTRAL,
    }


def _null_steps(marks: ShareMarks, column: int, row: int, experts: int) -> go.Scatter:
    """The null's band as steps as wide as the bars."""
    edges = np.repeat(np.arange(experts + 1) - 0.5, 2)[1:-1]
    low, high = (100 * np.repeat(ends[column, row, :experts], 2) for ends in (marks.null_low, marks.null_high))
    return go.Scatter(
        x=np.concatenate([edges, edges[::-1]]),
        y=np.concatenate([high, low[::-1]]),
        fill="toself",
        fillcolor="rgba(122,127,135,0.35)",
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        name="null",
        showlegend=False,
    )


def _panel_note(figure: go.Figure, row: int, column: int, text: str) -> None:
    """A grey remark in a panel's upper right corner; the panel is named by its axes."""
    subplot = figure.get_subplot(row + 1, column + 1)
    figure.add_annotation(
        xref=f"{subplot.xaxis.plotly_name.replace('axis', '')} domain",
        yref=f"{subplot.yaxis.plotly_name.replace('axis', '')} domain",
        x=0.98,
        y=0.95,
        text=text,
        showarrow=False,
        font={"size": 11, "color": NEUTRAL},
        xanchor="right",
        yanchor="top",
    )


def balance(table: BalanceTable) -> go.Figure:
    """One number a site, a line a group (Figure 10 of the ERNIE 5.0 report).

    Args:
        table: from analysis.load.balance_table.

    Returns:
        A figure with a line a group, broken between strands; the dotted line is the value of an even load. Points with few
        tokens are grey.
    """
    styles = group_styles(table.all_groups)
    places, breaks = site_places(table.strand)
    x = list(range(int(places.max()) + 1))  # the places between strands hold no value, which breaks the lines
    tick_at = places.tolist()
    labels = site_labels(table.sites)
    figure = go.Figure()
    for index, group in enumerate(table.groups):
        style = styles[group.name]
        few = table.few[:, index]
        values = table.values[:, index]
        data = np.empty((len(x), 4), dtype=object)
        data[:] = [[None, 0, 0, ""]] * len(x)
        data[tick_at, 0] = [site_title(site) for site in table.sites]
        data[tick_at, 1], data[tick_at, 2] = table.n[:, index], table.experts
        data[tick_at, 3] = np.where(few, "<br>few tokens: not to be read", "")
        y = np.full(len(x), np.nan)
        y[tick_at] = values
        colours = np.full(len(x), style.colour, dtype=object)
        colours[np.asarray(tick_at)[few]] = FEW_COLOUR
        name = f"{escape(group.name)} (n = {int(table.n[:, index].max()) if len(table.n) else 0:,})"
        figure.add_trace(
            go.Scatter(
                name=name,
                legendgroup=name,
                showlegend=False,
                x=x,
                y=y,
                mode="lines+markers",
                line={"color": FEW_COLOUR if few.all() else style.colour, "dash": style.dash, "width": 2},
                marker={"color": colours.tolist(), "symbol": style.marker, "size": 5},
                connectgaps=False,
                customdata=data,
                hovertemplate=(
                    f"<b>{escape(group.name)}, %{{customdata[0]}}</b><br>{table.measure} %{{y:.3f}} over %{{customdata[2]}} experts"
                    "<br>n = %{customdata[1]:,} tokens%{customdata[3]}<extra></extra>"
                ),
            )
        )
        figure.add_trace(legend_line(name, style))
    even = np.full(len(x), np.nan)
    even[tick_at] = table.even
    figure.add_trace(
        go.Scatter(
            name="even load",
            x=x,
            y=even,
            mode="lines",
            line={"color": NEUTRAL, "dash": "dot", "width": 1},
            hoverinfo="skip",
        )
    )
    if table.few.any():
        figure.add_trace(legend_square("few tokens", FEW_COLOUR))
    for gap in breaks:
        figure.add_vline(x=gap, line={"color": ABSENT_COLOUR, "width": 1})
    shown = [tick_at[index] for index in thin_ticks(len(tick_at), 30)]
    figure.update_layout(
        height=420,
        margin={"l": 60, "r": 20, "t": 30, "b": 50},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        hovermode="closest",
        xaxis={
            "title": site_axis(table.sites),
            "tickvals": shown,
            "ticktext": [escape(labels[tick_at.index(place)]) for place in shown],
            "range": [-0.5, len(x) - 0.5],
            "zeroline": False,
        },
        yaxis={"title": f"{table.measure} ({table.unit})", "range": balance_range(table), "zeroline": False},
    )
    return figure


def coactivation(table: CoactivationTable, *, limit: float | None = None, marks: CellMarks | None = None) -> go.Figure:
    """Experts x experts of one site: how often two are chosen for the same token.

    Args:
        table: from analysis.coactivation.coactivation_table.
        limit: half range of the scale of lift in log2 units; default from the data.
        marks: from figures.marks; pairs that go together as their loads alone make them are pale.

    Returns:
        A figure with one heat map, the diagonal blank, pairs with few tokens grey.
    """
    scale = coactivation_scale(table, limit)
    figure = go.Figure()
    cells = coloured(scale)
    chosen = np.diagonal(table.pairs)
    texts = np.round(table.values, 4).astype(object)
    if marks is not None:
        texts = np.vectorize(lambda value, note: f"{value:.4g}{note}", otypes=[object])(table.values, marks.notes)
    figure.add_trace(
        cells.update(
            hoverinfo=None,
            hoverongaps=False,
            customdata=np.stack(
                [
                    table.pairs,
                    np.broadcast_to(chosen[:, None], table.pairs.shape),
                    np.broadcast_to(chosen, table.pairs.shape),
                ],
                axis=-1,
            ),
            text=texts,
            hovertemplate=(
                f"<b>{escape(site_title(table.site))}, experts %{{y}} and %{{x}}</b><br>{table.normalise} %{{text}}"
                "<br>%{customdata[0]:,} tokens chose both<br>%{customdata[1]:,} and %{customdata[2]:,} chose each, "
                f"of n = {table.n:,}<extra></extra>"
            ),
        )
    )
    if marks is not None:
        veil(figure, marks)
    if table.few.any():
        figure.add_trace(
            go.Heatmap(
                name="few",
                z=np.where(table.few, 1.0, np.nan),
                colorscale=[[0, FEW_COLOUR], [1, FEW_COLOUR]],
                showscale=False,
                hoverinfo="skip",
            )
        )
        figure.add_trace(legend_square("few tokens", FEW_COLOUR))
    experts = table.site.experts
    figure.add_shape(  # the blank diagonal is not "even"
        type="line", x0=-0.5, y0=-0.5, x1=experts - 0.5, y1=experts - 0.5, line={"color": ABSENT_COLOUR, "width": 1}
    )
    ticks = thin_ticks(experts, 16)
    axis = {"tickvals": ticks, "showgrid": False, "zeroline": False, "constrain": "domain"}
    figure.update_layout(
        height=620,
        margin={"l": 60, "r": 20, "t": 44, "b": 50},
        title={
            "text": f"Co-activation at {escape(site_title(table.site))}, n = {table.n:,} tokens",
            "font": {"size": 15},
        },
        showlegend=bool(table.few.any() or marks is not None),
        legend={"orientation": "h", "y": 1.02, "x": 1, "xanchor": "right", "yanchor": "bottom"},
        xaxis=axis | {"title": "expert", "range": [-0.5, experts - 0.5]},
        yaxis=axis | {"title": "expert", "range": [experts - 0.5, -0.5], "scaleanchor": "x"},
    )
    return figure
