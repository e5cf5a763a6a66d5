"""The two forms of the What if page: a check of the groups, and a change of one's own."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from pages.parts.frame import follow
from pages.parts.kept import kept
from pages.parts.making import MAX_FILES, MAX_UPLOAD, OTHER, WHY_NOT, models_at_hand
from pages.parts.recording_job import can_record
from pages.parts.uploads import keep_uploads
from pages.parts.what_if_jobs import Order, run_change, run_check, tidy
from workbench import session

SHIPPED, OWN = "The shipped texts (five kinds)", "My files"
KINDS = ("txt", "md", "jsonl", "csv", "parquet")
GROUPS = {"file": "file", "the field “group”": "group"}
FAVOURITES = {"used": "those it uses most", "preferred": "those it prefers most over the other groups"}
EXPERTS_HELP = "A site and its experts, for example text_3_mlp:0,7,12-15; several parted by blanks. The Routing page names sites and experts."


def show_check_form() -> None:
    """Model, texts, what is muted; starts the check of the groups."""
    left, right = st.columns(2, gap="medium")
    with left:
        model = _model("check")
        texts = _texts("check")
    with right:
        by = st.selectbox(
            "A group's experts", list(FAVOURITES), key="what-if.check.by", format_func=FAVOURITES.__getitem__
        )
        share = st.slider("Part of the experts of each layer", 5, 50, 25, 5, format="%d%%", key="what-if.check.share")
        draws = st.number_input(
            "Random sets of equal load", 2, 50, 5, key="what-if.check.draws",
            help="Each group's experts are compared with so many random sets that carry as much of all choices. A set is a run over all texts.",
        )  # fmt: skip
        most = _documents("check")
    options = _options("check", texts)
    why = _why_not(model, texts)
    if st.button(
        "Check",
        key="what-if.check.start",
        type="primary",
        icon=":material/play_arrow:",
        disabled=why is not None,
        help=why,
    ):
        _start(
            "check", model, texts, {"share": share / 100, "by": by, "draws": int(draws), "documents": most, **options}
        )


def show_change_form() -> None:
    """Model, texts, experts and a prompt; starts a change of one's own."""
    left, right = st.columns(2, gap="medium")
    with left:
        model = _model("own")
        texts = _texts("own")
        most = _documents("own")
    with right:
        mute = st.text_input("Mute", key="what-if.own.mute", placeholder="text_3_mlp:0,7,12-15", help=EXPERTS_HELP)
        force = st.text_input(
            "Force", key="what-if.own.force", placeholder="text_3_mlp:5", help=f"Every token gets these. {EXPERTS_HELP}"
        )
        one, two = st.columns(2)
        limit = one.number_input(
            "Experts a token", 0, 64, 0, key="what-if.own.k", help="0: as many as the model takes."
        )
        draws = two.number_input("Random sets of equal load", 0, 50, 5, key="what-if.own.draws")
        prompt = st.text_area(
            "Write on from", key="what-if.own.prompt", height=80, max_chars=4_000, placeholder="leave empty to write nothing",
            help="The model goes on from here with the change and without it; differences are marked.",
        )  # fmt: skip
        one, two = st.columns(2, vertical_alignment="bottom")
        tokens = one.number_input("Tokens to write", 1, 400, 60, key="what-if.own.tokens")
        sampled = two.toggle(
            "Draw tokens",
            key="what-if.own.sampled",
            help="The same random numbers both times. Off: the likeliest token.",
        )
    options = _options("own", texts)
    why = _why_not(model, texts)
    if why is None and not mute.strip() and not force.strip() and not limit:
        why = "Name experts to mute or to force, or limit the experts a token first."
    if st.button(
        "Try it",
        key="what-if.own.start",
        type="primary",
        icon=":material/play_arrow:",
        disabled=why is not None,
        help=why,
    ):
        _start("own", model, texts, {
            "mute": tuple(mute.split()), "force": tuple(force.split()), "top_k": int(limit) or None, "draws": int(draws),
            "documents": most, "prompt": prompt, "new_tokens": int(tokens), "sampled": bool(sampled),
            **options,
        })  # fmt: skip


def _model(form: str) -> str:
    names = [model.name for model in models_at_hand()]
    picked = st.selectbox(
        "Model", [*names, OTHER], key=f"what-if.{form}.model", help="Safetensors or GGUF; code of a model is never run."
    )
    if picked != OTHER:
        return str(picked)
    return st.text_input("Folder, GGUF file or hub id", key=f"what-if.{form}.other", placeholder="owner/model").strip()


def _texts(form: str) -> dict[str, Any]:
    which = st.segmented_control("Texts", (SHIPPED, OWN), default=SHIPPED, key=f"what-if.{form}.which") or SHIPPED
    if which == SHIPPED:
        return {"shipped": True, "files": None, "group_by": "folder"}
    files = st.file_uploader(
        "Files", type=list(KINDS), accept_multiple_files=True, key=f"what-if.{form}.files", max_upload_size=MAX_UPLOAD,
        help="Read once and not kept.",
    )  # fmt: skip
    word = st.selectbox("Groups of tokens by", list(GROUPS), key=f"what-if.{form}.groups")
    return {"shipped": False, "files": files, "group_by": GROUPS[word]}


def _documents(form: str) -> int | None:
    number = st.number_input(
        "Texts a group", 0, 10_000, 0, key=f"what-if.{form}.documents", help="A random sample of so many; 0 takes all. Fewer is faster and less sure."
    )  # fmt: skip
    return int(number) or None


def _options(form: str, texts: dict[str, Any]) -> dict[str, Any]:
    """How the model is run, and how tables are read; most people leave these alone."""
    with st.expander("Options"):
        first, second, third = st.columns(3)
        own = not texts["shipped"]
        column = third.text_input(
            "Text column", key=f"what-if.{form}.column", placeholder="text", disabled=not own,
            help="Of CSV and JSONL." if own else "Only needed for tables of your own.",
        )  # fmt: skip
        return {
            "max_length": int(first.number_input(
                "Tokens a text", 16, 32_768, 512, key=f"what-if.{form}.length", help="At most, and never more than the model takes: longer texts are cut into windows."
            )),
            "batch_size": int(second.number_input(
                "Texts at once", 1, 256, 8, key=f"what-if.{form}.batch", help="Fewer saves memory."
            )),
            "dtype": first.selectbox("Number format", ("auto", "float32", "bfloat16", "float16"), key=f"what-if.{form}.dtype"),
            "device": second.selectbox("Device", ("auto", "cpu", "cuda", "mps"), key=f"what-if.{form}.device"),
            "text_column": column.strip() or None,
        }  # fmt: skip


def _why_not(model: str, texts: dict[str, Any]) -> str | None:
    if not can_record():
        return WHY_NOT
    if not model:
        return "Choose a model first."
    if not texts["shipped"] and not texts["files"]:
        return "Upload at least one file first, or take the shipped texts."
    if not texts["shipped"] and len(texts["files"]) > MAX_FILES:
        return f"At most {MAX_FILES} files at once; `workbench causal` takes whole folders."
    return None


def _start(form: str, model: str, texts: dict[str, Any], options: dict[str, Any]) -> None:
    folder, kept_files = (None, ()) if texts["shipped"] else keep_uploads(texts["files"])
    order = Order(model, kept_files, folder, group_by=texts["group_by"], **options)
    work, title = (
        (run_check, f"What if: groups of {model}") if form == "check" else (run_change, f"What if: change of {model}")
    )
    name, job = kept().start(session.jobs(), title, partial(work, order), partial(tidy, order))
    st.session_state[f"what-if.run.{form}"] = name
    follow(job.id)
    st.rerun()
