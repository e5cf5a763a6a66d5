"""Correct a result by hand, and keep it as gold or as a demonstration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import streamlit as st

from pages.parts.extract_job import jsonl_bytes
from pages.parts.extract_view import columns_of_table, label_colours, rows_for_table, show_marked
from pages.parts.faults import in_words
from pages.parts.words import count, plain
from workbench.extract import Document, Event, ExtractError, Relation, Schema, Span
from workbench.extract.marks import places_of
from workbench.extract.records import Argument

_P = "extract."
DRAFT, GOLD, SHOTS = f"{_P}draft", f"{_P}gold", f"{_P}demonstrations"


def kept_lists() -> tuple[list[Document], list[Document]]:
    """What this tab keeps: gold, demonstrations."""
    state = st.session_state
    gold: list[Document] = state.setdefault(GOLD, [])
    shots: list[Document] = state.setdefault(SHOTS, [])
    return gold, shots


def begin(document: Document) -> None:
    """Begin to correct what is shown; scores go, because a person has no score."""
    st.session_state[DRAFT] = without_scores(document)
    st.session_state[f"{_P}range"] = None


def without_scores(document: Document) -> Document:
    """The same items without their scores."""

    def bare(span: Span) -> Span:
        return Span(start=span.start, end=span.end, type=span.type)

    return Document(
        id=document.id,
        text=document.text,
        entities=None if document.entities is None else tuple(dict.fromkeys(bare(s) for s in document.entities)),
        relations=None
        if document.relations is None
        else tuple(
            dict.fromkeys(Relation(type=r.type, head=bare(r.head), tail=bare(r.tail)) for r in document.relations)
        ),
        events=None
        if document.events is None
        else tuple(
            Event(
                type=e.type,
                trigger=bare(e.trigger),
                arguments=tuple(Argument(role=a.role, start=a.start, end=a.end) for a in e.arguments),
            )
            for e in document.events
        ),
    )


def show_draft(schema: Schema) -> None:
    """The editor: select words to mark them, pick rows to remove them, join two entities."""
    draft: Document = st.session_state[DRAFT]
    with st.container(border=True, key=f"{_P}correct"):
        st.markdown("**Correct it**")
        st.caption("Select words in the text, or type them, then say what they are.")
        show_marked(draft, label_colours(schema), f"{_P}draft.text", on_range=_take_range, height=300)
        if fault := st.session_state.pop(f"{_P}draft.fault", ""):
            st.error(fault)
        _add(draft, schema)
        _rows(draft, schema.expanded())
        row = st.container(horizontal=True)
        row.button("Keep as gold", key=f"{_P}keep.gold", icon=":material/verified:", on_click=_keep, args=(GOLD,))
        row.button(
            "Keep as demonstration", key=f"{_P}keep.shot", icon=":material/school:", on_click=_keep, args=(SHOTS,)
        )
        row.button("Discard", key=f"{_P}keep.none", type="tertiary", on_click=_discard)


def _take_range(start: int, end: int) -> None:
    st.session_state[f"{_P}range"] = (start, end)
    st.session_state[f"{_P}add.words"] = ""


def _add(draft: Document, schema: Schema) -> None:
    whole = schema.expanded()
    chosen: tuple[int, int] | None = st.session_state.get(f"{_P}range")
    kinds = {f"entity: {label.name}": ("entity", label.name) for label in whole.entities}
    kinds |= {f"trigger: {name}": ("trigger", name) for name in whole.events}
    for n, event in enumerate(draft.events or ()):
        words = draft.text[event.trigger.start : event.trigger.end]
        for role in whole.events.get(event.type, ()):
            kinds[f"{role} of {event.type} “{words}” ({n + 1})"] = (f"argument:{n}", role)
    if kinds:
        typing, saying, adding = st.columns([3, 3, 1], vertical_alignment="bottom")
        words = typing.text_input(
            "Words", key=f"{_P}add.words", max_chars=1000, placeholder="selected, or typed as they stand there",
            help="Typed words are marked wherever they stand.",
        ).strip()  # fmt: skip
        places = places_of(draft.text, words) if words else [chosen] if chosen is not None else []
        said = words or (draft.text[slice(*chosen)] if chosen is not None else "")
        what = saying.selectbox(
            f"“{plain(said, 60)}” is" if places else "What they are", list(kinds), key=f"{_P}add.as"
        )
        adding.button(
            "Add", key=f"{_P}add", type="primary", disabled=not places, on_click=_put, args=(draft, *kinds[what], places),
            help=None if places else "Select or type words first.",
        )  # fmt: skip
        if words and not places:
            st.caption(f"“{plain(words, 80)}” does not stand in the text: type it exactly as it is written there.")
    if whole.relations and len(draft.entities or ()) > 1:
        _join_row(draft, whole)


def _join_row(draft: Document, schema: Schema) -> None:
    """A relation and two entities that it may join; ends that do not fit are not offered."""
    entities = list(draft.entities or ())
    often = Counter(entity.type for entity in entities)  # a long text has thousands of mentions, but few types

    def has_tail(name: str, head: str) -> bool:
        return any(schema.allows(name, head, tail) and often[tail] > (tail == head) for tail in often)

    heads = {name: {type_ for type_ in often if has_tail(name, type_)} for name in schema.relations}
    fitting = [name for name, types in heads.items() if types]
    if not fitting:
        st.caption("No two entities here have types that a relation of the schema may join.")
        return

    def said(n: int) -> str:
        return f"{draft.text[entities[n].start : entities[n].end]} ({entities[n].type}, {entities[n].start})"

    def tails_of(head: int) -> list[int]:
        tails = {type_ for type_ in often if schema.allows(name, entities[head].type, type_)}
        return [n for n, entity in enumerate(entities) if n != head and entity.type in tails]

    def free(head: int) -> int | None:
        """The first end that is not joined to this one yet."""
        return next((n for n in tails_of(head) if (name, entities[head].key, entities[n].key) not in joined), None)

    joined = {(r.type, r.head.key, r.tail.key) for r in draft.relations or ()}
    one, two, three, four = st.columns([3, 3, 3, 1], vertical_alignment="bottom")
    name = one.selectbox("Relation", fitting, key=f"{_P}rel.name")
    froms = [n for n, entity in enumerate(entities) if entity.type in heads[name]]
    # The row starts at a pair that is still to be joined.
    _start(f"{_P}rel.head", froms, next((n for n in froms if free(n) is not None), None))
    head = two.selectbox("From", froms, format_func=said, key=f"{_P}rel.head")
    tos = tails_of(head)
    _start(f"{_P}rel.tail", tos, free(head))
    tail = three.selectbox("To", tos, format_func=said, key=f"{_P}rel.tail")
    there = (name, entities[head].key, entities[tail].key) in joined
    four.button(
        "Join", key=f"{_P}rel.add", disabled=there, on_click=_join, args=(draft, name, entities[head], entities[tail]),
        help="These two are joined already." if there else None,
    )  # fmt: skip


def _start(key: str, options: list[int], value: int | None) -> None:
    """What a choice begins with, where nothing that it still offers is chosen; None: its first option."""
    if value is not None and st.session_state.get(key) not in options:
        st.session_state[key] = value


def _rows(draft: Document, schema: Schema) -> None:
    """Everything that is marked, a row each: pick rows to remove them, or to give entities another type."""
    frame, picks = rows_for_table(draft)
    if frame.empty:
        return
    # The tools of a table lie over what stands right above it: this line, and not the button Join.
    st.caption("Pick rows of the table to remove them, or entities to change their type.")
    event = st.dataframe(
        frame.drop(columns="score"),
        column_config=columns_of_table(),
        key=f"{_P}draft.table",
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        height=220,
    )
    rows = event.selection.rows
    line = st.container(horizontal=True, vertical_alignment="bottom")
    line.button(
        f"Remove {count(len(rows), 'row')}" if rows else "Remove", key=f"{_P}remove", disabled=not rows, icon=":material/delete:",
        on_click=_drop, args=(draft, [(frame["kind"][n], frame["type"][n], int(frame["at"][n]), picks[n]) for n in rows]),
        help=None if rows else "Pick rows first.",
    )  # fmt: skip
    types = [label.name for label in schema.entities]
    if rows and types and all(frame["kind"][n] == "entity" for n in rows):
        to = line.selectbox("Type", types, key=f"{_P}retype", label_visibility="collapsed", width=200)
        line.button(
            "Change type", key=f"{_P}retype.go", icon=":material/label:", on_click=_retype, args=(draft, [picks[n][1] for n in rows], to)
        )  # fmt: skip


def _set(draft: Document, **parts: Any) -> None:
    try:
        st.session_state[DRAFT] = Document.read({**draft.to_json(), **parts})
    except ExtractError as fault:
        st.session_state[f"{_P}draft.fault"] = in_words(fault)


def _put(draft: Document, kind: str, name: str, places: Sequence[tuple[int, int]]) -> None:
    spans = [Span(start=start, end=end, type=name) for start, end in places]
    if kind == "entity":
        _set(draft, entities=tuple(dict.fromkeys((*(draft.entities or ()), *spans))))
    elif kind == "trigger":
        more = (Event(type=name, trigger=span) for span in spans)
        _set(draft, events=tuple(dict.fromkeys((*(draft.events or ()), *more))))
    else:
        events = list(draft.events or ())
        n = int(kind.partition(":")[2])
        arguments = (*events[n].arguments, *(Argument(role=name, start=s.start, end=s.end) for s in spans))
        events[n] = events[n].model_copy(update={"arguments": tuple(dict.fromkeys(arguments))})
        _set(draft, events=tuple(events))
    st.session_state[f"{_P}range"], st.session_state[f"{_P}add.words"] = None, ""


def _retype(draft: Document, numbers: Sequence[int], name: str) -> None:
    """Give entities another type; relations keep them as ends."""
    before = draft.entities or ()
    changed = {before[n].key: before[n].model_copy(update={"type": name}) for n in numbers}

    def now(span: Span) -> Span:
        return changed.get(span.key, span)

    parts: dict[str, Any] = {"entities": tuple(dict.fromkeys(map(now, before)))}
    if draft.relations is not None:
        ends = (r.model_copy(update={"head": now(r.head), "tail": now(r.tail)}) for r in draft.relations)
        parts["relations"] = tuple(dict.fromkeys(ends))
    _set(draft, **parts)


def _join(draft: Document, name: str, head: Span, tail: Span) -> None:
    relation = Relation(type=name, head=head, tail=tail)
    _set(draft, relations=tuple(dict.fromkeys((*(draft.relations or ()), relation))))


def _drop(draft: Document, rows: list[tuple[str, str, int, tuple[str, int]]]) -> None:
    """Take rows out; a relation goes with its ends, an argument without its event."""
    gone_entities = {pick[1] for kind, _, _, pick in rows if kind == "entity"}
    gone_relations = {pick[1] for kind, _, _, pick in rows if kind == "relation"}
    gone_events = {pick[1] for kind, _, _, pick in rows if kind == "trigger"}
    gone_arguments = {(pick[1], type_.partition(": ")[2], at) for kind, type_, at, pick in rows if kind == "argument"}
    parts: dict[str, Any] = {}
    if draft.entities is not None:
        lost = {draft.entities[n].key for n in gone_entities}
        parts["entities"] = tuple(s for s in draft.entities if s.key not in lost)
    else:
        lost = set()
    if draft.relations is not None:
        parts["relations"] = tuple(
            r
            for n, r in enumerate(draft.relations)
            if n not in gone_relations and r.head.key not in lost and r.tail.key not in lost
        )
    if draft.events is not None:
        parts["events"] = tuple(
            e.model_copy(
                update={"arguments": tuple(a for a in e.arguments if (n, a.role, a.start) not in gone_arguments)}
            )
            for n, e in enumerate(draft.events)
            if n not in gone_events
        )
    _set(draft, **parts)


def _keep(where: str) -> None:
    draft: Document = st.session_state[DRAFT]
    found: list[Document] = st.session_state.setdefault(where, [])
    found[:] = [d for d in found if d.text != draft.text]  # a text kept again takes the place of what it was
    found.append(draft.model_copy(update={"id": str(len(found) + 1)}))
    st.session_state[DRAFT] = None


def _discard() -> None:
    st.session_state[DRAFT] = None


def show_kept(uses_shots: bool, engine: str) -> None:
    """The gold that is kept, with a download; of demonstrations how many, since they have a place of their own."""
    gold, shots = kept_lists()
    with st.expander(f"Kept: {len(gold)} gold, {count(len(shots), 'demonstration')}", icon=":material/inventory_2:"):
        for n, document in enumerate(gold):
            row = st.container(horizontal=True, vertical_alignment="center")
            row.caption(plain(document.text, 70))
            row.button("Remove", key=f"{_P}kept.gold.{n}", type="tertiary", on_click=gold.pop, args=(n,))
        if gold:
            st.download_button(
                "JSONL", data=jsonl_bytes(gold), file_name="gold.jsonl", mime="application/jsonl", key=f"{_P}kept.gold.download",
                icon=":material/download:", on_click="ignore",
            )  # fmt: skip
        else:
            st.caption("None yet: press Correct under a result.")
        if not uses_shots:
            st.caption(f"{plain(engine)} does not learn from demonstrations; they are kept for engines that do.")
