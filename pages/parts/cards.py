"""Cards of captures at hand, each with its small picture and what one may do with it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import streamlit as st

from pages.parts.faults import in_words
from pages.parts.frame import open_place
from pages.parts.thumbnail import thumbnail
from pages.parts.words import count, plain, shape, tokens
from workbench import session
from workbench.capture import WorkbenchError
from workbench.capture.library import MAX_NAME, MAX_NOTES

COLUMNS = 3
GROUPS_SHOWN = 6
_ORIGIN = {"sample": "shipped", "library": "your library", "folder": "folder on this machine"}


def show_cards(places: list[session.Place]) -> None:
    """A grid of cards."""
    for first in range(0, len(places), COLUMNS):
        for column, place in zip(st.columns(COLUMNS), places[first : first + COLUMNS], strict=False):
            with column, st.container(border=True, key=f"start.card.{place.id}", height="stretch"):
                _card(place)


def _card(place: session.Place) -> None:
    manifest = place.manifest
    if manifest is None:
        st.markdown(f"**{plain(place.name)}**")
        st.error(plain(place.fault or "This capture cannot be read.", limit=400))
        _acts(place)
        return
    picture = thumbnail(place.id, place.stamp)
    if picture is not None:
        st.image(picture, width="stretch", alt=f"Heat map of {place.name}: layers down, experts across")
    st.markdown(f"**{plain(place.name)}** :gray-badge[{_ORIGIN[place.origin]}]")
    st.caption(
        f"{plain(manifest.model.id)} · {shape(manifest.sites)}  \n"
        f"{_groups([group.name for group in manifest.groups])}  \n"
        f"n = {count(tokens(manifest), 'token')} in {count(manifest.documents, 'document')}"
    )
    if manifest.notes:
        st.caption(f"_{plain(manifest.notes, limit=140)}_")
    row = st.container(horizontal=True, vertical_alignment="center")
    if row.button("See routing", key=f"start.open.{place.id}", icon=":material/grid_on:", type="primary"):
        open_place(place)
    with row:
        _acts(place)


def _groups(names: list[str]) -> str:
    shown = ", ".join(plain(name, limit=24) for name in names[:GROUPS_SHOWN])
    more = len(names) - GROUPS_SHOWN
    return f"{count(len(names), 'group')}: {shown}{f' and {more} more' if more > 0 else ''}"


def _acts(place: session.Place) -> None:
    with st.popover("More", key=f"start.more.{place.id}", icon=":material/more_horiz:"):
        if place.manifest is not None:
            _download(place)
        if place.origin == "library":
            if place.manifest is not None:
                _notes(place)
            _rename(place)
            _delete(place)
        elif place.origin == "folder":
            st.caption("This folder stays where it is; only its card goes.")
            if st.button("Take off this page", key=f"start.forget.{place.id}"):
                _act(lambda: session.forget_folder(place), "The card was taken off; the files stay.")
        else:
            st.caption("A shipped capture cannot be renamed or deleted here.")


def _download(place: session.Place) -> None:
    text = st.toggle(
        "With the texts",
        value=True,
        key=f"start.text.{place.id}",
        help="Off: token pieces and ids are left out, so that the text cannot be read back. Counts and gate weights stay.",
    )
    st.download_button(
        "Download as zip",
        data=lambda: archive(place, text=text),
        file_name=f"{place.name}.capture.zip",
        mime="application/zip",
        key=f"start.zip.{place.id}",
        icon=":material/download:",
        on_click="ignore",
    )


def archive(place: session.Place, *, text: bool) -> bytes:
    """The capture as the bytes of one `.capture.zip`."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        file = session.open_capture(place).save(Path(folder) / f"{place.name}.capture.zip", text=text)
        return file.read_bytes()


def _notes(place: session.Place) -> None:
    notes = place.manifest.notes if place.manifest is not None else ""
    with st.form(f"start.notes-form.{place.id}", border=False):
        words = st.text_area("Notes", notes, key=f"start.notes.{place.id}", max_chars=MAX_NOTES, height=80)
        if st.form_submit_button("Save notes"):
            _act(lambda: session.library().set_notes(place.path.name, words), "The notes were saved.")


def _rename(place: session.Place) -> None:
    with st.form(f"start.rename-form.{place.id}", border=False):
        name = st.text_input("Name", place.path.name, key=f"start.name.{place.id}", max_chars=MAX_NAME)
        if st.form_submit_button("Rename"):
            _act(lambda: session.library().rename(place.path.name, name.strip()), "The capture was renamed.")


def _delete(place: session.Place) -> None:
    if st.button("Delete…", key=f"start.delete.{place.id}", icon=":material/delete:"):
        confirm_delete(place)


@st.dialog("Delete this capture?")
def confirm_delete(place: session.Place) -> None:
    """Ask once more, then delete."""
    st.markdown(f"**{plain(place.name)}** goes from your library for good. Files that you exported from it stay.")
    row = st.container(horizontal=True)
    if row.button(
        "Delete for good", key="start.delete.yes", type="primary", on_click=_delete_now, args=(place.path.name,)
    ):
        st.rerun()
    if row.button("Keep it", key="start.delete.no"):
        st.rerun()


def _delete_now(name: str) -> None:
    try:
        session.library().delete(name)
    except WorkbenchError as fault:
        st.session_state["start.fault"] = str(fault)
    else:
        st.session_state["start.said"] = "The capture was deleted."


def _act(work, said: str) -> None:  # type: ignore[no-untyped-def]
    """Do it and draw the page anew, or say in one sentence why not."""
    try:
        work()
    except WorkbenchError as fault:
        st.error(in_words(fault, 400))
        return
    st.session_state["start.said"] = said
    st.rerun()
