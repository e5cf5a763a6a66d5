"""Extract: a run as marked text and results, its filters, which need no engine, and its downloads."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from pages.parts.extract_batch import csv_bytes
from pages.parts.extract_beside import show_beside
from pages.parts.extract_evidence import show_evidence
from pages.parts.extract_gold import DRAFT, begin, show_draft
from pages.parts.extract_job import Run, jsonl_bytes
from pages.parts.extract_view import Pick, label_colours, show_marked, show_results
from pages.parts.extract_written import own_cut, show_written
from pages.parts.words import count, plain
from workbench.extract import Document
from workbench.extract.marks import COLUMNS, lines_of, marks_of
from workbench.figures.marked import document_html

P = "extract."


def show_result(run: Run, middle: Any, right: Any) -> None:
    state = st.session_state
    colour = label_colours(run.schema)
    with middle:
        threshold, nested, labels = _filters(run)
        chosen = threshold if state.get(f"{P}touched") else None
        shown = run.extraction.select(chosen, nested, labels, document_id="text", along=True)
        picked: Pick | None = state.get(f"{P}picked")
        st.caption(_identity(run, shown))
        show_marked(shown, colour, f"{P}marked", picked, _pick)
        for note in run.extraction.notes:
            st.caption(plain(note, 400))
        _downloads(run, shown, threshold, nested, labels)
    with right:
        show_results(shown, run.extraction, run.schema, colour, P, _pick)
    if run.beside is not None:
        other = run.beside.extraction.select(chosen, nested, labels, document_id="text", along=True)
        show_beside(run, shown, run.beside, other, _identity(run.beside, other))
    if picked is not None:
        show_evidence(run, shown, picked)
    show_written(run)
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
    one, two = st.columns(2, vertical_alignment="bottom")
    threshold = one.slider(
        "Least score", low, 1.0, key=f"{P}threshold", step=0.01, on_change=_touch,
        help=f"The engine advises {advised:.2f}; candidates below {floor:.2f} were not stored. {own_cut(run)}A type with a least score of its own keeps it.",
    )  # fmt: skip
    state.setdefault(f"{P}nested", True)
    nested = two.toggle("Nested", key=f"{P}nested", help="Off: of results that overlap only the best scored stays.")
    if own_cut(run):  # a row of its own: beside a toggle it would stand in a column of two words
        st.caption(own_cut(run))
    if own := _of_kinds(run, threshold if state.get(f"{P}touched") else None):
        st.caption(f"Along with it: {own}.")
    options = run.schema.labels()
    state[f"{P}labels"] = [label for label in state.get(f"{P}labels") or () if label in options]
    labels = st.multiselect("Types", options, key=f"{P}labels", placeholder="All types")
    return threshold, nested, frozenset(labels) or None


def _of_kinds(run: Run, threshold: float | None) -> str:
    """The least scores of kinds that have one of their own, which move along with the slider."""
    wanted = run.extraction.wanted
    asked = {"relation": wanted.relations, "trigger": wanted.events, "argument": wanted.events}
    return ", ".join(
        f"{kind}s {value:.2f}"
        for kind, value in run.extraction.leasts(threshold, along=True).items()
        if kind in run.extraction.advised and asked[kind]
    )


def _touch() -> None:
    st.session_state[f"{P}touched"] = True
    st.session_state[f"{P}picked"] = None


def _identity(run: Run, shown: Document) -> str:
    calibrated = "scores calibrated on development data" if run.extraction.calibrated else "scores are not calibrated"
    parts = [(shown.entities, "entity", "entities"), (shown.relations, "relation", None), (shown.events, "event", None)]
    numbers = ", ".join(count(len(part), one, many) for part, one, many in parts if part is not None)
    return f"{plain(run.which.engine)} · {plain(run.model)} on {plain(run.device)} · {run.seconds:.2f} s · {numbers} · {calibrated}"


def _downloads(run: Run, shown: Document, threshold: float, nested: bool, labels: frozenset[str] | None) -> None:
    row = st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"{P}downloads")
    chosen = threshold if st.session_state.get(f"{P}touched") else None
    row.caption(":material/download: Result", width="content")
    form = {
        **shown.to_json(),
        "schema": run.schema.to_json(),
        "engine": run.which.engine,
        "model": run.model,
        "device": run.device,
        "threshold": threshold,
        **({"thresholds": run.extraction.leasts(chosen, along=True)} if run.extraction.advised else {}),
        "nested": nested,
        "types": None if labels is None else sorted(labels),
        "notes": list(run.extraction.notes),
    }
    makers = {
        "json": ("application/json", lambda: json.dumps(form, ensure_ascii=False, indent=1).encode()),
        "jsonl": ("application/jsonl", lambda: jsonl_bytes([shown])),
        "csv": ("text/csv", lambda: csv_bytes([shown])),
        "html": ("text/html", lambda: html_bytes(run, shown, threshold, nested, labels)),
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


def html_bytes(
    run: Run, shown: Document, threshold: float, nested: bool = True, labels: frozenset[str] | None = None
) -> bytes:
    """What is shown as one file that stands alone: facts, the marked text, a table of what was found."""
    own = _of_kinds(run, threshold if st.session_state.get(f"{P}touched") else None)
    facts = [
        f"Engine {run.which.engine}, {run.model}, on {run.device}.",
        f"Least score {threshold:.2f}{f', {own}' if own else ''}; {'results may overlap' if nested else 'of results that overlap only the best scored'}; "
        f"{'all types' if labels is None else 'only ' + ', '.join(sorted(labels))}.",
        f"Schema: {run.schema.dumps()}",
        *run.extraction.notes,
    ]
    lines = list(lines_of(shown))
    # One text: its name says nothing, and columns of a kind that was not found only push the others off the page.
    columns = [c for c in COLUMNS if c != "document" and any(line[c] is not None for line in lines)]
    tables = [("Results", columns, [[line[c] for c in columns] for line in lines])] if lines else []
    if not lines:
        facts.append("Nothing was found at this least score.")
    return document_html(
        "Extraction", facts, [("", shown.text, marks_of(shown))], label_colours(run.schema), tables
    ).encode()
