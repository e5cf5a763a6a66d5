"""Curves of training runs: panels, lines and their table, which metrics (`curves_metrics`) and captures (`curves_captures`) fill.

Choice made here (ours): two runs share the panels and the colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from workbench.capture import Group

ALL = "all"  # name of the line of a metric itself, beside those of its parts


@dataclass(frozen=True)
class Panel:
    """One field of a figure: a title, the unit of its y axis, the level of "nothing special" or None, the top or None."""

    title: str
    unit: str
    level: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class Curve:
    """One line.

    Attributes:
        panel: index of its panel. name: label of the line. run: whose it is.
        x: int64 [N] steps. y: float64 [N], NaN: no number. n: int64 [N] tokens behind each point, 0 where it is no count.
        low, high: float64 [N] ends of the 95 % interval, or None.
        broken: int64 [M] steps at which the value was measured and was not finite.
    """

    panel: int
    name: str
    run: str
    x: np.ndarray
    y: np.ndarray
    n: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    broken: np.ndarray | None = None


@dataclass(frozen=True)
class CurvesTable:
    """Panels with lines by step; `groups` fixes the colours of lines that are groups."""

    panels: tuple[Panel, ...]
    curves: tuple[Curve, ...]
    runs: tuple[str, ...]
    groups: tuple[Group, ...]
    caption: str

    def frame(self) -> pd.DataFrame:
        """A row a point."""
        parts = [
            pd.DataFrame(
                {
                    "run": curve.run,
                    "measure": self.panels[curve.panel].title,
                    "unit": self.panels[curve.panel].unit,
                    "line": curve.name,
                    "step": curve.x,
                    "value": curve.y,
                    "low": np.nan if curve.low is None else curve.low,
                    "high": np.nan if curve.high is None else curve.high,
                    "n_tokens": curve.n,
                }
            )
            for curve in self.curves
        ]
        columns = ["run", "measure", "unit", "line", "step", "value", "low", "high", "n_tokens"]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def joined(tables: Sequence[CurvesTable], caption: str | None = None) -> CurvesTable:
    """The panels of several tables of the same runs in one; the caption joins theirs unless one is given."""
    panels: list[Panel] = []
    curves: list[Curve] = []
    for table in tables:
        curves += [replace(curve, panel=curve.panel + len(panels)) for curve in table.curves]
        panels += table.panels
    return CurvesTable(
        panels=tuple(panels),
        curves=tuple(curves),
        runs=tables[0].runs if tables else (),
        groups=next((table.groups for table in tables if table.groups), ()),
        caption=caption if caption is not None else " ".join(table.caption for table in tables),
    )


def runs_phrase(names: Sequence[str]) -> str:
    """How the lines of several runs are told apart, for a caption; empty for one run."""
    return "" if len(names) < 2 else f"; solid: {names[0]}, dotted: {', '.join(names[1:])}"
