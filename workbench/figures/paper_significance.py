"""The figures of `interactive_significance` for paper, drawn with matplotlib from the same tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.analysis.affinity import AffinityTable
from workbench.analysis.concentration import RankTable
from workbench.analysis.iou_curve import IouCurveTable
from workbench.analysis.significance import SignificanceTable
from workbench.capture import CaptureError, Group, Site
from workbench.figures.interactive_significance import colour_of, strands
from workbench.figures.paper_frame import (
    LINE_MARKERS,
    LINE_STYLES,
    NORMAL,
    SMALL,
    WIDTH,
    cells,
    colour_bar,
    cover_legend,
    new_figure,
    plain,
    trim,
)
from workbench.figures.style import (
    FEW_COLOUR,
    PALETTE,
    Scale,
    group_styles,
    site_axis,
    site_labels,
    site_places,
    site_title,
    thin_ticks,
)


def bands(table: SignificanceTable, shown: Sequence[int] | None = None) -> Figure:
    """A group's or pair's statistic by site: bars are the interval, the pale band the null, a ring marks more than chance."""
    if table.kind == "expert":
        raise CaptureError(
            "Bands are drawn for groups or pairs of groups, not for single experts: choose another measure."
        )
    places, _ = site_places(table.strand)
    figure = new_figure(WIDTH, 3.1, table.caption)
    axes = figure.subplots()
    few = table.cell_few
    for turn, cell in enumerate(range(table.value.shape[1]) if shown is None else shown):
        colour, value = colour_of(table, cell, turn), table.value[:, cell]
        for number, part in enumerate(strands(table.strand)):
            if table.null is not None:
                axes.fill_between(
                    places[part],
                    table.null.low[part, cell],
                    table.null.high[part, cell],
                    color=colour,
                    alpha=0.15,
                    linewidth=0,
                )
            axes.plot(
                places[part], value[part], color=colour, linewidth=1, label=None if number else plain(table.label(cell))
            )
        error = np.maximum(np.stack([value - table.low[:, cell], table.high[:, cell] - value]), 0)
        axes.errorbar(places, value, yerr=error, fmt="none", ecolor=colour, elinewidth=0.6, capsize=1.2)
        for flags, edge in ((table.significant[:, cell], "black"), (~table.significant[:, cell], "none")):
            for grey, face in ((few[:, cell], FEW_COLOUR), (~few[:, cell], colour)):
                at = flags & grey
                axes.plot(
                    places[at],
                    value[at],
                    "o",
                    markersize=3,
                    markerfacecolor=face,
                    markeredgecolor=edge,
                    markeredgewidth=0.7,
                )
    _site_axis(axes, table.sites, places)
    axes.set_ylabel(f"{table.name}\n({table.unit})", fontsize=NORMAL)
    figure.legend(loc="outside upper center", ncols=4, fontsize=SMALL, frameon=False)
    return figure


def iou_curve(table: IouCurveTable, pairs: Sequence[int] | None = None) -> Figure:
    """IoU by size of the top set: line, null band pale, chance dotted."""
    figure = new_figure(WIDTH, 3.2, table.caption)
    axes = figure.subplots()
    for turn, pair in enumerate(range(len(table.first)) if pairs is None else pairs):
        few = bool(table.few[table.first[pair]] | table.few[table.second[pair]])
        colour = FEW_COLOUR if few else PALETTE[turn % len(PALETTE)]
        name = f"{table.groups[table.first[pair]].name}, {table.groups[table.second[pair]].name}"
        axes.fill_between(
            table.size, table.null_low[pair], table.null_high[pair], color=colour, alpha=0.12, linewidth=0
        )
        axes.plot(table.size, table.iou[pair], color=colour, linewidth=1.1, label=plain(name))
        axes.plot(table.size, table.chance[pair], color=colour, linewidth=0.7, linestyle=":")
    axes.set_xlabel(f"experts in a top set, of {len(table.size)} ({plain(table.site.id)})", fontsize=NORMAL)
    axes.set_ylabel("IoU", fontsize=NORMAL)
    axes.set_ylim(0, 1.02)
    trim(axes)
    figure.legend(loc="outside upper center", ncols=3, fontsize=SMALL, frameon=False)
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
    caption: str = "",
) -> Figure:
    """A measure over token rows by site, a line a group, chance dotted; arguments as `interactive_significance`."""
    places, _ = site_places(strand)
    styles = group_styles(all_groups)
    figure = new_figure(WIDTH, 3.0, caption)
    axes = figure.subplots()
    for index, group in enumerate(groups):
        style = styles[group.name]
        for number, part in enumerate(strands(strand)):
            label = None if number else f"{plain(group.name)} (n = {int(n[:, index].max(initial=0)):,})"
            look = {
                "color": style.colour,
                "linestyle": LINE_STYLES[style.dash],
                "marker": LINE_MARKERS[style.marker],
                "markersize": 2.4,
            }
            axes.plot(places[part], value[part, index], linewidth=1, label=label, **look)
            if chance is not None:
                axes.plot(places[part], chance[part, index], color=style.colour, linestyle=":", linewidth=0.7)
        if low is not None and high is not None:
            axes.vlines(places, low[:, index], high[:, index], colors=style.colour, linewidth=0.6)
    _site_axis(axes, sites, places)
    axes.set_ylabel(title, fontsize=NORMAL)
    figure.legend(loc="outside upper center", ncols=3, fontsize=SMALL, frameon=False)
    return figure


def affinity(table: AffinityTable, *, limit: float = 3.0) -> Figure:
    """log2 of lift between the experts of two following sites; few tokens grey."""
    with np.errstate(divide="ignore"):
        colour = np.where(table.few, np.nan, np.clip(np.log2(table.lift), -limit, limit))
    ticks = tuple(float(tick) for tick in range(-int(limit), int(limit) + 1))
    scale = Scale(
        colour,
        -limit,
        limit,
        0.0,
        ticks,
        tuple(f"{tick:+g}" if tick else "0" for tick in ticks),
        "log2 of lift, 0 = unrelated",
    )
    figure = new_figure(4.6, 4.3, table.caption)
    axes = figure.subplots()
    axes.set_facecolor(FEW_COLOUR)
    image = cells(axes, scale, aspect="equal")
    axes.set_xlabel(f"expert at {plain(table.after.id)}", fontsize=NORMAL)
    axes.set_ylabel(f"expert at {plain(table.site.id)}", fontsize=NORMAL)
    trim(axes)
    colour_bar(figure, image, [axes], scale)
    cover_legend(figure, ["few"] if table.few.any() else [])
    return figure


def ranks(table: RankTable) -> Figure:
    """Share of tokens by expert, a row a group: first choices dark, all choices pale behind."""
    styles = group_styles(table.all_groups)
    rows = len(table.groups)
    figure = new_figure(WIDTH, 0.6 + 0.8 * rows, table.caption)
    grid = figure.subplots(rows, 1, squeeze=False, sharex=True)[:, 0]
    edges = np.arange(table.site.experts + 1) - 0.5
    for axes, group, first, among, n in zip(
        grid, table.groups, table.share_first, table.share_any, table.n, strict=True
    ):
        for share, alpha, label in ((among, 0.35, "among all choices"), (first, 1.0, "first choice")):
            axes.stairs(
                100 * np.nan_to_num(share),
                edges,
                fill=True,
                color=styles[group.name].colour,
                alpha=alpha,
                label=label,
                linewidth=0,
            )
        axes.set_ylabel(f"{plain(group.name)}\nn = {int(n):,}", fontsize=SMALL)
        axes.set_xlim(-0.5, table.site.experts - 0.5)
        trim(axes)
    grid[0].legend(fontsize=SMALL, frameon=False)
    grid[-1].set_xlabel(f"expert ({plain(site_title(table.site))})", fontsize=NORMAL)
    figure.supylabel("share of tokens (%)", fontsize=NORMAL)
    return figure


def _site_axis(axes: Axes, sites: Sequence[Site], places: np.ndarray) -> None:
    labels = site_labels(sites)
    shown = thin_ticks(len(labels), 20)
    axes.set_xticks(places[shown], labels=[plain(labels[at]) for at in shown])
    axes.set_xlabel(plain(site_axis(sites)), fontsize=NORMAL)
    axes.grid(axis="y", linewidth=0.3, color="#DDDDDD")
    trim(axes)
