"""Extract: what does this text say, in my schema, and why?

Schema left, the text with marked spans in the middle, results right. The engine runs once, in a job; threshold, nesting and the choice
of types filter what it stored. The address holds schema and settings, never the text.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import streamlit as st

from pages.parts.extract_address import from_address, to_address, unpack
from pages.parts.extract_batch import csv_bytes, show_batch
from pages.parts.extract_evidence import show_evidence
from pages.parts.extract_gold import DRAFT, begin, kept_lists, show_draft, show_kept
from pages.parts.extract_job import Run, Which, jsonl_bytes, run_text
from pages.parts.extract_schema import OWN, carry_over, ready, set_schema, show_schema
from pages.parts.extract_view import Pick, label_colours, show_marked, show_results
from pages.parts.faults import in_words
from pages.parts.frame import follow, framed
from pages.parts.kept import kept
from pages.parts.words import count, plain
from workbench import session
from workbench.extract import Document, Schema, SchemaError, engines
from workbench.extract.engines import EngineSpec
from workbench.extract.marks import COLUMNS, lines_of, marks_of
from workbench.figures.marked import document_html

P = "extract."
MOST_CHARACTERS = 200_000
WAIT = 1.5  # seconds in which a short text is done
HELD = (
    "text",
    "engine",
    "model",
    "beside",
    "beside_model",
    "threshold",
    "nested",
    "labels",
    "editor",
    "ready",
    "tabs",
    "device",
)
NONE = "none"
ANY = "?"  # weights, whichever


def main() -> None:
    """Draw the page."""
    st.title("What does this text say, in my schema?")
    _restore()
    known = engines()
    _settle(known)
    left, middle, right = st.columns([3, 5, 4], gap="medium")
    with left:
        schema = show_schema()
        which, beside, missing = _engine(known)
    with middle:
        text = _text()
        _go(text, schema, which, beside, missing)
        run = _run(text, schema, missing)
    if run is not None:
        _result(run, middle, right)
    else:
        with right:
            st.caption("Results appear here as table, cards and arcs.")
    nested, labels = bool(st.session_state.get(f"{P}nested", True)), _labels()
    shots = kept_lists()[1]
    spec = known[which.engine]
    show_batch(schema, which, _threshold(), nested, labels, tuple(shots) if spec.demonstrations else (), missing)
    show_kept(spec.demonstrations, spec.title)
    _write_address(schema, which, known)
    _hold()


# ------------------------------------------------------------------ state and address
def _restore() -> None:
    """Bring back what was chosen before another page was open."""
    held: dict[str, Any] = st.session_state.setdefault(f"{P}held", {})
    if held and f"{P}text" not in st.session_state:  # Streamlit forgot the widgets of this page
        carry_over()
    for name, value in held.items():
        st.session_state.setdefault(f"{P}{name}", value)


def _hold() -> None:
    state = st.session_state
    state[f"{P}held"] = {name: state[f"{P}{name}"] for name in HELD if f"{P}{name}" in state}


def _settle(known: dict[str, EngineSpec]) -> None:
    """Take over what the address says where it is not what this page wrote there last."""
    state, address = st.session_state, st.query_params.to_dict()
    if f"{P}base" in state and address == state.get(f"{P}address"):
        return
    first = next(iter(ready()))
    name = address.get("ready", first)
    if "schema" in address:
        try:
            set_schema(unpack(address["schema"]))
        except SchemaError as fault:
            st.warning(in_words(fault))
            set_schema(ready()[first][0], first)
    elif f"{P}base" not in state or address:
        name = name if name in ready() else first
        set_schema(ready()[name][0], name)
        texts = ready()[name][1]
        if texts and not state.get(f"{P}text"):
            state[f"{P}text"] = texts[0].text
    if address.get("engine") in known:
        state[f"{P}engine"] = address["engine"]
    if "model" in address:
        state[f"{P}model"] = address["model"]
    found = from_address(address, Schema.read(state[f"{P}base"]).labels())
    for key, value in found.items():
        state[f"{P}{key}"] = value
    state[f"{P}touched"] = "threshold" in found
    state.setdefault(f"{P}editor", "Form")


def _write_address(schema: Schema | None, which: Which, known: dict[str, EngineSpec]) -> None:
    state = st.session_state
    name = state.get(f"{P}ready", OWN)
    unchanged = name if name in ready() and schema == ready()[name][0] else None
    model = (
        which.model
        if which.model in known[which.engine].shipped() and which.model != known[which.engine].default_model
        else None
    )
    labels = schema.labels() if schema is not None else ()
    settings = {
        "threshold": state.get(f"{P}threshold") if state.get(f"{P}touched") else None,
        "nested": state.get(f"{P}nested", True),
        "labels": [labels.index(label) for label in state.get(f"{P}labels", ()) if label in labels],
    }
    wanted = to_address(unchanged, schema, which.engine, next(iter(known)), model, settings)
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)
    state[f"{P}address"] = wanted


def _threshold() -> float | None:
    state = st.session_state
    return float(state[f"{P}threshold"]) if state.get(f"{P}touched") and f"{P}threshold" in state else None


def _labels() -> frozenset[str] | None:
    return frozenset(st.session_state.get(f"{P}labels") or ()) or None


# ------------------------------------------------------------------ engine and text
def _engine(known: dict[str, EngineSpec]) -> tuple[Which, Which | None, str]:
    """Choose the engine, its weights, and one beside it; returns also why it cannot run, or ""."""
    state = st.session_state
    names = list(known)
    if state.get(f"{P}engine") not in names:  # the first one that can run
        state[f"{P}engine"] = next((n for n in names if not known[n].missing()), names[0])
    with st.expander("Engine", icon=":material/memory:", expanded=bool(known[state[f"{P}engine"]].missing())):
        name = st.selectbox("Engine", names, key=f"{P}engine", format_func=lambda n: known[n].title)
        spec = known[name]
        st.caption(plain(spec.about, 300))
        model = st.text_input(
            "Weights", key=f"{P}model", max_chars=500, placeholder=spec.default_model or ("a folder or hub id" if spec.named else "the engine's own"),
            help="Shipped weights, a folder, or a hub id" + ("." if spec.named else "; empty: the engine's own."),
        ).strip()  # fmt: skip
        device = st.text_input(
            "Device", key=f"{P}device", max_chars=20, placeholder="auto", help="auto, cpu, cuda, cuda:N or mps."
        ).strip()
        # an engine whose weights have to be named is offered too: they are asked for below
        others = [NONE, *(n for n in names if n != name and not known[n].missing(ANY if known[n].named else None))]
        if state.get(f"{P}beside") not in others:
            state[f"{P}beside"] = NONE
        second = st.selectbox(
            "Beside it", others, key=f"{P}beside", format_func=lambda n: "Nothing" if n == NONE else known[n].title,
            help="A second engine on the same text." if len(others) > 1 else "No other engine is ready to run here.", disabled=len(others) == 1,
        )  # fmt: skip
        weights = ""
        if second != NONE and known[second].named:
            weights = st.text_input(
                "Its weights", key=f"{P}beside_model", max_chars=500, placeholder="a folder or hub id", help="Of the second engine."
            ).strip()  # fmt: skip
    missing = spec.missing(model) or ("" if second == NONE else known[second].missing(weights))
    beside = None if second == NONE else Which(second, weights or None)
    return Which(name, model or None, device or "auto"), beside, missing


def _text() -> str:
    state = st.session_state
    name = state.get(f"{P}ready")
    texts = ready()[name][1] if name in ready() else ()
    if texts:
        row = st.container(horizontal=True, vertical_alignment="center", gap="small")
        row.caption("Texts of ours:", width="content")
        for n, document in enumerate(texts, start=1):
            row.button(
                str(n),
                key=f"{P}sample.{n}",
                type="tertiary",
                on_click=_take_text,
                args=(document.text,),
                help=plain(document.text, 90),
            )
    return st.text_area("Text", key=f"{P}text", height=150, max_chars=MOST_CHARACTERS, placeholder="Put a text here.")


def _take_text(text: str) -> None:
    st.session_state[f"{P}text"] = text


def _go(text: str, schema: Schema | None, which: Which, beside: Which | None, missing: str) -> None:
    why = missing or (
        "Correct the schema first." if schema is None else "" if text.strip() else "Put a text into the field first."
    )
    if st.button(
        "Extract",
        key=f"{P}go",
        type="primary",
        icon=":material/play_arrow:",
        disabled=bool(why),
        help=plain(why, 400) or None,
    ):
        assert schema is not None
        shots = tuple(kept_lists()[1]) if engines()[which.engine].demonstrations else ()
        chosen = [which, *([beside] if beside is not None else [])]
        name, job = kept().start(
            session.jobs(), "Extraction from a text", partial(run_text, text, schema, chosen, shots)
        )
        state = st.session_state
        state[f"{P}run"], state[f"{P}picked"], state[DRAFT] = name, None, None
        if not job.wait(WAIT).finished:
            follow(job.id)


def _run(text: str, schema: Schema | None, missing: str) -> Run | None:
    """The last run of this tab; says how it is going where there is none."""
    name = st.session_state.get(f"{P}run")
    entry = kept().get(name)
    if entry is not None and isinstance(entry.result, Run):
        run: Run = entry.result
        if run.text != text or (schema is not None and run.schema != schema):
            st.caption(
                ":material/info: What is below is of the text and schema before your last change; press Extract again."
            )
        return run
    job = session.jobs().get(entry.job) if entry is not None else None
    now = job.snapshot() if job is not None else None
    if now is not None and not now.finished:
        st.info(
            "The text is being read: how far it is, and Cancel, stand under Jobs on the left.",
            icon=":material/hourglass_top:",
        )
    elif now is not None and now.error:
        st.error(in_words(now.error, 600))
    elif missing:
        st.info(plain(missing, 600), icon=":material/download:")
        name = st.session_state.get(f"{P}ready")
        if name in ready():
            _annotated(name, text)
    elif now is None:
        st.info("Press Extract: entities, relations and events appear here on the text.")
    return None


def _annotated(name: str, text: str) -> None:
    """Without an engine: what a person marked in the ready text."""
    schema, texts = ready()[name]
    document = next((d for d in texts if d.text == text), None)
    if document is not None:
        st.caption("Until then: what a person marked in this text of ours.")
        show_marked(document, label_colours(schema), f"{P}by.hand", height=None)


# ------------------------------------------------------------------ result
def _result(run: Run, middle: Any, right: Any) -> None:
    state = st.session_state
    colour = label_colours(run.schema)
    with middle:
        threshold, nested, labels = _filters(run)
        shown = run.extraction.select(threshold, nested, labels, document_id="text")
        picked: Pick | None = state.get(f"{P}picked")
        st.caption(_identity(run, shown))
        show_marked(shown, colour, f"{P}marked", picked, _pick)
        for note in run.extraction.notes:
            st.caption(plain(note, 400))
        if run.beside is not None:
            other = run.beside.extraction.select(
                None if not state.get(f"{P}touched") else threshold, nested, labels, document_id="text"
            )
            st.caption(_identity(run.beside, other))
            show_marked(other, colour, f"{P}marked.beside")
        _downloads(run, shown, threshold, nested)
    with right:
        show_results(shown, run.schema, colour, P, _pick)
    if picked is not None:
        show_evidence(run, shown, picked)
    if state.get(DRAFT) is not None:
        show_draft(run.schema)


def _pick(pick: Pick) -> None:
    st.session_state[f"{P}picked"] = pick


def _filters(run: Run) -> tuple[float, bool, frozenset[str] | None]:
    """Threshold, nesting and types; none needs the engine."""
    state = st.session_state
    floor, advised = run.extraction.floor, run.extraction.threshold
    if not state.get(f"{P}touched") or f"{P}threshold" not in state:
        state[f"{P}threshold"] = advised
    low = round(min(max(floor, 0.0), 0.99), 2)
    state[f"{P}threshold"] = min(max(float(state[f"{P}threshold"]), low), 1.0)
    one, two, three = st.columns([5, 4, 5], vertical_alignment="bottom")
    threshold = one.slider(
        "Least score", low, 1.0, key=f"{P}threshold", step=0.01, on_change=_touch,
        help=f"The engine advises {advised:.2f}; candidates below {floor:.2f} were not stored. A type with a least score of its own keeps it.",
    )  # fmt: skip
    state.setdefault(f"{P}nested", True)
    nested = two.toggle("Nested", key=f"{P}nested", help="Off: of results that overlap only the best scored stays.")
    options = run.schema.labels()
    state[f"{P}labels"] = [label for label in state.get(f"{P}labels") or () if label in options]
    labels = three.multiselect("Types", options, key=f"{P}labels", placeholder="All types")
    return threshold, nested, frozenset(labels) or None


def _touch() -> None:
    st.session_state[f"{P}touched"] = True
    st.session_state[f"{P}picked"] = None


def _identity(run: Run, shown: Document) -> str:
    calibrated = "scores calibrated on development data" if run.extraction.calibrated else "scores are not calibrated"
    parts = [(len(shown.entities or ()), "entity", "entities"), (len(shown.relations or ()), "relation", None), (len(shown.events or ()), "event", None)]  # fmt: skip
    numbers = ", ".join(count(n, one, many) for n, one, many in parts)
    return f"{plain(run.which.engine)} · {plain(run.model)} on {plain(run.device)} · {run.seconds:.2f} s · {numbers} · {calibrated}"


def _downloads(run: Run, shown: Document, threshold: float, nested: bool) -> None:
    row = st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"{P}downloads")
    row.caption(":material/download: Result", width="content")
    form = {
        **shown.to_json(),
        "schema": run.schema.to_json(),
        "engine": run.which.engine,
        "threshold": threshold,
        "nested": nested,
    }
    makers = {
        "json": ("application/json", lambda: json.dumps(form, ensure_ascii=False, indent=1).encode()),
        "jsonl": ("application/jsonl", lambda: jsonl_bytes([shown])),
        "csv": ("text/csv", lambda: csv_bytes([shown])),
        "html": ("text/html", lambda: _html(run, shown, threshold)),
    }
    for kind, (mime, make) in makers.items():
        row.download_button(
            kind.upper(),
            data=make,
            file_name=f"extraction.{kind}",
            mime=mime,
            key=f"{P}download.{kind}",
            type="tertiary",
            on_click="ignore",
        )
    row.button("Correct", key=f"{P}correct.go", icon=":material/edit:", type="tertiary", on_click=begin, args=(shown,))


def _html(run: Run, shown: Document, threshold: float) -> bytes:
    facts = [
        f"Engine {run.which.engine}, {run.model}, on {run.device}. Least score {threshold:.2f}.",
        f"Schema: {run.schema.dumps()}",
    ]
    rows = [[line[c] for c in COLUMNS] for line in lines_of(shown)]
    table = ("Results", COLUMNS, rows)
    return document_html(
        "Extraction", facts, [("", shown.text, marks_of(shown))], label_colours(run.schema), [table]
    ).encode()


framed(main)
