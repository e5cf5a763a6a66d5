from __future__ import annotations

import math

import numpy as np
import pytest

from tests.capture_factory import make_capture
from workbench.analysis.specialisation import log2_specialisation, specialisation_table
from workbench.capture import CaptureError


def by_hand(own: list[int], others: list[int], a: float) -> list[float]:
    experts = len(own)
    return [
        math.log2(((c + a) / (sum(own) + a * experts)) / ((o + a) / (sum(others) + a * experts)))
        for c, o in zip(own, others, strict=True)
    ]


@pytest.mark.parametrize("a", [0.5, 1.0, 3.0])
def test_against_the_formula(a: float) -> None:
    own, others = [10, 0, 3, 7], [5, 5, 50, 0]
    assert log2_specialisation(np.array(own), np.array(others), pseudo_count=a).tolist() == pytest.approx(
        by_hand(own, others, a)
    )


def test_twice_as_often_is_one() -> None:
    values = log2_specialisation(np.array([2000, 1000]), np.array([1000, 2000]), pseudo_count=0)
    assert values.tolist() == pytest.approx([1, -1])


def test_no_tokens_is_no_number() -> None:
    assert np.isnan(log2_specialisation(np.zeros(3), np.array([1, 2, 3]))).all()
    with pytest.raises(CaptureError, match="0 or more"):
        log2_specialisation(np.ones(3), np.ones(3), pseudo_count=-1)


def test_table_against_the_rows() -> None:
    capture = make_capture(sites=2, experts=10, groups=3, seed=9)
    table = specialisation_table(capture, "Text")
    rows = capture.read_tokens("text").to_pydict()
    for index, site in enumerate(table.sites):
        own, others = [0] * 10, [0] * 10
        for group, experts in zip(rows["group"], rows[f"experts_{site.id}"], strict=True):
            for expert in experts:
                (own if group == "Text" else others)[expert] += 1
        assert table.values[index].tolist() == pytest.approx(by_hand(own, others, 0.5))
    assert table.centre == 0


def test_needs_another_group() -> None:
    with pytest.raises(CaptureError, match="tokens of no other"):
        specialisation_table(make_capture(groups=1), "Text")
    with pytest.raises(CaptureError, match="no group was chosen"):
        specialisation_table(make_capture(), None)
