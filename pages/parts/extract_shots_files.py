"""Extract: demonstrations from a file of annotated texts, in any form that the formats read."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import streamlit as st

from pages.parts.faults import in_words
from pages.parts.words import count, plain
from workbench.extract import Document, ExtractError
from workbench.extract.formats import FORMATS, Counts, read_annotated

_P = "extract.shots."
MOST_SHOTS = 500
GUESS = "by the file"
TYPES = ["jsonl", "json", "conll", "tsv", "txt", "iob2", "spacy"]


def number(shots: list[Document]) -> None:
    """Give every demonstration its place in the list as its id."""
    shots[:] = [
        shot if shot.id == str(n) else shot.model_copy(update={"id": str(n)}) for n, shot in enumerate(shots, 1)
    ]


def show_import(shots: list[Document]) -> None:
    """Choose a file and its format; what it holds is added to the list."""
    state = st.session_state
    form = st.selectbox("Format of the file", [GUESS, *(f for f in FORMATS if f != "brat")], key=f"{_P}form")
    upload = st.file_uploader("From a file of annotated texts", type=TYPES, key=f"{_P}upload")
    if upload is not None and state.get(f"{_P}seen") != (upload.file_id, form):
        state[f"{_P}seen"] = (upload.file_id, form)
        state[f"{_P}upload.fault"] = state[f"{_P}upload.note"] = ""
        _take_upload(upload, None if form == GUESS else form, shots)
        st.rerun()
    if upload is None:  # what was said of a file stays as long as the file does
        state.pop(f"{_P}upload.fault", None)
        state.pop(f"{_P}upload.note", None)
    if fault := state.get(f"{_P}upload.fault"):
        st.error(fault)
    if note := state.get(f"{_P}upload.note"):
        st.caption(note)


def _take_upload(upload: Any, form: str | None, shots: list[Document]) -> None:
    counts = Counts()
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        path = Path(folder) / Path(upload.name).name
        path.write_bytes(upload.getvalue())
        try:
            found = list(read_annotated(path, form, counts))
        except ExtractError as fault:
            st.session_state[f"{_P}upload.fault"] = in_words(str(fault).replace(f"{folder}/", ""))
            return
    taken, notes = take(found, shots)
    left_out = [f"{times:,} {why}" for why, times in counts.items()]
    st.session_state[f"{_P}upload.note"] = plain(
        f"{count(taken, 'demonstration')} taken. " + " ".join([*notes, *(f"{each}." for each in left_out)]), 600
    )


def take(found: list[Document], shots: list[Document]) -> tuple[int, list[str]]:
    """Add annotated texts to the demonstrations: those without annotated entities and repeated texts are left out.

    Returns:
        How many were taken, and a sentence for each kind that was not.
    """
    known = {shot.text for shot in shots}
    fresh: dict[str, Document] = {}
    bare = again = 0
    for document in found:
        if document.entities is None:
            bare += 1
        elif document.text in known or document.text in fresh:
            again += 1
        else:
            fresh[document.text] = Document(id="", text=document.text, entities=document.entities)
    room = max(0, MOST_SHOTS - len(shots))
    notes = [f"{count(bare, 'text')} without annotated entities left out."] if bare else []
    notes += [f"{count(again, 'text')} that {'was' if again == 1 else 'were'} there already left out."] if again else []
    if len(fresh) > room:
        notes.append(f"{len(fresh) - room:,} left out: {MOST_SHOTS} demonstrations are the most.")
    shots += list(fresh.values())[:room]
    number(shots)
    return min(len(fresh), room), notes
