"""A comparison of captures as files: every measure that they allow, as figures, numbers and one report."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from workbench.analysis.align import Lineage, align
from workbench.analysis.compare import BY_EXPERT, COMPARED, chosen_names, compare_table
from workbench.analysis.comparison import ComparisonTable
from workbench.analysis.saturation import SaturationTable, saturation_table
from workbench.capture import Capture
from workbench.capture.errors import CaptureError, WorkbenchError
from workbench.export import Part, Progress, write_parts
from workbench.figures import lines, paper_compare, paper_lines

SATURATION = "saturation"
DEFAULT = ("load", "sorted load", "normalised entropy", "IoU", SATURATION)
MEASURES = (*COMPARED, SATURATION)


def comparison_parts(
    captures: Sequence[Capture],
    *,
    names: Sequence[str] | None = None,
    measures: Sequence[str] = DEFAULT,
    sites: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    phase: str | None = None,
    lineage: Lineage | None = None,
    common: bool = False,
    progress: Progress | None = None,
) -> tuple[list[Part], list[str], list[ComparisonTable]]:
    """Figures of every measure and capture, one sentence on each measure, and the tables.

    A measure that these captures do not allow (single experts of models trained apart, saturation without token rows) is a part
    without a figure that says why.

    Raises:
        CaptureError: if the captures do not line up at all.
    """
    lined = align(captures, names, lineage=lineage, common=common)
    chosen_names("site", sites, lined.sites)  # an unknown name is an error, not a figure that is missing
    chosen_names("group", groups, lined.groups)
    made: list[Part] = []
    sentences: list[str] = []
    tables: list[ComparisonTable] = []
    for done, measure in enumerate(measures):
        if progress is not None:
            progress(done, len(measures), measure)
        slug = measure.replace(" ", "-").lower()
        try:
            if measure == SATURATION:
                found = saturation_table(
                    captures[1:], captures[0], sites or lined.sites, groups or lined.groups, names=lined.names[1:], last_name=lined.names[0]
                )  # fmt: skip
                sentences += [found.summary(at) for at in range(len(found.names))]
                made += [_saturation(found, at, slug) for at in range(len(found.names))]
                continue
            table = compare_table(captures, measure, sites, groups, phase, names=names, lineage=lineage, common=common)
        except WorkbenchError as fault:
            made.append(Part(slug, _title(measure), None, None, str(fault)))
            continue
        tables.append(table)
        for at, name in enumerate(table.names):
            sentence = table.summary(at)
            sentences.append(sentence)
            made.append(
                Part(
                    _numbered(slug, at, len(table.names)),
                    f"{_title(measure)}: {name} minus {table.base}",
                    partial(paper_compare.difference, table, at),
                    table.frame().query("capture == @name").reset_index(drop=True),
                    f"{sentence} {table.caption}",
                )
            )
    if made and all(part.draw is None for part in made):
        raise CaptureError(made[0].caption)
    return made, sentences, tables


def _saturation(table: SaturationTable, at: int, slug: str) -> Part:
    name = table.names[at]
    frame = table.frame().query("capture == @name").reset_index(drop=True)
    title = f"Experts that {name} and {table.last} choose for the same token"
    draw = partial(paper_lines.site_lines, lines.of_saturation(table, at))
    return Part(_numbered(slug, at, len(table.names)), title, draw, frame, f"{table.summary(at)} {table.caption}")


def _numbered(slug: str, at: int, of: int) -> str:
    return slug if of == 1 else f"{slug}-{at + 2}"


def _title(measure: str) -> str:
    return f"Difference in {measure}" if measure in COMPARED else measure.capitalize()


def write_comparison(
    captures: Sequence[Capture],
    out: str | Path,
    *,
    names: Sequence[str] | None = None,
    measures: Sequence[str] | None = None,
    sites: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    phase: str | None = None,
    lineage: Lineage | None = None,
    common: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> tuple[list[Path], list[str], list[ComparisonTable]]:
    """Write a comparison as a folder: each figure as png, pdf, svg, csv and parquet, captions and `report.html`.

    Args:
        captures: the first is the one that the others are compared with.
        measures: of `MEASURES`, default those that the captures allow of `DEFAULT`.
        names, lineage, common, sites, groups, phase: as in `compare_table`.

    Returns:
        The files, a sentence on each comparison, and the tables.

    Raises:
        CaptureError: if the captures do not line up. ExportError: as `workbench.export.write_figures`.
    """
    from workbench.report import render_comparison

    lined = align(captures, names, lineage=lineage, common=common)
    wanted = measures or [name for name in DEFAULT if lined.lineage == "same" or name not in (*BY_EXPERT, SATURATION)]
    made, sentences, tables = comparison_parts(
        captures, names=lined.names, measures=wanted, sites=sites, groups=groups, phase=phase, lineage=lined.lineage,
        common=common, progress=progress,
    )  # fmt: skip
    files = write_parts(
        captures[0],
        out,
        lambda: made,
        [part.name for part in made],
        overwrite,
        progress,
        lambda _, parts, pictures: render_comparison(captures, lined.names, parts, pictures, sentences),
    )
    return files, sentences, tables
