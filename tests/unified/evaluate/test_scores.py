"""The numbers of the evaluation against hand-computed ones and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from workbench.unified.evaluate.scores import ceiling, confusions, frechet, ridge, share, variety


def test_share_with_its_interval() -> None:
    found = share(np.array([True] * 8 + [False] * 2))
    assert found["accuracy"] == 0.8 and found["n"] == 10
    assert found["interval"] == pytest.approx([0.4902, 0.9433], abs=1e-3)  # Wilson interval of 8 in 10, by hand
    assert share(np.zeros(0, bool)) == {"accuracy": None, "interval": None, "n": 0}
    assert share(np.ones(5, bool))["interval"][1] == pytest.approx(1.0)


def test_commonest_mistakes_come_first() -> None:
    found = confusions([0, 0, 0, 1, 2], [1, 1, 0, -1, 2], ("a", "b", "c"))
    assert found == [{"true": "a", "said": "b", "n": 2}, {"true": "b", "said": "nothing of these", "n": 1}]


def test_frechet_distance_against_scipys_matrix_root() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(200, 5)), rng.normal(size=(150, 5)) @ rng.normal(size=(5, 5)) + 1
    a, b = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    assert frechet(one, other) == pytest.approx(expected, rel=1e-6)
    assert frechet(one, one) == pytest.approx(0, abs=1e-8) and frechet(one[:1], other) is None


def test_variety_is_the_mean_distance_inside_a_class() -> None:
    features = np.array([[0.0, 0], [3, 4], [0, 0], [0, 1], [9, 9]])
    assert variety(features, np.array([0, 0, 1, 1, 2])) == pytest.approx((5 + 1) / 2)
    assert variety(features, np.arange(5)) is None


def test_linear_probe_finds_a_line_and_no_more() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 3))
    labels = (x[:, 0] > 0).astype(int)
    assert (ridge(x[:300], labels[:300], x[300:], 2) == labels[300:]).mean() > 0.93
    crossed = ((x[:, 0] > 0) ^ (x[:, 1] > 0)).astype(int)
    assert (ridge(x[:300], crossed[:300], x[300:], 2) == crossed[300:]).mean() < 0.7


def test_ceiling() -> None:
    assert ceiling(np.array([True, True]), np.array([True, False])) == {"real": 1.0, "reconstructed": 0.5}
