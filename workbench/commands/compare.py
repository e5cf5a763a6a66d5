"""`workbench compare`: what differs between captures, beyond noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workbench.capture.errors import CaptureError
from workbench.commands.output import JsonOption, Output


def compare(
    captures: Annotated[
        list[Path],
        typer.Argument(
            help="Two or more captures; the first is the one that the others are compared with.", show_default=False
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for figures and numbers; made if it is not there.", show_default=False)
    ],
    measures: Annotated[
        list[str] | None,
        typer.Option(
            help="load, sorted load, normalised entropy, corrected entropy, effective experts, dead experts, CV, MaxVio, IoU, Jensen-Shannon or "
            "saturation; may be given several times. Default: those of load, sorted load, normalised entropy, IoU and saturation that the captures allow."
        ),
    ] = None,
    groups: Annotated[
        list[str] | None,
        typer.Option(help="Compare this group only; may be given several times. Default: all in common."),
    ] = None,
    sites: Annotated[
        list[str] | None,
        typer.Option(help="Compare this site only (ids: `workbench info --json`); may be given several times."),
    ] = None,
    phase: Annotated[str | None, typer.Option(help="prefill (reading) or decode (writing) only.")] = None,
    experts: Annotated[
        str,
        typer.Option(
            help="same: expert numbers mean the same in all (one model, checkpoints of one run, a sub-model); apart: models trained apart, only "
            "what has no expert numbers is compared; auto: same where the model's name is."
        ),
    ] = "auto",
    common: Annotated[
        bool,
        typer.Option("--common", help="Compare the layers that all have, where some have more; else they are refused."),
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace figures that are there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what differs between captures (checkpoints, prompts, sub-models, models), with the noise of the documents.

    Captures of the same documents are compared document by document, which makes the noise small. Captures that do not match
    (layers, experts, tokenizers) are refused in one sentence. Needs no model and no GPU.

    Example:   workbench compare before.capture after.capture --out differences
    """
    from tqdm import tqdm

    from workbench.capture import Capture
    from workbench.export_compare import MEASURES, write_comparison

    output = Output(as_json)
    if experts not in ("auto", "same", "apart"):
        raise CaptureError(f"--experts is auto, same or apart, not '{experts}': choose one of them.")
    unknown = [name for name in measures or () if name not in MEASURES]
    if unknown:
        raise CaptureError(
            f"Captures are compared in {', '.join(MEASURES)}, not in '{unknown[0]}': choose one of them."
        )
    found = [Capture.load(path) for path in captures]
    names = _names(captures)
    with tqdm(total=None, desc="compare", unit="", disable=None, leave=False) as bar:

        def progress(done: int, total: int, what: str) -> None:
            bar.total, bar.n = total, done
            bar.set_description(what)

        files, sentences, tables = write_comparison(
            found,
            out,
            names=names,
            measures=measures or None,
            sites=sites or None,
            groups=groups or None,
            phase=phase,
            lineage=None if experts == "auto" else experts,  # type: ignore[arg-type]
            common=common,
            overwrite=overwrite,
            progress=progress,
        )
    for sentence in sentences:
        output.say(sentence)
    output.say(f"{len(files)} files in {out}; open {out / 'report.html'} in a browser.")
    output.result(
        {
            "out": str(out),
            "files": [file.name for file in files],
            "report": str(out / "report.html"),
            "against": names[0],
            "comparisons": [
                {
                    "capture": name,
                    "measure": table.measure,
                    "experts": table.lineage,
                    "same_documents": table.paired[at],
                    "cells": int((~table.cell_few[at]).sum()),
                    "more_than_noise": int(table.significant[at].sum()),
                    "sentence": table.summary(at),
                }
                for table in tables
                for at, name in enumerate(table.names)
            ],
        }
    )


def _names(paths: list[Path]) -> list[str]:
    """The captures' own names; the folder before them, or a number, where two are called alike."""
    short = [path.name.removesuffix(".zip").removesuffix(".capture") for path in paths]
    if len(set(short)) == len(short):
        return short
    longer = [f"{path.absolute().parent.name}/{name}" for path, name in zip(paths, short, strict=True)]
    return longer if len(set(longer)) == len(longer) else [f"{at + 1}: {name}" for at, name in enumerate(short)]
