"""`workbench pictures`: the figures of the ERNIE 5.0 report beside those of a capture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workbench.commands.output import JsonOption, Output


def pictures(
    capture: Annotated[
        Path, typer.Argument(help="A capture: a folder, or one file NAME.capture.zip.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for the figures; made if it is not there.", show_default=False)],
    overwrite: Annotated[bool, typer.Option(help="Replace figures that are there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Lay Figures 8, 9 and 10 of a capture beside the values that the ERNIE 5.0 report prints.

    Each as png, pdf, svg, csv and parquet; report.html holds all three with a sentence. The report's values are marked as
    such; groups that only one of the two has are shown and not compared. Needs no model and no GPU.

    Example:   workbench pictures sample_data/captures/omni --out pictures
    """
    from tqdm import tqdm

    from workbench.capture import Capture
    from workbench.pictures import write_pictures

    output = Output(as_json)
    found = Capture.load(capture)
    with tqdm(total=None, desc="pictures", unit="", disable=None, leave=False) as bar:

        def progress(done: int, total: int, what: str) -> None:
            bar.total, bar.n = total, done
            bar.set_description(what)

        files = write_pictures(found, out, overwrite=overwrite, progress=progress)
    output.say(f"{len(files)} files in {out}; open {out / 'report.html'} in a browser.")
    output.result({"out": str(out), "files": [file.name for file in files], "report": str(out / "report.html")})
