"""Generate: can the unified model do it?

Words above, what comes of them below: a picture scale by scale, a clip frame by frame, speech, text, or words for a file; beside
it the experts that the chosen step used. The model runs in a job; the page looks at what there is twice a second.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from pages.parts.faults import in_words
from pages.parts.frame import framed
from pages.parts.generate_form import TASKS, show_form, show_opening, show_sampling
from pages.parts.generate_job import checkpoints
from pages.parts.generate_view import show_result
from pages.parts.selection import Field, key, remember, settle, to_address
from pages.parts.words import plain
from workbench import session
from workbench.making import GUIDANCE, TEMPERATURE, said_of_unlearned, unlearned_words

PREFIX = "generate."
EVERY = 0.5  # seconds between two looks at something that is being made
EMPTY = """No unified model is at hand yet. Train one, which takes its tokenizers first:

    workbench unified tokenizers --data-root data --out my-tokenizers
    workbench unified train --tokenizers my-tokenizers --data-root data --out my-run

or name the folder of a checkpoint below (`my-run/model` while it trains)."""


def main() -> None:
    """Draw the page."""
    st.title("Can the unified model do it?")
    opened: dict[str, Path] = st.session_state.get("generate.opened", {})
    at_hand = {**checkpoints(session.home()), **opened}
    if not at_hand:
        st.info(EMPTY)
        show_opening()
        return
    linked = st.query_params.get("model")
    if linked and linked not in at_hand:
        st.warning("The link names a model that is not on this machine; another one is used.")
    name = _model(at_hand, linked)
    known = _fields()
    settle(name, known, st.session_state, st.query_params.to_dict(), PREFIX, "model")
    with st.sidebar:
        task = st.radio("Task", list(TASKS), key=key("task", PREFIX), format_func=TASKS.__getitem__)
        sampling = show_sampling(task)
    show_form(at_hand[name], task, sampling)
    # What comes and grows stands in a container: below it all keeps its place, and with it what is being typed.
    with st.container():
        _result()
    with st.expander("Use a checkpoint of your own", icon=":material/folder_open:"):
        show_opening()
    chosen = {field: st.session_state.get(key(field, PREFIX), rule.default) for field, rule in known.items()}
    wanted = to_address(name, chosen, known, "model")
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)
    remember(name, chosen, wanted, st.session_state, PREFIX)


def _model(at_hand: dict[str, Path], linked: str | None) -> str:
    """The checkpoint, chosen in the sidebar."""
    names, box = list(at_hand), key("model", PREFIX)
    wished = st.session_state.pop("generate.wanted", None) or (linked if box not in st.session_state else None)
    held = st.session_state.get(box, st.session_state.get("generate.choice"))
    st.session_state[box] = next((one for one in (wished, held) if one in names), names[0])
    with st.sidebar:
        chosen = st.selectbox("Model", names, key=box)
    st.session_state["generate.choice"] = chosen
    return str(chosen)


def _fields() -> dict[str, Field]:
    """The choices of this page that stand in the address; words never do."""

    def task(text: str) -> str:
        if text not in TASKS:
            raise ValueError(text)
        return text

    def between(low: float, high: float) -> Callable[[str], float]:
        def read(text: str) -> float:
            if not low <= float(text) <= high:
                raise ValueError(text)
            return float(text)

        return read

    def seed(text: str) -> int:
        if not 0 <= int(text) < 2**31:
            raise ValueError(text)
        return int(text)

    return {
        "task": Field("picture", task),
        "temperature": Field(TEMPERATURE, between(0.1, 2.0)),
        "top_p": Field(1.0, between(0.1, 1.0)),
        "guidance": Field(GUIDANCE, between(1.0, 4.0)),
        "seed": Field(0, seed),
    }


def _result() -> None:
    held = st.session_state.get("generate.watching")
    if held is None:
        st.info("Nothing was made yet. Write what you want, or click an example, and press the button.")
        return
    job = session.jobs().get(held[0])
    running = job is not None and not job.snapshot().finished
    st.fragment(_watch, run_every=EVERY if running else None)(running)


def _watch(running: bool) -> None:
    """The part that is drawn anew while a job runs; the whole page is drawn when it has ended."""
    number, watching = st.session_state["generate.watching"]
    job = session.jobs().get(number)
    snapshot = job.snapshot() if job is not None else None
    looks, made = watching.snapshot()
    st.caption(
        f"{TASKS[watching.wish.make]} · {plain(watching.wish.model.name)} · {plain(watching.wish.prompt or 'no words', limit=200)}"
    )
    if strange := unlearned_words(watching.wish.model, watching.wish.make, watching.wish.prompt):
        st.info(plain(said_of_unlearned(strange), limit=500))
    if snapshot is not None and snapshot.error:
        st.error(in_words(snapshot.error, 500))
    elif snapshot is not None and snapshot.state == "cancelled":
        st.info("It was stopped. What was made until then stays below; press the button to begin again.")
    if looks or running:
        show_result(looks, made)
    if running and snapshot is not None and snapshot.finished:
        st.rerun()


framed(main)
