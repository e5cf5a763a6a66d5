"""What is to be made on the Generate page: model, task, words or file, sampling, and the button."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from pages.parts.frame import follow
from pages.parts.generate_job import Shelf, Watching, Wish, is_unified, make, samples, tidy
from pages.parts.making import MAX_UPLOAD
from pages.parts.uploads import temporary_folder
from workbench import session

TASKS = {
    "picture": "Draw a picture",
    "clip": "Draw a clip",
    "speech": "Speak",
    "read": "Read a file",
    "text": "Go on with a text",
}
EXAMPLES = {
    "picture": (
        "a handwritten three",
        "something to wear, sandal",
        "a picture of clothes: trousers",
        "the digit eight",
    ),
    "clip": ("the digit seven moves left", "a four drifting up", "number two slides down"),
    "speech": ("george says seven", "the voice of lucas says three", "jackson says zero"),
    "text": ("once upon a time, there was a little dog", "one day, lily and her mom went to the park"),
}
UPLOAD = ("png", "jpg", "jpeg", "webp", "bmp", "gif", "wav", "flac", "mp3", "ogg", "mp4", "webm", "mkv", "mov", "avi")
LONGEST = 400  # characters of a prompt
OWN_FILE = "My own file"


@st.cache_resource(show_spinner=False)
def shelf() -> Shelf:
    """The one shelf of this server."""
    return Shelf()


def show_sampling(task: str) -> dict[str, Any]:
    """The settings of chance, in the sidebar."""
    drawn = task in ("picture", "clip", "speech")
    return {
        "temperature": st.slider(
            "Temperature", 0.1, 2.0, step=0.05, key="generate.temperature",
            help="Below 1 the likelier choices are taken more often, above 1 less often.",
        ),
        "top_p": st.slider(
            "Top-p", 0.1, 1.0, step=0.05, key="generate.top_p", help="Only the likeliest choices that make up this share are kept."
        ),
        "guidance": st.slider(
            "Guidance", 1.0, 4.0, step=0.25, key="generate.guidance", disabled=not drawn,
            help="How far the model is pulled from what it would make without words towards the words; 1 is none."
            if drawn else "Only for pictures, clips and speech.",
        ) if drawn else 1.0,
        "seed": st.number_input("Seed", 0, 2**31 - 1, key="generate.seed", help="The same seed makes the same thing again."),
    }  # fmt: skip


def show_form(model: Path, task: str, sampling: dict[str, Any]) -> None:
    """Words or file, and the button that starts."""
    file: Path | None = None
    upload: Any = None
    if task == "read":
        left, right = st.columns(2, gap="medium", vertical_alignment="bottom")
        shipped = samples()
        picked = left.selectbox("File", [*shipped, OWN_FILE], key="generate.file")
        if picked == OWN_FILE:
            upload = right.file_uploader(
                "Picture, sound or clip", type=list(UPLOAD), key="generate.upload", max_upload_size=MAX_UPLOAD,
                help="Scaled to 32 x 32, to 8 kHz, or to four frames. Removed from this machine when it has been read.",
            )  # fmt: skip
        else:
            file = shipped.get(str(picked))
        words = ""
    else:
        _offer(task)
        words = st.text_input(
            "Words", key=f"generate.words.{task}", max_chars=LONGEST, placeholder=EXAMPLES[task][0],
            help="The model knows ten garments, ten digits, emoji, five speakers and simple stories; other words it has never learned to draw or say.",
        )  # fmt: skip
    busy = _running() is not None
    why = (
        "It is making something: wait for it, or cancel it in the list of jobs."
        if busy
        else _missing(task, words, file, upload)
    )
    if st.button(
        "Read it" if task == "read" else "Make it", key="generate.start", type="primary", icon=":material/auto_awesome:", disabled=why is not None, help=why
    ):  # fmt: skip
        _start(Wish(model, task, words.strip(), file, **sampling), upload)


def _offer(task: str) -> None:
    """Examples under the words; a click puts one into the field."""
    row = st.container(horizontal=True, gap="small", vertical_alignment="center", key="generate.examples")
    row.caption("For example", width="content")
    for number, example in enumerate(EXAMPLES[task]):
        row.button(
            example, key=f"generate.example.{task}.{number}", type="tertiary", on_click=_take, args=(task, example)
        )


def _take(task: str, words: str) -> None:
    st.session_state[f"generate.words.{task}"] = words


def _missing(task: str, words: str, file: Path | None, upload: Any) -> str | None:
    if task == "read":
        return None if file is not None or upload is not None else "Upload a file first, or choose a shipped one."
    return None if words.strip() else "Write some words first, or click an example."


def _start(wish: Wish, upload: Any) -> None:
    from dataclasses import replace

    if upload is not None:
        folder = temporary_folder()
        path = folder / f"upload{Path(upload.name).suffix.lower()}"
        path.write_bytes(upload.getbuffer())
        wish = replace(wish, file=path, upload=True)
    watching = Watching(wish)
    job = session.jobs().start(
        f"Generate: {TASKS[wish.make].lower()}", partial(make, watching, shelf()), partial(tidy, wish)
    )
    st.session_state["generate.watching"] = (job.id, watching)
    for key in [key for key in st.session_state if str(key).startswith("generate.step.")]:
        del st.session_state[key]  # what was looked at of the last thing
    follow(job.id)
    st.rerun()


def _running() -> int | None:
    held = st.session_state.get("generate.watching")
    job = session.jobs().get(held[0]) if held else None
    return held[0] if held and job is not None and not job.snapshot().finished else None


def show_opening() -> None:
    """Take another checkpoint folder on this machine."""
    path = st.text_input("Folder of a checkpoint", key="generate.folder", placeholder="runs/mine/model")
    if st.button(
        "Use it", key="generate.use", disabled=not path.strip(), help=None if path.strip() else "Name a folder first."
    ):
        folder = Path(path.strip()).expanduser()
        if not is_unified(folder):
            st.error(
                "That folder holds no checkpoint of the unified model: name the folder with its config.json and tokenizers."
            )
            return
        opened: dict[str, Path] = st.session_state.setdefault("generate.opened", {})
        name = folder.resolve().name if folder.resolve().name != "model" else folder.resolve().parent.name
        opened[name] = folder.resolve()
        st.session_state["generate.wanted"] = name
        st.rerun()
