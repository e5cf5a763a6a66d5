"""Curves of training runs for paper, drawn with matplotlib from `analysis.curves`: the same pictures as interactive_curves."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from workbench.analysis.curves import ALL, CurvesTable
from workbench.figures.curve_style import columns_of, line_colours, run_dash
from workbench.figures.paper_frame import LINE_STYLES, NORMAL, SMALL, TITLE, WIDTH, new_figure, plain, trim
from workbench.figures.style import NEUTRAL


def curves(table: CurvesTable) -> Figure:
    """A panel for each of the table's, lines by step."""
    wide = columns_of(len(table.panels))
    rows = -(-len(table.panels) // wide)
    colours = line_colours(table)
    figure = new_figure(WIDTH, 1.75 * rows + 0.5, table.caption)
    grid = figure.subplots(rows, wide, squeeze=False)
    named: set[str] = set()
    for curve in table.curves:
        axes = grid[curve.panel // wide, curve.panel % wide]
        colour = colours[curve.name]
        if curve.low is not None and curve.high is not None:
            axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            curve.x,
            curve.y,
            color=colour,
            linewidth=1.5 if curve.name == ALL else 0.9,
            linestyle=LINE_STYLES[run_dash(table, curve.run, curve.name)],
            label=None if curve.name in named else plain(curve.name),
        )
        named.add(curve.name)
        if curve.broken is not None and len(curve.broken):
            top = np.nanmax(np.where(np.isfinite(curve.y), curve.y, np.nan), initial=0.0)
            axes.plot(
                curve.broken, np.full(len(curve.broken), top), linestyle="", marker="x", markersize=4, color=colour
            )
    for index, axes in enumerate(grid.flat):
        if index >= len(table.panels):
            axes.set_axis_off()
            continue
        panel = table.panels[index]
        axes.set_title(plain(panel.title), fontsize=TITLE, pad=3)
        axes.set_xlabel("step", fontsize=NORMAL)
        axes.set_ylabel(plain(panel.unit), fontsize=NORMAL)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        if panel.level is not None:
            axes.axhline(panel.level, color=NEUTRAL, linewidth=0.7, linestyle=":")
        axes.grid(axis="y", linewidth=0.3, color="#DDDDDD")
        axes.spines[["top", "right"]].set_visible(False)
        trim(axes)
    if len(table.runs) > 1:
        for run in table.runs:
            style = LINE_STYLES[run_dash(table, run, "")]
            grid[0, 0].plot([], [], color=NEUTRAL, linewidth=1.2, linestyle=style, label=plain(run))
    figure.legend(loc="outside lower center", ncols=5, fontsize=SMALL, frameon=False, handlelength=3)
    return figure
