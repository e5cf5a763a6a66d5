"""Traces: routes, counts, cutting and the table, on three tokens written down by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.capture_factory import make_sites
from workbench.analysis.trace import NO_EXPERT, Choice, Trace, share_by_expert
from workbench.capture import CaptureError


@pytest.fixture
def trace() -> Trace:
    """Two layers of 4 experts, 2 chosen; three tokens, the last of which is written and not routed."""
    experts = np.array([[[2, 0], [1, 2], [-1, -1]], [[3, 1], [3, 0], [-1, -1]]], np.int32)
    weights = np.array([[[0.7, 0.3], [0.6, 0.4], [0, 0]], [[0.9, 0.1], [0.5, 0.5], [0, 0]]], np.float32)
    return Trace(
        name="Prompt",
        sites=make_sites(2, 4, 2),
        token_ids=np.array([5, 6, 7]),
        pieces=("a", " b", None),
        modality=("text", "text", "text"),
        stack=("text",) * 3,
        written=np.array([False, False, True]),
        special=np.array([True, False, False]),
        probability=np.array([np.nan, np.nan, 0.25], np.float32),
        experts=experts,
        weights=weights,
    )


def test_route_of_a_token(trace: Trace) -> None:
    first, second = (site.id for site in trace.sites)
    found = [(site, expert, round(weight, 2), rank) for site, expert, weight, rank in trace.route(0)]
    assert found == [(first, 2, 0.7, 0), (first, 0, 0.3, 1), (second, 3, 0.9, 0), (second, 1, 0.1, 1)]
    assert isinstance(trace.route(0)[0], Choice) and trace.route(2) == ()


def test_events(trace: Trace) -> None:
    read, _, written = trace.events()
    assert (read.phase, read.probability, read.special, read.piece) == ("prefill", None, True, "a")
    assert (written.phase, written.probability, written.piece, written.choices) == ("decode", 0.25, None, ())
    assert trace.text == "a b" and trace.routed.tolist() == [True, True, False]


def test_counts_and_heat_map(trace: Trace) -> None:
    count, mass, tokens = trace.counts()
    assert count.tolist() == [[1, 1, 2, 0], [1, 1, 0, 2]] and tokens.tolist() == [2, 2]
    np.testing.assert_allclose(mass, [[0.3, 0.6, 1.1, 0], [0.5, 0.1, 0, 1.4]], rtol=1e-6)
    table = trace.heatmap()
    np.testing.assert_allclose(table.values, count / 1.0)  # 4 choices over 4 experts: 1 is even
    assert table.n.tolist() == [2, 2] and not table.few.any()
    assert trace.upto(1).counts()[0].tolist() == [[1, 0, 1, 0], [0, 1, 0, 1]]
    empty = trace.upto(0).heatmap()
    assert np.isnan(empty.values).all() and empty.n.tolist() == [0, 0]


def test_cutting_stays_inside(trace: Trace) -> None:
    assert len(trace.upto(-3)) == 0 and len(trace.upto(2)) == 2 and len(trace.upto(99)) == 3


def test_choices_by_site(trace: Trace) -> None:
    site = trace.sites[1].id
    assert trace.first_choice(site).tolist() == [3, 3, NO_EXPERT]
    weights = trace.weight_of(site, 0)
    assert np.isnan(weights[[0, 2]]).all() and weights[1] == pytest.approx(0.5)
    assert share_by_expert(trace, site) == [(3, 2, 1.0)]
    assert share_by_expert(trace.upto(0), site) == []
    with pytest.raises(CaptureError, match="choose one of its layers"):
        trace.first_choice("no such site")


def test_table_has_a_row_for_every_choice(trace: Trace) -> None:
    frame = trace.frame()
    assert len(frame) == 2 * 2 * 2 + 1
    assert frame["site"].isna().sum() == 1 and set(frame["phase"]) == {"prefill", "decode"}
    assert frame[frame["token"] == 1]["expert"].tolist() == [1, 2, 3, 0]
