"""`workbench unified experiment`: what elastic training buys, from trainings to table and figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.output import JsonOption, Output, quiet_libraries


def experiment(
    tokenizers: Annotated[
        Path, typer.Option("--tokenizers", help="Trained tokenizers, as `workbench unified tokenizers` writes them.")
    ],
    data_root: Annotated[
        Path, typer.Option("--data-root", help="Folder with the data sets; docs/data.md says where each is to be had.")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the runs, the table and the figure; goes on where it was.")
    ],
    steps: Annotated[int, typer.Option("--steps", help="Optimiser steps of every run.")] = 600,
    seeds: Annotated[int, typer.Option("--seeds", help="Seeds of every kind of run.")] = 3,
    held_out: Annotated[int, typer.Option("--held-out", help="Kept-back samples of each task that are measured.")] = 64,
    minutes: Annotated[float, typer.Option("--minutes", help="Longest training of one run; its state is kept.")] = 10.0,
    workers: Annotated[int, typer.Option("--workers", help="Runs at once, a processor thread each.")] = 2,
    as_json: JsonOption = False,
) -> None:
    """Train one small model with elastic passes and without, small models by themselves, and measure the same sub-models of both.

    Fifteen runs with three seeds. Started again, it makes only the runs that are not finished.

    Example:

    workbench unified experiment --tokenizers my-tokenizers --data-root data --out my-experiment
    """
    quiet_libraries()
    from workbench.analysis.elastic_experiment import OVERALL, differences, markdown, summary
    from workbench.elastic.experiment import run_experiment
    from workbench.elastic.experiment_plan import Experiment
    from workbench.export import FIGURE_FORMATS, figure_bytes, frame_bytes
    from workbench.figures.paper_experiment import elastic_experiment

    output = Output(as_json)
    plan = Experiment(steps=steps, seeds=seeds, each=held_out, minutes=minutes, workers=workers)
    losses = run_experiment(tokenizers, data_root, out, plan, output.note)
    table = summary(losses)
    figure = elastic_experiment(losses)
    made = {
        "losses.parquet": frame_bytes(losses, "parquet"), "table.csv": frame_bytes(table, "csv"), "table.parquet": frame_bytes(table, "parquet"),
        "table.md": markdown(losses).encode("utf-8"), **{f"figure.{form}": figure_bytes(figure, form) for form in FIGURE_FORMATS},
    }  # fmt: skip
    for name, data in made.items():
        (out / name).write_bytes(data)
    output.say(f"{out}: {losses['run'].nunique()} runs; {', '.join(made)}")
    gaps = differences(losses)
    for row in gaps.itertuples():
        output.say(
            f"{row.layers} layers, {row.experts} experts, top-{row.top_k}: plain - elastic {row.mean:+.3f} (better in {row.better} of {row.seeds} seeds)"
        )
    whole = table[table["task"] == OVERALL].iloc[0]
    output.result(
        {"out": str(out), "runs": int(losses["run"].nunique()), "rows": len(losses), "seeds": int(whole["seeds"]),
         "files": list(made), "plain_minus_elastic": gaps.to_dict("records")}
    )  # fmt: skip
