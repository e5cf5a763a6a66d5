"""Evaluate: how good is it, and where is it wrong?

Gold comes from a file or a named data set, predictions from an engine or from a file. Scores stand by type with intervals, beside what
papers state for the same split; under them every error by category, in its text.
"""

from __future__ import annotations

import csv
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from pages.parts.evaluate_view import show_errors, show_figures, show_scores
from pages.parts.extract_gold import kept_lists
from pages.parts.extract_job import Evaluated, EvaluationOrder, Which, jsonl_bytes, run_evaluation, tidy
from pages.parts.extract_schema import ready
from pages.parts.faults import in_words
from pages.parts.frame import follow, framed
from pages.parts.kept import kept
from pages.parts.uploads import temporary_folder
from pages.parts.words import count, plain
from workbench import session
from workbench.extract import ExtractError, Schema, SchemaError, engines
from workbench.extract.evaluate import MODES, Evaluation
from workbench.extract.evaluate.stored import Stored, read_stored, stored_evaluations
from workbench.extract.formats import FORMATS
from workbench.extract.formats.sets import names
from workbench.extract.schema import MAX_BYTES

P = "evaluate."
SOURCES = {"ours": "Texts of ours", "kept": "Kept on Extract", "file": "A file", "set": "A data set on this machine"}
PREDICTIONS = {"engine": "Run an engine", "file": "A file of predictions"}
GUESS = "by the file"


def main() -> None:
    """Draw the page."""
    st.title("How good is it, and where is it wrong?")
    _settle()
    # What comes and grows stands in a container: below it all keeps its place, and with it what is being typed.
    with st.container():
        found = _found()
        stored = [] if found is not None or st.session_state.get(f"{P}run") else stored_evaluations()
        if found is not None:
            _show(found)
        elif stored:
            _show_stored(stored)
    with st.expander("New evaluation", icon=":material/science:", expanded=found is None and not stored):
        _form()


# ------------------------------------------------------------------ address
def _settle() -> None:
    """The address names the run, which lasts until the workbench is closed."""
    state, address = st.session_state, st.query_params.to_dict()
    if address != state.get(f"{P}address") and "run" in address:
        state[f"{P}run"] = address["run"]
    wanted = {"run": state[f"{P}run"]} if state.get(f"{P}run") else {}
    if address != wanted:
        st.query_params.from_dict(wanted)
    state[f"{P}address"] = wanted


def _found() -> Evaluated | None:
    name = st.session_state.get(f"{P}run")
    if not name:
        return None
    entry = kept().get(name)
    if entry is None:
        st.session_state[f"{P}run"] = None
        st.warning(
            "The link names a result that is no longer kept: results last until the workbench is closed. Start it again below."
        )
        return None
    if isinstance(entry.result, Evaluated):
        return entry.result
    job = session.jobs().get(entry.job)
    now = job.snapshot() if job is not None else None
    if now is not None and not now.finished:
        follow(now.id)
        st.info(
            "It is being measured: how far it is, and Cancel, stand under Jobs on the left.",
            icon=":material/hourglass_top:",
        )
    elif now is not None and now.error:
        st.error(in_words(now.error, 600))
    else:
        st.info("It was stopped, and nothing was kept: start it again below.")
    return None


# ------------------------------------------------------------------ form
def _form() -> None:
    gold, right = st.columns(2, gap="large")
    with gold:
        st.markdown("**Gold**")
        source = st.segmented_control(
            "Gold from", list(SOURCES), key=f"{P}source", default="ours", required=True, format_func=SOURCES.__getitem__
        )
        given: dict[str, Any] = {"name": "", "root": "", "split": "test", "form": None}
        upload: Any = None
        why = ""
        if source == "ours":
            given["name"] = st.selectbox("Subject", list(ready()), key=f"{P}ready", format_func=str.capitalize)
            st.caption(
                "Three texts of ours, annotated by hand: enough to see how the page works, too few to judge an engine."
            )
        elif source == "kept":
            gold_kept, _ = kept_lists()
            st.caption(
                f"{count(len(gold_kept), 'text')} that you kept as gold on Extract, with the types that they use."
            )
            why = "" if gold_kept else "Keep a text as gold on the page Extract first: Correct, then Keep as gold."
        elif source == "file":
            upload = st.file_uploader(
                "Annotated texts", key=f"{P}gold", type=["jsonl", "json", "conll", "tsv", "txt", "iob2", "spacy"]
            )
            form = st.selectbox("Format", [GUESS, *(f for f in FORMATS if f != "brat")], key=f"{P}form")
            given["form"] = None if form == GUESS else form
            why = "" if upload is not None else "Choose a file of annotated texts first."
        else:
            given["name"] = (
                st.selectbox(
                    "Data set",
                    names(),
                    key=f"{P}set",
                    help="docs/data.md says where each is to be had.",
                    accept_new_options=True,
                )
                or ""
            )
            given["root"] = st.text_input("Folder of the data sets", key=f"{P}root", max_chars=1000)
            given["split"] = st.segmented_control(
                "Split", ["train", "dev", "test"], key=f"{P}split", default="test", required=True
            )
            why = "" if given["root"].strip() else "Name the folder that holds the data sets first."
        schema_file = (
            st.file_uploader(
                "Schema",
                type=["json"],
                key=f"{P}schema",
                max_upload_size=MAX_BYTES // 2**20,
                help="None: the types that the gold uses.",
            )
            if source in ("file", "set")
            else None
        )
        limit = st.number_input("First texts only", min_value=1, value=None, key=f"{P}limit", placeholder="All", step=1)
    with right:
        st.markdown("**Predictions**")
        kind = st.segmented_control(
            "Predictions from",
            list(PREDICTIONS),
            key=f"{P}kind",
            default="engine",
            required=True,
            format_func=PREDICTIONS.__getitem__,
        )
        predictions: Any = None
        which: Which | None = None
        shots: Any = None
        threshold: float | None = None
        nested = True
        if kind == "engine":
            which, threshold, nested, shots, missing = _engine()
            why = why or missing
        else:
            predictions = st.file_uploader("Predictions", type=["jsonl"], key=f"{P}predictions", help="Annotated texts in the order of the gold, as Extract writes them.")  # fmt: skip
            why = why or ("" if predictions is not None else "Choose a file of predictions first.")
        mode = st.selectbox("A gold item is matched", MODES, key=f"{P}mode", format_func={"normal": "once", "set": "as sets", "multimatch": "by every finding"}.__getitem__, help="Match modes of UIE's scorer: normal (a gold item is matched by one finding), set (repeated items count once), multimatch (equal findings all match it).")  # fmt: skip
    if st.button(
        "Evaluate",
        key=f"{P}go",
        type="primary",
        icon=":material/play_arrow:",
        disabled=bool(why),
        help=plain(why, 400) or None,
    ):
        _start(source, upload, schema_file, predictions, given, which, threshold, nested, mode, limit, shots)


def _engine() -> tuple[Which, float | None, bool, Any, str]:
    known = engines()
    start = next((n for n, (_, spec) in enumerate(known.items()) if not spec.missing()), 0)
    name = st.selectbox("Engine", list(known), index=start, key=f"{P}engine", format_func=lambda n: known[n].title)
    spec = known[name]
    model = st.text_input(
        "Weights",
        key=f"{P}model",
        placeholder=spec.default_model or ("a folder or hub id" if spec.named else "the engine's own"),
        max_chars=500,
    ).strip()
    device = st.text_input(
        "Device", key=f"{P}device", max_chars=20, placeholder="auto", help="auto, cpu, cuda, cuda:N or mps."
    ).strip()
    shots: Any = None
    if spec.demonstrations:
        shots = st.file_uploader(
            "Demonstrations", type=["jsonl"], key=f"{P}demonstrations",
            help="Annotated texts to learn from in context, as Extract writes them; none: without examples.",
        )  # fmt: skip
    own = st.checkbox("Least score as the engine advises", value=True, key=f"{P}advised")
    threshold = None if own else st.slider("Least score", 0.05, 1.0, 0.5, 0.01, key=f"{P}threshold")
    nested = st.toggle(
        "Nested", value=True, key=f"{P}nested", help="Off: of results that overlap only the best scored stays."
    )
    missing = spec.missing(model)
    if missing:
        st.info(plain(missing, 600), icon=":material/download:")
    return Which(name, model or None, device or "auto"), threshold, nested, shots, missing


def _start(
    source: str, upload: Any, schema_file: Any, predictions: Any, given: dict[str, Any], which: Which | None, threshold: float | None,
    nested: bool, mode: str, limit: int | None, shots: Any,
) -> None:  # fmt: skip
    gold: Path | None = None
    try:
        schema = None if schema_file is None else Schema.from_bytes(schema_file.name, schema_file.getvalue())
    except SchemaError as fault:
        st.error(in_words(fault))
        return
    folder = temporary_folder()
    if source == "ours":
        schema, texts = ready()[given["name"]]
        gold = folder / f"{given['name']}.jsonl"
        gold.write_bytes(jsonl_bytes(texts))
    elif source == "kept":
        gold = folder / "kept.jsonl"
        gold.write_bytes(jsonl_bytes(kept_lists()[0]))
        given["name"] = "Kept on Extract"
    elif source == "file":
        own = folder / "gold"  # a folder of its own: the file keeps its name, by which faults call it
        own.mkdir()
        gold = own / Path(upload.name).name
        gold.write_bytes(upload.getvalue())
        given["name"] = upload.name
    stored: Path | None = None
    if predictions is not None:
        stored = folder / "predictions.jsonl"
        stored.write_bytes(predictions.getvalue())
    shown: Path | None = None
    if shots is not None:
        (folder / "shots").mkdir()
        shown = folder / "shots" / Path(shots.name).name
        shown.write_bytes(shots.getvalue())
    order = EvaluationOrder(
        gold, given["name"], given["root"].strip(), given["split"], given["form"], schema, which, stored, threshold, nested, mode,
        int(limit) if limit else None, folder, shown,
    )  # fmt: skip
    name, job = kept().start(session.jobs(), "Evaluation", partial(run_evaluation, order), partial(tidy, folder))
    st.session_state[f"{P}run"] = name
    if not job.wait(1.5).finished:
        follow(job.id)
    st.rerun()


# ------------------------------------------------------------------ what is kept with the project
def _show_stored(paths: list[Path]) -> None:
    """An evaluation that was made before: figures of test parts, then the texts that may be passed on, with every error."""
    path = paths[0]
    if len(paths) > 1:
        path = st.selectbox("Stored evaluation", paths, key=f"{P}stored", format_func=lambda each: each.stem)
    try:
        stored, evaluations = _stored(path, path.stat().st_mtime_ns)
    except ExtractError as fault:
        st.warning(in_words(fault))
        return
    st.caption(
        f":material/inventory_2: Stored: {plain(stored.engine)}, {plain(stored.model)}, measured {plain(stored.created)}. Measure an engine or texts of your own below."
    )
    if stored.figures:
        show_figures(stored.figures)
    parts = {part.name: part for part in stored.parts if part.gold}
    if not parts:
        return
    name = st.segmented_control("Texts", list(parts), key=f"{P}stored.part", default=next(iter(parts)), required=True)
    part = parts[name]
    order = EvaluationOrder(None, name, "", "", None, None, None, None, None, True, "normal", len(part.gold))
    found = Evaluated(evaluations[name], order, f"{stored.engine}, {stored.model}", "", {})
    st.caption(f"{plain(name)} ({plain(part.licence)}) · n = {count(len(part.gold), 'text')}")
    show_scores(found, f"stored.{path.stem}.{name}")
    show_errors(found, f"stored.{path.stem}.{name}")


@st.cache_resource(max_entries=4, show_spinner=False)
def _stored(path: Path, changed: int) -> tuple[Stored, dict[str, Evaluation]]:
    """A stored evaluation with its parts compared; `changed` names the version of the file."""
    stored = read_stored(path)
    return stored, {part.name: part.evaluation() for part in stored.parts if part.gold}


# ------------------------------------------------------------------ result
def _show(found: Evaluated) -> None:
    order, result = found.order, found.evaluation
    where = f" {order.split}" if order.gold is None else ""
    speed = f" · {result.seconds:.1f} s" if result.seconds else ""
    device = f" on {plain(found.device)}" if found.device else ""
    part = f" · the first {order.limit:,} only" if order.limit else ""
    shots = f" · {count(found.demonstrations, 'demonstration')}" if found.demonstrations else ""
    st.caption(
        f"{plain(order.name)}{where} · n = {count(result.texts, 'text')}{part} · {plain(found.engine)}{device}{shots}{speed} · match mode {result.mode}"
    )
    for reason, number in found.left_out.items():
        if number:
            st.caption(f"On reading, {plain(reason)}: {number:,}.")
    if result.outside:
        st.caption(
            f"{result.outside:,} gold items are of types, roles or relation ends that the schema does not ask for; no count has them."
        )
    for note in result.notes:
        st.caption(plain(note, 400))
    name = str(st.session_state[f"{P}run"])
    show_scores(found, name)
    _downloads(found)
    show_errors(found, name)


def _downloads(found: Evaluated) -> None:
    row = st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"{P}downloads")
    row.caption(":material/download: Scores and errors", width="content")
    makers = {
        "scores.json": (
            "Scores",
            "application/json",
            lambda: json.dumps(found.evaluation.to_json(), indent=1, ensure_ascii=False).encode(),
        ),
        "errors.csv": ("Errors", "text/csv", partial(_errors_csv, found)),
        "predictions.jsonl": ("Predictions", "application/jsonl", lambda: jsonl_bytes(found.evaluation.predicted)),
    }
    for name, (label, mime, make) in makers.items():
        row.download_button(
            label, data=make, file_name=name, mime=mime, key=f"{P}download.{name}", type="tertiary", on_click="ignore"
        )


def _errors_csv(found: Evaluated) -> bytes:
    result = found.evaluation
    sink = io.StringIO(newline="")
    writer = csv.writer(sink)
    writer.writerow(
        ["document", "kind", "category", "gold_type", "gold_places", "predicted_type", "predicted_places", "text"]
    )
    for m in result.mistakes:
        sides = [
            value
            for item in (m.gold, m.predicted)
            for value in (
                ("", "")
                if item is None
                else (item.type if not item.role else f"{item.type}: {item.role}", str(item.places))
            )
        ]
        writer.writerow([result.gold[m.document].id, m.kind, m.category, *sides, result.gold[m.document].text])
    return sink.getvalue().encode("utf-8-sig")


framed(main)
