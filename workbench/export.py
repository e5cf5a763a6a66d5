"""Figures and numbers to bytes and files: PDF, SVG, PNG without a browser, CSV, Parquet, and a folder with all of them.

Choices made here:
- The same capture gives the same bytes: no dates in metadata, fixed ids in SVG. So figures can be compared by `git diff`.
- PDF embeds its fonts as TrueType (fonttype 42, which journals ask for); SVG draws text as outlines, so that it looks the same
  on a machine without the font.
- `write_figures` writes a folder whole or not at all, and never into a folder that holds anything else.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from workbench.capture import Capture
from workbench.capture.errors import WorkbenchError
from workbench.capture.write import whole_or_nothing

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as PlotlyFigure

    from workbench.analysis.significance import NullName

FIGURE_FORMATS = ("png", "pdf", "svg")
FRAME_FORMATS = ("csv", "parquet")
REPORT_FILE = "report.html"
CAPTIONS_FILE = "captions.txt"
NAMES = ("load", "heatmap", "overlap", "balance", "specialisation", "coactivation")
MOST_PANELS = 6  # sites up to which load and overlap show all that were chosen; above: first, middle and last of them

Progress = Callable[[int, int, str], None]  # steps done, steps in all, what comes next

# rcParams are one dictionary of the process: only one thread at a time may change them, and only while it writes.
_RC_LOCK = threading.Lock()


class ExportError(WorkbenchError):
    """A figure, its numbers or the report could not be written."""


# ---------------------------------------------------------------------------------------------- bytes
def figure_bytes(figure: Figure, form: str, *, dpi: int = 300) -> bytes:
    """A matplotlib figure as a file's content, the same bytes for the same figure.

    Args:
        figure: from workbench.figures.paper; its caption goes into the metadata.
        form: "pdf", "svg" or "png".
        dpi: pixels an inch of PNG, and of the cell colours inside PDF and SVG.

    Raises:
        ExportError: for another form.
    """
    if form not in FIGURE_FORMATS:
        raise ExportError(f"A figure is written as {', '.join(FIGURE_FORMATS)}, not '{form}': choose one of them.")
    import matplotlib

    from workbench.figures.paper_fonts import say_missing, use_fallbacks
    from workbench.figures.paper_frame import caption_of

    caption = caption_of(figure)
    say_missing(use_fallbacks(figure))
    metadata = {
        "png": {"Software": None, "Description": caption},
        "pdf": {"CreationDate": None, "Creator": "Unified Workbench", "Producer": None, "Subject": caption},
        "svg": {"Date": None, "Creator": "Unified Workbench", "Description": caption, "Format": None, "Type": None},
    }[form]
    settings: dict[Any, Any] = {
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "svg.fonttype": "path",
        "svg.hashsalt": "unified-workbench",
    }
    buffer = io.BytesIO()
    with _RC_LOCK, matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # said once, in a sentence, above
        figure.savefig(buffer, format=form, dpi=dpi, metadata=metadata)
    return buffer.getvalue()


def frame_bytes(frame: pd.DataFrame, form: str) -> bytes:
    """A table of numbers as a file's content: "csv" (UTF-8, full precision) or "parquet" (zstd).

    Raises:
        ExportError: for another form.
    """
    if form not in FRAME_FORMATS:
        raise ExportError(f"Numbers are written as {', '.join(FRAME_FORMATS)}, not '{form}': choose one of them.")
    if form == "csv":
        return frame.to_csv(index=False, lineterminator="\n").encode("utf-8")
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), buffer, compression="zstd")
    return buffer.getvalue()


def plotly_html(figure: PlotlyFigure) -> str:
    """An interactive figure as one HTML file that works offline: plotly.js (about 4.5 MB) stands inside."""
    return figure.to_html(include_plotlyjs=True, full_html=True, div_id="figure", config={"displaylogo": False})


# ---------------------------------------------------------------------------------------------- a set of figures
@dataclass(frozen=True)
class Part:
    """One figure of the set: its name, a heading, how it is drawn, its numbers, its caption; or why it is missing."""

    name: str
    title: str
    draw: Callable[[], Figure] | None
    frame: pd.DataFrame | None
    caption: str


Render = Callable[[Capture, Sequence[Part], Mapping[str, bytes]], str]


def parts(capture: Capture, *, sites: Sequence[str] | None = None, groups: Sequence[str] | None = None) -> list[Part]:
    """Every figure that this capture can give, in the order of `NAMES`; one that it cannot give says why in its caption.

    Args:
        sites: site ids, default all; load and overlap show them all up to six, else first, middle and last of them.
        groups: group names, default all that have tokens.

    Raises:
        CaptureError: for an unknown site or group.
    """
    from workbench.analysis.select import select

    select(capture, sites, groups)  # an unknown name is an error, not a figure that is missing
    made: list[Part] = []
    for name, build in (
        ("load", _load), ("heatmap", _heatmap), ("overlap", _overlap),
        ("balance", _balance), ("specialisation", _specialisation), ("coactivation", _coactivation),
    ):  # fmt: skip
        try:
            made.append(build(capture, sites, groups))
        except WorkbenchError as fault:
            made.append(Part(name, TITLES[name], None, None, str(fault)))
    return made


TITLES = {
    "load": "Load: which experts each group uses",
    "heatmap": "Load of every expert at every site",
    "overlap": "Overlap: do two groups use the same experts",
    "balance": "Balance: how evenly experts are used",
    "specialisation": "Specialisation: experts that a group prefers more than the others do",
    "coactivation": "Co-activation: experts chosen together",
}


def panel_sites(sites: Sequence[str] | None) -> Sequence[str] | None:
    """The chosen sites of a figure with a panel a site: all up to `MOST_PANELS`, else first, middle and last; None for none chosen."""
    if sites is None or len(sites) <= MOST_PANELS:
        return sites
    return list(dict.fromkeys((sites[0], sites[len(sites) // 2], sites[-1])))


def _load(capture: Capture, sites: Sequence[str] | None, groups: Sequence[str] | None) -> Part:
    from workbench.analysis.load import utilisation_table
    from workbench.figures import paper

    table = utilisation_table(capture, panel_sites(sites), groups)
    return Part("load", TITLES["load"], lambda: paper.utilisation(table), table.frame(), table.caption)


def _heatmap(capture: Capture, sites: Sequence[str] | None, groups: Sequence[str] | None) -> Part:
    from workbench.analysis.load import heatmap_table
    from workbench.analysis.select import groups_with_tokens
    from workbench.figures import paper

    tables = [heatmap_table(capture, group, sites) for group in groups or groups_with_tokens(capture)]
    frame = pd.concat([table.frame() for table in tables], ignore_index=True)
    return Part("heatmap", TITLES["heatmap"], lambda: paper.heatmap(tables), frame, paper.panels_caption(tables))


def _overlap(capture: Capture, sites: Sequence[str] | None, groups: Sequence[str] | None) -> Part:
    from workbench.analysis.overlap import overlap_table
    from workbench.figures import paper

    table = overlap_table(capture, panel_sites(sites), groups)
    return Part("overlap", TITLES["overlap"], lambda: paper.overlap(table), table.frame(), table.caption)


def _balance(capture: Capture, sites: Sequence[str] | None, groups: Sequence[str] | None) -> Part:
    """The figure shows normalised entropy; the numbers hold every measure of balance."""
    from workbench.analysis.load import BALANCE_MEASURES, balance_table
    from workbench.figures import paper

    tables = {measure: balance_table(capture, sites, groups, measure) for measure in BALANCE_MEASURES}
    shown = tables["normalised entropy"]
    frame = pd.concat([table.frame() for table in tables.values()], ignore_index=True)
    return Part("balance", TITLES["balance"], lambda: paper.balance(shown), frame, shown.caption)


def _specialisation(capture: Capture, sites: Sequence[str] | None, groups: Sequence[str] | None) -> Part:
    from workbench.analysis.select import groups_with_tokens
    from workbench.analysis.specialisation import specialisation_table
    from workbench.figures import paper

    tables = [specialisation_table(capture, group, sites) for group in groups or groups_with_tokens(capture)]
    frame = pd.concat([table.frame() for table in tables], ignore_index=True)
    return Part(
        "specialisation",
        TITLES["specialisation"],
        lambda: paper.specialisation(tables),
        frame,
        paper.panels_caption(tables),
    )


def _coactivation(capture: Capture, sites: Sequence[str] | None, groups: Sequence[str] | None) -> Part:
    """Lift at first, middle and last site; a capture keeps co-activation for all groups together, so `groups` plays no part."""
    from workbench.analysis.coactivation import coactivation_table
    from workbench.analysis.select import key_sites
    from workbench.figures import paper

    chosen = [site for site in panel_sites(sites) or key_sites(capture) if capture.site(site).top_k > 1]
    tables = [coactivation_table(capture, site) for site in chosen or key_sites(capture)[:1]]
    frame = pd.concat([table.frame() for table in tables], ignore_index=True)
    return Part(
        "coactivation",
        TITLES["coactivation"],
        lambda: paper.coactivation(tables),
        frame,
        paper.coactivation_caption(tables),
    )


# ---------------------------------------------------------------------------------------------- a folder
def write_figures(
    capture: Capture,
    out: str | Path,
    *,
    sites: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    null: NullName | None = None,
    untrained: Sequence[Capture] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Write load, heatmap, overlap, balance, specialisation and coactivation, each as png, pdf, svg, csv and parquet.

    Beside them stand `report.html` (one self-contained file) and `captions.txt` (a sentence for under each figure). A figure
    that the capture cannot give (overlap of a single group, co-activation that was not recorded) is left out, and the two
    text files say why.

    Args:
        out: a folder of its own, made if it is not there.
        sites, groups: as in `parts`.
        null: also write the figures with this null and the measures over token rows (`workbench.export_nulls`). untrained: captures for
            the null "untrained".
        overwrite: replace figures that are there.
        progress: called with (steps done, steps in all, what comes next); an exception from it stops the work, and the
            folder stays as it was.

    Returns:
        The files, in the order written.

    Raises:
        CaptureError: for an unknown site or group, or a full disk.
        ExportError: if figures are there and `overwrite` is not given, or the folder holds other files.
    """
    from workbench.export_nulls import NULL_NAMES, null_parts

    def make() -> list[Part]:
        more = [] if null is None else null_parts(capture, sites, groups, null, untrained)
        return parts(capture, sites=sites, groups=groups) + more

    return write_parts(capture, out, make, (*NAMES, *NULL_NAMES), overwrite, progress)


def write_parts(
    capture: Capture,
    out: str | Path,
    make: Callable[[], Sequence[Part]],
    names_of_parts: Sequence[str],
    overwrite: bool = False,
    progress: Progress | None = None,
    render: Render | None = None,
    more: Mapping[str, bytes] | None = None,
    names_of_more: Sequence[str] = (),
) -> list[Path]:
    """Write figures with their numbers, captions and a report into a folder of their own, whole or not at all.

    Args:
        capture: what the report is about.
        make: makes the figures, once the folder is known to be free.
        names_of_parts: every name that `make` may give.
        more: further files by name; names_of_more: every name that there may be.
        render: makes the report of (capture, figures, SVG by name), default `workbench.report.render_report`.
        out, overwrite, progress: as in `write_figures`, which also says what is raised.
    """
    from workbench.report import render_report

    target = Path(out).absolute()
    _check_target(target, overwrite, _own_files(names_of_parts) | set(names_of_more))
    made = make()
    steps = sum(1 for part in made if part.draw is not None) + 1
    names: list[str] = []
    pictures: dict[str, bytes] = {}
    with whole_or_nothing(target) as folder:
        for part in made:
            if part.draw is None or part.frame is None:
                continue
            _report(progress, len(pictures), steps, part.name)
            figure = part.draw()
            for form in FIGURE_FORMATS:
                content = figure_bytes(figure, form)
                if form == "svg":
                    pictures[part.name] = content
                names.append(_write(folder, f"{part.name}.{form}", content))
            for form in FRAME_FORMATS:
                names.append(_write(folder, f"{part.name}.{form}", frame_bytes(part.frame, form)))
        names += [_write(folder, name, content) for name, content in (more or {}).items()]
        _report(progress, steps - 1, steps, "report")
        captions = "".join(f"{part.name}: {part.caption}\n" for part in made)
        names.append(_write(folder, CAPTIONS_FILE, captions.encode("utf-8")))
        names.append(_write(folder, REPORT_FILE, (render or render_report)(capture, made, pictures).encode("utf-8")))
    _report(progress, steps, steps, "done")
    return [target / name for name in names]


def _report(progress: Progress | None, done: int, steps: int, text: str) -> None:
    if progress is not None:
        progress(done, steps, text)


def _write(folder: Path, name: str, content: bytes) -> str:
    (folder / name).write_bytes(content)
    return name


def check_folder(out: str | Path, overwrite: bool, names: Sequence[str], more: Sequence[str] = ()) -> None:
    """Refuse a folder before any work is done for it, as `write_parts` would after it.

    Args:
        names: names of the figures. more: names of further files.

    Raises:
        ExportError: if figures are there and `overwrite` is not given, or the folder holds other files.
    """
    _check_target(Path(out).absolute(), overwrite, _own_files(names) | set(more))


def _own_files(names: Sequence[str]) -> set[str]:
    return {f"{name}.{form}" for name in names for form in (*FIGURE_FORMATS, *FRAME_FORMATS)} | {
        REPORT_FILE,
        CAPTIONS_FILE,
    }


def _check_target(target: Path, overwrite: bool, own: set[str]) -> None:
    """A folder is replaced as a whole, so it may hold nothing but figures of ours."""
    if not target.exists():
        return
    if not target.is_dir():
        raise ExportError(f"A folder for the figures was expected, but '{target}' is a file: choose another name.")
    there = {entry.name for entry in target.iterdir()}
    foreign = sorted(there - own)
    if foreign:
        raise ExportError(
            f"'{target}' holds other files ({', '.join(foreign[:3])}), and figures get a folder of their own: choose a new name."
        )
    if there and not overwrite:
        raise ExportError(
            f"'{target}' holds figures already, and they are not overwritten unasked: choose another folder or say overwrite."
        )
