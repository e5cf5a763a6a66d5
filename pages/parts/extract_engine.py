"""Extract: which engine reads the text, with which weights, and what stands beside it."""

from __future__ import annotations

import streamlit as st

from pages.parts.extract_demonstrations import anonymous_types, keeps_order
from pages.parts.extract_job import Which
from pages.parts.words import plain
from workbench.extract.engines import EngineSpec

P = "extract."
NONE = "none"
ANY = "?"  # weights, whichever


def choose_engine(known: dict[str, EngineSpec]) -> tuple[Which, Which | None, str]:
    """Choose the engine, its weights, and one beside it; returns also why it cannot run, or ""."""
    state = st.session_state
    names = list(known)
    if state.get(f"{P}engine") not in names:  # the first one that can run
        state[f"{P}engine"] = next((n for n in names if not known[n].missing()), names[0])
    # It opens by itself where something has to be named, and stays as it is from then on.
    state[f"{P}engine.open"] = state.get(f"{P}engine.open") or bool(known[state[f"{P}engine"]].missing())
    with st.expander("Engine", icon=":material/memory:", expanded=state[f"{P}engine.open"]):
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
    ordered = spec.ordered and keeps_order()
    anonymous = anonymous_types() if spec.anonymous else None
    return Which(name, model or None, device or "auto", ordered, anonymous), beside, missing
