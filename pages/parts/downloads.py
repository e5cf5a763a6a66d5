"""What a view gives away: its figure for paper, its numbers, and the whole report; made only when asked for."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from pages.parts.frame import Made, follow
from workbench import session
from workbench.jobs import Task

FIGURES = {"png": "image/png", "pdf": "application/pdf", "svg": "image/svg+xml"}
NUMBERS = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}


def show_downloads(place: session.Place, slug: str, paper: Callable[[], Any], frame: Callable[[], Any]) -> None:
    """The row of buttons under a figure.

    Args:
        slug: of the view, for the files' names. paper: draws the figure for paper. frame: gives its numbers.
    """
    name = f"{place.name}-{slug}"
    row = st.container(horizontal=True, vertical_alignment="center", gap="small", key="routing.downloads")
    row.caption(":material/download: Figure", width="content")
    for form, mime in FIGURES.items():
        _button(row, form, f"{name}.{form}", mime, lambda form=form: figure_bytes(paper, form))
    row.caption("· Numbers", width="content")
    for form, mime in NUMBERS.items():
        _button(row, form, f"{name}.{form}", mime, lambda form=form: number_bytes(frame, form))
    row.caption("· All views", width="content")
    for label, title, work, why in (
        (
            "Report",
            "Report",
            _report,
            "One HTML file with every view, readable without the workbench. Made in the background.",
        ),
        (
            "Zip",
            "Figures and numbers",
            _everything,
            "Every view as PNG, PDF, SVG, CSV and Parquet. Made in the background.",
        ),
    ):
        if row.button(label, key=f"routing.make.{label.lower()}", type="tertiary", help=why):
            job = session.jobs().start(f"{title} of {place.name}", partial(work, place))
            follow(job.id)
            st.rerun()


def _button(row: Any, form: str, name: str, mime: str, make: Any) -> None:
    row.download_button(
        form.upper() if form != "parquet" else "Parquet",
        data=make,
        file_name=name,
        mime=mime,
        key=f"routing.download.{form}",
        type="tertiary",
        on_click="ignore",
    )


def figure_bytes(paper: Callable[[], Any], form: str) -> bytes:
    """The figure for paper, drawn without a browser."""
    from workbench import export

    return export.figure_bytes(paper(), form)


def number_bytes(frame: Callable[[], Any], form: str) -> bytes:
    """The numbers behind the figure, a row each, with n."""
    from workbench import export

    return export.frame_bytes(frame(), form)


def _report(place: session.Place, task: Task) -> Made:
    from workbench.report import report_html

    task.progress(0, 1, "Drawing every view")
    html = report_html(session.open_capture(place), null="labels")
    task.check()
    return Made(f"{place.name}-report.html", html.encode(), "text/html")


def _everything(place: session.Place, task: Task) -> Made:
    from workbench.export import write_figures

    def progress(done: int, total: int, step: str = "") -> None:
        task.check()
        task.progress(done, total, step or "Drawing")

    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        out = Path(folder) / "figures"
        write_figures(session.open_capture(place), out, null="labels", progress=progress)
        file = Path(folder) / "figures.zip"
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(out.rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(out).as_posix())
        return Made(f"{place.name}-figures.zip", file.read_bytes(), "application/zip")
