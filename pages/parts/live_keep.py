"""What a live run gives away: a capture into the library or as a zip, a file that replays it, and its numbers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import streamlit as st

from pages.parts.faults import in_words
from pages.parts.frame import open_place
from pages.parts.live_choices import key
from pages.parts.words import plain
from workbench import session
from workbench.capture import WorkbenchError
from workbench.capture.library import MAX_NAME
from workbench.live.sampling import Sampling
from workbench.live_runs import Live, LiveSnapshot


def show_keep(live: Live, snapshot: LiveSnapshot) -> None:
    """Draw the row of what can be kept; everything is made only when asked for."""
    name = f"live-{snapshot.id}"
    going = None if snapshot.finished else "The run goes on: stop it or let it end first."
    why = going or (None if snapshot.capture is not None else "Nothing was recorded in this run.")
    st.markdown("##### Keep it")
    row = st.container(horizontal=True, vertical_alignment="bottom", key="live.keeping")
    wish = row.text_input(
        "Name of the capture",
        key=key("name"),
        max_chars=MAX_NAME,
        placeholder=name,
        disabled=why is not None,
        help=why,
        width=240,
    )
    if row.button(
        "Keep as a capture", key=key("keep"), icon=":material/bookmark_add:", disabled=why is not None,
        help=why or "Into your library: Routing, Compare and the others can open it then.",
    ):  # fmt: skip
        _keep(snapshot, wish.strip() or name)
    empty = not any(len(trace) for trace in snapshot.traces)
    why_file = going or ("Nothing was read in this run." if empty else None)
    for label, file, mime, make, reason, words in (
        ("Capture as zip", f"{name}.capture.zip", "application/zip", lambda: _zip(snapshot, name), why, "The same in one file."),
        ("Replay as HTML", f"{name}.html", "text/html", lambda: replay(live, snapshot), why_file,
         "One file that plays the run again in any browser, with its text and no network."),
        ("Tokens as CSV", f"{name}.csv", "text/csv", lambda: _table(snapshot), why_file,
         "A row for every token, layer and chosen expert, with gate weights."),
    ):  # fmt: skip
        row.download_button(
            label, data=make if reason is None else b"", file_name=file, mime=mime, key=key(f"download.{label.split()[-1].lower()}"),
            icon=":material/download:", type="tertiary", on_click="ignore", disabled=reason is not None, help=reason or words,
        )  # fmt: skip
    _kept(snapshot)


def _keep(snapshot: LiveSnapshot, wish: str) -> None:
    assert snapshot.capture is not None
    try:
        library = session.library()
        path = library.add(snapshot.capture, wish)
    except WorkbenchError as fault:
        st.session_state[key("kept")] = (snapshot.id, None, str(fault))
    else:
        place = session.find_path(path)
        st.session_state[key("kept")] = (snapshot.id, place.id if place is not None else None, path.name)


def _kept(snapshot: LiveSnapshot) -> None:
    run, place_id, words = st.session_state.get(key("kept"), (None, None, ""))
    if run != snapshot.id:
        return
    place = session.find(place_id)
    if place is None:
        st.error(in_words(words, 500))
        return
    row = st.container(horizontal=True, vertical_alignment="center")
    row.success(f"Kept as {plain(place.name)}.")
    if row.button("See its routing", key=key("routing"), icon=":material/grid_on:"):
        open_place(place)


def _zip(snapshot: LiveSnapshot, name: str) -> bytes:
    assert snapshot.capture is not None
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        return snapshot.capture.save(Path(folder) / f"{name}.capture.zip").read_bytes()


def replay(live: Live, snapshot: LiveSnapshot) -> bytes:
    """The run as one HTML file."""
    from workbench.figures.live_html import live_html

    return live_html(snapshot.traces, about(live, snapshot), "Live run").encode()


def about(live: Live, snapshot: LiveSnapshot) -> dict[str, str]:
    """What the file says of the run in its head."""
    model = snapshot.model
    said = {"Model": live.order.model if model is None else model.id}
    if model is not None:
        said["Device"] = f"{model.device}, {model.dtype}"
    said["Written"] = f"{snapshot.written:,} tokens, {how(live.order.sampling)}"
    said["Read"] = f"{sum(int((~trace.written).sum()) for trace in snapshot.traces):,} tokens"
    return said


def how(sampling: Sampling) -> str:
    """How tokens were chosen, in words."""
    if sampling.temperature == 0:
        return "the most probable one each time"
    return f"temperature {sampling.temperature:g}, top-p {sampling.top_p:g}, seed {sampling.seed}"


def _table(snapshot: LiveSnapshot) -> bytes:
    import pandas as pd

    return pd.concat([trace.frame() for trace in snapshot.traces]).to_csv(index=False).encode()
