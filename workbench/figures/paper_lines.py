"""Lines over sites for paper, drawn with matplotlib from `workbench.figures.lines`: the picture of `interactive_lines`."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.figures.lines import Line, SiteLines, strand_runs
from workbench.figures.paper_frame import LINE_MARKERS, LINE_STYLES, NORMAL, SMALL, WIDTH, new_figure, plain, trim
from workbench.figures.style import (
    ABSENT_COLOUR,
    FEW_COLOUR,
    NEUTRAL,
    site_axis,
    site_labels,
    site_places,
    thin_ticks,
)


def site_lines(drawn: SiteLines) -> Figure:
    """Every line with what it has: band, dotted chance, bars, points."""
    places, breaks = site_places(drawn.strand)
    rows = -(-len(drawn.lines) // 4)
    figure = new_figure(WIDTH, 3.0 + 0.14 * rows, drawn.caption)
    axes = figure.subplots()
    for line, offset in zip(drawn.lines, drawn.offsets(), strict=True):
        _line(axes, line, places, offset, drawn)
    if drawn.zero:
        axes.axhline(0, color=NEUTRAL, linewidth=0.7, linestyle=":")
    for gap in breaks:
        axes.axvline(gap, color=ABSENT_COLOUR, linewidth=0.5)
    if any(line.few.any() for line in drawn.lines):
        word = "within noise" if drawn.zero else "few tokens"
        axes.plot([], [], linestyle="", marker="s", markersize=4, color=FEW_COLOUR, label=word)
    site_ticks(axes, drawn, places)
    axes.set_ylabel(plain(drawn.title), fontsize=NORMAL if len(drawn.title) < 50 else SMALL)
    figure.legend(loc="outside upper center", ncols=4, fontsize=SMALL, frameon=False, handlelength=3)
    return figure


def _line(axes: Axes, line: Line, places: np.ndarray, offset: float, drawn: SiteLines) -> None:
    style = line.style
    x = places + offset
    for number, part in enumerate(strand_runs(drawn.strand)):
        if line.null_low is not None and line.null_high is not None:
            ends = part if len(part) > 1 else np.repeat(part, 2)
            across = places[part] if len(part) > 1 else places[part[0]] + np.array([-0.25, 0.25])
            axes.fill_between(
                across,
                line.null_low[ends],
                line.null_high[ends],
                color=style.colour,
                alpha=drawn.band_opacity,
                linewidth=0,
            )
        if line.chance is not None:
            axes.plot(places[part], line.chance[part], color=style.colour, linestyle=":", linewidth=0.7)
        axes.plot(
            x[part],
            line.value[part],
            color=style.colour,
            linestyle=LINE_STYLES[style.dash],
            linewidth=0.9,
            label=None if number else plain(line.name),
        )
    if line.low is not None and line.high is not None:
        error = np.maximum(np.stack([line.value - line.low, line.high - line.value]), 0)
        axes.errorbar(x, line.value, yerr=error, fmt="none", ecolor=style.colour, elinewidth=0.6, capsize=1.2)
    ring = np.zeros(len(places), dtype=bool) if line.ring is None else line.ring
    for flags, edge in ((ring, "black"), (~ring, "none")):
        for grey, face in ((line.few, FEW_COLOUR), (~line.few, style.colour)):
            at = flags & grey
            look: dict[str, Any] = {"marker": LINE_MARKERS[style.marker], "markersize": 3, "markeredgewidth": 0.7}
            axes.plot(x[at], line.value[at], linestyle="", markerfacecolor=face, markeredgecolor=edge, **look)


def site_ticks(axes: Axes, drawn: SiteLines, places: np.ndarray) -> None:
    """Sites along the axis, with what bars, bands and dots mean below."""
    labels = site_labels(drawn.sites)
    shown = thin_ticks(len(labels), 24 if len(set(drawn.strand.tolist())) == 1 else 12)
    tilt: dict[str, Any] = (
        {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if max(map(len, labels)) > 4 else {}
    )
    axes.set_xticks(places[shown], labels=[plain(labels[at]) for at in shown], **tilt)
    axes.set_xlim(-0.5, float(places.max()) + 0.5)
    axes.set_xlabel(f"{plain(site_axis(drawn.sites))}\n({plain(drawn.note)})", fontsize=NORMAL)
    axes.grid(axis="y", linewidth=0.3, color="#DDDDDD")
    axes.spines[["top", "right"]].set_visible(False)
    trim(axes)
