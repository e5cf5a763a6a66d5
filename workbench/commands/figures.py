"""`workbench figures`: every figure of a capture, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workbench.capture.errors import CaptureError
from workbench.commands.output import JsonOption, Output


def figures(
    capture: Annotated[
        Path, typer.Argument(help="A capture: a folder, or one file NAME.capture.zip.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for the figures; made if it is not there.", show_default=False)],
    groups: Annotated[
        list[str] | None, typer.Option(help="Draw this group only; may be given several times. Default: all.")
    ] = None,
    sites: Annotated[
        list[str] | None,
        typer.Option(help="Draw this site only (ids: `workbench info --json`); may be given several times."),
    ] = None,
    null: Annotated[
        str,
        typer.Option(
            help="Also write the figures with what they would be if groups did not matter, and the measures over single tokens: labels (exchanged), "
            "fixed-load, untrained (with --untrained), or none, which is quicker."
        ),
    ] = "labels",
    untrained: Annotated[
        list[Path] | None,
        typer.Option(
            help="Capture of the untrained model on the same input (`workbench capture --untrained`), for --null untrained.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace figures that are there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write load, heat map, overlap, balance, specialisation and co-activation, with and without their null: each as png, pdf, svg, csv and parquet.

    Beside them stand report.html (one file, opens anywhere) and captions.txt. Needs no model, no GPU and no browser.

    Example:   workbench figures my.capture --out figures --groups prose --groups code
    """
    from tqdm import tqdm

    from workbench.capture import Capture
    from workbench.export import write_figures

    output = Output(as_json)
    nulls = {"labels": "labels", "fixed-load": "fixed load", "untrained": "untrained", "none": None}
    if null not in nulls:
        raise CaptureError(f"--null is {', '.join(nulls)}, not '{null}': choose one of them.")
    found = Capture.load(capture)
    fresh = [Capture.load(path) for path in untrained or ()]
    with tqdm(total=None, desc="figures", unit="", disable=None, leave=False) as bar:

        def progress(done: int, total: int, what: str) -> None:
            bar.total, bar.n = total, done
            bar.set_description(what)

        files = write_figures(
            found,
            out,
            sites=sites or None,
            groups=groups or None,
            null=nulls[null],  # type: ignore[arg-type]
            untrained=fresh,
            overwrite=overwrite,
            progress=progress,
        )
    output.say(f"{len(files)} files in {out}; open {out / 'report.html'} in a browser.")
    output.result({"out": str(out), "files": [file.name for file in files], "report": str(out / "report.html")})
