"""`workbench train`: train an extraction engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.output import JsonOption, Output, quiet_libraries


def train(
    engine: Annotated[str, typer.Option("--engine", help="What to train; only usm so far.")],
    encoder: Annotated[
        str,
        typer.Option(
            "--encoder", help="Hub id or folder of a transformers encoder, or the folder of a USM model to fine-tune."
        ),
    ],
    data_root: Annotated[
        Path, typer.Option("--data-root", help="Folder of the data sets; docs/data.md says where each is to be had.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run: log, state to resume, model.")],
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="A set by name; may be repeated. All that may be learnt from if not given."),
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            "--hold-out", help="A set to leave out, with every name and synonym of its types; may be repeated."
        ),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Optimiser steps of the whole run.")] = 5000,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0.01, help="End after so much training time, if that comes before --steps."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the state in the folder.")] = False,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Samples a step.")] = 16,
    documents: Annotated[int, typer.Option("--documents", min=1, help="Documents of a set at most.")] = 6000,
    encoder_rate: Annotated[float, typer.Option("--encoder-rate", min=0, help="Peak rate of the encoder.")] = 2e-4,
    head_rate: Annotated[float, typer.Option("--head-rate", min=0, help="Peak rate of the link heads.")] = 1e-3,
    freeze_embeddings: Annotated[
        bool,
        typer.Option("--freeze-embeddings/--train-embeddings", help="Keep the encoder's word embeddings as they are."),
    ] = True,
    bf16: Annotated[bool, typer.Option("--bf16/--no-bf16", help="bf16 arithmetic.")] = True,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads.")] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    save_minutes: Annotated[float, typer.Option("--save-minutes", min=0.01, help="Time between states on disk.")] = 4.0,
    development: Annotated[
        int,
        typer.Option(
            "--development", min=0, help="Texts of each development part that choose how results are read; 0 for none."
        ),
    ] = 100,
    seed: Annotated[int, typer.Option("--seed", help="Of everything that chance decides.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Train USM on annotated sets, or go on after a stop or kill with --resume and the same options.

    The Training page follows the run while it goes on.

    Examples:

    workbench train --engine usm --encoder sentence-transformers/all-MiniLM-L6-v2 --data-root data --out runs/mine --minutes 40

    workbench train --engine usm --encoder runs/mine/model --data conll04 --data-root data --out runs/conll04 --steps 600
    """
    quiet_libraries()
    from workbench.extract.errors import EngineError

    if engine != "usm":
        raise EngineError(f"There is no training for the engine '{engine}': choose usm.")
    import torch

    from workbench.extract.usm.train.loop import Length
    from workbench.extract.usm.train.recipe import Recipe
    from workbench.extract.usm.train.run import run

    output = Output(as_json)
    if threads is not None:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    recipe = Recipe(
        sets=tuple(data) if data else Recipe().sets,
        held_out=tuple(hold_out or ()),
        seed=seed,
        batch=batch,
        documents=documents,
        encoder_rate=encoder_rate,
        head_rate=head_rate,
        freeze_embeddings=freeze_embeddings,
        bf16=bf16,
    )
    length = Length(steps=steps, minutes=minutes, save_minutes=save_minutes)
    model = run(
        encoder,
        data_root,
        out,
        recipe,
        length,
        device=device,
        resume=resume,
        progress=not as_json,
        notice=lambda name: output.note(f"reading {name}"),
        development=development,
    )
    output.say(f"{model}: the trained model")
    output.result({"out": str(out), "model": str(model)})
