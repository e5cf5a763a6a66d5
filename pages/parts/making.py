"""New capture from files: model, files, groups, start; the work itself is a job."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from pages.parts.frame import follow
from pages.parts.uploads import keep_uploads
from pages.parts.words import plain, size
from workbench import session
from workbench.capture.library import MAX_NAME
from workbench.inputs.files import CLIPS, IMAGES, SOUNDS
from workbench.jobs import Snapshot, Task
from workbench.models import ListedModel, cached_models, embedded_models

MAX_FILES, MAX_UPLOAD = 200, 500  # files; MB each
OTHER = "Another model: folder or hub id"
KINDS = ("txt", "jsonl", "csv", "parquet", *sorted(suffix.removeprefix(".") for suffix in IMAGES | SOUNDS | CLIPS))
COLUMN = "a column of the table"
GROUPINGS = {
    "modality and role": "modality",
    "file": "file",
    "chat role": "role",
    "the field “group”": "group",
    "reading or writing": "phase",
    COLUMN: "column:",
}
STREAMS = {"scores": "router scores", "predicted": "likeliest next token", "loss": "loss of the next token"}
WHY_NOT = "This installation cannot run models, it can only show captures: install it whole, as the README says."


def show_models() -> None:
    """The models at hand."""
    models = models_at_hand()
    if not models:
        st.caption("No model is at hand: name a folder or a hub id below.")
        return
    for model, column in zip(models[:6], st.columns(max(3, min(len(models), 3))) * 2, strict=False):
        with column, st.container(border=True, height="stretch"):
            where = "embedded, needs no network" if model.origin == "embedded" else "downloaded earlier"
            st.markdown(f"**{plain(model.name)}** :gray-badge[{where}]")
            st.caption(f"{plain(model.family)} · {_experts(model)} · {size(model.bytes)} of weights")
            st.button("Record with it", key=f"start.model.{model.name}", on_click=_take_model, args=(model.name,))


def models_at_hand() -> list[ListedModel]:
    """Embedded models and those downloaded earlier."""
    return [*embedded_models(), *_cached()]


@st.cache_data(ttl=60, max_entries=1, show_spinner=False)
def _cached() -> list[ListedModel]:
    return cached_models()


def _experts(model: ListedModel) -> str:
    parts = [
        (model.experts.layers, "layers"),
        (model.experts.experts, "experts a layer"),
        (model.experts.top_k, "chosen"),
    ]
    return ", ".join(f"{number} {word}" for number, word in parts if number is not None) or "experts not stated"


def _take_model(name: str) -> None:
    st.session_state["start.make.model"] = name


def show_making() -> None:
    """The form, from the model down to the button."""
    from pages.parts.recording_job import can_record

    able = can_record()
    left, right = st.columns(2, gap="medium")
    with left:
        model = _choose_model()
        files = st.file_uploader(
            "Files",
            type=list(KINDS),
            accept_multiple_files=True,
            key="start.make.files",
            max_upload_size=MAX_UPLOAD,
            help="Texts (a document a file), JSONL (a document or a chat a line), CSV and Parquet (a document a row), pictures, sounds, clips. "
            "They are read once and not kept; the capture keeps the tokens.",
        )
    with right:
        grouping = _choose_groups()
        name = st.text_input("Name", key="start.make.name", max_chars=MAX_NAME, placeholder="from the files")
        options = _choose_options()
    why = _why_not(able, model, files, grouping)
    row = st.container(horizontal=True, vertical_alignment="center")
    start = row.button(
        "Record",
        key="start.make.start",
        type="primary",
        icon=":material/play_arrow:",
        disabled=why is not None,
        help=why,
    )
    weigh = row.button(
        "Estimate memory",
        key="start.make.estimate",
        disabled=not able or not model,
        help=(WHY_NOT if not able else "Choose a model first.")
        if not able or not model
        else "Reads the model's description, not its weights.",
    )
    if weigh and model:
        _estimate(model, options)
    if start and model:
        _start(model, files, grouping, name, options)
    _show_estimate()


def _choose_model() -> str:
    names = [model.name for model in models_at_hand()]
    picked = st.selectbox(
        "Model",
        [*names, OTHER],
        key="start.make.model",
        help="Only safetensors and GGUF; code of a model is never run.",
    )
    if picked != OTHER:
        return str(picked)
    typed = st.text_input(
        "Folder, GGUF file or hub id",
        key="start.make.other",
        placeholder="owner/model",
        help="A hub model is downloaded into the local Hugging Face cache when the recording starts.",
    )
    return typed.strip()


def _choose_groups() -> str:
    """What `--group-by` would be; "column:" alone while the column is not named."""
    left, right = st.columns(2)
    word = left.selectbox(
        "Groups of tokens by",
        list(GROUPINGS),
        key="start.make.groups",
        format_func=lambda word: word[:1].upper() + word[1:],
    )
    table = word == COLUMN
    column = right.text_input(
        "Column",
        key="start.make.column",
        disabled=not table,
        help="The column or JSON field whose values are the groups."
        if table
        else "Only needed for groups by a column of the table.",
    )
    return GROUPINGS[word] + column.strip() if table else GROUPINGS[word]


def _choose_options() -> dict[str, Any]:
    with st.expander("Options", expanded=bool(st.session_state.get("start.make.open"))):
        first, second, third = st.columns(3)
        return {
            "max_length": first.number_input(
                "Tokens a document",
                16,
                32_768,
                512,
                key="start.make.length",
                help="Longer documents are cut; shorter saves memory.",
            ),
            "batch_size": second.number_input(
                "Documents at once", 1, 256, 8, key="start.make.batch", help="Fewer saves memory."
            ),
            "dtype": third.selectbox(
                "Number format", ("auto", "float32", "bfloat16", "float16"), key="start.make.dtype"
            ),
            "lines": first.toggle(
                "A document a line", key="start.make.lines", help="For text files; off: the whole file is one document."
            ),
            "text_column": second.text_input(
                "Text column", key="start.make.text", placeholder="text", help="Of CSV, Parquet and JSONL."
            ).strip()
            or None,
            "device": third.selectbox("Device", ("auto", "cpu", "cuda", "mps"), key="start.make.device"),
            "generate": first.number_input(
                "Tokens to write",
                0,
                4_096,
                0,
                key="start.make.generate",
                help="The model writes on at the end of each document, and its routing while it writes is recorded as well.",
            ),
            "prompt": second.text_input(
                "Prompt",
                key="start.make.prompt",
                max_chars=2_000,
                help="Words before every text, counted apart, or beside every picture, sound and clip.",
            ).strip()
            or None,
            "untrained": second.toggle(
                "Untrained weights",
                key="start.make.untrained",
                help="Runs the same model with weights drawn anew. Record the same files with it, and “Null: Untrained weights” on Routing shows "
                "what was there before any training.",
            ),
            "streams": tuple(
                third.multiselect(
                    "Also keep for every token",
                    list(STREAMS),
                    key="start.make.streams",
                    format_func=STREAMS.__getitem__,
                    help="Router scores make a capture large. The likeliest next token is what vocabulary specialisation by prediction "
                    "needs, the loss says how hard each token was.",
                )
            ),
        }


def _why_not(able: bool, model: str, files: Any, grouping: str) -> str | None:
    if not able:
        return WHY_NOT
    if not model:
        return "Choose a model first."
    if not files:
        return "Upload at least one file first."
    if grouping == GROUPINGS[COLUMN]:
        return "Name the column that the groups are read from first."
    if len(files) > MAX_FILES:
        return f"At most {MAX_FILES} files at once; `workbench capture` takes whole folders."
    return None


def _estimate(model: str, options: dict[str, Any]) -> None:
    from pages.parts.recording_job import estimate
    from workbench.models import LoadOptions, Workload

    load = LoadOptions(dtype=options["dtype"], device=options["device"])
    work = Workload(options["batch_size"], options["max_length"])
    job = session.jobs().start(f"Memory of {model}", lambda task: estimate(model, load, work, task))
    st.session_state["start.make.estimated"] = job.id
    follow(job.id)
    st.rerun()


def _show_estimate() -> None:
    job = session.jobs().get(st.session_state.get("start.make.estimated", 0))
    snapshot: Snapshot | None = job.snapshot() if job is not None else None
    if snapshot is None or snapshot.state != "done":
        return
    found = snapshot.result
    text = plain(f"{snapshot.title}: {found.sentence()}.", limit=400)
    if found.fits:
        st.success(text)
    else:
        st.warning(f"{text} It will not fit: take fewer tokens, fewer documents at once, or a smaller number format.")


def _start(model: str, files: Any, grouping: str, name: str, options: dict[str, Any]) -> None:
    from pages.parts.recording_job import Order, make_capture, names, tidy

    folder, kept = keep_uploads(files)
    wish = name.strip() or names([path.name for path in kept])
    order = Order(model=model, files=kept, folder=folder, name=wish, group_by=grouping, **options)
    library = session.library()

    def work(task: Task) -> Path:
        return make_capture(order, library, task)

    job = session.jobs().start(f"Capture {wish}", work, partial(tidy, order))
    follow(job.id)
    st.rerun()
