"""The frame round every page: navigation, the open capture, the jobs."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import streamlit as st
from PIL import Image, ImageDraw

from pages.parts.faults import in_words
from pages.parts.words import count, plain, seconds, tokens
from workbench import session
from workbench.capture import WorkbenchError
from workbench.jobs import Snapshot

ROUTING, START, WHAT_IF = "pages/routing.py", "pages/start.py", "pages/what_if.py"
ELASTIC = "pages/elastic.py"
EXTRACT = "pages/extract.py"


@dataclass(frozen=True)
class Made:
    """A file that a job made; the list of jobs offers it for download."""

    name: str
    data: bytes
    mime: str


_FRAMED: ContextVar[bool] = ContextVar("framed", default=False)
_MARKS = {"done": ":material/check_circle:", "failed": ":material/error:", "cancelled": ":material/block:"}


def show() -> None:
    """Draw the frame and, inside it, the page that the address names."""
    st.set_page_config(page_title="Unified Workbench", page_icon=_icon(), layout="wide")
    page = st.navigation(
        [
            st.Page(START, title="Start", icon=":material/home:", default=True),
            st.Page(ROUTING, title="Routing", icon=":material/grid_on:", url_path="routing"),
            st.Page("pages/map.py", title="Map", icon=":material/scatter_plot:", url_path="map"),
            st.Page("pages/compare.py", title="Compare", icon=":material/compare_arrows:", url_path="compare"),
            st.Page("pages/live.py", title="Live", icon=":material/play_circle:", url_path="live"),
            st.Page(ELASTIC, title="Elastic", icon=":material/compress:", url_path="elastic"),
            st.Page(WHAT_IF, title="What if", icon=":material/volume_off:", url_path="what_if"),
            st.Page(EXTRACT, title="Extract", icon=":material/data_object:", url_path="extract"),
            st.Page("pages/evaluate.py", title="Evaluate", icon=":material/fact_check:", url_path="evaluate"),
            st.Page("pages/generate.py", title="Generate", icon=":material/auto_awesome:", url_path="generate"),
            st.Page("pages/training.py", title="Training", icon=":material/show_chart:", url_path="training"),
        ]
    )
    # A container, since it is one line or two: below it all keeps its place, and with it what is being typed.
    with st.sidebar, st.container():
        show_identity(session.chosen())
    token = _FRAMED.set(True)
    try:
        page.run()
    except WorkbenchError as fault:
        st.error(in_words(fault, 600))
    finally:
        _FRAMED.reset(token)
    with st.sidebar:
        show_jobs(page.title)


def framed(page: Callable[[], None]) -> None:
    """Draw a page inside the frame, also when the server was asked for the page first.

    Until a session has called `st.navigation`, Streamlit runs a file of `pages/` by itself when its address is opened; a
    link to a page of a server that has just started would show the page without its frame.
    """
    if _FRAMED.get():
        page()
    else:
        show()


@st.cache_resource(max_entries=1, show_spinner=False)
def _icon() -> Image.Image:
    """A heat map of nine cells, drawn here so that the browser asks nobody else for it."""
    image = Image.new("RGBA", (48, 48), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    for index, colour in enumerate(
        ("#e08214", "#d8daeb", "#fdb863", "#b2abd2", "#b35806", "#8073ac", "#fee0b6", "#e08214", "#542788")
    ):
        row, column = divmod(index, 3)
        pen.rounded_rectangle((column * 16 + 1, row * 16 + 1, column * 16 + 14, row * 16 + 14), radius=3, fill=colour)
    return image


def show_identity(place: session.Place | None) -> None:
    """The open capture and what it is, in one line."""
    if place is None:
        st.caption("No capture is open. Make or open one on the Start page.")
        return
    st.markdown(f"**{plain(place.name)}**", help="The capture that is open in this tab; choose another one on Start.")
    if place.manifest is not None:
        st.caption(f"{plain(place.manifest.model.id)} · n = {count(tokens(place.manifest), 'token')}")
    elif place.fault is not None:
        st.caption(plain(place.fault, limit=400))


def show_jobs(page: str) -> None:
    """The list of jobs; redrawn every second while one runs.

    Args:
        page: title of the page that is open, so that a capture made on Start opens by itself.
    """
    if not session.jobs().snapshots():
        return
    every = 1.0 if session.jobs().busy else None
    st.fragment(_jobs, run_every=every)(page)


def _jobs(page: str) -> None:
    shown = session.jobs().snapshots()
    st.markdown("##### Jobs")
    for job in shown:
        _job(job)
    if any(job.finished for job in shown) and st.button("Clear finished jobs", key="jobs.clear", type="tertiary"):
        session.jobs().clear()
        st.rerun()
    _follow(shown, page)


def _job(job: Snapshot) -> None:
    if not job.finished:
        step = "Stopping at the next batch" if job.stopping else job.step
        st.progress(job.fraction or 0.0, text=f"{plain(job.title)}: {plain(step)}")
        how_far = f"{job.done:,} of {job.total:,} · " if job.total else ""
        row = st.container(horizontal=True, vertical_alignment="center")
        row.caption(f"{how_far}{seconds(job.seconds)}", width="content")
        row.button(
            "Cancel",
            key=f"jobs.cancel.{job.id}",
            disabled=job.stopping,
            help="The work stops at its next batch." if job.stopping else None,
            on_click=session.jobs().cancel,
            args=(job.id,),
        )
        return
    st.caption(f"{_MARKS[job.state]} {plain(job.title)}: {job.state} after {seconds(job.seconds)}")
    if job.error:
        st.error(in_words(job.error, 600))
    if isinstance(job.result, Made):
        made = job.result
        st.download_button(
            f"Download {plain(made.name)}",
            data=made.data,
            file_name=made.name,
            mime=made.mime,
            key=f"jobs.download.{job.id}",
            icon=":material/download:",
            on_click="ignore",
        )
    place = session.find_path(job.result) if isinstance(job.result, Path) else None
    if place is not None and st.button("See routing", key=f"jobs.open.{job.id}"):
        open_place(place)


def _follow(shown: list[Snapshot], page: str) -> None:
    """When a job that this tab started has ended, draw the page anew; a capture made on Start is opened."""
    own: set[int] = st.session_state.setdefault("jobs.own", set())
    ended = [job for job in shown if job.id in own and job.finished]
    if not ended:
        return
    own -= {job.id for job in ended}
    made = next((job.result for job in ended if isinstance(job.result, Path)), None)
    place = session.find_path(made) if made is not None else None
    if place is not None:
        session.choose(place.id)
        st.toast(f"The capture {plain(place.name)} is ready.")
        if page == "Start":
            open_place(place)
    st.rerun()


def follow(job_id: int) -> None:
    """Note that this tab started a job and waits for it."""
    st.session_state.setdefault("jobs.own", set()).add(job_id)


def open_place(place: session.Place) -> None:
    """Open a capture in this tab and show its routing."""
    session.choose(place.id)
    st.switch_page(ROUTING, query_params={"capture": place.id})
