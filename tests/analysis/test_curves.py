"""Curves of runs: metrics sorted into panels, balance and saturation by step against the tables of single captures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.capture_factory import make_capture
from workbench.analysis.curves import (
    balance_curves,
    balance_points,
    binned,
    family,
    joined,
    metric_curves,
    pooled,
    saturation_curves,
)
from workbench.capture import Capture, CaptureError


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


def test_all_groups_together_is_the_sum_of_the_groups() -> None:
    capture = make_capture(2, 6, 3, [30, 20, 10])
    one = pooled(capture)
    assert one.groups == ("all groups",) and np.array_equal(one.count[:, 0], capture.count.sum(axis=1))
    one.validate()


@pytest.mark.parametrize("by_group", [False, True])
def test_balance_by_step(by_group: bool) -> None:
    captures = [(step, make_capture(3, 6, 2, 200, seed=step)) for step in (0, 50, 100)]
    sites = ["text_0_mlp", "text_2_mlp"]
    points = [
        (step, balance_points(capture, "MaxVio", sites, capture.groups if by_group else None))
        for step, capture in captures
    ]
    table = balance_curves([("run", points)], by_group=by_group)
    assert len(table.panels) == (2 if by_group else 1)
    for curve in table.curves:
        for step, value, n in zip(curve.x, curve.y, curve.n, strict=True):
            capture = dict(captures)[int(step)]
            site = ("layer 0", "layer 2").index(curve.name) if not by_group else curve.panel
            count = capture.count[(0, 2)[site]]
            own = count[capture.group_index(curve.name)] if by_group else count.sum(axis=0)
            assert value == pytest.approx(own.max() / own.mean() - 1)
            assert n == (200 if by_group else 400)


def test_saturation_by_step() -> None:
    captures = [(step, make_capture(2, 6, 2, 100, seed=step)) for step in (0, 1, 2)]
    table = saturation_curves([("run", captures)], ["text_1_mlp"])
    tokens = [capture.tokens["text"].to_pylist() for _, capture in captures if capture.tokens is not None]
    for curve in table.curves:
        if curve.name == "chance":
            continue
        for place, step in enumerate(curve.x):
            shares = [
                len(set(before["experts_text_1_mlp"]) & set(after["experts_text_1_mlp"])) / 2
                for before, after in zip(tokens[place], tokens[2], strict=True)
                if after["group"] == curve.name
            ]
            assert curve.y[place] == pytest.approx(np.mean(shares)) and step == place
    with pytest.raises(CaptureError, match="needs two of them"):
        saturation_curves([("run", captures[:1])], ["text_1_mlp"])


def test_no_capture_is_a_sentence() -> None:
    with pytest.raises(CaptureError, match="no capture yet"):
        balance_curves([("run", [])])


def test_joined_tables_keep_their_panels() -> None:
    capture = make_capture(2, 6, 2, 100)
    losses = metric_curves([("run", frame(loss=[2.0, 1.0]))])
    balance = balance_curves([("run", [(0, balance_points(capture, "CV", ["text_0_mlp"], None))])])
    table = joined([losses, balance], "words")
    assert [panel.title for panel in table.panels] == ["Training loss", "CV"] and table.caption == "words"
    assert [curve.panel for curve in table.curves] == [0, 1]


def test_a_capture_without_the_site_is_a_gap() -> None:
    small, large = make_capture(1, 6, 2, 50), make_capture(2, 6, 2, 50)

    def points(capture: Capture) -> object:
        return balance_points(capture, "CV", [site.id for site in capture.sites], None)

    table = balance_curves([("run", [(1, points(large)), (2, points(small))])])  # type: ignore[list-item]
    assert np.isfinite(table.curves[0].y).all() and np.isnan(table.curves[1].y[1])
