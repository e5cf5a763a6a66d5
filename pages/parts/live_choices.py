"""What is chosen on the Live page: in the sidebar, and in the address bar, which holds numbers and ids but never a text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import streamlit as st

from pages.parts import selection
from pages.parts.making import OTHER, models_at_hand
from pages.parts.selection import Field
from workbench.live.sampling import MAX_NEW_TOKENS, Sampling
from workbench.models import LoadOptions

PREFIX = "live."
ALL = -1  # experts: all of them, a colour each
_ID = re.compile(r"^[0-9a-f]{8}$")
_SITE = re.compile(r"^[A-Za-z0-9_]{1,80}$")
_USUAL = Sampling()


def key(name: str) -> str:
    """Key of the widget of a choice."""
    return selection.key(name, PREFIX)


def fields() -> dict[str, Field]:
    """Every choice, by the name that stands in the address. A model typed by hand may be a path, so it is not among them."""
    names = (*(model.name for model in models_at_hand()), OTHER)
    return {
        "run": Field(None, _matching(_ID)),
        "model": Field(names[0], _one_of(names), lambda name: "other" if name == OTHER else name),
        "new": Field(_USUAL.max_new_tokens, _between(0, MAX_NEW_TOKENS, int)),
        "temperature": Field(_USUAL.temperature, _between(0.0, 2.0, float)),
        "top_p": Field(_USUAL.top_p, _between(0.05, 1.0, float)),
        "seed": Field(_USUAL.seed, _between(0, 2**31 - 1, int)),
        "pair": Field(False, _flag, lambda value: str(int(value))),
        "chat": Field(False, _flag, lambda value: str(int(value))),
        "numbers": Field(False, _flag, lambda value: str(int(value))),
        "layer": Field(None, _matching(_SITE)),
        "only": Field(ALL, _between(ALL, 65535, int)),
        "lane": Field(0, _between(0, 1, int)),
        "token": Field(None, _between(0, 10**6, int)),
    }


def _matching(pattern: re.Pattern[str]) -> Any:
    def read(text: str) -> str:
        if not pattern.match(text):
            raise ValueError(text)
        return text

    return read


def _one_of(names: tuple[str, ...]) -> Any:
    def read(text: str) -> str:
        name = OTHER if text == "other" else text
        if name not in names:
            raise ValueError(text)
        return name

    return read


def _between(least: Any, most: Any, kind: type) -> Any:
    def read(text: str) -> Any:
        value = kind(text)
        if not least <= value <= most:
            raise ValueError(text)
        return value

    return read


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError(text)
    return text == "1"


def settle() -> dict[str, Any]:
    """Bring address, widgets and memory together, before any widget is drawn."""
    return selection.settle("live", fields(), st.session_state, st.query_params.to_dict(), PREFIX, "page")


def write_address() -> None:
    """Say in the address what is chosen now."""
    known = fields()
    chosen = {name: st.session_state.get(key(name), field.default) for name, field in known.items()}
    wanted = selection.to_address("live", chosen, known, "page")
    del wanted["page"]
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)
    selection.remember("live", chosen, wanted, st.session_state, PREFIX)


def keep_texts(*names: str) -> None:
    """Typed words are in no address; bring them back after a visit to another page, where their widgets have lost them."""
    kept: dict[str, str] = st.session_state.setdefault(PREFIX + "texts", {})
    for name in names:
        if key(name) not in st.session_state and name in kept:
            st.session_state[key(name)] = kept[name]


def remember_texts(*names: str) -> None:
    """Keep typed words for `keep_texts`."""
    st.session_state[PREFIX + "texts"] = {name: st.session_state.get(key(name), "") for name in names}


# ---------------------------------------------------------------------- the sidebar
def show_settings() -> tuple[str, LoadOptions]:
    """Model and sampling; returns the model's name, empty if none is named, and how to load it."""
    st.markdown("##### Model")
    names = [model.name for model in models_at_hand()]
    picked = st.selectbox(
        "Model", [*names, OTHER], key=key("model"), label_visibility="collapsed",
        help="Only safetensors and GGUF; code of a model is never run.",
    )  # fmt: skip
    name = str(picked)
    if picked == OTHER:
        name = st.text_input(
            "Folder, GGUF file or hub id", key=key("other"), placeholder="owner/model",
            help="A hub model is downloaded into the local Hugging Face cache when the run starts.",
        ).strip()  # fmt: skip
    with st.expander("How it is loaded"):
        dtype = st.selectbox("Number format", ("auto", "float32", "bfloat16", "float16"), key=key("dtype"))
        device = st.selectbox("Device", ("auto", "cpu", "cuda", "mps"), key=key("device"))
    st.markdown("##### Writing")
    st.number_input(
        "New tokens, at most",
        0,
        MAX_NEW_TOKENS,
        key=key("new"),
        step=8,
        help="0 only reads the prompt and writes nothing.",
    )
    st.slider(
        "Temperature", 0.0, 2.0, key=key("temperature"), step=0.05,
        help="0 always takes the most probable token; higher is more varied.",
    )  # fmt: skip
    greedy = st.session_state[key("temperature")] == 0
    st.slider(
        "Top-p", 0.05, 1.0, key=key("top_p"), step=0.05, disabled=greedy,
        help="Without effect at temperature 0: nothing is drawn."
        if greedy
        else "Draws only from the most probable tokens that together have this probability; 1 draws from all.",
    )  # fmt: skip
    st.number_input(
        "Seed", 0, 2**31 - 1, key=key("seed"), disabled=greedy,
        help="Without effect at temperature 0: nothing is drawn." if greedy else "The same seed writes the same text again.",
    )  # fmt: skip
    return name, LoadOptions(dtype=str(dtype), device=str(device))


def sampling() -> Sampling:
    """How tokens are written, as chosen."""
    state: Mapping[str, Any] = st.session_state  # type: ignore[assignment]
    return Sampling(
        max_new_tokens=int(state[key("new")]),
        temperature=float(state[key("temperature")]),
        top_p=float(state[key("top_p")]),
        seed=int(state[key("seed")]),
    )
