"""Fewer blocks are the blocks that a recording with fewer would have made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.capture_factory import make_capture
from workbench.capture import Capture, CaptureError
from workbench.capture.reduce import reduce
from workbench.capture.schema import LOAD_DIMS


@pytest.mark.parametrize("blocks", [1, 4, 8, 32])
def test_joined_blocks_equal_a_recording_with_fewer(blocks: int) -> None:
    many = make_capture(3, 8, 2, 400, seed=3)
    few = make_capture(3, 8, 2, 400, seed=3, blocks=blocks)
    reduced = reduce(many, blocks)
    for name in LOAD_DIMS:
        assert np.allclose(reduced.table(name).values, few.table(name).values), name
    assert reduced.manifest.blocks == blocks


def test_empty_phase_goes_and_the_rest_is_saved_and_read(tmp_path: Path) -> None:
    capture = make_capture(2, 6, 2, 100)
    for table in capture._load.values():
        table[:, :, 1] = 0  # nothing was generated
    only = {name: capture.table(name).values[:, :, 0].sum(axis=0) for name in LOAD_DIMS}
    capture = Capture(capture.manifest.model_copy(update={"streams": ("load",)}), capture._load)
    reduced = reduce(capture, 8)
    assert reduced.phases == ("prefill",)
    reduced.save(tmp_path / "small")
    read = Capture.load(tmp_path / "small")
    for name, values in only.items():
        assert np.allclose(read.table(name).values.sum(axis=(0, 2)), values), name


@pytest.mark.parametrize("blocks", [0, 3, 64])
def test_other_numbers_are_refused(blocks: int) -> None:
    with pytest.raises(CaptureError, match="divides"):
        reduce(make_capture(1, 4, 1, 10), blocks)
