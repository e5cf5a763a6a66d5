"""What every paper figure needs of matplotlib: a figure without pyplot, text that is no formula, scales, hatching.

Only matplotlib's object interface is used: no global state, so that figures can be drawn in several threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle

from workbench.figures.marks import VEIL, VEIL_STRENGTH, CellMarks
from workbench.figures.style import ABSENT_COLOUR, FEW_COLOUR, NEUTRAL, Scale

WIDTH = 7.1  # inches: the text width of two columns in the usual conference styles
SMALL, NORMAL, TITLE = 6.0, 7.0, 8.0  # points, legible in print at this width
LINE_STYLES: dict[str, Any] = {
    "solid": "-",
    "dash": (0, (5, 2)),
    "dot": (0, (1, 1.5)),
    "dashdot": (0, (5, 1.5, 1, 1.5)),
}
LINE_MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^"}


def new_figure(width: float, height: float, caption: str) -> Figure:
    """An empty figure of this size in inches that carries its caption (`caption_of`) into the file's metadata."""
    figure = Figure(figsize=(width, height), dpi=300, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.set_gid("figure")
    figure.set_label(caption)
    return figure


def caption_of(figure: Figure) -> str:
    """The caption that `new_figure` was given."""
    return str(figure.get_label())


def plain(text: str) -> str:
    """Text that matplotlib draws as it is: a dollar sign in a group's name starts no formula, a control character no line."""
    return "".join(char if char.isprintable() else " " for char in text).replace("$", r"\$")


def colour_map(scale: Scale) -> LinearSegmentedColormap:
    """The scale's colours as a matplotlib colour map; NaN is transparent."""
    return LinearSegmentedColormap.from_list("scale", list(scale.colours))


def cells(axes: Axes, scale: Scale, aspect: Literal["auto", "equal"] = "auto") -> AxesImage:
    """An image of the scale's numbers, a cell an expert; NaN shows the ground."""
    return axes.imshow(
        np.ma.masked_invalid(_finite(scale)),
        cmap=colour_map(scale),
        vmin=scale.low,
        vmax=scale.high,
        aspect=aspect,
        interpolation="nearest",
        interpolation_stage="data",
    )


def _finite(scale: Scale) -> np.ndarray:
    return np.where(np.isnan(scale.colour), np.nan, np.clip(scale.colour, scale.low, scale.high))


def cover(axes: Axes, left: float, top: float, right: float, bottom: float, kind: str) -> None:
    """Grey ("few") or hatching ("absent", "empty") over a block of cells, in cell numbers, ends exclusive."""
    looks: dict[str, dict[str, Any]] = {
        "few": {"facecolor": FEW_COLOUR, "edgecolor": "none"},
        "absent": {"facecolor": "white", "edgecolor": ABSENT_COLOUR, "hatch": "/////", "linewidth": 0},
        "empty": {"facecolor": "white", "edgecolor": ABSENT_COLOUR, "hatch": "xxxxx", "linewidth": 0},
    }
    axes.add_patch(Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, **looks[kind]))


def veil(axes: Axes, marks: CellMarks) -> None:
    """A pale cover over the cells that cannot be told from the null or from noise."""
    cover = np.zeros((*marks.veil.shape, 4))
    cover[marks.veil] = (*to_rgb(VEIL), VEIL_STRENGTH)
    axes.imshow(cover, aspect="auto" if axes.get_aspect() == "auto" else "equal", interpolation="nearest")


def cover_legend(figure: Figure, kinds: Sequence[str], pale: str | None = None) -> None:
    """Says what grey, hatching and pale cells (`pale` in words) mean, under the panels, if any was drawn."""
    looks = {
        "few": Patch(facecolor=FEW_COLOUR, label="few tokens"),
        "absent": Patch(facecolor="white", edgecolor=ABSENT_COLOUR, hatch="/////", linewidth=0, label="no such expert"),
        "empty": Patch(facecolor="white", edgecolor=ABSENT_COLOUR, hatch="xxxxx", linewidth=0, label="no tokens"),
    }
    shown = [looks[kind] for kind in looks if kind in kinds]
    if pale is not None:
        shown.append(Patch(facecolor=VEIL, edgecolor=ABSENT_COLOUR, linewidth=0.4, label=pale))
    if shown:
        figure.legend(handles=shown, loc="outside lower center", ncols=len(shown), fontsize=NORMAL, frameon=False)


def colour_bar(figure: Figure, image: AxesImage, axes: Sequence[Axes], scale: Scale, aspect: float = 30) -> Axes:
    """A colour bar with the scale's own ticks; returns its axes. Beside a single square map it is as high as the map."""
    if len(axes) == 1 and axes[0].get_aspect() != "auto":
        # A square map is lower than the place that the layout gives it; a bar inside the axes follows the map, not the place.
        bar = figure.colorbar(image, cax=axes[0].inset_axes((1.03, 0.0, 0.035, 1.0)))
    else:
        bar = figure.colorbar(image, ax=list(axes), pad=0.015, aspect=aspect, fraction=0.05)
    bar.set_ticks(list(scale.ticks), labels=[plain(label) for label in scale.labels])
    bar.ax.tick_params(labelsize=SMALL, width=0.5, length=2)
    bar.set_label(plain(scale.title), fontsize=NORMAL)
    bar.outline.set_linewidth(0.4)
    return bar.ax


def trim(axes: Axes) -> None:
    """Small ticks and thin lines."""
    axes.tick_params(labelsize=SMALL, width=0.5, length=2)
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)


def note(axes: Axes, text: str) -> None:
    """A grey remark in the panel's upper right corner."""
    axes.text(0.98, 0.93, plain(text), transform=axes.transAxes, ha="right", va="top", fontsize=SMALL, color=NEUTRAL)


def on_colour(colour: tuple[float, float, float, float]) -> str:
    """Black or white, whichever reads better on a colour (relative luminance, WCAG 2.1)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if luminance > 0.179 else "white"


def tint(colour: str, strength: float = 0.45) -> tuple[float, float, float]:
    """A paler shade of a colour, the ground under hatching: thin bars show it where no stroke of the hatching falls."""
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(colour))
    return red, green, blue
