"""`workbench convert`: pickled weights to safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.output import JsonOption, Output


def convert(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="Model folder with a pytorch_model.bin.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="New folder for the model with safetensors weights.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="Accept the licence that is shown, without a question.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Turn a pytorch_model.bin into safetensors, which cannot run code when it is read.

    The pickle is read in a process of its own that takes tensors and nothing else; configuration and tokenizer are copied.

    Example:   workbench convert old_model --out new_model --yes
    """
    from workbench.convert import ConvertError, licence_of, weight_pickles
    from workbench.convert import convert as run

    output = Output(as_json)
    weight_pickles(source)
    output.note(f"Licence of '{source.name}': {licence_of(source)}")
    if not yes and (as_json or not typer.confirm("Do you accept it for the converted copy?", err=True)):
        raise ConvertError("The licence was not accepted, so nothing was converted: read it, then add --yes.")
    done = run(source, out)
    tied = f", {len(done.tied)} tied to another and kept once" if done.tied else ""
    output.say(f"{done.out}: {done.tensors} tensors, {done.bytes / 1e6:,.1f} MB{tied}")
    output.say(f"Next: workbench capture --model {done.out} --input texts --out my.capture")
    output.result(
        {
            "out": str(done.out),
            "tensors": done.tensors,
            "tied": list(done.tied),
            "bytes": done.bytes,
            "licence": done.licence,
        }
    )
