"""The difference of two captures for paper: the picture of `interactive_compare`, a panel a group."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from workbench.analysis.comparison import ComparisonTable, as_heatmap
from workbench.figures import paper
from workbench.figures.lines import of_comparison as lines_of
from workbench.figures.marks import of_comparison as marks_of
from workbench.figures.paper_lines import site_lines


def difference(table: ComparisonTable, capture: int = 0, groups: Sequence[int] | None = None) -> Figure:
    """A capture minus the first one.

    Args:
        groups: places of the groups that heat maps show, a panel each, default all; lines show all groups.
    """
    if table.kind != "expert":
        return site_lines(lines_of(table, capture))
    shown = range(len(table.groups)) if groups is None else groups
    figure = paper.heatmap(
        [as_heatmap(table, capture, group) for group in shown],
        marks=[marks_of(table, capture, group) for group in shown],
    )
    figure.set_label(table.caption)
    if table.measure == "sorted load":
        for axes in figure.axes:
            if axes.get_xlabel() == "expert":
                axes.set_xlabel(
                    "rank of the expert by its load (0 = the busiest)", fontsize=axes.xaxis.label.get_fontsize()
                )
    return figure
