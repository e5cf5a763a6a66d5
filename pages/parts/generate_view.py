"""How a thing that was made is shown: scale by scale and frame by frame, the experts of the chosen step beside it."""

from __future__ import annotations

import html
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from pages.parts.faults import in_words
from pages.parts.frame import open_place
from pages.parts.words import count, plain
from workbench import session
from workbench.analysis.load import heatmap_table
from workbench.capture import Capture, WorkbenchError
from workbench.figures import interactive

if TYPE_CHECKING:
    from workbench.unified.watched import Look, Watched

SMALL, LARGE = 4, 10  # screen pixels a pixel of the model's picture takes
FRAME_SECONDS = 0.25
EXPERTS_SAY = "Share of the tokens of this step that chose each expert, by layer. It shows which experts ran, not which of them the result needed."


def enlarged(pixels: np.ndarray, factor: int) -> np.ndarray:
    """uint8 [C, H, W] as [H * factor, W * factor, 3], every pixel a square."""
    grown: np.ndarray = pixels.transpose(1, 2, 0).repeat(factor, 0).repeat(factor, 1)
    return grown


def show_result(looks: tuple[Look, ...], made: Watched | None) -> None:
    """Everything of one run, finished or not."""
    if not looks:
        st.info("The model is loading, or reading the words. The first step appears here as soon as it is made.")
        return
    if looks[-1].pixels is not None:
        _pictures(looks, made)
    elif looks[-1].codes is not None:
        _speech(looks, made)
    else:
        _text(looks, made)
    if made is not None:
        _keep(made)


def _pictures(looks: tuple[Look, ...], made: Watched | None) -> None:
    chosen = _step(len(looks), "Step")
    left, right = st.columns([2, 3], gap="medium")
    with left:
        frames = {look.frame: look for look in looks[: chosen + 1]}
        look = looks[chosen]
        assert look.pixels is not None
        st.image(enlarged(look.pixels, LARGE), caption=f"After {_name(look)[0].lower()}{_name(look)[1:]}")
        _strip(looks, chosen, look.frame)
        if len({one.frame for one in looks}) > 1:
            _frames(frames, made)
        st.caption(
            "Coarse to fine: every scale adds bits to what stands, all its tokens at once. What a scale adds depends on the chance of the scales before."
        )
    with right:
        _experts(made, look.group)


def _strip(looks: tuple[Look, ...], chosen: int, frame: int) -> None:
    """The scales of one frame beside each other."""
    scales = [look for look in looks if look.frame == frame]
    for column, look in zip(st.columns(max(len(scales), 4), gap="small"), scales, strict=False):
        assert look.pixels is not None
        column.image(enlarged(look.pixels, SMALL), caption=count(look.cells, "token"))


def _frames(frames: dict[int, Look], made: Watched | None) -> None:
    st.markdown("**Frames so far**")
    for column, frame in zip(st.columns(max(len(frames), 4), gap="small"), sorted(frames), strict=False):
        pixels = frames[frame].pixels
        assert pixels is not None
        column.image(enlarged(pixels, SMALL), caption=f"Frame {frame + 1}")
    if made is not None:
        st.image(animation(made), caption="The clip", width=32 * LARGE // 2)


def _speech(looks: tuple[Look, ...], made: Watched | None) -> None:
    left, right = st.columns([2, 3], gap="medium")
    with left:
        long = f", {len(made.sound) / made.rate:.2f} s" if made is not None and made.sound is not None else ""
        st.markdown(f"**{count(len(looks), 'step')}** of sound{long}")
        if made is not None and made.sound is not None:
            st.audio(made.sound, sample_rate=made.rate)
        codes = np.stack([look.codes for look in looks if look.codes is not None])
        st.dataframe(
            {f"level {level + 1}": codes[:, level] for level in range(codes.shape[1])}, height=280, key="generate.codes"
        )
        st.caption(
            "A row a step of 40 ms, coarse to fine: the first code says which sound, the others how it sounds. Phases are found by Griffin-Lim."
        )
    with right:
        _experts(made, looks[-1].group)


def _text(looks: tuple[Look, ...], made: Watched | None) -> None:
    chosen = _step(len(looks), "Token")
    left, right = st.columns([2, 3], gap="medium")
    with left:
        if made is not None and made.order.file is not None:
            _file(made.order.file)
        if made is not None and made.order.prompt:
            st.caption(plain(made.order.prompt, limit=500))
        text = looks[chosen].text.strip()
        st.html(f"<p style='font-size:1.3rem;margin:0'>{html.escape(text) or '(nothing yet)'}</p>")
        st.caption("What the model writes, token by token. It may be fluent and wrong.")
    with right:
        _experts(made, looks[-1].group)


def _file(path: Path) -> None:
    """The file that was read, where it is still there (an uploaded one is removed after the work)."""
    if not path.is_file():
        return
    suffix = path.suffix.lower()
    if suffix in (".wav", ".flac", ".mp3", ".ogg"):
        st.audio(str(path))
    elif suffix in (".mp4", ".webm", ".mkv", ".mov", ".avi"):
        st.video(str(path))
    else:
        st.image(str(path), width=32 * LARGE // 2)


def _step(number: int, label: str) -> int:
    """Which step is looked at: the newest until one is chosen, and the newest again when another is made."""
    if number < 2:
        return number - 1
    # A slider of its own for every number of steps: one whose end moves under it can come back without a value.
    chosen = st.slider(
        label,
        1,
        number,
        number,
        key=f"generate.step.{number}",
        help="Every group of tokens that was made at once is a step.",
    )
    return int(chosen) - 1


def _name(look: Look) -> str:
    return f"{look.group} cells, {count(look.cells, 'token')} at once"


def _experts(made: Watched | None, group: str) -> None:
    if made is None:
        st.info("The experts of each step are counted when the last one is made.")
        return
    capture = made.capture
    try:
        table = heatmap_table(
            capture, group, phase="decode", measure="share", min_expected=0
        )  # a description of these few tokens, no estimate
    except WorkbenchError as fault:
        st.info(in_words(fault, 300))
        return
    st.markdown("**Experts used**")
    st.plotly_chart(interactive.heatmap(table), width="stretch", key="generate.experts", config={"displaylogo": False})
    st.caption(
        EXPERTS_SAY + (" The second row of guidance, without words, is a group of its own." if _guided(capture) else "")
    )


def _guided(capture: Capture) -> bool:
    return "Without words" in capture.groups


def _keep(made: Watched) -> None:
    """The result and its routing as files, and the capture into the library."""
    row = st.container(horizontal=True, vertical_alignment="center", gap="small", key="generate.keeping")
    frames = made.frames()
    if frames is not None and len(frames) == 1:
        _download(row, "Picture as PNG", "picture.png", "image/png", lambda: _png(frames[0]))
    elif frames is not None:
        _download(row, "Clip as GIF", "clip.gif", "image/gif", lambda: animation(made))
    elif made.sound is not None:
        _download(row, "Sound as WAV", "speech.wav", "audio/wav", lambda: _wav(made))
    elif made.looks:
        _download(row, "Text", "text.txt", "text/plain", lambda: made.looks[-1].text.encode())
    _download(row, "Capture as zip", "generated.capture.zip", "application/zip", lambda: _zip(made.capture))
    if row.button(
        "Keep the capture",
        key="generate.keep",
        type="tertiary",
        icon=":material/bookmark_add:",
        help="Into your library, for Routing, Compare and Map.",
    ):
        try:
            place = session.find_path(session.library().add(made.capture, f"generated-{made.order.make}"))
        except WorkbenchError as fault:
            st.error(in_words(fault, 400))
            return
        if place is not None:
            open_place(place)


def _download(row: Any, label: str, name: str, mime: str, data: Any) -> None:
    row.download_button(
        label, data=data, file_name=name, mime=mime, key=f"generate.download.{name}", type="tertiary", icon=":material/download:", on_click="ignore"
    )  # fmt: skip


def animation(made: Watched) -> bytes:
    """The frames as an endless GIF."""
    from PIL import Image

    frames = made.frames()
    assert frames is not None
    first, *rest = [Image.fromarray(enlarged(frame, LARGE // 2)) for frame in frames]
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=rest, duration=int(FRAME_SECONDS * 1000), loop=0)
    return file.getvalue()


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(enlarged(pixels, LARGE)).save(file, "PNG")
    return file.getvalue()


def _wav(made: Watched) -> bytes:
    from workbench.unified.files import write_sound

    assert made.sound is not None
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        path = Path(folder) / "speech.wav"
        write_sound(made.sound, made.rate, path)
        return path.read_bytes()


def _zip(capture: Capture) -> bytes:
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        return capture.save(Path(folder) / "generated.capture.zip").read_bytes()
