"""Figures for paper, drawn with matplotlib from the tables of `workbench.analysis`: the same pictures as `interactive`.

No browser is needed and no font is missing: `workbench.export.figure_bytes` embeds them. Each returned Figure carries its
caption (`paper_frame.caption_of`), which the file takes into its metadata; the sentence itself belongs under the figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from workbench.analysis.select import strand_numbers
from workbench.analysis.tables import BalanceTable, CoactivationTable, HeatmapTable, UtilisationTable
from workbench.analysis.words import site_title
from workbench.capture import CaptureError
from workbench.figures.lines import strand_runs
from workbench.figures.marks import CellMarks, ShareMarks
from workbench.figures.paper_frame import (
    LINE_MARKERS,
    LINE_STYLES,
    NORMAL,
    SMALL,
    TITLE,
    WIDTH,
    cells,
    colour_bar,
    cover,
    cover_legend,
    new_figure,
    note,
    plain,
    tint,
    trim,
    veil,
)
from workbench.figures.paper_overlap import overlap
from workbench.figures.style import (
    ABSENT_COLOUR,
    FEW_COLOUR,
    NEUTRAL,
    Scale,
    balance_range,
    coactivation_scale,
    column_of,
    group_styles,
    heatmap_scale,
    n_words,
    runs,
    site_axis,
    site_labels,
    site_places,
    thin_ticks,
    utilisation_tops,
)

__all__ = ["balance", "coactivation", "heatmap", "overlap", "specialisation", "utilisation"]


def heatmap(
    table: HeatmapTable | Sequence[HeatmapTable],
    *,
    limit: float | None = None,
    marks: CellMarks | Sequence[CellMarks | None] | None = None,
) -> Figure:
    """Sites x experts, a panel for each table (one a group), all on one colour scale.

    Args:
        table: one, or several of the same measure and sites.
        limit: half range of a diverging scale in log2 units; default from the data.
        marks: from figures.marks, for each table; cells within the null or noise are drawn pale.
    """
    over = [marks] if isinstance(marks, CellMarks) or marks is None else list(marks)
    tables = [table] if isinstance(table, HeatmapTable) else list(table)
    if not tables or len({part.measure for part in tables}) != 1:
        raise CaptureError("A heat map needs tables of one measure, one at least: make them with the same measure.")
    scales = heatmap_scale(tables, limit)
    rows = len(tables[0].sites)
    columns = 1 if len(tables) == 1 else 2
    lines = -(-len(tables) // columns)
    panel = float(
        np.clip(rows * (0.22 if rows <= 12 else 0.055), 0.7, 6.5 if columns == 1 else 2.6)
    )  # three panels fill a page
    figure = new_figure(WIDTH, lines * (panel + 0.42) + 0.35, panels_caption(tables))
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    drawn: set[str] = set()
    images = []
    for index, (part, scale) in enumerate(zip(tables, scales, strict=True)):
        axes = grid[index // columns, index % columns]
        image, kinds = _heatmap_panel(axes, part, scale)
        mark = over[index] if index < len(over) else None
        if mark is not None:
            veil(axes, mark)
        images.append(image)
        drawn |= kinds
        axes.set_title(f"{plain(part.group)} ({n_words(part.n)})", fontsize=TITLE, pad=3)
    for axes in grid.flat[len(tables) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel(plain(site_axis(tables[0].sites)), fontsize=NORMAL)
    for column in range(columns):
        lowest = (len(tables) - 1 - column) // columns
        grid[lowest, column].set_xlabel("expert", fontsize=NORMAL)
        grid[lowest, column].tick_params(labelbottom=True)
    colour_bar(figure, images[0], list(grid.flat), scales[0], aspect=min(60, 22 * lines))
    cover_legend(figure, sorted(drawn), next((mark.label for mark in over if mark is not None), None))
    return figure


def panels_caption(tables: Sequence[HeatmapTable]) -> str:
    """One sentence for a figure with a panel a group."""
    first = tables[0]
    if len(tables) == 1:
        return first.caption
    names = ", ".join(f"{part.group} n = {int(part.n.max(initial=0)):,}" for part in tables)
    return (
        f"{column_of(first)} of each expert ({first.unit}) at {len(first.sites)} sites, a panel a group: {names} tokens; "
        f"{first.caption.rsplit('; ', 1)[-1]}"
    )


def _heatmap_panel(axes: Axes, table: HeatmapTable, scale: Scale) -> tuple[AxesImage, set[str]]:
    """Colours, then grey and hatching over them; returns the image and which covers were drawn."""
    image = cells(axes, scale)
    experts = table.exists.shape[1]
    number = table.exists.sum(axis=1)
    kinds: set[str] = set()
    for count in np.unique(number):
        same = number == count
        for kind, flags, left, right in (
            ("absent", same & (count < experts), count, experts),
            ("empty", same & (table.n == 0), 0, count),
            ("few", same & table.few & (table.n > 0), 0, count),
        ):
            for top, bottom in runs(flags):
                cover(axes, left, top, right, bottom, kind)
                kinds.add(kind)
        identity = table.identity[same].any(axis=0)
        if identity.any():  # a line before the experts that hold no weights
            for top, bottom in runs(same):
                axes.vlines(int(np.argmax(identity)) - 0.5, top - 0.5, bottom - 0.5, colors="black", linewidth=0.6)
    labels = site_labels(table.sites)
    ticks = thin_ticks(len(labels), 20)
    axes.set_yticks(ticks, labels=[plain(labels[index]) for index in ticks])
    axes.set_xticks(thin_ticks(experts, 12))
    for place in np.flatnonzero(np.diff(strand_numbers(table.sites))):
        axes.axhline(place + 0.5, color="black", linewidth=0.5)
    axes.set_xlim(-0.5, experts - 0.5)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    trim(axes)
    return image, kinds


def specialisation(
    table: HeatmapTable | Sequence[HeatmapTable],
    *,
    limit: float | None = None,
    marks: CellMarks | Sequence[CellMarks | None] | None = None,
) -> Figure:
    """The heat map of specialisation tables, diverging around 0; arguments as `heatmap`."""
    return heatmap(table, limit=limit, marks=marks)


def utilisation(table: UtilisationTable, *, same_scale: bool = False, marks: ShareMarks | None = None) -> Figure:
    """Share of tokens by expert, a column a site and a row a group (Figure 8 of the ERNIE 5.0 report).

    Args:
        same_scale: one y range for all groups; otherwise one for each group (row), as in the report.
        marks: from figures.marks; the null's band is drawn over the bars.
    """
    styles = group_styles(table.all_groups)
    rows, columns = len(table.groups), len(table.sites)
    figure = new_figure(WIDTH, 0.55 + rows * (0.75 if rows <= 8 else 0.55), table.caption)
    grid = figure.subplots(rows, columns, squeeze=False, sharex="col", sharey="all" if same_scale else "row")
    highest = utilisation_tops(table, same_scale)
    for row, group in enumerate(table.groups):
        style = styles[group.name]
        for column, site in enumerate(table.sites):
            axes = grid[row, column]
            n, few = int(table.n[column, row]), bool(table.few[column, row])
            colour = FEW_COLOUR if few else style.colour
            if n:
                bars(axes, 100 * table.share[column, row, : site.experts], colour, style.hatch)
                if marks is not None:
                    _null_steps(axes, marks, column, row, site.experts)
                axes.axhline(100 * table.chance[column], color="black", linewidth=0.6, linestyle=(0, (4, 3)))
            if few:
                note(axes, f"few tokens (n = {n:,})" if n else "no tokens")
            axes.set_xlim(-0.5, site.experts - 0.5)
            axes.locator_params(axis="y", nbins=3)
            axes.spines[["top", "right"]].set_visible(False)
            trim(axes)
            if row == 0:
                axes.set_title(
                    f"{plain(site_title(site))}\ndashed: chance k / E = {table.chance[column]:.2%}", fontsize=NORMAL
                )
            if row == rows - 1:
                axes.set_xlabel("expert", fontsize=NORMAL)
        grid[row, 0].set_ylim(0, 1.05 * highest[row])
        grid[row, 0].set_ylabel(f"{plain(group.name)}\nn = {int(table.n[:, row].max(initial=0)):,}", fontsize=SMALL)
    figure.supylabel("share of tokens that choose the expert (%)", fontsize=NORMAL)
    return figure


def bars(axes: Axes, values: np.ndarray, colour: str, hatch: str) -> None:
    """Bars without gaps as one outline, which stays small in a file; generation is hatched."""
    edges = np.arange(len(values) + 1) - 0.5
    if not hatch:
        axes.stairs(values, edges, fill=True, color=colour, linewidth=0)
        return
    axes.stairs(values, edges, fill=True, facecolor=tint(colour), edgecolor=colour, hatch=3 * hatch, linewidth=0)
    axes.stairs(values, edges, color=colour, linewidth=0.4)


def _null_steps(axes: Axes, marks: ShareMarks, column: int, row: int, experts: int) -> None:
    """The null's band as steps as wide as the bars; the interval of every bar where there is room."""
    edges = np.arange(experts + 1) - 0.5
    low, high = (100 * np.nan_to_num(ends[column, row, :experts]) for ends in (marks.null_low, marks.null_high))
    axes.stairs(high, edges, baseline=low, fill=True, color=NEUTRAL, alpha=0.45, linewidth=0)
    if experts <= 64:
        bottom, top = (100 * values[column, row, :experts] for values in (marks.low, marks.high))
        axes.vlines(np.arange(experts), bottom, top, colors="black", linewidth=0.4)


def balance(table: BalanceTable) -> Figure:
    """One number a site, a line a group, broken between strands (Figure 10 of the ERNIE 5.0 report)."""
    styles = group_styles(table.all_groups)
    places, breaks = site_places(table.strand)
    figure = new_figure(WIDTH, 2.9 + 0.14 * -(-len(table.groups) // 4), table.caption)
    axes = figure.subplots()
    for index, group in enumerate(table.groups):
        style = styles[group.name]
        few = table.few[:, index]
        colour = FEW_COLOUR if few.all() else style.colour
        label = f"{plain(group.name)} (n = {int(table.n[:, index].max(initial=0)):,})"
        look: dict[str, Any] = {"linestyle": LINE_STYLES[style.dash], "linewidth": 1.1, "color": colour}
        for number, part in enumerate(strand_runs(table.strand)):
            axes.plot(places[part], table.values[part, index], label=label if not number else None, **look)
        for flags, fill in ((~few, style.colour), (few, FEW_COLOUR)):
            axes.plot(
                places[flags],
                table.values[flags, index],
                linestyle="",
                marker=LINE_MARKERS[style.marker],
                markersize=2.4,
                color=fill,
            )
    for number, part in enumerate(strand_runs(table.strand)):
        axes.plot(
            places[part],
            table.even[part],
            color=NEUTRAL,
            linewidth=0.8,
            linestyle=":",
            label=None if number else "even load",
        )
    for gap in breaks:
        axes.axvline(gap, color=ABSENT_COLOUR, linewidth=0.5)
    labels = site_labels(table.sites)
    shown = thin_ticks(len(labels), 24 if len(set(table.strand.tolist())) == 1 else 12)
    tilt: dict[str, Any] = (
        {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if max(map(len, labels)) > 4 else {}
    )
    axes.set_xticks(places[shown], labels=[plain(labels[index]) for index in shown], **tilt)
    axes.set_xlim(-0.5, float(places.max()) + 0.5)
    limits = balance_range(table)
    if limits is not None:
        axes.set_ylim(*limits)
    axes.set_xlabel(plain(site_axis(table.sites)), fontsize=NORMAL)
    axes.set_ylabel(f"{table.measure}\n({table.unit})", fontsize=NORMAL)
    axes.grid(axis="y", linewidth=0.3, color="#DDDDDD")
    axes.spines[["top", "right"]].set_visible(False)
    trim(axes)
    if table.few.any():
        axes.plot([], [], linestyle="", marker="s", markersize=4, color=FEW_COLOUR, label="few tokens")
    figure.legend(loc="outside upper center", ncols=4, fontsize=SMALL, frameon=False, handlelength=3)
    return figure


def coactivation(
    table: CoactivationTable | Sequence[CoactivationTable],
    *,
    limit: float | None = None,
    marks: CellMarks | Sequence[CellMarks] | None = None,
) -> Figure:
    """Experts x experts, a panel a site, each with its own scale; the diagonal blank, pairs with few tokens grey.

    Args:
        table: one, or several of the same normalisation.
        limit: half range of the scale of lift in log2 units; default from the data.
        marks: from figures.marks, for each table; pairs that go together as their loads alone make them are pale.
    """
    over = [] if marks is None else [marks] if isinstance(marks, CellMarks) else list(marks)
    tables = [table] if isinstance(table, CoactivationTable) else list(table)
    if not tables:
        raise CaptureError(
            "A co-activation figure needs a table of one site at least: make one with coactivation_table."
        )
    columns = len(tables)
    figure = new_figure(
        4.6 if columns == 1 else 3.4 * columns, 3.85 if columns == 1 else 2.9, coactivation_caption(tables)
    )
    grid = figure.subplots(1, columns, squeeze=False)
    for number, (axes, part) in enumerate(zip(grid[0], tables, strict=True)):
        _coactivation_panel(figure, axes, part, limit)
        if number < len(over):
            veil(axes, over[number])
    grid[0, 0].set_ylabel("expert", fontsize=NORMAL)
    few = ["few"] if any(part.few.any() for part in tables) else []
    cover_legend(figure, few, over[0].label if over else None)
    return figure


def coactivation_caption(tables: Sequence[CoactivationTable]) -> str:
    """One sentence for a figure with a panel a site."""
    first = tables[0]
    if len(tables) == 1:
        return first.caption
    sites = ", ".join(f"{site_title(part.site)} n = {part.n:,}" for part in tables)
    level = "" if first.centre is None else " (the scale is centred on all pairs of the site together)"
    return (
        f"Co-activation ({first.normalise}, {first.unit}) of every pair of experts{level}, a panel a site: {sites} tokens of all groups; "
        f"{first.caption.rsplit('; ', 1)[-1]}"
    )


def _coactivation_panel(figure: Figure, axes: Axes, table: CoactivationTable, limit: float | None) -> None:
    scale = coactivation_scale(table, limit)
    experts = table.site.experts
    image = cells(axes, replace(scale, colour=np.where(table.few, np.nan, scale.colour)), aspect="equal")
    if table.few.any():
        grey = np.zeros((experts, experts, 4))
        grey[table.few] = to_rgba(FEW_COLOUR)
        axes.imshow(grey, aspect="equal", interpolation="nearest")
    axes.plot([-0.5, experts - 0.5], [-0.5, experts - 0.5], color=ABSENT_COLOUR, linewidth=0.5)  # blank is not "even"
    axes.set_xlim(-0.5, experts - 0.5)
    axes.set_ylim(experts - 0.5, -0.5)
    ticks = thin_ticks(experts, 12)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.set_xlabel("expert", fontsize=NORMAL)
    axes.set_title(f"{plain(site_title(table.site))} (n = {table.n:,} tokens)", fontsize=TITLE)
    trim(axes)
    colour_bar(figure, image, [axes], scale)
