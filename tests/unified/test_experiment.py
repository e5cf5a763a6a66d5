"""The experiment from end to end at the smallest size: runs, measures, goes on where it was, and writes its files."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from workbench.cli import run as command
from workbench.elastic import experiment, experiment_plan
from workbench.elastic.errors import ElasticError
from workbench.elastic.experiment import run_experiment
from workbench.elastic.experiment_plan import Experiment, Run, Shape, runs_of

TINY = Experiment(
    steps=2, seeds=1, batch=0.05, width=24, heads=2, inner=8, whole=Shape(4, 8, 2), layers=(4, 3), experts=(8, 4), top_k=(1,),
    separate=(Shape(3, 4, 1),), each=2, workers=1,
)  # fmt: skip


def test_from_trainings_to_losses(
    trained: tuple[Path, dict], data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, said = tmp_path / "out", []
    full = experiment.perform

    def second_fails(run: Run, *rest: object) -> str:
        if run.kind == "plain":
            raise KeyboardInterrupt
        return full(run, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "perform", second_fails)
        with pytest.raises(KeyboardInterrupt):
            run_experiment(trained[0], data_root, out, TINY)
    kept = (out / "runs" / "elastic-seed0" / "losses.json").stat().st_mtime_ns
    found = run_experiment(trained[0], data_root, out, TINY, said.append)
    assert said[0] == "2 of 3 runs to make, 1 at once"  # the first is not made again
    assert (out / "runs" / "elastic-seed0" / "losses.json").stat().st_mtime_ns == kept
    assert found.groupby("kind").size().to_dict() == {"elastic": 4 * 7, "plain": 4 * 7, "separate": 7}
    assert (found["loss"] > 0).all() and found["accuracy"].between(0, 1).all()
    # Everything was measured on the same samples, and shapes cost the same whichever way they came about.
    assert (found.groupby("task")["predictions"].nunique() == 1).all() and (found["samples"] == 2).all()
    assert (found.groupby(["layers", "experts", "top_k"])["parameters_stored"].nunique() == 1).all()
    with pytest.raises(ElasticError, match="other numbers"):
        run_experiment(trained[0], data_root, out, Experiment(**{**TINY.__dict__, "steps": 3}))


def test_losses_are_those_of_the_checkpoint(trained: tuple[Path, dict], data_root: Path, tmp_path: Path) -> None:
    """The separate model's numbers again, from its exported checkpoint and plain passes of one sample each."""
    import torch

    from workbench.unified.batch import make_batch
    from workbench.unified.checkpoint import load_checkpoint
    from workbench.unified.data.mixture import Mixture

    run = runs_of(TINY)[-1]
    experiment.perform(run, trained[0], data_root, tmp_path, TINY)
    rows = json.loads((tmp_path / "runs" / run.name / "losses.json").read_text())["rows"]
    model, tokenizers = load_checkpoint(tmp_path / "runs" / run.name / "model")
    data = Mixture(tokenizers, data_root, 0)
    for row in rows:
        if row["task"] not in ("text", "image_to_word", "word_to_image"):
            continue
        total, count = 0.0, 0
        for number in range(2):
            batch = make_batch([data.held_out(row["task"], number)], model.config, tokenizers)
            with torch.no_grad():
                token = model(**batch, use_cache=False).losses.token
            kept = batch["bit_labels"][..., 0] >= 0 if row["task"] == "word_to_image" else batch["labels"] >= 0
            total, count = total + float(token[kept].sum()), count + int(kept.sum())
        assert row["predictions"] == count and row["loss"] == pytest.approx(total / count, rel=1e-4)


def test_a_run_that_takes_too_long_says_so(trained: tuple[Path, dict], data_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ElasticError, match=r"elastic-seed0 was not finished after 1e-06 minutes"):
        run_experiment(trained[0], data_root, tmp_path / "out", Experiment(**{**TINY.__dict__, "minutes": 1e-6}))


def test_the_command_writes_table_and_figure(
    trained: tuple[Path, dict],
    data_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def tiny(**given: object) -> Experiment:
        return Experiment(
            **{**TINY.__dict__, **{name: value for name, value in given.items() if name in ("workers", "seeds")}}
        )

    monkeypatch.setattr(experiment_plan, "Experiment", tiny)
    out = tmp_path / "out"
    arguments = ["unified", "experiment", "--tokenizers", str(trained[0]), "--data-root", str(data_root), "--out", str(out), "--seeds", "1", "--workers", "1"]  # fmt: skip
    assert command([*arguments, "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["runs"] == 3 and {"table.md", "table.csv", "losses.parquet", "figure.png"} <= set(said["files"])
    assert all((out / name).stat().st_size for name in said["files"])
    assert len(pd.read_csv(out / "table.csv")) == 8 * (4 + 4 + 1)
