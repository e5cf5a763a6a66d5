"""New sweep on the Elastic page: model, texts, grid, start; sweeps that were stopped, with Go on and Discard."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from pages.parts.faults import in_words
from pages.parts.frame import follow
from pages.parts.making import MAX_FILES, MAX_UPLOAD, OTHER, WHY_NOT, models_at_hand
from pages.parts.recording_job import can_record
from pages.parts.words import count, plain
from workbench import session
from workbench.capture import WorkbenchError
from workbench.elastic.places import Order, discard, free_name, keep_order, read_order, sweeps_root, unfinished

SHIPPED = "Shipped inputs"
OWN = "My files"
KINDS = ("txt", "md", "jsonl", "csv", "parquet")
SEEN_AND_HEARD = ("png", "jpg", "gif", "mp4", "webm", "wav", "flac", "mp3")  # for the unified model
GROUPS = {"all together": "modality", "file": "file", "the field “group”": "group"}
HELP_LAYERS = (
    "Values parted by blanks: all, first:4, even:4, important:4 (ranked on texts), or a list such as 0-3,6. "
    "Layers with audio heads stay: for the unified model use even, important or a list."
)
HELP_EXPERTS = "Values parted by blanks: all, share:0.5:mass (or count, norm, random), or a list such as 0-15."
HELP_TOP_K = "Values parted by blanks: experts a token, at most the model's own number."


def show_form() -> None:
    """The form, from the model down to the button."""
    able = can_record()
    st.caption(
        "Every combination of the three axes is measured: quality on the texts, then time and memory with the other weights really absent. "
        "On the embedded model 12 sub-models take a few minutes; a sweep can be stopped and goes on later."
    )
    left, right = st.columns(2, gap="medium")
    with left:
        model = _model()
        which = (
            st.segmented_control(
                "Inputs",
                (SHIPPED, OWN),
                default=SHIPPED,
                key="elastic.new.which",
                help="Texts of five kinds: prose, dialogue, code, tables, German. For the unified model: stories, pictures, sounds and clips.",
            )
            or SHIPPED
        )
        files: Any = None
        if which == OWN:
            files = st.file_uploader(
                "Files", type=[*KINDS, *SEEN_AND_HEARD], accept_multiple_files=True, key="elastic.new.files", max_upload_size=MAX_UPLOAD,
                help="Kept on this machine until the sweep is finished, so that it can go on after a stop; then removed.",
            )  # fmt: skip
        name = st.text_input("Name", key="elastic.new.name", max_chars=60, placeholder="from the model")
    with right:
        layers = st.text_input("Layers", "all even:5 even:4", key="elastic.new.layers", help=HELP_LAYERS)
        experts = st.text_input("Experts", "all share:0.5:mass", key="elastic.new.experts", help=HELP_EXPERTS)
        top_k = st.text_input("Experts a token", "all 2", key="elastic.new.top_k", help=HELP_TOP_K)
        options = _options(which)
    grid = tuple(tuple(words.split()) or ("all",) for words in (layers, experts, top_k))
    fault = _fault(grid)
    number = len(grid[0]) * len(grid[1]) * len(grid[2])
    st.caption(plain(fault, limit=400) if fault else f"{count(number, 'combination')}, and the whole model.")
    why = _why_not(able, model, which, files, fault)
    if st.button(
        "Start the sweep",
        key="elastic.new.start",
        type="primary",
        icon=":material/play_arrow:",
        disabled=why is not None,
        help=why,
    ):
        _start(model, which, files, name, grid, options)


def _model() -> str:
    names = [model.name for model in models_at_hand()]
    picked = st.selectbox(
        "Model", [*names, OTHER], key="elastic.new.model", help="Safetensors; code of a model is never run."
    )
    if picked != OTHER:
        return str(picked)
    return st.text_input("Folder or hub id", key="elastic.new.other", placeholder="owner/model").strip()


def _options(which: str) -> dict[str, Any]:
    with st.expander("Options"):
        first, second = st.columns(2)
        found = {
            "calibrate_every": first.number_input(
                "Rank on every n-th text", 2, 100, 5, key="elastic.new.rank",
                help="Experts and layers are ranked on these texts, and quality is measured on the others.",
            ),
            "rounds": second.number_input(
                "Visits of the clock", 0, 100, 5, key="elastic.new.rounds", help="0 measures no time and no memory."
            ),
            "max_length": first.number_input("Tokens a text", 16, 32_768, 512, key="elastic.new.length", help="Longer texts are cut into windows."),
            "batch_size": second.number_input("Texts at once", 1, 256, 8, key="elastic.new.batch", help="Fewer saves memory."),
            "dtype": first.selectbox("Number format", ("auto", "float32", "bfloat16", "float16"), key="elastic.new.dtype"),
            "device": second.selectbox("Device", ("auto", "cpu", "cuda", "mps"), key="elastic.new.device"),
            "captures": first.toggle(
                "Keep the routing", key="elastic.new.captures",
                help="Records which experts every sub-model sends the texts to, so that its routing stands beside the whole model's at once. Holds the texts.",
            ),
        }  # fmt: skip
        if which == OWN:
            word = first.selectbox("Quality by", list(GROUPS), key="elastic.new.groups")
            found["group_by"] = GROUPS[word]
            found["text_column"] = (
                second.text_input("Text column", key="elastic.new.text", placeholder="text").strip() or None
            )
            found["lines"] = first.toggle("A document a line", key="elastic.new.lines")
        return found


def _fault(grid: tuple[tuple[str, ...], ...]) -> str | None:
    """What is wrong with the grid, in one sentence; reads no model and loads no torch."""
    from workbench.elastic.points import grid as make_grid

    try:
        make_grid(*grid)
    except WorkbenchError as fault:
        return str(fault)
    return None


def _why_not(able: bool, model: str, which: str, files: Any, fault: str | None) -> str | None:
    if not able:
        return WHY_NOT
    if not model:
        return "Choose a model first."
    if which == OWN and not files:
        return "Upload at least one file first, or take the shipped texts."
    if which == OWN and len(files) > MAX_FILES:
        return f"At most {MAX_FILES} files at once; `workbench sweep` takes whole folders."
    return fault


def _start(
    model: str, which: str, files: Any, name: str, grid: tuple[tuple[str, ...], ...], options: dict[str, Any]
) -> None:
    kept: dict[str, bytes] = {}
    for number, file in enumerate(files or ()):
        # The browser names the file: only its last part counts, and a name that came before gets a number.
        own = Path(file.name)
        kept[own.name if own.name not in kept else f"{own.stem}-{number}{own.suffix}"] = file.getvalue()
    wish = name.strip() or model.rpartition("/")[2]
    order = Order(free_name(wish, sweeps_root()), model, *grid, shipped=which == SHIPPED, files=tuple(kept), **options)
    _run(keep_order(order, list(kept.items())))


def _run(folder: Path) -> None:
    from pages.parts.elastic_jobs import run_sweep

    job = session.jobs().start(f"Sweep {folder.name}", partial(run_sweep, folder))
    st.session_state.setdefault("elastic.jobs", {})[folder.name] = job.id
    follow(job.id)
    st.rerun()


def show_unfinished() -> None:
    """Sweeps that were stopped, and are not running now."""
    running = {job.title for job in session.jobs().snapshots() if not job.finished}
    waiting = [folder for folder in unfinished() if f"Sweep {folder.name}" not in running]
    if not waiting:
        return
    st.header("Stopped sweeps")
    st.caption("What they found is kept; Go on does only what is left.")
    for folder in waiting:
        line = st.container(horizontal=True, vertical_alignment="center")
        try:
            order = read_order(folder)
            line.markdown(
                f"**{plain(order.name)}** · {plain(order.model)} · {count(len(order.layers) * len(order.experts) * len(order.top_k), 'combination')}"
            )
        except WorkbenchError as fault:
            line.markdown(in_words(fault, 300))
        else:
            if line.button("Go on", key=f"elastic.go.{folder.name}", icon=":material/play_arrow:"):
                _run(folder)
        if line.button("Discard", key=f"elastic.discard.{folder.name}", type="tertiary"):
            discard(folder)
            st.rerun()
