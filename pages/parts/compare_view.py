"""The answer of Compare: one sentence a capture, the figure, its caption, its downloads."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from pages.parts.compare_choices import key
from pages.parts.computed import computed
from pages.parts.downloads import FIGURES, NUMBERS
from pages.parts.frame import Made, follow
from pages.parts.selection import ALL_PHASES
from pages.parts.words import plain
from workbench import session
from workbench.analysis.align import Alignment
from workbench.jobs import Task

RESAMPLES = 500


def draw(shown: list[session.Place], lined: Alignment, measure: str, *, saturation: bool) -> None:
    """Compute, or wait for, the table, and draw it."""
    state = st.session_state
    sites = state[key("sites")] or None
    phase = None if state[key("phase")] == ALL_PHASES or saturation else state[key("phase")]
    stamps = tuple((place.id, place.stamp) for place in shown)
    about = (stamps, measure, tuple(sites or ()), phase, lined.lineage, state[key("common")])
    chosen = [lined.captures[0].site(site) for site in sites or lined.sites]
    widest = max(site.experts for site in chosen)
    kept = sum(sampling.kept for capture in lined.captures for sampling in capture.manifest.sampling.values())
    numbers = kept * len(chosen) if saturation else RESAMPLES * len(chosen) * len(lined.groups) * widest * len(shown)

    def work(progress: Any, cancelled: Any) -> Any:
        if saturation:
            from workbench.analysis.saturation import saturation_table

            return saturation_table(
                lined.captures[1:], lined.captures[0], sites or lined.sites, lined.groups, names=lined.names[1:], last_name=lined.names[0]
            )  # fmt: skip
        from workbench.analysis.compare import compare_table

        return compare_table(
            lined.captures, measure, sites or lined.sites, lined.groups, phase, names=lined.names, lineage=lined.lineage,
            common=state_common, resamples=RESAMPLES, progress=progress, cancelled=cancelled,
        )  # fmt: skip

    state_common = bool(state[key("common")])
    table = computed(("compare", *about), f"Comparison in {measure}", numbers, work)
    if table is None:
        st.info(
            "The difference is being computed; how far it is stands in the list of jobs on the left, and the figure comes by itself."
        )
        return
    for at in range(len(table.names)):
        st.markdown(plain(table.summary(at), limit=900))
    other = _which(table.names)
    figure, paper = _figures(table, other, saturation)
    st.plotly_chart(figure(), key="compare.chart", config={"displaylogo": False}, alt=table.caption)
    st.caption(plain(table.caption, limit=2000))
    _downloads(shown, lined, table, measure, paper)


def _which(names: tuple[str, ...]) -> int:
    """The capture whose difference is drawn, where there are several."""
    state = st.session_state
    state[key("other")] = min(int(state[key("other")]), len(names) - 1)
    if len(names) == 1:
        return 0
    st.segmented_control("Shown", range(len(names)), key=key("other"), format_func=lambda at: names[at], required=True)
    return int(state[key("other")] or 0)


def _figures(table: Any, other: int, saturation: bool) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """How to draw it for the page and for paper."""
    if saturation:
        from workbench.figures.interactive_lines import site_lines
        from workbench.figures.lines import of_saturation

        def on_paper() -> Any:
            from workbench.figures import paper_lines

            return paper_lines.site_lines(of_saturation(table, other))

        return lambda: site_lines(of_saturation(table, other)), on_paper
    from workbench.figures.interactive_compare import difference

    group = int(st.session_state[key("group")])

    def paper_figure() -> Any:
        from workbench.figures import paper_compare

        return paper_compare.difference(table, other, [group] if table.kind == "expert" else None)

    return lambda: difference(table, other, group), paper_figure


def _downloads(
    shown: list[session.Place], lined: Alignment, table: Any, measure: str, paper: Callable[[], Any]
) -> None:
    from workbench import export

    name = f"{shown[1].name}-against-{shown[0].name}-{measure.replace(' ', '-').lower()}"
    row = st.container(horizontal=True, vertical_alignment="center", gap="small", key="compare.downloads")
    row.caption(":material/download: Figure", width="content")
    for form, mime in FIGURES.items():
        row.download_button(
            form.upper(), data=lambda form=form: export.figure_bytes(paper(), form), file_name=f"{name}.{form}", mime=mime,
            key=f"compare.download.{form}", type="tertiary", on_click="ignore",
        )  # fmt: skip
    row.caption("· Numbers", width="content")
    for form, mime in NUMBERS.items():
        row.download_button(
            form.upper() if form != "parquet" else "Parquet", data=lambda form=form: export.frame_bytes(table.frame(), form),
            file_name=f"{name}.{form}", mime=mime, key=f"compare.download.{form}", type="tertiary", on_click="ignore",
        )  # fmt: skip
    if row.button(
        "All measures as zip",
        key="compare.make.zip",
        type="tertiary",
        help="Every measure as figures and numbers, with a report; made in the background.",
    ):
        common = bool(st.session_state[key("common")])
        job = session.jobs().start(
            f"Comparison of {shown[1].name} and {shown[0].name}",
            partial(_everything, lined, common, f"{shown[1].name}-against-{shown[0].name}"),
        )
        follow(job.id)
        st.rerun()


def _everything(lined: Alignment, common: bool, name: str, task: Task) -> Made:
    from workbench.export_compare import write_comparison

    def progress(done: int, total: int, step: str = "") -> None:
        task.check()
        task.progress(done, total, step or "Drawing")

    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        out = Path(folder) / "comparison"
        write_comparison(
            lined.captures, out, names=lined.names, lineage=lined.lineage, common=common, progress=progress
        )
        file = Path(folder) / "comparison.zip"
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(out.iterdir()):
                archive.write(path, path.name)
        return Made(f"{name}.zip", file.read_bytes(), "application/zip")
