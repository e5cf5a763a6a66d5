"""What the model reads on the Live page: a text, with pictures, sounds or clips beside it, and a second one to compare."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from pages.parts.live_choices import key, sampling
from pages.parts.live_examples import OWN, show_examples, show_sample
from pages.parts.making import WHY_NOT
from pages.parts.recording_job import can_record
from pages.parts.uploads import temporary_folder
from workbench import session
from workbench.inputs.files import CLIPS, IMAGES, SOUNDS
from workbench.live.prompt import MAX_CHARACTERS, Prompt
from workbench.models import LoadOptions

KINDS = tuple(sorted(suffix.removeprefix(".") for suffix in IMAGES | SOUNDS | CLIPS))
MAX_UPLOAD, MAX_FILES = 100, 4  # MB each; files a prompt
LANES = (("a", "Prompt"), ("b", "Second prompt"))


def show_form(model: str, options: LoadOptions, busy: bool) -> None:
    """Draw the prompts and the buttons that begin a run.

    Args:
        model: name of the model, empty if none is named.
        options: how it is loaded.
        busy: whether a run of this tab goes on.
    """
    st.session_state.setdefault(key("text.a"), OWN["A story"].text)
    show_examples(model)
    pair = st.session_state[key("pair")]
    columns = st.columns(2 if pair else 1)
    uploads: list[list[Any]] = []
    for (lane, label), column in zip(LANES, columns, strict=False):
        with column:
            uploads.append(_prompt(lane, label))
    row = st.container(horizontal=True, vertical_alignment="center")
    row.toggle(
        "Second prompt beside it", key=key("pair"),
        help="The same model reads and writes both in turn, a token each; neither knows of the other.",
    )  # fmt: skip
    row.toggle(
        "As a chat", key=key("chat"),
        help="Through the model's chat template. Off: the text is continued as it stands. Pictures, sounds and clips always go "
        "through the template.",
    )  # fmt: skip
    why = _why_not(model, uploads, busy)
    row = st.container(horizontal=True, vertical_alignment="center")
    start = row.button(
        "Read and write",
        key=key("start"),
        type="primary",
        icon=":material/play_arrow:",
        disabled=why is not None,
        help=why,
    )
    slowly = row.button(
        "Step by step", key=key("slowly"), icon=":material/skip_next:", disabled=why is not None,
        help=why or "Begins paused: each step reads the prompt or writes one token.",
    )  # fmt: skip
    if start or slowly:
        _start(model, options, uploads, paused=slowly)


def _prompt(lane: str, label: str) -> list[Any]:
    """The widgets of a prompt; returns its files: a shipped one, and those that were uploaded."""
    st.text_area(
        label,
        key=key(f"text.{lane}"),
        height=110,
        max_chars=MAX_CHARACTERS,
        placeholder="Type what the model shall read.",
    )
    sample = show_sample() if lane == LANES[0][0] else None
    with st.expander("Picture, sound or clip"):
        files = st.file_uploader(
            f"Files for: {label.lower()}", type=list(KINDS), accept_multiple_files=True, key=key(f"files.{lane}"),
            max_upload_size=MAX_UPLOAD, label_visibility="collapsed",
            help="Through the model's own processor; a model that takes none says so. They are removed when the run has ended.",
        )  # fmt: skip
    return [*([] if sample is None else [sample]), *files]


def _why_not(model: str, uploads: list[list[Any]], busy: bool) -> str | None:
    if not can_record():
        return WHY_NOT
    if not model:
        return "Name a model in the sidebar first."
    if busy:
        return "A run of this tab goes on: stop it first."
    for (lane, label), files in zip(LANES, uploads, strict=False):
        if not st.session_state.get(key(f"text.{lane}"), "").strip() and not files:
            return f"{label}: type a text, or add a picture, sound or clip."
        if len(files) > MAX_FILES:
            return f"{label}: at most {MAX_FILES} files at once."
    return None


def _start(model: str, options: LoadOptions, uploads: list[list[Any]], *, paused: bool) -> None:
    from workbench.live_runs import Order

    folder = temporary_folder()
    prompts = []
    for number, ((lane, _), files) in enumerate(zip(LANES, uploads, strict=False)):
        kept = []
        for place, file in enumerate(files):
            if isinstance(file, Path):  # a shipped one stays where it is
                kept.append(file)
                continue
            # The browser names the file: only its last part counts; a folder for each keeps equal names apart.
            target = folder / f"{lane}{place}" / Path(file.name).name
            target.parent.mkdir()
            target.write_bytes(file.getbuffer())
            kept.append(target)
        name = "Prompt" if len(uploads) == 1 else f"Prompt {number + 1}"
        text = st.session_state[key(f"text.{lane}")]
        prompts.append(Prompt(text, tuple(kept), bool(st.session_state[key("chat")]), name))
    order = Order(model, tuple(prompts), sampling(), options, paused)
    live = session.live_runs().start(order, partial(shutil.rmtree, folder, ignore_errors=True))
    st.session_state[key("started")] = live.id
    st.rerun()
