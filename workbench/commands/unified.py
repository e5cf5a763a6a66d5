"""`workbench unified`: tokenizers, training, generation and evaluation of the unified model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.output import JsonOption, Output, quiet_libraries

unified = typer.Typer(
    name="unified",
    help="Train, run and judge the unified model: text, pictures, clips and sounds, read and made.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DataRoot = Annotated[Path, typer.Option("--data-root", help="Folder with fashion_mnist, mnist_t10k, fsdd and text; docs/data.md says where each is to be had.")]  # fmt: skip


@unified.command("train")
def train(
    tokenizers: Annotated[Path, typer.Option("--tokenizers", help="Trained tokenizers, as `workbench unified tokenizers` writes them.")],
    data_root: DataRoot,
    out: Annotated[Path, typer.Option("--out", help="Folder of the run: log, captures, state to resume, model.")],
    steps: Annotated[int, typer.Option("--steps", min=1, help="Optimiser steps of the whole run.")] = 2000,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the state in the folder.")] = False,
    elastic: Annotated[bool, typer.Option("--elastic/--no-elastic", help="Run a smaller model in some steps, so that smaller ones can be cut out later.")] = True,
    batch: Annotated[float, typer.Option("--batch", min=0.1, help="Factor on the samples a step and process.")] = 1.0,
    learning_rate: Annotated[float, typer.Option("--learning-rate", min=1e-6, help="Peak rate of AdamW.")] = 2e-3,
    model: Annotated[str, typer.Option("--model-config", help="JSON object that overrides sizes, such as '{\"num_hidden_layers\": 9}'.")] = "{}",
    bf16: Annotated[bool, typer.Option("--bf16", help="bf16 arithmetic (autocast); helps on a GPU, not on most CPUs.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of weights, order of the data and noise.")] = 0,
    capture_every: Annotated[int, typer.Option("--capture-every", min=0, help="Steps between captures of the held-out samples; 0 for none.")] = 0,
    save_minutes: Annotated[float, typer.Option("--save-minutes", min=0.1, help="Time between states on disk.")] = 4.0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda.")] = "auto",
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Train the unified model, or go on after a stop or kill with --resume and the same options.

    The Training page follows the run. On more than one device start it with torchrun, which needs no other option.

    Examples:

    workbench unified train --tokenizers my-tokenizers --data-root data --out runs/mine --steps 2000

    torchrun --nproc-per-node 4 -m workbench.cli unified train --tokenizers my-tokenizers --data-root data --out runs/mine --bf16
    """
    quiet_libraries()
    from workbench.unified.data.mixture import Mixture
    from workbench.unified.tokenizers.bundle import Tokenizers
    from workbench.unified.train.loop import Plan
    from workbench.unified.train.loop import train as run
    from workbench.unified.train.recipe import Elastic, Recipe

    output = Output(as_json)
    bundle = Tokenizers.load(tokenizers)
    samples = {task: max(1, round(count * batch)) for task, count in Recipe().samples.items()}
    recipe = Recipe(
        seed=seed,
        model=_object(model),
        samples=samples,
        learning_rate=learning_rate,
        bf16=bf16,
        elastic=Elastic() if elastic else None,
    )
    plan = Plan(steps=steps, resume=resume, capture_every=capture_every, save_minutes=save_minutes, device=device)
    folder = run(Mixture(bundle, data_root, seed), bundle, out, recipe, plan, progress=not as_json)
    output.say(f"{folder}: the trained model")
    output.say(f"Next: workbench unified evaluate --checkpoint {folder} --data-root {data_root}")
    output.result({"out": str(out), "model": str(folder), "steps": steps})


def _object(text: str) -> dict[str, object]:
    """A JSON object given as an option."""
    import json

    from workbench.unified.segments import UnifiedError

    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UnifiedError(
            f"Expected --model-config as a JSON object, got '{text}': write it like '{{\"num_hidden_layers\": 9}}'."
        )
    return found
