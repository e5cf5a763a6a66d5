"""IoU of pairs of groups for paper: the picture of `interactive_overlap`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from workbench.analysis.tables import OverlapTable
from workbench.analysis.words import site_title
from workbench.figures.marks import OverlapMarks, arrow
from workbench.figures.paper_frame import (
    NORMAL,
    SMALL,
    WIDTH,
    cells,
    colour_bar,
    colour_map,
    cover,
    cover_legend,
    new_figure,
    on_colour,
    plain,
)
from workbench.figures.style import overlap_scale


def overlap(table: OverlapTable, *, marks: OverlapMarks | None = None) -> Figure:
    """IoU of the top sets of every pair of groups, a panel a site (Figure 9 of the ERNIE 5.0 report).

    Args:
        marks: from figures.marks: ▲ and ▼ beyond the null; on the diagonal a group with itself in two halves of its documents.
    """
    names = [plain(group.name) for group in table.groups]
    panels, size = len(table.sites), len(names)
    columns = min(3, panels)
    lines = -(-panels // columns)
    side = WIDTH / 3 - 0.35 if columns == 3 else 3.0
    figure = new_figure(WIDTH if columns == 3 else columns * side + 1.4, lines * (side + 0.75), table.caption)
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    off = ~np.eye(size, dtype=bool)
    images = []
    greyed = False
    for index, site in enumerate(table.sites):
        axes = grid[index // columns, index % columns]
        scale = overlap_scale(table, index)
        few = (table.few[index][:, None] | table.few[index][None, :]) & off
        values = scale.colour.copy()
        if marks is not None and marks.itself is not None:
            np.fill_diagonal(values, marks.itself[index])
        images.append(cells(axes, replace(scale, colour=values), aspect="equal"))
        for a, b in np.argwhere(few):
            cover(axes, b, a, b + 1, a + 1, "few")
        greyed |= bool(few.any())
        if size <= 12:
            shades = colour_map(scale)
            for a, b in np.argwhere(~few & ~np.isnan(values)):
                value = float(values[a, b])
                said = f"{value:.2f}" + ("" if marks is None else arrow(int(marks.sign[index, a, b])))
                font = SMALL if size <= 7 else 4
                slant = "italic" if a == b else "normal"
                ink = on_colour(shades(value))
                axes.text(b, a, said, ha="center", va="center", fontsize=font, color=ink, style=slant)
        font = SMALL if size <= 12 else 4.5
        axes.set_xticks(range(size), labels=names, rotation=40, ha="right", rotation_mode="anchor", fontsize=font)
        axes.set_yticks(range(size), labels=names, fontsize=font)
        axes.tick_params(width=0.5, length=2)
        axes.set_title(
            f"{plain(site_title(site))}\n{table.wanted[index]} of {site.experts - site.identity_experts} experts, "
            f"chance {table.even_chance[index]:.2f}",
            fontsize=NORMAL,
        )
        for spine in axes.spines.values():
            spine.set_linewidth(0.5)
    for axes in grid.flat[panels:]:
        axes.set_axis_off()
    bar = colour_bar(figure, images[0], list(grid.flat), overlap_scale(table, 0), aspect=20)
    for level in table.even_chance:
        bar.axhline(level, color="white", linewidth=2)
        bar.axhline(level, color="black", linewidth=0.8)
    cover_legend(figure, ["few"] if greyed else [])
    return figure
