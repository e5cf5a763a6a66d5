"""Top sets, IoU and its exact chance level against enumeration of every pair of sets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.capture_factory import make_capture
from workbench.analysis.overlap import chance_iou, iou, overlap_table, set_size, top_experts
from workbench.capture import CaptureError


@pytest.mark.parametrize(
    ("experts", "size", "other"), [(4, 1, 1), (5, 2, 2), (6, 2, 4), (7, 3, 3), (8, 2, 2), (6, 6, 6), (6, 3, 1)]
)
def test_chance_is_the_mean_over_every_pair_of_sets(experts: int, size: int, other: int) -> None:
    values = [
        len(set(a) & set(b)) / len(set(a) | set(b))
        for a in itertools.combinations(range(experts), size)
        for b in itertools.combinations(range(experts), other)
    ]
    assert chance_iou(experts, size, other) == pytest.approx(np.mean(values))


def test_chance_of_many_experts_is_near_the_limit() -> None:
    assert chance_iou(4096, 1024) == pytest.approx(0.25 / 1.75, abs=1e-3)
    assert chance_iou(64, 16) > 0.25 / 1.75, "with few experts chance is higher than q / (2 - q)"


def test_chance_of_impossible_sets() -> None:
    assert np.isnan(chance_iou(8, 0, 2))
    with pytest.raises(CaptureError, match="choose smaller sets"):
        chance_iou(4, 5)


def test_ties_and_unused_experts() -> None:
    count = np.array([3, 5, 5, 3, 0, 0, 0, 0])
    assert np.flatnonzero(top_experts(count, 0.25)).tolist() == [1, 2]
    assert np.flatnonzero(top_experts(count, 0.375)).tolist() == [0, 1, 2], "of equal counts the lower id"
    assert np.flatnonzero(top_experts(count, 0.75)).tolist() == [0, 1, 2, 3], "never an expert that was not chosen"
    assert np.flatnonzero(top_experts(count, 0.25, np.arange(8) != 1)).tolist() == [0, 2]
    for q in (0, -1, 1.5):
        with pytest.raises(CaptureError, match="above 0"):
            top_experts(count, q)


@pytest.mark.parametrize("seed", range(4))
def test_top_sets_against_sorting(seed: int) -> None:
    count = np.random.default_rng(seed).integers(0, 6, size=20)
    ranked = sorted(range(20), key=lambda expert: (-count[expert], expert))
    expected = {expert for expert in ranked[: set_size(20, 0.3)] if count[expert] > 0}
    assert set(np.flatnonzero(top_experts(count, 0.3)).tolist()) == expected


def test_iou_of_sets() -> None:
    a, b = np.array([1, 1, 0, 0], bool), np.array([0, 1, 1, 0], bool)
    assert iou(a, b) == pytest.approx(1 / 3)
    assert iou(a, a) == 1
    assert np.isnan(iou(a, np.zeros(4, bool)))


def test_table_against_sets_of_the_rows() -> None:
    capture = make_capture(sites=3, experts=12, groups=4, seed=6)
    table = overlap_table(capture, q=0.25)
    tops: dict[tuple[int, str], set[int]] = {}
    for index, site in enumerate(table.sites):
        rows = capture.read_tokens("text").to_pydict()
        for group in table.groups:
            seen = zip(rows["group"], rows[f"experts_{site.id}"], strict=True)
            chosen = [expert for name, experts in seen if name == group.name for expert in experts]
            ranked = sorted(set(chosen), key=lambda expert: (-chosen.count(expert), expert))
            tops[index, group.name] = set(ranked[:3])
    for index in range(3):
        for i, first in enumerate(table.groups):
            for j, second in enumerate(table.groups):
                a, b = tops[index, first.name], tops[index, second.name]
                if i == j:
                    assert np.isnan(table.iou[index, i, j])
                else:
                    assert table.iou[index, i, j] == pytest.approx(len(a & b) / len(a | b))
    assert table.even_chance == pytest.approx([chance_iou(12, 3)] * 3)
    assert len(table.frame()) == 3 * 6


def test_random_routing_overlaps_as_chance_says() -> None:
    """Independent random loads: the mean IoU over many sites stays within five standard errors of the exact level."""
    table = overlap_table(
        make_capture(sites=60, experts=16, groups=4, token_rows=False, coactivation=False, seed=1), q=0.25, sites=None
    )
    logits = np.random.default_rng(2).normal(size=(60, 2, 16)) * 2
    capture = make_capture(60, 16, ["a", "b"], token_rows=False, coactivation=False, logits=logits)
    values = overlap_table(capture, [site.id for site in capture.sites]).iou[:, 0, 1]
    assert abs(values.mean() - chance_iou(16, 4)) < 5 * values.std() / np.sqrt(60)
    assert table.iou.shape[0] == 3, "without sites: the first, the middle and the last"


def test_one_group_has_nothing_to_overlap_with() -> None:
    with pytest.raises(CaptureError, match="compares two groups"):
        overlap_table(make_capture(groups=1))
