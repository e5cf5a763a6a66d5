"""The look of the curve of sub-models, shared by page and paper.

Choices: colour is the number of layers, size the experts kept, shape the experts a token; the Pareto front is joined by
steps, because between two measured points nothing was measured; points behind the front are pale; the whole model is a star.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workbench.analysis.curve import CurveTable

FRONT_COLOUR = "#D55E00"  # Okabe and Ito's vermilion, in no sequential scale
FULL_COLOUR = "#D55E00"
SHAPES = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "pentagon")  # Plotly's names
PAPER_SHAPES = ("o", "s", "D", "^", "v", "P", "X", "p")
PALE, STRONG = 0.55, 1.0
SMALLEST, LARGEST = 7.0, 15.0  # pixels of the marker


@dataclass(frozen=True)
class Look:
    """How each point is drawn.

    Attributes:
        size: [P] pixels. shape: [P] number of the shape. shapes: experts a token of each shape used, largest first.
        low, high: range of the layers' colour scale.
    """

    size: np.ndarray
    shape: np.ndarray
    shapes: list[int]
    low: float
    high: float


def look(table: CurveTable) -> Look:
    """Sizes and shapes of a table's points."""
    experts = np.nan_to_num(table.experts, nan=1.0)
    most = max(float(experts.max(initial=1.0)), 1.0)
    size = SMALLEST + (LARGEST - SMALLEST) * np.sqrt(experts / most)
    chosen = np.nan_to_num(table.chosen, nan=0.0).astype(int)
    shapes = sorted(set(chosen.tolist()), reverse=True)
    shape = np.array([shapes.index(number) % len(SHAPES) for number in chosen.tolist()], dtype=int)
    depth = table.depth[~np.isnan(table.depth)]
    low, high = (float(depth.min()), float(depth.max())) if len(depth) else (0.0, 1.0)
    return Look(size, shape, shapes, low, high if high > low else low + 1)


def front_steps(table: CurveTable) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the front's points in order of x."""
    order = np.argsort(table.x[table.front], kind="stable")
    return table.x[table.front][order], table.y[table.front][order]


def shape_name(chosen: int) -> str:
    """Legend entry of a shape."""
    return f"{chosen} expert{'' if chosen == 1 else 's'} a token" if chosen else "experts a token not told"
