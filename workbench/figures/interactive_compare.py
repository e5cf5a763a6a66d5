"""The difference of two captures for the page: a heat map of experts, or lines over sites, pale or grey within noise."""

from __future__ import annotations

import plotly.graph_objects as go

from workbench.analysis.comparison import ComparisonTable, as_heatmap
from workbench.figures.interactive_heatmap import heatmap
from workbench.figures.interactive_lines import site_lines
from workbench.figures.lines import of_comparison as lines_of
from workbench.figures.marks import of_comparison as marks_of


def difference(table: ComparisonTable, capture: int = 0, group: int = 0) -> go.Figure:
    """A capture minus the first one.

    Args:
        capture: place among the others. group: place of the group that a heat map shows; lines show all groups.
    """
    if table.kind != "expert":
        return site_lines(lines_of(table, capture))
    figure = heatmap(as_heatmap(table, capture, group), marks=marks_of(table, capture, group))
    if table.measure == "sorted load":
        figure.update_xaxes(title="rank of the expert by its load (0 = the busiest)")
    return figure
