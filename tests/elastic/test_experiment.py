"""The tables of the experiment against sums by hand; its plan, its refusals, and its sub-models."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.unified.toy import toy_model
from workbench.analysis.elastic_experiment import OVERALL, TASKS, differences, markdown, summary
from workbench.elastic.errors import ElasticError
from workbench.elastic.experiment import Experiment, Run, Shape, read_losses, runs_of, sub_model
from workbench.export import figure_bytes
from workbench.figures.paper_experiment import elastic_experiment
from workbench.unified.segments import TASKS as REAL_TASKS

SMALL = Experiment(layers=(6, 4), experts=(16, 8), top_k=(2,), separate=(Shape(4, 8, 2),))


def losses() -> pd.DataFrame:
    """Losses that follow a rule with noise a seed: elastic sub-models lose little, plain ones much, and tasks have scales of their own."""
    rows = []
    rng = np.random.default_rng(0)
    for run in runs_of(SMALL):
        for shape in [run.shape] if run.kind == "separate" else SMALL.shapes:
            cut = (6 - shape.layers) * 0.1 + (16 - shape.experts) * 0.01
            for scale, task in enumerate(TASKS, start=1):
                factor = (
                    1 + cut * {"elastic": 0.5, "plain": 2.0, "separate": 0.3}[run.kind] + 0.02 * rng.standard_normal()
                )
                rows.append(
                    {"run": run.name, "kind": run.kind, "seed": run.seed, **shape._asdict(),
                     "parameters_stored": 1000 * shape.layers + shape.experts, "parameters_active": 500, "task": task,
                     "loss": scale * factor, "accuracy": 0.5, "predictions": 100, "samples": 10}
                )  # fmt: skip
    return pd.DataFrame(rows)


def test_there_are_fifteen_runs_of_their_own_name() -> None:
    runs = runs_of(Experiment())
    assert len(runs) == 15 == len({run.name for run in runs})
    assert [sum(run.kind == kind for run in runs) for kind in ("elastic", "plain", "separate")] == [3, 3, 9]
    assert set(TASKS) == set(REAL_TASKS)
    shapes = Experiment().shapes
    assert shapes[0] == Experiment().whole and len(shapes) == len(set(shapes)) == 18
    assert set(Experiment().separate) <= set(shapes)  # the ceiling stands beside a sub-model of the same shape


def test_a_shape_is_a_sub_model_that_keeps_the_audio_heads() -> None:
    model = toy_model(num_hidden_layers=6, audio_levels=3)
    ranking = {f"text_{layer}_mlp": np.arange(16.0) for layer in range(6)}
    plan = sub_model(Shape(4, 8, 1), Shape(6, 16, 2)).plan(model, ranking)
    assert plan.layers["text"] == (0, 3, 4, 5)
    assert set(plan.experts.values()) == {tuple(range(8, 16))} and set(plan.top_k.values()) == {1}
    assert str(sub_model(Shape(6, 16, 2), Shape(6, 16, 2))) == "full"


def test_the_summary_is_mean_and_spread_over_seeds() -> None:
    given = losses()
    table = summary(given).set_index(["task", "layers", "experts", "top_k", "kind"])
    for task in ("text", "word_to_speech"):
        own = [
            row.loss
            for row in given.itertuples()
            if (row.task, row.kind, row.layers, row.experts) == (task, "plain", 4, 8)
        ]
        found = table.loc[(task, 4, 8, 2, "plain")]
        assert len(own) == found["seeds"] == 3
        assert found["mean"] == pytest.approx(sum(own) / 3) and found["sd"] == pytest.approx(np.std(own, ddof=1))
        assert (found["low"], found["high"]) == (min(own), max(own))
    assert table.loc[("text", 4, 8, 2, "separate"), "group"] == "Text"


def test_overall_numbers_are_relative_to_the_plain_whole_model() -> None:
    given = losses()
    whole = {
        task: np.mean([row.loss for row in given.itertuples() if (row.task, row.kind, row.layers, row.experts) == (task, "plain", 6, 16)])
        for task in TASKS
    }  # fmt: skip
    by_seed = [
        np.mean([row.loss / whole[row.task] for row in given.itertuples() if (row.kind, row.layers, row.experts, row.seed) == ("elastic", 4, 16, seed)])
        for seed in range(3)
    ]  # fmt: skip
    table = summary(given).set_index(["task", "layers", "experts", "top_k", "kind"])
    assert table.loc[(OVERALL, 4, 16, 2, "elastic"), "mean"] == pytest.approx(np.mean(by_seed))
    assert table.loc[(OVERALL, 6, 16, 2, "plain"), "mean"] == pytest.approx(1)
    gaps = differences(given).set_index(["layers", "experts", "top_k"])
    assert gaps.loc[(4, 8, 2), "mean"] == pytest.approx(
        table.loc[(OVERALL, 4, 8, 2, "plain"), "mean"] - table.loc[(OVERALL, 4, 8, 2, "elastic"), "mean"]
    )
    assert gaps.loc[(4, 8, 2), "better"] == 3 and gaps.loc[(4, 8, 2), "mean"] > 0.3


def test_markdown_and_figure_show_every_sub_model() -> None:
    given = losses()
    text = markdown(given)
    assert text.count("###") == 8 and text.count("| 4 | 8 | 2 |") == 8 and "6 (whole)" in text
    picture = Image.open(io.BytesIO(figure_bytes(elastic_experiment(given), "png")))
    assert picture.width > 1500
    axes = elastic_experiment(given).axes
    assert [axis.get_title(loc="left").split(" (")[0] for axis in axes[:3]] == ["All tasks", "text", "image_to_word"]
    assert [label.get_text() for label in axes[-1].get_xticklabels()] == [
        "6 · 16 · 2",
        "6 · 8 · 2",
        "4 · 16 · 2",
        "4 · 8 · 2",
    ]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ElasticError, match="--seeds must be at least 1"):
        Experiment(seeds=0)
    with pytest.raises(ElasticError, match="elastic-seed0 were expected"):
        read_losses(tmp_path, SMALL)
    folder = tmp_path / "runs" / Run("elastic", 0, SMALL.whole).name
    folder.mkdir(parents=True)
    (folder / "losses.json").write_text(json.dumps({"rows": 3}))
    with pytest.raises(ElasticError, match="remove that run's folder"):
        read_losses(tmp_path, SMALL)
