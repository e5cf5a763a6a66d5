"""Open a capture that is not at hand yet: a folder on this machine, or an uploaded archive."""

from __future__ import annotations

import tempfile
from pathlib import Path

import streamlit as st

from pages.parts.faults import in_words
from pages.parts.frame import open_place
from pages.parts.words import plain
from workbench import session
from workbench.capture import CaptureError, WorkbenchError

MAX_UPLOAD = 500  # MB; larger captures are opened by their path


def show_opening() -> None:
    """Two ways: by path and by upload."""
    left, right = st.columns(2)
    with left:
        _by_upload()
    with right:
        _by_path()


def _by_upload() -> None:
    file = st.file_uploader(
        "Upload a capture",
        type=["zip"],
        key="start.upload",
        max_upload_size=MAX_UPLOAD,
        help="One NAME.capture.zip, as “Download as zip” and `workbench capture` write it. It is added to your library.",
    )
    if file is None or st.session_state.get("start.upload.done") == file.file_id:
        return
    st.session_state["start.upload.done"] = file.file_id
    try:
        with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
            archive = Path(folder) / "upload.capture.zip"
            with archive.open("wb") as sink:
                while piece := file.read(1 << 20):
                    sink.write(piece)
            name = Path(file.name).name.removesuffix(".zip").removesuffix(".capture")
            path = session.library().add_archive(archive, name)
    except CaptureError as fault:
        st.session_state["start.upload.fault"] = str(fault).replace("upload.capture.zip", Path(file.name).name[:80])
    else:
        place = session.find_path(path)
        st.session_state.pop("start.upload.fault", None)
        if place is not None:
            open_place(place)


def show_upload_fault() -> None:
    """What was wrong with the last upload; stays until the next one."""
    fault = st.session_state.get("start.upload.fault")
    if fault:
        st.error(plain(fault, limit=500))


def _by_path() -> None:
    with st.form("start.path-form", border=False):
        typed = st.text_input(
            "Folder of a capture on this machine",
            key="start.path",
            placeholder="the folder that holds manifest.json",
            help="It is read where it lies and not copied. It gets a card here until you take it off.",
        )
        if st.form_submit_button("Open folder"):
            try:
                if not typed.strip():
                    raise CaptureError(
                        "The path of a folder was expected, but the field is empty: type or paste a path."
                    )
                place = session.remember_folder(Path(typed.strip()))
            except WorkbenchError as fault:
                st.error(in_words(fault, 500))
            else:
                open_place(place)
