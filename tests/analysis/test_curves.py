"""Curves of runs: tables of metrics and of captures in one figure."""

from __future__ import annotations

import pandas as pd

from tests.capture_factory import make_capture
from workbench.analysis.curves import joined
from workbench.analysis.curves_captures import balance_curves, balance_points
from workbench.analysis.curves_metrics import metric_curves


def test_joined_tables_keep_their_panels() -> None:
    capture = make_capture(2, 6, 2, 100)
    losses = metric_curves([("run", pd.DataFrame({"loss": [2.0, 1.0]}, index=pd.Index([1, 2], name="step")))])
    balance = balance_curves([("run", [(0, balance_points(capture, "CV", ["text_0_mlp"], None))])])
    table = joined([losses, balance], "words")
    assert [panel.title for panel in table.panels] == ["Training loss", "CV"] and table.caption == "words"
    assert [curve.panel for curve in table.curves] == [0, 1]
