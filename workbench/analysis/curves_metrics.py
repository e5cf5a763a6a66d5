"""Curves of what a training loop logged, by step.

Choices made here (ours):
- A panel a family of metrics (docs/training_log.md), a line a part.
- More points than can be seen are joined by means of equally many consecutive steps, and the caption says of how many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from workbench.analysis.curves import ALL, Curve, CurvesTable, Panel, runs_phrase
from workbench.capture import CaptureError

MOST_POINTS = 600  # a line; a screen has not many more columns
# Parts of a loss that are no modelling loss: another scale, another panel.
AUXILIARY = ("aux", "auxiliary", "balance", "router", "z", "mtp", "load_balancing")
FIXED = {"fixed": "evaluation batch"}  # "eval/loss/fixed": the batch that every capture of a run reads
_UNSHOWN = ("tokens", "epoch", "seconds")  # what the x axis is, not what is measured


def family(metric: str) -> tuple[str, str, str]:
    """Panel title, unit and line name of a metric, by the names of docs/training_log.md."""
    head, _, part = metric.partition("/")
    if head == "loss" and part in AUXILIARY:
        return "Other losses", "", part
    if head == "eval":
        what, _, rest = part.partition("/")
        return (
            ("Loss on held-out data", "nats a token", FIXED.get(rest, rest or ALL))
            if what == "loss"
            else (f"eval/{what}", "", rest or ALL)
        )
    known = {
        "loss": ("Training loss", "nats a token"),
        "reward": ("Reward", ""),
        "grad_norm": ("Norm of the gradient", ""),
        "lr": ("Learning rate", ""),
    }
    title, unit = known.get(head, (head, ""))
    return title, unit, part or ALL


def metric_curves(
    runs: Sequence[tuple[str, pd.DataFrame]],
    panels: Sequence[str] | None = None,
    *,
    most: int = MOST_POINTS,
    labels: Mapping[str, Mapping[str, str]] | None = None,
) -> CurvesTable:
    """What a training loop measured.

    Args:
        runs: (name, metrics): index step, a column a metric; NaN: not measured, infinity: measured and not finite.
        panels: titles to show, default all, the known ones first.
        most: points a line.
        labels: metric -> {"label", "unit"} of the run's own.

    Raises:
        CaptureError: if nothing was measured yet.
    """
    told = labels or {}
    columns = list(dict.fromkeys(column for _, metrics in runs for column in metrics.columns if column not in _UNSHOWN))
    places: dict[str, Panel] = {}
    for column in sorted(columns, key=_rank):
        title, unit, _ = family(column)
        places.setdefault(title, Panel(title, told.get(column, {}).get("unit", unit)))
    if panels is not None:
        places = {title: panel for title, panel in places.items() if title in panels}
    if not places:
        raise CaptureError("No metric has been logged yet: the curves begin with the first step of the run.")
    order = list(places)
    curves: list[Curve] = []
    widest = 1
    for run, metrics in runs:
        for column in sorted(metrics.columns, key=_rank):
            title, _, name = family(column)
            if column in _UNSHOWN or title not in places:
                continue
            measured = metrics[column].dropna()
            steps, values = measured.index.to_numpy(dtype=np.int64), measured.to_numpy(dtype=np.float64)
            finite = np.isfinite(values)
            x, y, joined = binned(steps, np.where(finite, values, np.nan), most)
            widest = max(widest, joined)
            label = told.get(column, {}).get("label", name)
            curves.append(
                Curve(order.index(title), label, run, x, y, np.zeros(len(x), dtype=np.int64), broken=steps[~finite])
            )
    fixed = any("eval/loss/fixed" in metrics.columns for _, metrics in runs)
    told_fixed = "; “evaluation batch”: the same few texts each time, those that the captures read" if fixed else ""
    points = "a point a logged step" if widest == 1 else f"a point the mean of up to {widest} logged steps"
    return CurvesTable(
        panels=tuple(places.values()),
        curves=tuple(curves),
        runs=tuple(name for name, _ in runs),
        groups=(),
        caption=(
            f"What the training loop logged by optimiser step, {points}{runs_phrase([name for name, _ in runs])}{told_fixed}; losses of different "
            "parts or runs compare only on the same data and tokenizer."
        ),
    )


def _rank(metric: str) -> tuple[int, str, int, str]:
    """The known families first, the whole before its parts."""
    title, _, name = family(metric)
    known = (
        "Training loss",
        "Loss on held-out data",
        "Reward",
        "Other losses",
        "Norm of the gradient",
        "Learning rate",
    )
    return (known.index(title) if title in known else len(known), title, int(name != ALL), metric)


def binned(x: np.ndarray, y: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, int]:
    """At most `most` points: the last x and the mean y of equally many consecutive ones; and of how many."""
    if len(x) <= most:
        return x, y, 1
    width = -(-len(x) // most)
    starts = np.arange(0, len(x), width)
    good = np.isfinite(y)
    total, number = np.add.reduceat(np.where(good, y, 0.0), starts), np.add.reduceat(good.astype(np.int64), starts)
    ends = np.append(starts[1:], len(x)) - 1
    return x[ends], np.where(number > 0, total / np.maximum(number, 1), np.nan), width
