"""Maps of experts and tokens for paper, drawn with matplotlib from `analysis.projection`: the same picture as interactive_map."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from workbench.analysis.projection import MapTable
from workbench.figures.map_style import classes
from workbench.figures.paper_frame import LINE_MARKERS, NORMAL, SMALL, new_figure, plain, trim

SIDE = 4.6  # inches


def scatter(table: MapTable, by: str = "group", *, words: Sequence[str | None] | None = None) -> Figure:
    """The map, a marker a class of points; arguments as `interactive_map.scatter`."""
    figure = new_figure(SIDE + 0.8, SIDE, table.caption)
    axes = figure.subplots()
    size = 14 if len(table.xy) <= 400 else 4
    for part in classes(table, by, words):
        hollow = part.marker.endswith("-open")
        axes.scatter(
            table.xy[part.points, 0],
            table.xy[part.points, 1],
            s=size,
            marker=LINE_MARKERS[part.marker.removesuffix("-open")],
            facecolors="none" if hollow else part.colour,
            edgecolors=part.colour if hollow else "none",
            linewidths=0.5,
            alpha=0.8,
            label=f"{plain(part.name)} ({len(part.points):,})",
            rasterized=len(table.xy) > 1000,  # a PDF with thousands of shapes is slow to open
        )
    first, second = table.axes
    axes.set_xlabel(first, fontsize=NORMAL)
    axes.set_ylabel(second, fontsize=NORMAL)
    axes.set_aspect("equal", adjustable="datalim")
    if table.explained is None:
        axes.set_xticks([])
        axes.set_yticks([])
    axes.spines[["top", "right"]].set_visible(False)
    trim(axes)
    figure.legend(loc="outside upper center", ncols=4, fontsize=SMALL, frameon=False, markerscale=1.3)
    return figure
