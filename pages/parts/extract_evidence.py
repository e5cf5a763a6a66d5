"""The evidence drawer of Extract: why a result was found, as far as the engine can show it."""

from __future__ import annotations

from functools import partial
from html import escape

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from pages.parts.extract_job import Run, run_evidence
from pages.parts.extract_shots_view import show_attention_shares
from pages.parts.faults import in_words
from pages.parts.frame import follow
from pages.parts.kept import kept
from pages.parts.words import plain
from workbench import session
from workbench.extract import Document, Event, Evidence, Relation, Span
from workbench.extract.engines import engine_spec
from workbench.extract.extraction import Attention, Place
from workbench.extract.marks import Item, item_of
from workbench.figures.style import SEQUENTIAL

_P = "extract."
MOST_LINKS = 200
MOST_TICKS = 90  # columns of the attention picture whose names all stand under it
WAIT = 1.5  # seconds in which most evidence is there


def show_evidence(run: Run, document: Document, picked: tuple[str, int]) -> None:
    """Draw the drawer for one result of what is shown."""
    item = item_of(document, *picked)
    if item is None:
        return
    state = st.session_state
    with st.container(border=True, key=f"{_P}drawer"):
        top = st.container(horizontal=True, vertical_alignment="center")
        top.markdown(f"**Why “{plain(in_short(run.text, item), 160)}”?**")
        top.button("Close", key=f"{_P}drawer.close", type="tertiary", icon=":material/close:", on_click=close)
        spec = engine_spec(run.which.engine)
        if not spec.evidence:
            st.info(f"{spec.title} gives no evidence beyond its score.")
            return
        layer, heads = state.get(f"{_P}layer.wish"), state.get(f"{_P}heads")
        wish = (run_key(run), item.model_dump_json(), layer, tuple(heads or ()))
        if state.get(f"{_P}evidence.of") != wish:
            name, job = kept().start(
                session.jobs(), "Evidence of one result",
                partial(run_evidence, run, item, layer, tuple(heads) if heads else None),
            )  # fmt: skip
            state[f"{_P}evidence.of"], state[f"{_P}evidence"] = wish, name
            if not job.wait(WAIT).finished:
                follow(job.id)
        entry = kept().get(state.get(f"{_P}evidence"))
        if entry is not None and isinstance(entry.result, Evidence):
            _draw(entry.result, run)
            return
        job = session.jobs().get(entry.job) if entry is not None else None
        now = job.snapshot() if job is not None else None
        if now is not None and not now.finished:
            st.info("It is being computed: how far it is, and Cancel, stand under Jobs on the left.")
        elif now is not None and now.error:
            st.warning(in_words(now.error, 600))
        else:
            st.info("The evidence is no longer kept: close this and pick the result again.")


def close() -> None:
    """Close the drawer."""
    st.session_state[f"{_P}picked"] = None


def run_key(run: Run) -> int:
    """Tells runs apart within one server."""
    return id(run.extraction)


def in_short(text: str, item: Item) -> str:
    """A result in words."""
    if isinstance(item, Span):
        return f"{text[item.start : item.end]}: {item.type}"
    if isinstance(item, Relation):
        return f"{text[item.head.start : item.head.end]} → {item.type} → {text[item.tail.start : item.tail.end]}"
    assert isinstance(item, Event)
    return f"{text[item.trigger.start : item.trigger.end]}: {item.type}"


def _draw(evidence: Evidence, run: Run) -> None:
    parts = [
        name
        for name, there in (
            ("Links", evidence.links),
            ("Attention", evidence.attention or evidence.attention_refused),
            ("Steps", evidence.steps or evidence.raw),
            ("Experts", evidence.experts),
        )
        if there
    ]
    if not parts:
        st.info("The engine gave no evidence for this result.")
        return
    for name, tab in zip(parts, st.tabs(parts, key=f"{_P}evidence.tabs"), strict=True):
        with tab:
            {"Links": _links, "Attention": _attention, "Steps": _steps, "Experts": _experts}[name](evidence)
            if name == "Attention":
                show_attention_shares(run.demonstrations, evidence)
    st.caption(plain(evidence.caution, 600))


def _links(evidence: Evidence) -> None:
    rows = [
        {
            "link": link.type,
            "from": _said(link.source),
            "to": _said(link.target),
            "score": link.score,
            "accepted": link.score > 0,
            "needed": link.needed,
        }
        for link in evidence.links[:MOST_LINKS]
    ]
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, key=f"{_P}links",
        column_config={
            **{name: st.column_config.TextColumn(name.capitalize()) for name in ("link", "from", "to")},
            "score": st.column_config.NumberColumn("Score", format="%.2f", help="Before squashing; a link above 0 is accepted."),
            "accepted": st.column_config.CheckboxColumn("Accepted", help="Whether its score is above 0."),
            "needed": st.column_config.CheckboxColumn("Needed", help="Whether the result would fall without it."),
        },
    )  # fmt: skip
    st.caption("H is the first token of a span, T its last, L a label; H2T is the link that leads from H to T.")


def _attention(evidence: Evidence) -> None:
    if evidence.attention is None:
        st.info(in_words(evidence.attention_refused, 600))
        return
    found: Attention = evidence.attention
    state = st.session_state
    left, right = st.columns(2)
    state[f"{_P}layer"] = found.layer
    left.number_input(
        "Layer", 0, found.layers - 1, key=f"{_P}layer", on_change=_take_layer,
        help=f"0 to {found.layers - 1}; the last is nearest the result.",
    )  # fmt: skip
    right.multiselect("Heads", list(range(found.heads_in_all)), key=f"{_P}heads", placeholder="All heads, averaged")
    weights = np.asarray(found.weights, dtype=np.float64).mean(axis=0)  # over heads: [rows, columns]
    order = [n for n, place in enumerate(found.columns) if place.kind == "label"]
    order += [n for n, place in enumerate(found.columns) if place.kind == "demonstration"]
    order += [n for n, place in enumerate(found.columns) if place.kind == "text"]
    own = {(place.start, place.end) for place in found.rows if place.kind == "text" and place.start is not None}
    names, ticks = [], []
    for n in order:
        place = found.columns[n]
        said = escape(_said(place))
        names.append(f"{n + 1}. {said}")
        ticks.append(f"<b>▸ {said}</b>" if place.kind == "text" and (place.start, place.end) in own else said)
    rows = [f"{n + 1}. {escape(_said(place))}" for n, place in enumerate(found.rows)]
    figure = go.Figure(
        go.Heatmap(
            z=weights[:, order], x=names, y=rows, colorscale=[[n / 9, c] for n, c in enumerate(SEQUENTIAL)], zmin=0, zmax=float(weights.max()) or 1.0,
            colorbar={"title": "attention"}, hovertemplate="%{y} looks at %{x}<br>%{z:.3f}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(height=220 + 26 * len(rows), margin={"l": 10, "r": 10, "t": 10, "b": 10})
    # Every column says what it is while there is room; labels and the result's own tokens always do.
    many = len(order) > MOST_TICKS
    at = [
        n
        for n, place in enumerate(found.columns[m] for m in order)
        if not many or place.kind == "label" or ticks[n].startswith("<b>")
    ]
    figure.update_xaxes(
        tickmode="array",
        tickvals=[names[n] for n in at],
        ticktext=[ticks[n] for n in at],
        tickangle=-90,
        tickfont={"size": 10},
    )
    figure.update_yaxes(autorange="reversed")
    st.plotly_chart(figure, key=f"{_P}attention", config={"displaylogo": False})
    shown = (
        " demonstrations (the number before a token says which),"
        if any(c.document is not None for c in found.columns)
        else ""
    )
    said = "one head" if len(found.heads) == 1 else f"mean of {len(found.heads)} heads"
    st.caption(
        f"Rows: tokens of the result. Columns: the labels asked in the same pass, in ‹ ›,{shown} then the text, the result's own tokens with ▸. Layer {found.layer}, {said}; a row sums to 1."
    )


def _take_layer() -> None:
    st.session_state[f"{_P}layer.wish"] = st.session_state[f"{_P}layer"]


def _steps(evidence: Evidence) -> None:
    if evidence.steps:
        st.dataframe(pd.DataFrame([step.model_dump() for step in evidence.steps]), hide_index=True, key=f"{_P}steps")
    if evidence.raw:
        st.code(evidence.raw, language=None, wrap_lines=True)


def _experts(evidence: Evidence) -> None:
    rows = [
        {
            "token": _said(used.token),
            "site": used.site,
            "experts": ", ".join(map(str, used.experts)),
            "gate weights": ", ".join(f"{w:.2f}" for w in used.weights),
        }
        for used in evidence.experts
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, key=f"{_P}experts")


def _said(place: Place) -> str:
    if place.kind == "demonstration":
        return f"{(place.document or 0) + 1}: {place.piece}"
    return f"‹{place.piece}›" if place.kind == "label" else place.piece
