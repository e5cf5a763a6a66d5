"""The figures of the ERNIE 5.0 report beside the same figures of a capture, as files.

write_pictures(Capture.load("my.capture"), "pictures")
"""

from __future__ import annotations

from pathlib import Path

from workbench.analysis.ernie_report import BesideReport, beside_report
from workbench.capture import Capture
from workbench.capture.errors import WorkbenchError
from workbench.export import Part, Progress, write_parts

NAMES = ("figure8", "figure9", "figure10")


def picture_parts(capture: Capture) -> list[Part]:
    """Figures 8, 9 and 10, each with the report's values beside the capture's."""
    from workbench.figures import paper_ernie

    beside: BesideReport = beside_report(capture)
    return [
        Part(
            "figure8",
            "Figure 8: which experts each group uses",
            lambda: paper_ernie.utilisation(beside),
            beside.utilisation_frame(),
            paper_ernie.utilisation_caption(beside),
        ),
        Part(
            "figure9",
            "Figure 9: do two groups use the same experts",
            lambda: paper_ernie.overlap(beside),
            beside.overlap_frame(),
            paper_ernie.overlap_caption(beside),
        ),
        Part(
            "figure10",
            "Figure 10: how evenly experts are used",
            lambda: paper_ernie.balance(beside),
            beside.balance_frame(),
            paper_ernie.balance_caption(beside),
        ),
    ]


def write_pictures(
    capture: Capture, out: str | Path, *, overwrite: bool = False, progress: Progress | None = None
) -> list[Path]:
    """Write the three figures as png, pdf, svg, csv and parquet, with captions.txt and report.html.

    Args:
        out, overwrite, progress: as in `workbench.export.write_figures`.

    Raises:
        WorkbenchError: if the capture has no tokens, or the folder is taken.
    """
    if not capture.token_count.any():
        raise WorkbenchError(
            "The report's figures need routed tokens, and this capture counted none: record it again with some input."
        )
    return write_parts(capture, out, lambda: picture_parts(capture), NAMES, overwrite, progress)
