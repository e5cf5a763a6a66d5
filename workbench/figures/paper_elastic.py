"""The curve of sub-models for print: the same table as on the page, in matplotlib."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from workbench.analysis.curve import CurveTable
from workbench.figures.elastic_style import FRONT_COLOUR, FULL_COLOUR, PALE, PAPER_SHAPES, front_steps, look, shape_name
from workbench.figures.paper_frame import NORMAL, SMALL, WIDTH, new_figure, plain
from workbench.figures.style import NEUTRAL, SEQUENTIAL


def elastic(table: CurveTable) -> Figure:
    """Quality against one cost, a point a sub-model.

    Args:
        table: from `analysis.curve.curve_table`.
    """
    figure = new_figure(WIDTH * 0.7, WIDTH * 0.45, table.caption)
    axes = figure.subplots()
    drawn = look(table)
    colours = LinearSegmentedColormap.from_list("layers", list(SEQUENTIAL))
    x, y = front_steps(table)
    axes.step(x, y, where="post", color=FRONT_COLOUR, linewidth=0.8, label="Pareto front", zorder=1)
    _bars(axes, table)
    image = None
    for number, chosen in enumerate(drawn.shapes):
        match = np.nan_to_num(table.chosen, nan=0.0).astype(int) == chosen
        for front in (False, True):
            points = np.flatnonzero(match & ~table.full & (table.front == front))
            if not len(points):
                continue
            image = axes.scatter(
                table.x[points], table.y[points], s=(drawn.size[points] * 0.45) ** 2, c=np.nan_to_num(table.depth[points]), cmap=colours,
                vmin=drawn.low, vmax=drawn.high, marker=PAPER_SHAPES[number % len(PAPER_SHAPES)], alpha=1.0 if front else PALE,
                linewidths=0.6 if front else 0.3, edgecolors=FRONT_COLOUR if front else NEUTRAL, zorder=3 if front else 2,
            )  # fmt: skip
        axes.scatter(
            [], [], marker=PAPER_SHAPES[number % len(PAPER_SHAPES)], color=NEUTRAL, s=14, label=shape_name(chosen)
        )
    whole = np.flatnonzero(table.full)
    axes.scatter(table.x[whole], table.y[whole], s=90, marker="*", color=FULL_COLOUR, label="whole model", zorder=4)
    if image is not None:
        steps = sorted({int(depth) for depth in table.depth[~np.isnan(table.depth)]})
        bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=30, ticks=steps if len(steps) <= 12 else None)
        bar.set_label("layers", fontsize=NORMAL)
        bar.ax.tick_params(labelsize=SMALL)
    axes.set_xlabel(plain(table.x_title), fontsize=NORMAL)
    axes.set_ylabel(plain(table.y_title), fontsize=NORMAL)
    axes.tick_params(labelsize=SMALL)
    axes.grid(linewidth=0.3, alpha=0.5)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(fontsize=SMALL, frameon=False, loc="best")
    return figure


def _bars(axes: Axes, table: CurveTable) -> None:
    points = np.flatnonzero(table.front)
    for low, high, middle, name in (
        (table.y_low, table.y_high, table.y, "yerr"),
        (table.x_low, table.x_high, table.x, "xerr"),
    ):
        known = points[~np.isnan(low[points]) & ~np.isnan(high[points])]
        if len(known):
            ends = np.abs(np.stack([middle[known] - low[known], high[known] - middle[known]]))
            axes.errorbar(
                table.x[known],
                table.y[known],
                fmt="none",
                ecolor=NEUTRAL,
                elinewidth=0.5,
                capsize=1.5,
                zorder=2,
                **{name: ends},
            )
