"""Extract: what does this text say, in my schema, and why?

Schema left, the text with marked spans in the middle, results right. The engine runs once, in a job; threshold, nesting and the choice
of types filter what it stored. The address holds schema and settings, never the text.
"""

from __future__ import annotations

from functools import partial

import streamlit as st

from pages.parts.extract_batch import show_batch, show_progress
from pages.parts.extract_demonstrations import in_use, is_live, show_demonstrations
from pages.parts.extract_engine import choose_engine
from pages.parts.extract_gold import DRAFT, show_kept
from pages.parts.extract_job import Run, Which, run_text
from pages.parts.extract_result import show_result
from pages.parts.extract_schema import ready, show_schema
from pages.parts.extract_shots_view import show_effects
from pages.parts.extract_state import chosen_labels, chosen_threshold, hold, restore, settle, write_address
from pages.parts.extract_view import label_colours, show_marked
from pages.parts.faults import in_words
from pages.parts.frame import follow, framed
from pages.parts.kept import kept
from pages.parts.words import plain
from workbench import session
from workbench.extract import Schema, engines

P = "extract."
MOST_CHARACTERS = 200_000
WAIT = 1.5  # seconds in which a short text is done
NO_TEXT = "Put a text into the field first."
ASKED = f"{P}asked"  # what the last run was started with
# Below this width of the window three columns cut the table's scores off: results go below the text, over the whole width.
NARROW = """<style>@media (max-width: 1450px) {
  .st-key-extract_columns > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] { flex-wrap: wrap; }
  .st-key-extract_columns > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] > [data-testid="stColumn"]:nth-child(1) { flex: 3 1 220px; }
  .st-key-extract_columns > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] > [data-testid="stColumn"]:nth-child(2) { flex: 5 1 330px; }
  .st-key-extract_columns > [data-testid="stLayoutWrapper"] > [data-testid="stHorizontalBlock"] > [data-testid="stColumn"]:nth-child(3) { flex: 1 1 100%; }
}</style>"""


def main() -> None:
    """Draw the page."""
    st.title("What does this text say, in my schema?")
    restore()
    known = engines()
    settle(known)
    st.html(NARROW)
    with st.container(key="extract_columns"):
        left, middle, right = st.columns([3, 5, 4], gap="medium")
    with left:
        schema = show_schema()
        which, beside, missing = choose_engine(known)
    with middle:
        text = _text()
        # A tooltip alone is not seen on a touch screen, and "press Extract" is no help while it cannot be pressed.
        why = missing or ("Correct the schema first." if schema is None else "" if text.strip() else NO_TEXT)
        _go(text, schema, which, beside, why)
        run = _run(text, schema, which, beside, missing, why)
    if run is not None:
        show_result(run, middle, right)
    else:
        with right:
            st.caption("Results appear here as table, cards and arcs.")
    nested, labels = bool(st.session_state.get(f"{P}nested", True)), chosen_labels()
    spec = known[which.engine]
    if spec.demonstrations:
        show_demonstrations(schema, spec)
        # What comes and grows stands in a container: below it all keeps its place, and with it what is being typed.
        with st.container():
            if run is not None and run.which.engine == which.engine:
                show_effects(run, chosen_threshold())
    show_batch(schema, which, chosen_threshold(), nested, labels, in_use(spec), missing)
    show_kept(spec.demonstrations, spec.title)
    write_address(schema, which, known)
    hold()


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


def _go(text: str, schema: Schema | None, which: Which, beside: Which | None, why: str) -> None:
    """The button; `why` says why it cannot be pressed, or is empty."""
    spec = engines()[which.engine]
    pressed = st.button(
        "Extract",
        key=f"{P}go",
        type="primary",
        icon=":material/play_arrow:",
        disabled=bool(why),
        help=plain(why, 400) or None,
    )
    if why or schema is None:
        return
    shots = in_use(spec)
    asked = (text, schema, which, beside, shots)
    if pressed or (is_live(spec) and st.session_state.get(ASKED) != asked):
        st.session_state[ASKED] = asked
        chosen = [which, *([beside] if beside is not None else [])]
        name, job = kept().start(
            session.jobs(), "Extraction from a text", partial(run_text, text, schema, chosen, shots)
        )
        state = st.session_state
        state[f"{P}run"], state[f"{P}picked"], state[DRAFT] = name, None, None
        if not job.wait(WAIT).finished:
            follow(job.id)


def _run(text: str, schema: Schema | None, which: Which, beside: Which | None, missing: str, why: str) -> Run | None:
    """The last run of this tab; says how it is going where there is none.

    Args:
        missing: what the engine lacks, or "". why: what keeps Extract from being pressed, the engine's lack included, or "".
    """
    name = st.session_state.get(f"{P}run")
    entry = kept().get(name)
    if entry is not None and isinstance(entry.result, Run):
        run: Run = entry.result
        spec = engines()[which.engine]
        if missing:
            st.info(plain(missing, 600), icon=":material/download:")
        others = run.which.engine == which.engine and spec.demonstrations and run.demonstrations != in_use(spec)
        changed = [
            name
            for name, so in (
                ("text", run.text != text),
                ("schema", run.schema != schema),
                ("demonstrations", others),
                ("engine", run.which != which),
                ("second engine", (run.beside.which if run.beside is not None else None) != beside),
            )
            if so
        ]
        if changed:
            what = f"{', '.join(changed[:-1])} and {changed[-1]}" if len(changed) > 1 else changed[0]
            then = "" if missing else why or "Press Extract again."  # what is missing stands above
            st.caption(f":material/info: What is below is of the {what} before your last change. {then}")
        return run
    job = session.jobs().get(entry.job) if entry is not None else None
    now = job.snapshot() if job is not None else None
    asked = (text, schema, which, beside, in_use(engines()[which.engine]))
    if now is not None and not now.finished:
        show_progress(now.id, "text", "The work stops at its next pass; nothing is kept.")
    # What keeps it from being tried again comes first, and a fault of what was asked before is none of what is asked now.
    elif now is not None and now.error and not (missing or why or st.session_state.get(ASKED) != asked):
        st.error(in_words(now.error, 600))
    elif missing:
        st.info(plain(missing, 600), icon=":material/download:")
        name = st.session_state.get(f"{P}ready")
        if name in ready():
            _annotated(name, text)
    elif why:
        st.info(why)
    elif now is not None and now.state == "cancelled":
        st.info("It was stopped and nothing is kept: press Extract to begin again.")
    else:
        st.info("Press Extract: entities, relations and events appear here on the text.")
    return None


def _annotated(name: str, text: str) -> None:
    """Without an engine: what a person marked in the ready text."""
    schema, texts = ready()[name]
    document = next((d for d in texts if d.text == text), None)
    if document is not None:
        st.caption("Until then: what a person marked in this text of ours.")
        show_marked(document, label_colours(schema), f"{P}by.hand", height=None)


framed(main)
