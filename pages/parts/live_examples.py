"""Examples on the Live page: what the chosen model was trained on, shipped files that it takes, and texts that are foreign to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from pages.parts.live_choices import key
from workbench.capture.errors import WorkbenchError
from workbench.models.files import find_model, read_config

INPUTS = Path(__file__).resolve().parents[2] / "sample_data" / "inputs" / "unified"
UNIFIED = "unified_omni"  # `model_type` in the configuration of the unified model


@dataclass(frozen=True)
class Example:
    """A text to read, or a shipped file below `INPUTS`, or both; about: what a reader should know of it."""

    text: str = ""
    file: str | None = None
    about: str | None = None


FOREIGN = {
    "Python": Example("def add(a, b):\n    "),
    "German": Example("Die Konfiguration des Servers"),
    "A table": Example("name,year,value\nalpha,2001,"),
}
GENERAL = {
    "A story": Example("One day a little girl saw a big box. She"),
    "A dialogue": Example("Enter two servants.\n\nFIRST SERVANT.\n"),
    **FOREIGN,
}
# The unified model learned lower-case stories, garments, digits, moving digits, and speakers who say a digit.
OWN = {
    "A story": Example("one day a little girl saw a big box. she"),
    "A talk": Example('tom saw a red bird in the tree. "hello," said the bird. tom'),
    "A picture": Example(file="pictures/garment-boot-1.png", about="A boot of Fashion-MNIST, kept back from training."),
    "A clip": Example(file="clips/5-three-up.mp4", about="A handwritten three that moves up."),
    "A sound": Example(file="sounds/vowel-a-to-i.wav", about="A sung vowel: it was trained on spoken digits, so this is new to it."),
}  # fmt: skip


@st.cache_data(ttl=60, max_entries=32, show_spinner=False)
def _is_unified(model: str) -> bool:
    """By its configuration, where that lies here: nothing is downloaded before a run is started."""
    try:
        found = find_model(model)
        return found.folder is not None and (read_config(found) or {}).get("model_type") == UNIFIED
    except WorkbenchError:
        return False  # said when the run is started


def show_examples(model: str) -> None:
    """A row of examples that suit the model; a click puts one into the first prompt."""
    own = _is_unified(model)
    known = OWN if own else GENERAL
    if sample_of() is not None and st.session_state[key("sample")] not in [one.file for one in known.values()]:
        st.session_state[key("sample")] = None  # another model was chosen, which may take no files
    row = st.container(horizontal=True, vertical_alignment="center")
    row.caption("Examples", width="content")
    _buttons(row, known)
    if own:
        row.caption("Outside its training", width="content")
        _buttons(row, FOREIGN)


def _buttons(row: st.delta_generator.DeltaGenerator, examples: dict[str, Example]) -> None:
    for name, example in examples.items():
        row.button(
            name, key=key(f"example.{name}"), type="tertiary", help=example.about, on_click=_take, args=(example,)
        )


def _take(example: Example) -> None:
    st.session_state[key("text.a")] = example.text
    st.session_state[key("sample")] = example.file


def sample_of() -> Path | None:
    """The shipped file that belongs to the first prompt, if any."""
    file = st.session_state.get(key("sample"))
    return None if file is None else INPUTS / str(file)


def show_sample() -> Path | None:
    """The shipped file as it looks or sounds, with a way to leave it out."""
    path = sample_of()
    if path is None:
        return None
    row = st.container(horizontal=True, vertical_alignment="center", key=key("sample.shown"))
    if path.suffix == ".png":
        row.image(path, width=72)
    elif path.suffix == ".wav":
        row.audio(path)
    else:
        row.video(path, width=120)
    row.caption(f"{path.name}, read before the text", width="content")
    row.button("Leave it out", key=key("sample.drop"), type="tertiary", icon=":material/close:", on_click=_drop)
    return path


def _drop() -> None:
    st.session_state[key("sample")] = None
