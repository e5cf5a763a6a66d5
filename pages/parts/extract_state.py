"""What Extract remembers: widgets while another page is open, and the address, which holds schema and settings but never the text."""

from __future__ import annotations

from typing import Any

import streamlit as st

from pages.parts.extract_address import from_address, to_address, unpack
from pages.parts.extract_job import Which
from pages.parts.extract_schema import OWN, carry_over, ready, set_schema
from pages.parts.faults import in_words
from workbench.extract import Schema, SchemaError
from workbench.extract.engines import EngineSpec

P = "extract."
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
    "shots.first",
    "shots.live",
    "shots.ordered",
    "shots.names",
)


def restore() -> None:
    """Bring back what was chosen before another page was open."""
    held: dict[str, Any] = st.session_state.setdefault(f"{P}held", {})
    forgotten = bool(held) and f"{P}text" not in st.session_state  # Streamlit forgot the widgets of this page
    for name, value in held.items():
        # What was written for a widget before it was first drawn outlives it, and is older than what is held.
        if forgotten or f"{P}{name}" not in st.session_state:
            st.session_state[f"{P}{name}"] = value
    if forgotten:  # after the name of the ready schema is back, or an unchanged one would become one's own
        carry_over()


def hold() -> None:
    state = st.session_state
    state[f"{P}held"] = {name: state[f"{P}{name}"] for name in HELD if f"{P}{name}" in state}


def settle(known: dict[str, EngineSpec]) -> None:
    """Take over what the address says where it is not what this page wrote there last."""
    state, address = st.session_state, st.query_params.to_dict()
    # Coming back from another page the address is bare: it says nothing, and what was chosen stands.
    if f"{P}base" in state and (not address or address == state.get(f"{P}address")):
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


def write_address(schema: Schema | None, which: Which, known: dict[str, EngineSpec]) -> None:
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


def chosen_threshold() -> float | None:
    state = st.session_state
    return float(state[f"{P}threshold"]) if state.get(f"{P}touched") and f"{P}threshold" in state else None


def chosen_labels() -> frozenset[str] | None:
    return frozenset(st.session_state.get(f"{P}labels") or ()) or None
