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

from workbench.analysis.tables import BalanceTable, CoactivationTable, OverlapTable, UtilisationTable
from workbench.figures.interactive_heatmap import coloured, heatmap, legend_square, plotly_scale, specialisation
from workbench.figures.style import (
    ABSENT_COLOUR,
    FEW_COLOUR,
    NEUTRAL,
    balance_range,
    coactivation_scale,
    group_styles,
    overlap_scale,
    site_axis,
    site_labels,
    site_places,
    site_title,
    thin_ticks,
    utilisation_tops,
)

__all__ = ["balance", "coactivation", "heatmap", "overlap", "specialisation", "utilisation"]

MOST_CELL_TEXTS = 12  # groups up to which an overlap panel prints its numbers


def utilisation(table: UtilisationTable, *, same_scale: bool = False) -> go.Figure:
    """Share of tokens by expert, a column a site and a row a group (Figure 8 of the ERNIE 5.0 report).

    Args:
        table: from analysis.load.utilisation_table.
        same_scale: one y range for all groups; otherwise one for each group (row), as in the report.

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
                figure.add_trace(_bars(table, column, row, style.colour, style.hatch), **at)
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
            f"<b>{escape(group.name)}, {escape(site.id)}, expert %{{x}}</b><br>%{{y:.2f}} % of n = %{{customdata[1]:,}} tokens"
            "<br>chosen %{customdata[0]:,} times%{customdata[2]}<extra></extra>"
        ),
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


def overlap(table: OverlapTable) -> go.Figure:
    """IoU of the top sets of every pair of groups, a panel a site (Figure 9 of the ERNIE 5.0 report).

    Args:
        table: from analysis.overlap.overlap_table.

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
        figure.add_trace(_overlap_cells(table, index, few, names), **at)
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


def _real(site: object) -> int:
    return site.experts - site.identity_experts  # type: ignore[attr-defined]


def _overlap_cells(table: OverlapTable, index: int, few: np.ndarray, names: list[str]) -> go.Heatmap:
    size = len(names)
    data = np.empty((size, size, 6), dtype=object)
    data[..., 0] = np.array(
        [[f"{value:.2f}" if value == value else "none" for value in row] for row in table.chance[index]]
    )
    data[..., 1], data[..., 2] = table.size[index][:, None], table.size[index][None, :]
    data[..., 3], data[..., 4] = table.n[index][:, None], table.n[index][None, :]
    data[..., 5] = np.where(few, "<br>few tokens: not to be read", "")
    printed = size <= MOST_CELL_TEXTS
    return go.Heatmap(
        name=table.sites[index].id,
        z=np.where(few, np.nan, table.iou[index]) if few.all() else table.iou[index],
        x=names,
        y=names,
        coloraxis="coloraxis",
        customdata=data,
        hoverongaps=False,
        text=[[f"{value:.2f}" if value == value else "" for value in row] for row in table.iou[index]]
        if printed
        else None,
        texttemplate="%{text}" if printed else None,
        hovertemplate=(
            "<b>%{y} and %{x}</b><br>IoU %{z:.3f}, chance %{customdata[0]}<br>top sets of %{customdata[1]} and %{customdata[2]} experts"
            "<br>n = %{customdata[3]:,} and %{customdata[4]:,} tokens%{customdata[5]}<extra></extra>"
        ),
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
        data[tick_at, 0] = [site.id for site in table.sites]
        data[tick_at, 1], data[tick_at, 2] = table.n[:, index], table.experts
        data[tick_at, 3] = np.where(few, "<br>few tokens: not to be read", "")
        y = np.full(len(x), np.nan)
        y[tick_at] = values
        colours = np.full(len(x), style.colour, dtype=object)
        colours[np.asarray(tick_at)[few]] = FEW_COLOUR
        figure.add_trace(
            go.Scatter(
                name=f"{escape(group.name)} (n = {int(table.n[:, index].max()) if len(table.n) else 0:,})",
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


def coactivation(table: CoactivationTable, *, limit: float | None = None) -> go.Figure:
    """Experts x experts of one site: how often two are chosen for the same token.

    Args:
        table: from analysis.coactivation.coactivation_table.
        limit: half range of the scale of lift in log2 units; default from the data.

    Returns:
        A figure with one heat map, the diagonal blank, pairs with few tokens grey.
    """
    scale = coactivation_scale(table, limit)
    figure = go.Figure()
    cells = coloured(scale)
    chosen = np.diagonal(table.pairs)
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
            text=np.round(table.values, 4),
            hovertemplate=(
                f"<b>{escape(table.site.id)}, experts %{{y}} and %{{x}}</b><br>{table.normalise} %{{text}}"
                "<br>%{customdata[0]:,} tokens chose both<br>%{customdata[1]:,} and %{customdata[2]:,} chose each, "
                f"of n = {table.n:,}<extra></extra>"
            ),
        )
    )
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
        showlegend=bool(table.few.any()),
        legend={"orientation": "h", "y": 1.02, "x": 1, "xanchor": "right", "yanchor": "bottom"},
        xaxis=axis | {"title": "expert", "range": [-0.5, experts - 0.5]},
        yaxis=axis | {"title": "expert", "range": [experts - 0.5, -0.5], "scaleanchor": "x"},
    )
    return figure
