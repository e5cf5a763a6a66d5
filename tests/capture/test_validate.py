"""Every fault that validation promises to find, put in by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.capture_factory import make_capture, make_sites
from workbench.capture import Capture, CaptureError


def spoiled(spoil: Callable[[dict[str, np.ndarray]], None], **options: object) -> Capture:
    good = make_capture(**options)  # type: ignore[arg-type]
    tables = {name: good.table(name).values.copy() for name in ("count", "mass", "tokens", "dropped", "skipped")}
    spoil(tables)
    return Capture(good.manifest, tables, coactivation=good.coactivation, tokens=good.tokens)


def test_a_good_one_passes() -> None:
    make_capture(sites=(*make_sites(2, 16), *make_sites(2, 8, stack="vision")), dropped_share=0.2).validate()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda t: t["count"].__setitem__((0, 1, 0, 0, 3), t["count"][0, 1, 0, 0, 3] + 1), "text_1_mlp.*routed"),
        (lambda t: t["tokens"].__setitem__((0, 2, 0, 0), 10**6), "text_2_mlp.*tokens x top-k"),
        (lambda t: t["count"].__setitem__((0, 0, 0, 0, 0), -1), "negative"),
        (lambda t: t["mass"].__setitem__((0, 0, 0, 0, 0), np.nan), "not a finite number"),
        (lambda t: t.__setitem__("count", t["count"].astype(np.int32)), "must be int64"),
    ],
)
def test_faults_are_found(spoil: Callable[[dict[str, np.ndarray]], None], words: str) -> None:
    with pytest.raises(CaptureError, match=words):
        spoiled(spoil).validate()


def test_count_outside_a_site() -> None:
    def spoil(tables: dict[str, np.ndarray]) -> None:
        tables["count"][0, 2, 0, 0, 12] = 1

    with pytest.raises(CaptureError, match="vision_0_mlp has a count for an expert that it does not have"):
        spoiled(spoil, sites=(*make_sites(2, 16), *make_sites(1, 8, stack="vision"))).validate()


def test_coactivation_must_agree() -> None:
    good = make_capture()
    assert good.coactivation is not None
    square = good.coactivation.copy()
    square[1, 2, 3] += 1
    tables = {name: good.table(name).values for name in ("count", "mass", "tokens", "dropped", "skipped")}
    with pytest.raises(CaptureError, match="not symmetric"):
        Capture(good.manifest, tables, coactivation=square).validate()
    square[1, 3, 2] += 1
    square[1, 2, 2] += 1
    with pytest.raises(CaptureError, match="text_1_mlp has a co-activation"):
        Capture(good.manifest, tables, coactivation=square).validate()


def test_rows_must_be_those_of_the_manifest() -> None:
    good = make_capture()
    assert good.tokens is not None
    tables = {name: good.table(name).values for name in ("count", "mass", "tokens", "dropped", "skipped")}
    fewer = {"text": good.tokens["text"].slice(0, 5)}
    with pytest.raises(CaptureError, match="but 5 are there"):
        Capture(good.manifest, tables, tokens=fewer).validate()
    lacking = {"text": good.tokens["text"].drop_columns(["experts_text_2_mlp"])}
    with pytest.raises(CaptureError, match="lack the column experts_text_2_mlp"):
        Capture(good.manifest, tables, tokens=lacking).validate()
