from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from tests.capture_factory import make_capture
from workbench.analysis.coactivation import chance_lift, coactivation_table
from workbench.capture import CaptureError


@pytest.fixture(scope="module")
def capture():  # type: ignore[no-untyped-def]
    return make_capture(sites=2, experts=9, groups=3, top_k=3, seed=3)


def together(capture, site: str) -> tuple[Counter[tuple[int, int]], Counter[int], int]:  # type: ignore[no-untyped-def]
    """Pairs, single experts and tokens, counted token by token over all pairs of its choices."""
    pairs: Counter[tuple[int, int]] = Counter()
    single: Counter[int] = Counter()
    rows = capture.read_tokens("text").column(f"experts_{site}").to_pylist()
    for experts in rows:
        single.update(experts)
        pairs.update(itertools.permutations(experts, 2))
    return pairs, single, len(rows)


@pytest.mark.parametrize("normalise", ["count", "conditional", "lift"])
def test_every_pair(capture, normalise: str) -> None:  # type: ignore[no-untyped-def]
    table = coactivation_table(capture, "text_1_mlp", normalise)
    pairs, single, n = together(capture, "text_1_mlp")
    assert table.n == n
    for a, b in itertools.permutations(range(9), 2):
        expected = {
            "count": pairs[a, b],
            "conditional": pairs[a, b] / single[a],
            "lift": pairs[a, b] * n / (single[a] * single[b]),
        }[normalise]
        assert table.values[a, b] == pytest.approx(expected)
    assert np.isnan(np.diagonal(table.values)).all()
    assert len(table.frame()) == 9 * 8


def test_lift_of_random_routing_is_below_one() -> None:
    """A token's choices are distinct, so an even random router gives (k - 1) E / (k (E - 1))."""
    capture = make_capture(
        sites=1, experts=8, groups=1, top_k=2, tokens_per_group=40_000, token_rows=False, logits=np.zeros((1, 1, 8))
    )
    assert capture.coactivation is not None
    assert chance_lift(capture.coactivation[0], 40_000) == pytest.approx(8 / (2 * 7), rel=1e-3)


def test_what_cannot_be_shown_says_why() -> None:
    with pytest.raises(CaptureError, match="coactivation=True"):
        coactivation_table(make_capture(coactivation=False), "text_0_mlp")
    with pytest.raises(CaptureError, match="top-k above 1"):
        coactivation_table(make_capture(top_k=1), "text_0_mlp")
    with pytest.raises(CaptureError, match="choose one of them"):
        coactivation_table(make_capture(), "text_0_mlp", "beauty")
