"""Regrouping by phase: every number of the new capture is a sum over the old groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests import tiny_model
from workbench.capture import Capture
from workbench.capture.regroup import group_by_phase
from workbench.inputs import Document
from workbench.models import load_model
from workbench.recording import RecordOptions, record

TEXTS = [Document("a", group="x", text="the cat sat on a mat"), Document("b", group="y", text="dog ran")]


def test_phases_become_groups(tmp_path: Path) -> None:
    loaded = load_model(str(tiny_model.save_model(tmp_path / "model")))
    by_folder = record(loaded, TEXTS, RecordOptions(group_by="folder", generate=3))
    made = group_by_phase(by_folder)
    made.validate()
    assert made.groups == ("prefill", "decode")
    for name in ("count", "mass", "tokens"):
        old, new = by_folder.table(name).sum("block", "group"), made.table(name).sum("block", "phase")
        for phase in made.groups:
            assert np.allclose(new.sel(group=phase).values, old.sel(phase=phase).values)
    assert made.manifest.tokens["text"]["prefill"] == 8
    straight = record(loaded, TEXTS, RecordOptions(group_by="phase", generate=3))
    assert np.array_equal(straight.count, made.count)
    assert straight.manifest.grouped_by == "phase"
    again = Capture.load(straight.save(tmp_path / "by_phase"))
    rows = again.tokens
    assert rows is not None
    assert rows["text"].column("group").to_pylist() == rows["text"].column("phase").to_pylist()


def test_a_phase_without_tokens_is_no_group(tmp_path: Path) -> None:
    loaded = load_model(str(tiny_model.save_model(tmp_path / "model")))
    assert record(loaded, TEXTS, RecordOptions(group_by="phase")).groups == ("prefill",)
