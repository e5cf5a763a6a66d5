"""The unified model's tasks inside a sweep: the numbers of a sub-model are those of the whole evaluation of the carved checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from probes import SubModel
from tests.unified.toy import sizes
from workbench.analysis.curve import load_curve
from workbench.elastic.carve import carve
from workbench.elastic.errors import SweepError
from workbench.elastic.latency import LatencyOptions
from workbench.elastic.sweep import SweepOptions, sweep
from workbench.elastic.unified_tasks import TASKS, TaskData
from workbench.inputs import Document
from workbench.models import LoadOptions, load_model
from workbench.unified import UnifiedConfig, UnifiedForCausalLM
from workbench.unified.checkpoint import export
from workbench.unified.evaluate import bench, evaluate, probe
from workbench.unified.evaluate.bench import train_judges
from workbench.unified.evaluate.judges import JudgePlan
from workbench.unified.tokenizers.bundle import Tokenizers

WORDS, LIMIT = "layers=0,2-4 top_k=1", 6
TEXT = [Document("a", text="the cat sat on the mat")]


def test_accuracies_are_those_of_the_evaluation_of_the_carved_model(
    tokenizers: Tokenizers, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "TRAIN_CLIPS", 60)
    monkeypatch.setattr(probe, "TRAINED_ON", 60)
    torch.manual_seed(1)
    # Large weights: an untrained model's answers then vary, and some happen to be right.
    config = UnifiedConfig(**{**tokenizers.facts(), **sizes(), "initializer_range": 0.3})
    export(UnifiedForCausalLM(config), tokenizers, tmp_path / "model", torch.float32)
    train_judges(data_root, 4, plan=JudgePlan(steps=3, garment_steps=3, batch=8)).save(tmp_path / "judges")
    loaded = load_model(str(tmp_path / "model"), LoadOptions(device="cpu", dtype="float32"))
    options = SweepOptions(
        latency=LatencyOptions(rounds=0), tasks=tuple(TASKS), task_limit=LIMIT, task_data=TaskData(data_root, tmp_path / "judges")
    )  # fmt: skip
    sweep(loaded, TEXT, [], options, tmp_path / "out", listed=[SubModel.parse(WORDS)])
    found = load_curve(tmp_path / "out").quality.set_index(["sub_model", "measure"])
    carve(str(tmp_path / "model"), SubModel.parse(WORDS), tmp_path / "small")
    differ = False
    for words, folder in (("full", tmp_path / "model"), (WORDS, tmp_path / "small")):
        expected = evaluate(folder, data_root, LIMIT, judges=tmp_path / "judges")
        for task, (group, parts) in TASKS.items():
            if task == "text":
                row = found.loc[(words, "text bits a byte")]
                assert row["value"] == pytest.approx(expected["text_bits_per_byte"], rel=1e-4)
                continue
            for part in parts or ("",):
                own = expected[task][part] if part else expected[task]
                row = found.loc[(words, f"{task} accuracy ({part})" if part else f"{task} accuracy")]
                assert (row["value"], row["documents"], row["group"]) == (own["accuracy"], own["n"], group)
                assert [row["low"], row["high"]] == own["interval"]
                differ |= 0 < row["value"] < 1
    assert differ  # at least one task on which something could have gone wrong
    bits = found.loc[(slice(None), "text bits a byte"), "value"]
    assert bits.nunique() == 2


def test_tasks_that_cannot_be_run_are_refused_before_anything_is(
    tokenizers: Tokenizers, data_root: Path, tmp_path: Path
) -> None:
    export(UnifiedForCausalLM(UnifiedConfig(**{**tokenizers.facts(), **sizes()})), tokenizers, tmp_path / "model")
    loaded = load_model(str(tmp_path / "model"), LoadOptions(device="cpu"))
    for tasks, data, words in (
        (("arc_easy",), TaskData(data_root), "not 'arc_easy'"),
        (("image_to_word",), TaskData(), "--data-root"),
    ):
        with pytest.raises(SweepError, match=words):
            sweep(loaded, TEXT, [], SweepOptions(tasks=tasks, task_data=data), tmp_path / "out")
    assert not (tmp_path / "out").exists()
