"""Curves of captures: balance and saturation by step against the tables of single captures."""

from __future__ import annotations

import numpy as np
import pytest

from tests.capture_factory import make_capture
from workbench.analysis.curves_captures import balance_curves, balance_points, pooled, saturation_curves
from workbench.capture import Capture, CaptureError


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


def test_a_capture_without_the_site_is_a_gap() -> None:
    small, large = make_capture(1, 6, 2, 50), make_capture(2, 6, 2, 50)

    def points(capture: Capture) -> object:
        return balance_points(capture, "CV", [site.id for site in capture.sites], None)

    table = balance_curves([("run", [(1, points(large)), (2, points(small))])])  # type: ignore[list-item]
    assert np.isfinite(table.curves[0].y).all() and np.isnan(table.curves[1].y[1])
