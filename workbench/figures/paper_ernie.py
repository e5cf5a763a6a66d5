"""Figures 8 to 10 of the ERNIE 5.0 report beside the same figures of a capture; the report's values are marked as such."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch

from workbench.analysis.ernie_report import (
    CHANCE,
    GROUPS,
    PLACES,
    BesideReport,
    printed_balance,
    printed_overlap,
    printed_tallest,
)
from workbench.analysis.words import site_title
from workbench.capture import DEFAULT_GROUPS, Group
from workbench.figures.paper import bars
from workbench.figures.paper_frame import (
    LINE_MARKERS,
    LINE_STYLES,
    NORMAL,
    SMALL,
    TITLE,
    WIDTH,
    cells,
    colour_bar,
    colour_map,
    cover,
    cover_legend,
    new_figure,
    note,
    on_colour,
    plain,
    tint,
    trim,
)
from workbench.figures.style import (
    FEW_COLOUR,
    NEUTRAL,
    GroupStyle,
    Scale,
    group_styles,
    site_axis,
    site_labels,
    thin_ticks,
)

PRINTED = "ERNIE 5.0 report"
_PRINTED_LOOK: dict[str, Any] = {"facecolor": "white", "edgecolor": "black", "linewidth": 0.7}


def _all_groups(beside: BesideReport) -> list[Group]:
    """The report's six, then the capture's others."""
    return [*DEFAULT_GROUPS, *(group for group in beside.groups if group.name not in GROUPS)]


def _styles(beside: BesideReport) -> dict[str, GroupStyle]:
    """The report's groups look as they do everywhere, the capture's others as in its own figures."""
    return {**group_styles(beside.utilisation.all_groups), **group_styles(DEFAULT_GROUPS)}


def utilisation(beside: BesideReport) -> Figure:
    """Figure 8: share of tokens by expert, a row a group; on the right its most used expert beside the report's."""
    table, groups = beside.utilisation, _all_groups(beside)
    own = [group.name for group in table.groups]
    styles = _styles(beside)
    sites = len(table.sites)
    figure = new_figure(WIDTH, 0.9 + 0.7 * len(groups), utilisation_caption(beside))
    grid = figure.subplots(len(groups), sites + 1, squeeze=False, width_ratios=[*[1.0] * sites, 0.9])
    tallest, printed = 100 * beside.tallest(), 100 * printed_tallest()
    for row, group in enumerate(groups):
        at = own.index(group.name) if group.name in own else None
        for column, site in enumerate(table.sites):
            axes = grid[row, column]
            if at is None:
                note(axes, "not in this capture")
                axes.spines[:].set_visible(False)
            elif table.n[column, at]:
                colour = FEW_COLOUR if table.few[column, at] else styles[group.name].colour
                bars(axes, 100 * table.share[column, at, : site.experts], colour, styles[group.name].hatch)
                axes.axhline(100 * table.chance[column], color="black", linewidth=0.6, linestyle=(0, (4, 3)))
            axes.set_xlim(-0.5, site.experts - 0.5)
            axes.set_xticks(thin_ticks(site.experts, 5) if row == len(groups) - 1 else [])
            if at is None:
                axes.set_yticks([])
            else:
                axes.set_ylim(
                    0, 1.05 * max(float(np.nanmax(tallest[:, at], initial=0.0)), 100 * float(table.chance.max()))
                )
                axes.locator_params(axis="y", nbins=3)
                if column:
                    axes.set_yticklabels([])
            if at is not None:
                _plain_frame(axes)
            if row == 0:
                axes.set_title(f"this capture, {plain(site_title(site))}", fontsize=NORMAL)
        size = "" if at is None else f"\nn = {int(table.n[:, at].max(initial=0)):,}"
        grid[row, 0].set_ylabel(f"{plain(group.name)}{size}", fontsize=SMALL)
        theirs = printed[GROUPS.index(group.name)] if group.name in GROUPS else None
        _tallest(grid[row, sites], beside, None if at is None else tallest[:, at], theirs, styles[group.name])
    grid[0, sites].set_title("most used expert", fontsize=NORMAL)
    for column in range(sites):
        grid[-1, column].set_xlabel("expert", fontsize=NORMAL)
    figure.supylabel("share of tokens that choose the expert (%)", fontsize=NORMAL)
    figure.legend(
        handles=[Patch(**_PRINTED_LOOK, label=f"{PRINTED}, Figure 8 (measured off the picture)"), Patch(color=NEUTRAL, label="this capture")],
        loc="outside lower center", ncols=2, fontsize=SMALL, frameon=False,
    )  # fmt: skip
    return figure


def _tallest(
    axes: Axes, beside: BesideReport, own: np.ndarray | None, printed: np.ndarray | None, style: GroupStyle
) -> None:
    """Pairs of bars: the report's tallest and the capture's, first, middle and last."""
    top = 1.0
    if printed is not None:
        axes.bar(np.arange(3) - 0.2, printed, 0.38, **_PRINTED_LOOK)
        top = max(top, float(printed.max()))
    if own is not None:
        axes.bar([PLACES.index(place) + 0.2 for place in beside.places], own, 0.38, **_look(style))
        top = max(top, float(np.nanmax(own, initial=0.0)))
    axes.set_ylim(0, 1.1 * top)
    axes.set_xlim(-0.6, 2.6)
    axes.set_xticks(range(3), labels=PLACES)
    axes.locator_params(axis="y", nbins=3)
    axes.yaxis.tick_right()
    axes.spines[["top", "left"]].set_visible(False)
    trim(axes)


def _look(style: GroupStyle) -> dict[str, Any]:
    """Generation is hatched, as in the panels."""
    if not style.hatch:
        return {"color": style.colour}
    return {"facecolor": tint(style.colour), "edgecolor": style.colour, "hatch": 3 * style.hatch, "linewidth": 0.4}


def _plain_frame(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    trim(axes)


def overlap(beside: BesideReport) -> Figure:
    """Figure 9: the report's printed cells above, the capture's below, one colour scale from 0 to 1."""
    table = beside.overlap
    rows = 1 if table is None else 2
    figure = new_figure(WIDTH, 0.4 + rows * 2.75, overlap_caption(beside))
    grid = figure.subplots(rows, 3, squeeze=False)
    printed, images = printed_overlap(), []
    for column, place in enumerate(PLACES):
        title = f"{PRINTED}, {place}\nas printed; chance {CHANCE:.2f} (ours)"
        images.append(_iou_panel(grid[0, column], printed[column], list(GROUPS), title, column == 0))
    greyed = False
    if table is not None:
        names = [group.name for group in table.groups]
        for axes in grid[1]:
            axes.set_axis_off()
        for s, (site, place) in enumerate(zip(table.sites, beside.places, strict=True)):
            axes = grid[1, PLACES.index(place)]
            axes.set_axis_on()
            few = (table.few[s][:, None] | table.few[s][None, :]) & ~np.eye(len(names), dtype=bool)
            title = f"this capture, {plain(site_title(site))}\n{table.wanted[s]} of {site.experts - site.identity_experts} experts, chance {table.even_chance[s]:.2f}"
            _iou_panel(axes, np.where(few, np.nan, table.iou[s]), names, title, s == 0)
            for a, b in np.argwhere(few):
                cover(axes, b, a, b + 1, a + 1, "few")
            greyed |= bool(few.any())
    bar = colour_bar(figure, images[0], list(grid.flat), _iou_scale(printed[0]), aspect=30)
    bar.axhline(CHANCE, color="white", linewidth=2)
    bar.axhline(CHANCE, color="black", linewidth=0.8)
    cover_legend(figure, ["few"] if greyed else [])
    return figure


def _iou_scale(values: np.ndarray) -> Scale:
    ticks = (0.0, 0.25, 0.5, 0.75, 1.0)
    return Scale(values, 0.0, 1.0, None, ticks, tuple(f"{tick:g}" for tick in ticks), "IoU of the top 25% of experts")


def _iou_panel(axes: Axes, values: np.ndarray, names: list[str], title: str, labelled: bool) -> AxesImage:
    scale = _iou_scale(values)
    image = cells(axes, scale, aspect="equal")
    shades = colour_map(scale)
    if len(names) <= 12:
        for a, b in np.argwhere(np.isfinite(values)):
            value = float(values[a, b])
            size = SMALL - 0.5 if len(names) <= 7 else 4
            axes.text(b, a, f"{value:.2f}", ha="center", va="center", fontsize=size, color=on_colour(shades(value)))
    shown = [plain(name) for name in names]
    axes.set_xticks(range(len(names)), labels=shown, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), labels=shown if labelled else [""] * len(names))
    axes.set_title(title, fontsize=NORMAL)
    trim(axes)
    return image


def balance(beside: BesideReport) -> Figure:
    """Figure 10: normalised entropy by depth, the report's curves on the left and the capture's on the right, one range."""
    table, styles = beside.balance, _styles(beside)
    figure = new_figure(WIDTH, 3.3, balance_caption(beside))
    left, right = figure.subplots(1, 2, sharey=True)
    printed = printed_balance()
    for group, line in zip(GROUPS, printed, strict=True):
        _line(left, np.arange(len(line)), line, styles, group, group)
    own = [group.name for group in table.groups]
    places = np.arange(len(table.sites))
    for index, group in enumerate(own):
        values = np.where(table.few[:, index], np.nan, table.values[:, index])
        _line(right, places, values, styles, group, group if group not in GROUPS else None)
        few = table.few[:, index] & np.isfinite(table.values[:, index])
        right.plot(places[few], table.values[few, index], linestyle="", marker="o", markersize=2.4, color=FEW_COLOUR)
    finite = np.concatenate([printed.ravel(), table.values[np.isfinite(table.values)]])
    left.set_ylim(max(0.0, float(np.floor(finite.min() * 10 - 0.2) / 10)), 1.01)
    left.set_title(f"{PRINTED}, Figure 10\n(measured off the picture, ± .005)", fontsize=TITLE)
    right.set_title("this capture", fontsize=TITLE)
    left.set_xlabel("layer tick (21 are drawn, perhaps not every layer)", fontsize=NORMAL)
    right.set_xlabel(plain(site_axis(table.sites)), fontsize=NORMAL)
    left.set_ylabel("normalised entropy\n(1 = all experts equally often)", fontsize=NORMAL)
    left.set_xticks(thin_ticks(printed.shape[1], 12))
    labels, shown = site_labels(table.sites), thin_ticks(len(table.sites), 12)
    right.set_xticks(shown, labels=[plain(labels[index]) for index in shown])
    for axes in (left, right):
        axes.grid(axis="y", linewidth=0.3, color="#DDDDDD")
        _plain_frame(axes)
    known = left.get_legend_handles_labels()
    figure.legend(*known, loc="outside lower center", ncols=6, fontsize=SMALL, frameon=False, handlelength=3)
    if len(beside.shared) < len(own):
        right.legend(loc="lower left", ncols=2, fontsize=SMALL, frameon=False, handlelength=3)
    return figure


def _line(axes: Axes, x: np.ndarray, y: np.ndarray, styles: Any, group: str, label: str | None) -> None:
    style = styles[group]
    axes.plot(
        x, y, color=style.colour, linestyle=LINE_STYLES[style.dash], linewidth=1.1, marker=LINE_MARKERS[style.marker],
        markersize=2.2, label=None if label is None else plain(label),
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------- captions
def _whose(beside: BesideReport) -> str:
    if len(beside.shared) == len(GROUPS):
        return "both have the same six groups"
    if beside.shared:
        return f"both have {', '.join(beside.shared)}"
    return "no group is in both"


_NOT = "another model, other data and another number of experts, so equal numbers would not prove equal routing"


def utilisation_caption(beside: BesideReport) -> str:
    return (
        "Share of each group's tokens that choose each expert in this capture (dashed: chance k / E), and on the right its most used "
        f"expert beside the tallest bar of the ERNIE 5.0 report's Figure 8; {_whose(beside)}; {_NOT}."
    )


def overlap_caption(beside: BesideReport) -> str:
    rho = (
        f"over the {beside.pairs} pairs in both the rank correlation is {beside.rank_correlation:.2f}"
        if np.isfinite(beside.rank_correlation)
        else _whose(beside)
    )
    where = (
        "as the ERNIE 5.0 report prints it (Figure 9); this capture has no two groups with tokens to compare"
        if beside.overlap is None
        else "above as the ERNIE 5.0 report prints it (Figure 9), below in this capture"
    )
    return f"IoU of the quarter of the experts that two groups use most: {where}; {rho}; the chance level is not in the report, and an untrained model shows part of such a pattern too; {_NOT}."


def balance_caption(beside: BesideReport) -> str:
    return (
        "Normalised entropy of the experts that each group uses, by depth: left as in the ERNIE 5.0 report (Figure 10), right in this "
        f"capture; {_whose(beside)}; few tokens lower the value (grey); {_NOT}."
    )
