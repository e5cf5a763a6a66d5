"""Merging shards gives what one capture of everything would have counted."""

from __future__ import annotations

import numpy as np
import pytest

from tests.capture_factory import make_capture
from workbench.capture import CaptureError, merge


def test_sums_by_name() -> None:
    a = make_capture(groups=["prose", "code"], seed=1)
    b = make_capture(groups=["code", "table"], seed=2)
    both = merge([a, b])
    assert both.groups == ("prose", "code", "table")
    assert np.array_equal(both.count[:, 0], a.count[:, 0])
    assert np.array_equal(both.count[:, 1], a.count[:, 1] + b.count[:, 0])
    assert np.array_equal(both.count[:, 2], b.count[:, 1])
    assert np.allclose(both.mass.sum(), a.mass.sum() + b.mass.sum())
    assert a.coactivation is not None and b.coactivation is not None
    assert np.array_equal(both.coactivation, a.coactivation + b.coactivation)
    assert both.manifest.tokens == {"text": {"prose": 200, "code": 400, "table": 200}}
    assert both.manifest.documents == a.manifest.documents + b.manifest.documents


def test_is_associative() -> None:
    parts = [make_capture(groups=["x", "y"], seed=seed) for seed in range(3)]
    left, right = merge([merge(parts[:2]), parts[2]]), merge([parts[0], merge(parts[1:])])
    assert np.array_equal(left.count, right.count)
    assert left.manifest.tokens == right.manifest.tokens


def test_one_is_itself() -> None:
    a = make_capture()
    assert np.array_equal(merge([a]).table("count").values, a.table("count").values)


def test_rows_of_equally_named_documents_stay_apart() -> None:
    a, b = make_capture(seed=1), make_capture(seed=2)
    both = merge([a, b])
    assert a.tokens is not None and b.tokens is not None and both.tokens is not None
    assert both.tokens["text"].num_rows == a.tokens["text"].num_rows + b.tokens["text"].num_rows
    assert len(both.tokens["text"].column("document").unique()) == 2 * len(a.tokens["text"].column("document").unique())
    both.validate()


def test_bounded_rows_are_whole_documents() -> None:
    a = make_capture(groups=2, tokens_per_group=500, seed=1)
    both = merge([a, make_capture(groups=2, tokens_per_group=500, seed=2)], max_tokens=520)
    assert both.tokens is not None
    sampling = both.manifest.sampling["text"]
    assert (sampling.seen, sampling.kept) == (2000, both.tokens["text"].num_rows)
    assert 470 < sampling.kept <= 520
    sizes = (
        both.tokens["text"].group_by("document").aggregate([("position", "count")]).column("position_count").to_pylist()
    )
    assert set(sizes) == {50}, "documents of the factory have 50 tokens, and each is kept whole or not at all"


def test_a_stream_that_one_part_lacks_is_left_out() -> None:
    both = merge([make_capture(seed=1), make_capture(seed=2, token_rows=False, coactivation=False)])
    assert both.manifest.streams == ("load",)
    assert both.coactivation is None
    both.validate()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"model_id": "another"}, "model id"),
        ({"sites": 3}, "sites"),
        ({"top_k": 3}, "sites"),
        ({"blocks": 16}, "number of blocks"),
        ({"grouped_by": "file"}, "grouping"),
    ],
)
def test_refuses_what_differs(other: dict[str, object], words: str) -> None:
    with pytest.raises(CaptureError, match=f"same {words}.*compare them"):
        merge([make_capture(), make_capture(**other)])  # type: ignore[arg-type]


def test_nothing_to_merge() -> None:
    with pytest.raises(CaptureError, match="at least one"):
        merge([])
