"""The causal table for paper: the same picture as `interactive_causal`."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from workbench.analysis.causal import CausalTable
from workbench.figures.causal_style import MOST_NUMBERS, RIGHT, causal_caption, causal_scale, own_rows, panels
from workbench.figures.paper_frame import (
    NORMAL,
    SMALL,
    WIDTH,
    cells,
    colour_bar,
    colour_map,
    new_figure,
    on_colour,
    plain,
    trim,
)
from workbench.figures.style import NEUTRAL, PALETTE, thin_ticks


def causal(table: CausalTable) -> Figure:
    """What muting costs whom; arguments and panels as `interactive_causal.causal`."""
    squares, rows = panels(table), own_rows(table)
    count, groups = len(table.rows), len(table.groups)
    figure = new_figure(WIDTH, 1.5 + 0.24 * max(count, 3), causal_caption(table))
    widths = [1.0] * len(squares) + ([0.7] if rows else [])
    grid = figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
    image = None
    for axes, (title, estimate) in zip(grid, squares, strict=False):
        scale = causal_scale(table, estimate.value)
        shades = colour_map(scale)
        image = cells(axes, scale)
        if groups <= MOST_NUMBERS:
            for row, column in np.argwhere(np.isfinite(estimate.value)):
                value = float(estimate.value[row, column])
                ink = on_colour(shades((value - scale.low) / (scale.high - scale.low)))
                axes.text(column, row, f"{value:+.2f}", ha="center", va="center", fontsize=SMALL, color=ink)
        for row in range(count):
            if table.own[row] >= 0:
                axes.add_patch(
                    Rectangle((table.own[row] - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=1)
                )
        shown = thin_ticks(groups, 30)
        axes.set_xticks(
            shown, labels=[plain(table.groups[at]) for at in shown], rotation=40, ha="right", rotation_mode="anchor"
        )
        axes.set_xlabel("loss of group", fontsize=NORMAL)
        axes.set_title(title, fontsize=NORMAL)
    for axes in grid:
        shown = thin_ticks(count, 30)
        axes.set_yticks(shown, labels=[plain(table.rows[at]) for at in shown] if axes is grid[0] else [])
        axes.set_ylim(count - 0.5, -0.5)
        trim(axes)
    grid[0].set_ylabel("muted: favourites of", fontsize=NORMAL)
    if image is not None:
        colour_bar(figure, image, list(grid[: len(squares)]), causal_scale(table, table.change.value), aspect=20)
    if rows:
        axes, own = grid[-1], table.own[rows]
        middle, low, high = (part[rows, own] for part in (table.excess.value, table.excess.low, table.excess.high))
        axes.axvline(0, color=NEUTRAL, linewidth=0.6, linestyle=":")
        axes.hlines(rows, low, high, color=NEUTRAL, linewidth=1)
        axes.scatter(
            middle,
            rows,
            s=16,
            zorder=3,
            facecolors=[PALETTE[5] if one else "white" for one in low > 0],
            edgecolors=PALETTE[5],
            linewidths=0.8,
        )
        axes.set_xlabel(f"nats a token, {table.level:.0%} interval", fontsize=NORMAL)
        axes.set_title(RIGHT, fontsize=NORMAL)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
