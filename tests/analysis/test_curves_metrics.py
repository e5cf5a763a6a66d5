"""Curves of metrics: sorted into panels, runs beside each other, and many points as means."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from workbench.analysis.curves_metrics import binned, family, metric_curves
from workbench.capture import CaptureError


def frame(**columns: list[float]) -> pd.DataFrame:
    length = len(next(iter(columns.values())))
    made = pd.DataFrame({name.replace("__", "/"): values for name, values in columns.items()})
    return made.set_axis(pd.Index(range(1, length + 1), name="step"))


@pytest.mark.parametrize(
    ("metric", "panel", "line"),
    [
        ("loss", "Training loss", "all"),
        ("loss/text", "Training loss", "text"),
        ("loss/balance", "Other losses", "balance"),
        ("eval/loss", "Loss on held-out data", "all"),
        ("eval/loss/image", "Loss on held-out data", "image"),
        ("eval/loss/fixed", "Loss on held-out data", "evaluation batch"),
        ("eval/accuracy", "eval/accuracy", "all"),
        ("reward/format", "Reward", "format"),
        ("lr", "Learning rate", "all"),
        ("entropy/policy", "entropy", "policy"),
    ],
)
def test_family_of_a_metric(metric: str, panel: str, line: str) -> None:
    assert family(metric)[0] == panel and family(metric)[2] == line


def test_metrics_of_two_runs_share_panels() -> None:
    one = frame(loss=[3, 2, np.inf], loss__text=[3, np.nan, 1], tokens=[1, 2, 3])
    two = frame(loss=[4, 3, 2], reward=[0, 1, 2])
    table = metric_curves([("one", one), ("two", two)])
    assert [panel.title for panel in table.panels] == ["Training loss", "Reward"]
    assert [(curve.run, curve.name, curve.panel) for curve in table.curves] == [
        ("one", "all", 0), ("one", "text", 0), ("two", "all", 0), ("two", "all", 1),
    ]  # fmt: skip
    first, text = table.curves[:2]
    assert first.broken is not None and list(first.broken) == [3] and np.isnan(first.y[2])
    assert list(text.x) == [1, 3] and list(text.y) == [3, 1]
    assert "solid: one, dotted: two" in table.caption
    assert len(table.frame()) == 3 + 2 + 3 + 3
    with pytest.raises(CaptureError, match="No metric has been logged yet"):
        metric_curves([("one", frame(tokens=[1.0]))])


def test_many_points_become_means_of_equally_many_steps() -> None:
    x, y = np.arange(1, 1004), np.arange(1, 1004, dtype=float)
    y[4] = np.nan
    at, mean, width = binned(x, y, 100)
    assert width == 11 and len(at) == 92 and at[-1] == 1003
    for index in range(len(at)):
        part = y[index * 11 : (index + 1) * 11]
        assert mean[index] == pytest.approx(np.nanmean(part)) and at[index] == min((index + 1) * 11, 1003)
    assert binned(x, y, 2000)[2] == 1
