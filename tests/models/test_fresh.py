"""Untrained weights: the same model drawn anew, flagged in its capture, refused where it cannot be drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.tiny_model import save_model
from workbench.analysis.align import likely_lineage
from workbench.inputs import Document
from workbench.models import LoadOptions, load_model
from workbench.models.fresh import fresh_weights
from workbench.recording import RecordOptions, record


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    torch.set_num_threads(1)
    return save_model(tmp_path_factory.mktemp("fresh") / "tiny")


def test_same_shape_other_weights_by_seed(folder: Path) -> None:
    import torch

    loaded = load_model(str(folder), LoadOptions(device="cpu"))
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    one, again, other = (fresh_weights(loaded, seed).model.state_dict() for seed in (1, 1, 2))
    assert {name: value.shape for name, value in one.items()} == {name: value.shape for name, value in before.items()}
    assert all(torch.equal(value, again[name]) for name, value in one.items())
    routers = [name for name in one if "gate.weight" in name or "router" in name]
    assert routers and all(
        not torch.equal(one[name], before[name]) and not torch.equal(one[name], other[name]) for name in routers
    )
    assert all(
        torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items()
    )  # the model itself is left alone


def test_capture_of_untrained_weights_is_flagged_and_reads_the_same_tokens(folder: Path) -> None:
    loaded = load_model(str(folder), LoadOptions(device="cpu"))
    documents = [Document(id=f"d{at}", group="g", text="the cat sat on a mat") for at in range(3)]
    trained = record(loaded, documents, RecordOptions(group_by="group"))
    null = record(loaded, documents, RecordOptions(group_by="group", untrained=True, seed=3))
    assert [flag.kind for flag in null.manifest.flags if flag.kind == "untrained"] == ["untrained"]
    assert np.array_equal(trained.token_count, null.token_count) and not np.array_equal(trained.count, null.count)
    assert likely_lineage([trained, null]) == "apart"
