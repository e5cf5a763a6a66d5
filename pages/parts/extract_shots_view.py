"""Extract: what the demonstrations do: each left out, attention to each, and the fine-tuned extractor beside the one in context."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from pages.parts.extract_demonstrations import said
from pages.parts.extract_gold import kept_lists
from pages.parts.extract_job import Run
from pages.parts.extract_shots_job import Compared, Effects, run_distance, run_effects
from pages.parts.faults import in_words
from pages.parts.frame import follow
from pages.parts.kept import kept
from pages.parts.words import count, plain
from workbench import session
from workbench.extract import Document, Evidence, Span
from workbench.extract.engines import engine_spec
from workbench.extract.fewshot.effect import attention_shares
from workbench.extract.fewshot.tuning import PAPER_EPOCHS, can_tune
from workbench.figures.style import SEQUENTIAL
from workbench.jobs import Task

_P = "extract.shots."
WAIT = 1.5  # seconds in which a short work is done
EPOCHS = 50  # offered first


def show_effects(run: Run, threshold: float | None) -> None:
    """For a run with demonstrations: buttons, and what they found."""
    if not run.demonstrations:
        return
    with st.container(border=True, key=f"{_P}effects.box"):
        st.markdown("**What the demonstrations do**")
        left, right = st.columns(2, gap="medium")
        with left:
            many = len(run.demonstrations)
            st.button(
                "Effect of each demonstration", key=f"{_P}effects.go", icon=":material/filter_1:",
                help=f"Leaves each of the {many} out once: {many + 1} runs of the engine.",
                on_click=_start, args=("effects", "Effect of each demonstration", partial(run_effects, run, threshold)),
            )  # fmt: skip
            found = _result("effects", Effects)
            if isinstance(found, Effects):
                _effects(found, run)
        with right:
            _distance(run, threshold)


def _start(name: str, title: str, work: Callable[[Task], Any]) -> None:
    entry, job = kept().start(session.jobs(), title, work)
    st.session_state[f"{_P}{name}"] = entry
    if not job.wait(WAIT).finished:
        follow(job.id)


def _result(name: str, kind: type) -> Any:
    """What a work came to, or a line on how it goes."""
    entry = kept().get(st.session_state.get(f"{_P}{name}"))
    if entry is None:
        return None
    if isinstance(entry.result, kind):
        return entry.result
    job = session.jobs().get(entry.job)
    now = job.snapshot() if job is not None else None
    if now is not None and not now.finished:
        st.info(
            "It is being computed: how far it is, and Cancel, stand under Jobs on the left.",
            icon=":material/hourglass_top:",
        )
    elif now is not None and now.error:
        st.warning(in_words(now.error, 600))
    return None


def _words(text: str, spans: tuple[Span, ...]) -> str:
    return "; ".join(f"{text[s.start : s.end]}: {s.type}" for s in spans)


def _effects(found: Effects, run: Run) -> None:
    if found.run.extraction is not run.extraction:
        st.caption(":material/info: Of the run before your last one.")
    text, shots = found.run.text, found.run.demonstrations
    rows = [
        {
            "n": effect.number + 1, "size": effect.size, "without it, lost": _words(text, effect.gone), "without it, added": _words(text, effect.new),
            "scores move by": effect.moved, "demonstration": shots[effect.number].text,
        }
        for effect in sorted(found.found, key=lambda e: (-e.size, e.number))
    ]  # fmt: skip
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, key=f"{_P}effects.table", height=min(35 * len(rows) + 38, 320),
        column_config={
            "n": st.column_config.NumberColumn("", width=30), "without it, lost": st.column_config.TextColumn(width=120),
            "without it, added": st.column_config.TextColumn(width=120), "demonstration": st.column_config.TextColumn(width=160),
            "scores move by": st.column_config.NumberColumn(width=70, format="%.3f", help="Sum over results found with and without it, absolute."),
            "size": st.column_config.NumberColumn(width=60, format="%.3f", help="How far scores move, and the scores of results that come or go; the table is sorted by it."),
        },
    )  # fmt: skip
    early = " Stopped early: the others were not left out." if found.early else ""
    st.caption(
        f"Each demonstration left out once, of {count(len(shots), 'demonstration')}, on this text.{early} It is the effect beside the others: of two that "
        "show the same, neither changes much."
    )


def _distance(run: Run, threshold: float | None) -> None:
    spec = engine_spec(run.which.engine)
    able = can_tune(run.which.engine)
    gold = [d for d in kept_lists()[0] if d.entities is not None]
    row = st.container(horizontal=True, vertical_alignment="bottom")
    epochs = row.number_input(
        "Epochs", 1, 1000, EPOCHS, key=f"{_P}epochs", width=110, disabled=not able, help=f"Over the demonstrations; the paper's are {PAPER_EPOCHS}."
    )  # fmt: skip
    row.button(
        "Beside the fine-tuned one", key=f"{_P}distance.go", icon=":material/compare_arrows:", disabled=not able,
        help="Fine-tunes a copy of the engine on the demonstrations, and lets both read this text and the gold that is kept."
        if able else f"{plain(spec.title)} cannot be fine-tuned on examples here.",
        on_click=_start,
        args=("distance", "Fine-tuned beside in context", partial(run_distance, run, tuple(gold), threshold, int(epochs))),
    )  # fmt: skip
    found = _result("distance", Compared)
    if not isinstance(found, Compared):
        return
    if (found.text, found.schema, found.shots) != (run.text, run.schema, run.demonstrations):
        st.caption(":material/info: Of the text, schema or demonstrations before your last change.")
    both = found.distance.agreement
    texts = 1 + found.gold
    st.markdown(
        f"They agree to **{both['f1']:.2f}** (F1 of one against the other, on {count(texts, 'text')}): {both['both']} results of both, "
        f"{int(both['first']) - int(both['both'])} in context only, {int(both['second']) - int(both['both'])} fine-tuned only."
    )
    if found.distance.f1:
        told = ", ".join(f"{name} {value:.2f}" for name, value in found.distance.f1.items())
        st.markdown(f"F1 on the {count(found.gold, 'gold text')} kept here: {told}.")
    rows = found.distance.lines()
    if rows:
        ways = ("in context", "fine-tuned")
        lines = [
            {**row, **{way: "not found" if row[way] is None else f"{row[way]:.2f}" for way in ways}} for row in rows
        ]
        st.dataframe(pd.DataFrame(lines)[["words", "type", *ways]], hide_index=True, key=f"{_P}distance.table")
    st.caption(
        f"Fine-tuned on {count(len(found.shots), 'demonstration')}, {count(found.tuning.epochs, 'epoch')} at a rate of {found.tuning.rate:g}. "
        "One text says little of either."
    )


def show_attention_shares(shots: tuple[Document, ...], evidence: Evidence) -> None:
    """In the evidence drawer: how much of the result's attention falls on each demonstration."""
    if evidence.attention is None or not shots:
        return
    if not any(place.document is not None for place in evidence.attention.columns):
        return
    shares = attention_shares(evidence.attention, len(shots))
    order = sorted(range(len(shots)), key=lambda n: (-shares[n], n))[:30]
    names = [f"{n + 1}. {shots[n].text[:60]}" for n in order]
    figure = go.Figure(
        go.Bar(
            x=[shares[n] for n in order], y=names, orientation="h", marker_color=SEQUENTIAL[-3], customdata=[said(shots[n])[:200] for n in order],
            hovertemplate="%{y}<br>%{customdata}<br>%{x:.1%} of the attention<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(height=90 + 26 * len(order), margin={"l": 10, "r": 10, "t": 10, "b": 10})
    figure.update_xaxes(title="share of the attention of the result's tokens", tickformat=".0%")
    figure.update_yaxes(autorange="reversed", type="category")
    st.plotly_chart(figure, key="extract.attention.shots", config={"displaylogo": False})
    more = f" The {len(order)} with most of {len(shots)}." if len(order) < len(shots) else ""
    st.caption(
        f"Attention from the result to each demonstration, {100 * sum(shares):.0f} % in all; the rest falls on the schema and the text.{more} "
        "Attention is no measure of importance: leaving a demonstration out is."
    )
