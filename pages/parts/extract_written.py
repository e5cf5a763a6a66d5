"""What an engine that writes one structure wrote about the whole text: raw beside parsed, and decoding step by step."""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from pages.parts.extract_job import ENGINES, FIELDS, Run
from pages.parts.faults import in_words, in_words_of
from pages.parts.frame import follow
from pages.parts.kept import kept
from pages.parts.words import count, plain
from workbench import session
from workbench.jobs import Task

P = "extract."
WRITES = ("uie",)  # engines with `replay`
WAIT = 1.5  # seconds in which most texts are done
_WISH, _OF, _KEPT = f"{P}written.wish", f"{P}written.of", f"{P}written"


def own_cut(run: Run) -> str:
    """Why the slider of least scores does not go lower, for an engine that has only what it wrote; "" for others."""
    if run.which.engine not in WRITES:
        return ""
    return f"Nothing below {run.extraction.floor:.2f}: the model writes its best structure only, and what it did not write has no score. "


def run_replay(run: Run, task: Task) -> tuple[object, ...]:
    """The passes of a run, with what might have been written instead."""
    with in_words_of(FIELDS):
        engine = ENGINES.get(run.which, task)
        task.progress(0, None, "Writing once more, step by step")
        return tuple(engine.replay(run.text, run.schema))  # type: ignore[attr-defined]


def show_written(run: Run) -> None:
    """A closed box; what is in it is computed once it is asked for."""
    if run.which.engine not in WRITES:
        return
    state = st.session_state
    with st.expander("What the model wrote", icon=":material/edit_note:", key=f"{P}written.box"):
        if state.get(_OF) != id(run.extraction):
            st.caption("The raw structure beside what was read off it, and each step of its decoding.")
            if not st.button("Show", key=f"{P}written.go", type="tertiary", icon=":material/play_arrow:"):
                return
            name, job = kept().start(session.jobs(), "What the model wrote", partial(run_replay, run))
            state[_OF], state[_KEPT] = id(run.extraction), name
            if not job.wait(WAIT).finished:
                follow(job.id)
        entry = kept().get(state.get(_KEPT))
        if entry is not None and isinstance(entry.result, tuple):
            _draw(entry.result, run)
            return
        job_now = session.jobs().get(entry.job) if entry is not None else None
        now = job_now.snapshot() if job_now is not None else None
        if now is not None and not now.finished:
            st.info("It is being computed: how far it is, and Cancel, stand under Jobs on the left.")
        elif now is not None and now.error:
            st.warning(in_words(now.error, 600))
        else:
            st.info("It is no longer kept: press Extract again.")


def _draw(found: tuple[object, ...], run: Run) -> None:
    from workbench.extract.uie.replay import Replay

    passes = [each for each in found if isinstance(each, Replay)]
    if not passes:
        st.caption("The text has no words to read.")
        return
    which = 0
    if len(passes) > 1:
        names = [f"{n + 1}: characters {each.start} to {each.end}" for n, each in enumerate(passes)]
        chosen = st.selectbox(
            "Pass", names, key=f"{P}written.pass", help="A window of the text under a block of labels."
        )
        which = names.index(chosen)
    each = passes[which]
    left, right = st.columns(2)
    left.caption(f"As written, {count(len(each.moments), 'token')}: {each.status}")
    left.code(each.raw, language=None, wrap_lines=True)
    right.caption("As read; what stands below another is associated to it")
    rows = [
        {
            "label": ("└ " if node.depth > 1 else "") + node.label,
            "words": "(rejected)" if node.rejected else node.words,
            "at": node.start,
        }
        for node in each.nodes
    ]
    right.dataframe(pd.DataFrame(rows, columns=["label", "words", "at"]), hide_index=True, key=f"{P}written.nodes")
    steps = len(each.moments)
    state = st.session_state
    state[f"{P}written.step"] = min(int(state.get(f"{P}written.step", 1)), steps)
    step = (
        st.number_input("Step", 1, steps, key=f"{P}written.step", help="Of the decoding, from 1.") if steps > 1 else 1
    )
    moment = each.moments[int(step) - 1]
    free = (
        "free decoding: every token was allowed"
        if moment.allowed is None
        else f"state “{moment.state}”, {count(moment.allowed, 'token')} allowed"
    )
    before = " ".join(m.piece for m in each.moments[max(0, int(step) - 9) : int(step) - 1])
    st.markdown(f"{plain('… ' + before, 300)} **{plain(moment.piece, 60)}**")
    st.caption(plain(f"Step {step} of {steps}: {free}; written with probability {moment.probability:.3f}."))
    options = [
        {"token": o.piece, "probability": o.probability, "written": o.piece == moment.piece} for o in moment.options
    ]
    st.dataframe(
        pd.DataFrame(options, columns=["token", "probability", "written"]), hide_index=True, key=f"{P}written.options",
        column_config={"probability": st.column_config.ProgressColumn("Probability", min_value=0.0, max_value=1.0, format="%.3f")},
    )  # fmt: skip
    st.caption(
        f"The likeliest of the allowed tokens, at most {len(options)}; probabilities are of a token given what was written before it, not of a result being "
        f"right. Scores of results are {'calibrated on development texts' if run.extraction.calibrated else 'not calibrated'}."
    )
