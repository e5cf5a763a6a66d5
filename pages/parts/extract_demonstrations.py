"""Extract: the examples that an engine learns from in context: written here, marked with the mouse or typed, imported, put in order."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import streamlit as st

from pages.parts.extract_gold import kept_lists
from pages.parts.extract_job import jsonl_bytes
from pages.parts.extract_schema import set_schema
from pages.parts.extract_shots_files import MOST_SHOTS, number, show_import
from pages.parts.extract_view import label_colours, show_marked
from pages.parts.faults import in_words
from pages.parts.words import count, plain
from workbench.extract import Document, Schema, SchemaError, Span
from workbench.extract.engines import EngineSpec
from workbench.extract.marks import places_of

_P = "extract.shots."
DRAFT, RANGE, FAULT, AT = f"{_P}draft", f"{_P}range", f"{_P}fault", f"{_P}at"
LIVE, FIRST, ORDERED, NAMES = f"{_P}live", f"{_P}first", f"{_P}ordered", f"{_P}names"
NAMED: dict[str, bool | None] = {
    "As measured best": None,
    "Under their names": False,
    "As <type1>, <type2> …": True,
}
LONGEST = 5000  # characters of an example written here
NEW = "a new type"


def in_use(spec: EngineSpec) -> tuple[Document, ...]:
    """The demonstrations that the engine is given: the first so many, in their order; none for an engine that does not learn from them."""
    if not spec.demonstrations:
        return ()
    shots = kept_lists()[1]
    first = st.session_state.get(FIRST)
    return tuple(shots if first is None else shots[: int(first)])


def is_live(spec: EngineSpec) -> bool:
    """Whether the text is read again at every change."""
    return spec.demonstrations and bool(st.session_state.get(LIVE))


def keeps_order() -> bool:
    """Whether demonstrations are to be shown in the order of the list."""
    return bool(st.session_state.get(ORDERED, True))


def anonymous_types() -> bool | None:
    """Whether types are shown without their names; None: as the weights say."""
    return NAMED.get(str(st.session_state.get(NAMES)))


def show_demonstrations(schema: Schema | None, spec: EngineSpec) -> None:
    """The editor, the list, the import, and what a person should know of them."""
    shots = kept_lists()[1]
    # one label and one state: a change of either would close it between two examples
    with st.expander("Demonstrations", icon=":material/school:", expanded=True):
        if schema is None:
            st.info("Correct the schema first: examples are marked with its types.")
            return
        left, right = st.columns(2, gap="medium")
        with left:
            _editor(schema)
        with right:
            _list(shots)
            show_import(shots)
        for sentence in cautions(schema, in_use(spec)):
            st.caption(f":material/info: {plain(sentence, 500)}")
        row = st.container(horizontal=True)
        row.toggle(
            "Read the text again at every change", key=LIVE, help="Of the text, the schema, or the demonstrations. Off: press Extract."
        )  # fmt: skip
        if spec.ordered:
            st.session_state.setdefault(ORDERED, True)
            row.toggle(
                "Show them in this order", key=ORDERED, help="Off: the engine shuffles them, then takes one of each type in turn, as in its evaluation."
            )  # fmt: skip
        if spec.anonymous:
            row.selectbox(
                "Types in the prompt", list(NAMED), key=NAMES, width=230,
                help="Under their names the model is told what a type is called. As <type1>, <type2> … the examples alone say what is meant.",
            )  # fmt: skip


def cautions(schema: Schema, shots: tuple[Document, ...]) -> list[str]:
    """What a person should know of these demonstrations for this schema, a sentence each."""
    if not shots:
        return ["Without a demonstration the types are asked by their names alone: mark an example of each."]
    types = [label.name for label in schema.entities]
    shown = Counter(span.type for shot in shots for span in shot.entities or ())
    found = []
    if lacking := [name for name in types if name not in shown]:
        found.append(
            f"No demonstration shows {', '.join(lacking[:5])}{' and others' if len(lacking) > 5 else ''}: an engine that learns in context "
            "tends to find nothing of such a type, so mark at least one example."
        )
    if unasked := [name for name in shown if name not in types]:
        found.append(
            f"The schema does not ask for {', '.join(unasked[:5])}{' and others' if len(unasked) > 5 else ''}: those marks are passed over."
        )
    if bare := sum(not shot.entities for shot in shots):
        found.append(
            f"{count(bare, 'demonstration')} without any mark: {'it shows' if bare == 1 else 'they show'} what is not to be found."
        )
    if len(shots) > 50:
        found.append(
            f"{len(shots)} demonstrations make each text many runs of the model: fewer, well chosen, are faster."
        )
    return found


# ------------------------------------------------------------------ the editor
def _editor(schema: Schema) -> None:
    state = st.session_state
    sentence = st.text_area(
        "A sentence as an example", key=f"{_P}sentence", height=80, max_chars=LONGEST, placeholder="Paste a sentence here."
    )  # fmt: skip
    draft: Document | None = state.get(DRAFT)
    st.button(
        "Mark it", key=f"{_P}begin", icon=":material/edit:", disabled=not sentence.strip(), on_click=_begin,
        help=None if sentence.strip() else "Paste a sentence first.",
    )  # fmt: skip
    if draft is None:
        return
    st.caption("Select words with the mouse, or type them below; then say what they are.")
    show_marked(draft, label_colours(schema), f"{_P}text", on_range=_take_range, height=260)
    if fault := state.pop(FAULT, ""):
        st.error(fault)
    chosen: tuple[int, int] | None = state.get(RANGE)
    one, two = st.columns(2, vertical_alignment="bottom")
    one.text_input(
        "Words", key=f"{_P}words", max_chars=500, placeholder=draft.text[slice(*chosen)] if chosen else "as they stand in the sentence",
        help="Every place where these words stand is marked. Empty: what was selected with the mouse.",
    )  # fmt: skip
    kinds = [label.name for label in schema.entities]
    if state.get(f"{_P}type") not in (*kinds, NEW):
        state[f"{_P}type"] = kinds[0] if kinds else NEW
    type_ = two.selectbox("are", [*kinds, NEW], key=f"{_P}type")
    if type_ == NEW:
        two.text_input("Name of the type", key=f"{_P}new", max_chars=100, help="It is added to the schema.")
    row = st.container(horizontal=True)
    row.button(
        "Mark", key=f"{_P}mark", type="primary", icon=":material/ink_highlighter:", on_click=_mark, args=(schema,)
    )
    spans = draft.entities or ()
    if spans:
        n = st.selectbox(
            "A mark", range(len(spans)), key=f"{_P}which",
            format_func=lambda n: f"{draft.text[spans[n].start : spans[n].end]}: {spans[n].type} ({spans[n].start})" if n < len(spans) else "",
        )  # fmt: skip
        row.button("Remove the mark", key=f"{_P}unmark", icon=":material/ink_eraser:", on_click=_unmark, args=(n,))
    row.button("Keep", key=f"{_P}keep", icon=":material/add:", on_click=keep_draft)
    row.button("Discard", key=f"{_P}discard", type="tertiary", on_click=_discard)


def _begin() -> None:
    state = st.session_state
    try:
        state[DRAFT] = Document(id="", text=state[f"{_P}sentence"].strip(), entities=())
    except ValueError:
        state[FAULT] = "The sentence holds half a sign: paste it again as plain text."
    state[RANGE], state[AT] = None, None


def _take_range(start: int, end: int) -> None:
    st.session_state[RANGE] = (start, end)


def _mark(schema: Schema) -> None:
    state = st.session_state
    draft: Document = state[DRAFT]
    words = str(state.get(f"{_P}words") or "").strip()
    type_ = state[f"{_P}type"]
    if type_ == NEW:
        type_ = str(state.get(f"{_P}new") or "").strip()
        if not type_:
            state[FAULT] = "Say what the words are: give the new type a name."
            return
    chosen: tuple[int, int] | None = state.get(RANGE)
    places = places_of(draft.text, words) if words else [chosen] if chosen is not None else []
    if not places:
        state[FAULT] = (
            f"“{plain(words, 80)}” does not stand in the sentence: type it exactly as it is written there."
            if words
            else "Select words in the sentence, or type them, before you mark them."
        )
        return
    if type_ not in {label.name for label in schema.entities}:
        form = schema.to_json()
        try:
            set_schema(Schema.read({**form, "entities": [*form.get("entities", ()), type_]}))
        except SchemaError as fault:
            state[FAULT] = in_words(fault)
            return
        state[f"{_P}type"] = type_
    spans = [Span(start=start, end=end, type=type_) for start, end in places]
    state[DRAFT] = draft.model_copy(update={"entities": tuple(dict.fromkeys((*(draft.entities or ()), *spans)))})
    state[RANGE], state[f"{_P}words"] = None, ""


def _unmark(number: int) -> None:
    draft: Document = st.session_state[DRAFT]
    left = tuple(span for n, span in enumerate(draft.entities or ()) if n != number)
    st.session_state[DRAFT] = draft.model_copy(update={"entities": left})


def keep_draft() -> None:
    """Put the draft where it was taken from, or at the end; an example with the same text makes room."""
    state = st.session_state
    draft: Document = state[DRAFT]
    shots = kept_lists()[1]
    at = state.get(AT)
    same = next((n for n, shot in enumerate(shots) if shot.text == draft.text), None)
    at = same if at is None or at >= len(shots) else at
    made = draft.model_copy(update={"entities": tuple(sorted(draft.entities or (), key=lambda s: (s.start, s.end)))})
    if at is not None:
        shots[at] = made
        shots[:] = [shot for n, shot in enumerate(shots) if n == at or shot.text != made.text]
    elif len(shots) >= MOST_SHOTS:
        state[FAULT] = f"{MOST_SHOTS} demonstrations are the most: remove one first."
        return
    else:
        shots.append(made)
    number(shots)
    state[f"{_P}sentence"] = ""
    _discard()


def _discard() -> None:
    st.session_state[DRAFT] = st.session_state[RANGE] = st.session_state[AT] = None


# ------------------------------------------------------------------ the list
def _list(shots: list[Document]) -> None:
    state = st.session_state
    if not shots:
        st.caption("None yet: write one on the left, bring a file, or press Correct under a result and keep it.")
        return
    rows = [{"n": n, "text": shot.text, "marks": said(shot)} for n, shot in enumerate(shots, 1)]
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, key=f"{_P}table", height=min(35 * len(rows) + 38, 260),
        column_config={"n": st.column_config.NumberColumn("", width=30)},
    )  # fmt: skip
    if (state.get(f"{_P}chosen") or 0) >= len(shots):
        state[f"{_P}chosen"] = len(shots) - 1
    row = st.container(horizontal=True, vertical_alignment="bottom")
    n = row.selectbox(
        "Demonstration", range(len(shots)), key=f"{_P}chosen", width=150,
        format_func=lambda n: f"{n + 1}. {shots[n].text[:40]}" if n < len(shots) else "",
    )  # fmt: skip
    for name, icon, work, off in (
        ("Up", "arrow_upward", _move, n == 0), ("Down", "arrow_downward", _move, n == len(shots) - 1),
        ("Edit", "edit", _edit, False), ("Remove", "delete", _remove, False),
    ):  # fmt: skip
        args = (n, -1 if name == "Up" else 1) if work is _move else (n,)
        row.button(
            name,
            key=f"{_P}{name.lower()}",
            icon=f":material/{icon}:",
            on_click=work,
            args=args,
            disabled=off,
            type="tertiary",
        )
    first = state.get(FIRST)
    if first is not None and not 1 <= first <= len(shots):
        state[FIRST] = None
    st.number_input(
        "Shown to the engine: the first", 1, len(shots), key=FIRST, value=None, placeholder=f"all {len(shots)}",
        help="In the order of the list. Empty: all.",
    )  # fmt: skip
    row = st.container(horizontal=True)
    row.download_button(
        "JSONL", data=jsonl_bytes(shots), file_name="demonstrations.jsonl", mime="application/jsonl", key=f"{_P}download",
        icon=":material/download:", on_click="ignore", type="tertiary",
    )  # fmt: skip
    row.button("Remove all", key=f"{_P}clear", type="tertiary", icon=":material/delete_sweep:", on_click=shots.clear)


def said(shot: Document) -> str:
    """What is marked in an example."""
    return "; ".join(f"{shot.text[s.start : s.end]}: {s.type}" for s in shot.entities or ())


def _move(at: int, by: int) -> None:
    shots = kept_lists()[1]
    other = at + by
    if 0 <= other < len(shots):
        shots[at], shots[other] = shots[other], shots[at]
        number(shots)
        st.session_state[f"{_P}chosen"] = other


def _edit(at: int) -> None:
    state = st.session_state
    shot = kept_lists()[1][at]
    state[DRAFT], state[AT], state[RANGE], state[f"{_P}sentence"] = shot, at, None, shot.text


def _remove(at: int) -> None:
    shots = kept_lists()[1]
    del shots[at]
    number(shots)
