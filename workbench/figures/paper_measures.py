"""The figures of `interactive_measures` for paper, drawn with matplotlib from the same tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from workbench.analysis.affinity import AffinityTable
from workbench.analysis.concentration import RankTable
from workbench.analysis.iou_curve import IouCurveTable
from workbench.analysis.significance import SignificanceTable
from workbench.analysis.words import site_title
from workbench.figures.lines import of_significance, pair_style
from workbench.figures.paper_frame import (
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
from workbench.figures.paper_lines import site_lines
from workbench.figures.style import FEW_COLOUR, affinity_scale, group_styles


def bands(table: SignificanceTable, shown: Sequence[int] | None = None) -> Figure:
    """A group's or pair's statistic by site with interval and null band; raises CaptureError for a table of single experts."""
    return site_lines(of_significance(table, shown))


def iou_curve(table: IouCurveTable, pairs: Sequence[int] | None = None) -> Figure:
    """IoU by size of the top set: line, null band pale, chance dotted."""
    figure = new_figure(WIDTH, 3.2, table.caption)
    axes = figure.subplots()
    for turn, pair in enumerate(range(len(table.first)) if pairs is None else pairs):
        few = bool(table.few[table.first[pair]] | table.few[table.second[pair]])
        look = pair_style(turn)
        colour = FEW_COLOUR if few else look.colour
        name = f"{table.groups[table.first[pair]].name}, {table.groups[table.second[pair]].name}"
        axes.fill_between(
            table.size, table.null_low[pair], table.null_high[pair], color=colour, alpha=0.08, linewidth=0
        )
        axes.plot(
            table.size,
            table.iou[pair],
            color=colour,
            linestyle=LINE_STYLES[look.dash],
            linewidth=1.1,
            label=plain(name),
        )
        axes.plot(table.size, table.chance[pair], color=colour, linewidth=0.7, linestyle=":")
    axes.set_xlabel(f"experts in a top set, of {len(table.size)} ({plain(site_title(table.site))})", fontsize=NORMAL)
    axes.set_ylabel("IoU", fontsize=NORMAL)
    axes.set_ylim(0, 1.02)
    trim(axes)
    figure.legend(loc="outside upper center", ncols=3, fontsize=SMALL, frameon=False)
    return figure


def affinity(table: AffinityTable, *, limit: float = 3.0) -> Figure:
    """log2 of lift between the experts of two following sites; few tokens grey."""
    scale = affinity_scale(table, limit)
    scale = replace(scale, colour=np.where(table.few, np.nan, scale.colour))
    figure = new_figure(4.6, 3.85, table.caption)
    axes = figure.subplots()
    axes.set_facecolor(FEW_COLOUR)
    image = cells(axes, scale, aspect="equal")
    axes.set_xlabel(f"expert at {plain(site_title(table.after))}", fontsize=NORMAL)
    axes.set_ylabel(f"expert at {plain(site_title(table.site))}", fontsize=NORMAL)
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
    for axes, group, first, among, n, few in zip(
        grid, table.groups, table.share_first, table.share_any, table.n, table.few, strict=True
    ):
        for share, alpha, label in ((among, 0.35, "among all choices"), (first, 1.0, "first choice")):
            axes.stairs(
                100 * np.nan_to_num(share),
                edges,
                fill=True,
                color=FEW_COLOUR if few else styles[group.name].colour,
                alpha=alpha,
                label=label,
                linewidth=0,
            )
        axes.set_ylabel(f"{plain(group.name)}\nn = {int(n):,}{', few' if few else ''}", fontsize=SMALL)
        axes.set_xlim(-0.5, table.site.experts - 0.5)
        trim(axes)
    grid[0].legend(fontsize=SMALL, frameon=False)
    grid[-1].set_xlabel(f"expert ({plain(site_title(table.site))})", fontsize=NORMAL)
    figure.supylabel("share of tokens (%)", fontsize=NORMAL)
    return figure
