"""The middle and right of Extract: the marked text, and its results as table, cards, arcs and triplets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from pages.parts.words import count, plain
from workbench.extract import Document, Extraction, Relation, Schema
from workbench.extract.marks import Units, lines_of, marks_of
from workbench.figures.interactive_arcs import MOST, Arc, arcs
from workbench.figures.marked import colour_of, colours, drawn_layers
from workbench.figures.marked_script import MARKED_CSS, MARKED_JS

MOST_MARKS = 3000  # drawn on one text
MOST_ROWS = 5000  # of a table on the page; the files hold all
LONG = 1200  # characters
Pick = tuple[str, int]  # kind ("entity", "relation", "event") and index

_JS = (
    MARKED_JS
    + """
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".wb-marked");
  root.setAttribute("aria-label", data.name);
  wbMarked(root, data, { pick: (n) => setTriggerValue("pick", n), select: (range) => setTriggerValue("range", range) });
}
"""
)
_CSS = f":host {{ display: block; }} .wb-marked {{ color: var(--st-text-color); font-family: var(--st-font); }} {MARKED_CSS}"


@cache
def _component() -> Any:
    return st.components.v2.component(
        "workbench_marked_text", html='<div class="wb-marked" role="group"></div>', css=_CSS, js=_JS
    )


def show_marked(
    document: Document,
    colour: dict[str, str],
    key: str,
    picked: Pick | None = None,
    on_pick: Callable[[Pick], None] | None = None,
    on_range: Callable[[int, int], None] | None = None,
    height: int | None = 460,
) -> None:
    """The text with its marks.

    Args:
        on_pick: told which entity or event was clicked. on_range: told the code points of words that were selected.
    """
    marks = marks_of(document)
    if len(marks) > MOST_MARKS:
        st.caption(
            f"The first {MOST_MARKS:,} of {len(marks):,} marks are drawn; raise the threshold or choose fewer types."
        )
        marks = sorted(marks)[:MOST_MARKS]
    units, layer = Units(document.text), drawn_layers(marks)
    at = next(
        (
            n
            for n, m in enumerate(marks)
            if picked == (("entity" if m.kind == "entity" else "event"), m.number) and m.kind != "argument"
        ),
        -1,
    )
    data = {
        "text": document.text,
        "name": "Text with its results: Tab moves between them, Enter picks one",
        "depth": max(layer, default=-1) + 1,
        "picked": at,
        "marks": [
            {
                "start": units.to_units(mark.start), "end": units.to_units(mark.end), "label": mark.label, "score": mark.score,
                "layer": layer[n], "colour": colour_of(mark.label, colour),
            }
            for n, mark in enumerate(marks)
        ],
    }  # fmt: skip

    def take_pick() -> None:
        place = st.session_state[key].get("pick")
        if on_pick is not None and place is not None and 0 <= int(place) < len(marks):
            mark = marks[int(place)]
            on_pick(("entity" if mark.kind == "entity" else "event", mark.number))

    def take_range() -> None:
        span = st.session_state[key].get("range")
        if on_range is not None and isinstance(span, dict):
            on_range(units.to_points(int(span["start"])), units.to_points(int(span["end"])))

    long = height is not None and len(document.text) > LONG  # a long text scrolls in a box
    with st.container(height=height if long else "content", border=True, key=f"{key}.box"):
        _component()(key=key, data=data, on_pick_change=take_pick, on_range_change=take_range)


def label_colours(schema: Schema) -> dict[str, str]:
    """A colour for every label of a schema, fixed by its place in it."""
    return colours(schema.labels())


# ------------------------------------------------------------------ the right side
def show_results(
    document: Document,
    extraction: Extraction,
    schema: Schema,
    colour: dict[str, str],
    prefix: str,
    on_pick: Callable[[Pick], None],
) -> None:
    """Table, cards, arcs and, where the schema asks for it, sentiment.

    Args:
        document: what of the extraction is chosen.
        schema: as it was asked, sentiment not written out.
        prefix: of the keys of what is drawn.
    """
    has_sentiment = schema.sentiment is not None or any(
        r.head.type == "aspect" and r.tail.type == "opinion" for r in document.relations or ()
    )
    tabs = st.tabs(["Table", "Cards", "Arcs", *(["Sentiment"] if has_sentiment else [])], key=f"{prefix}tabs")
    with tabs[0]:
        if document.entities or document.relations or document.events:
            _table(document, prefix, on_pick)
        else:
            _nothing(extraction, prefix)
    with tabs[1]:
        if document.entities or document.relations or document.events:
            _cards(document, colour)
        else:
            st.caption("Nothing is chosen, so there is no card.")
    with tabs[2]:
        _arcs(document, extraction, schema, colour, prefix)
    if has_sentiment:
        with tabs[3]:
            _triplets(document)


def _nothing(extraction: Extraction, prefix: str) -> None:
    """Why the table is empty, and a way to the best of what was kept below the threshold."""
    scores = [
        item.score or 0.0 for part in (extraction.entities, extraction.relations, extraction.events) for item in part
    ]
    if not scores:
        st.caption(
            "Nothing was found, not even a weak candidate: no threshold shows more. Try other types, or other words for them."
        )
        return
    best = max(scores)
    st.caption(
        f"Nothing passes what is chosen. {count(len(scores), 'candidate was', 'candidates were')} kept, the best with a score of {best:.2f}."
    )

    def lower() -> None:
        state = st.session_state
        state[f"{prefix}threshold"], state[f"{prefix}touched"], state[f"{prefix}labels"] = extraction.floor, True, []

    st.button("Show them", key=f"{prefix}show.weak", icon=":material/visibility:", on_click=lower)


def rows_for_table(document: Document) -> tuple[pd.DataFrame, list[Pick]]:
    """What the table shows, and the result behind each row."""
    rows, picks = [], []
    entity = relation = 0
    for line in lines_of(document):
        kind = line["kind"]
        if kind == "relation":
            words, picks_to = f"{line['head']} → {line['tail']}", ("relation", relation)
            relation += 1
        elif kind == "entity":
            words, picks_to = line["text"], ("entity", entity)
            entity += 1
        else:
            words, picks_to = line["text"], ("event", line["event"])
        name = line["type"] if line["role"] is None else f"{line['type']}: {line['role']}"
        start = line["head_start"] if kind == "relation" else line["start"]
        rows.append({"kind": kind, "type": name, "words": words, "score": line["score"], "at": start})
        picks.append(picks_to)
    return pd.DataFrame(rows, columns=["kind", "type", "words", "score", "at"]), picks


def columns_of_table(width: dict[str, int] | None = None) -> dict[str, Any]:
    """How the columns of `rows_for_table` are named and written, wherever they are shown.

    Args:
        width: of a column in pixels; one that is not named takes the room that is left.
    """
    wide = width or {}
    return {
        "kind": st.column_config.TextColumn("Kind", width=wide.get("kind")),
        "type": st.column_config.TextColumn("Type", width=wide.get("type")),
        "words": st.column_config.TextColumn("Words", width=wide.get("words")),
        # A number and no bar: in a narrow column a bar takes the room of its number.
        "score": st.column_config.NumberColumn("Score", format="%.2f", width=wide.get("score")),
        "at": st.column_config.NumberColumn(
            "At", help="First character, counted from 0 in Unicode code points.", width=wide.get("at")
        ),
    }


def _table(document: Document, prefix: str, on_pick: Callable[[Pick], None]) -> None:
    frame, picks = rows_for_table(document)
    key = f"{prefix}table"

    def take() -> None:
        rows = st.session_state[key]["selection"]["rows"]
        if rows:
            on_pick(picks[rows[0]])

    st.dataframe(
        frame.head(MOST_ROWS), key=key, hide_index=True, on_select=take, selection_mode="single-row",
        height=min(420, 42 + 30 * len(frame)), row_height=30, column_order=["words", "type", "score", "kind", "at"],
        # They fit the column at 1,500 pixels; left to itself the table keeps the widths of the first text.
        column_config=columns_of_table({"words": 128, "type": 88, "score": 52}),
    )  # fmt: skip
    shown = f"The first {MOST_ROWS:,} of " if len(frame) > MOST_ROWS else ""
    st.caption(f"{shown}{count(len(frame), 'row')}; the box before a row picks it.")


def _cards(document: Document, colour: dict[str, str]) -> None:
    """A card for each event, for each type of relation, and for each type of entity with its mentions, the same words in one line with how often."""
    out = []
    text = document.text

    def faint(score: float | None) -> str:
        return "" if score is None else f" <span style='opacity:.7'>{score:.2f}</span>"

    def head(name: str, score: float | None = None) -> str:
        return f"<div style='font-weight:600'>{escape(name)}{faint(score)}</div>"  # its colour is the card's edge

    def card(inner: str, name: str) -> str:
        return (
            f"<div style='border:1px solid rgba(128,128,128,.35);border-left:4px solid {colour_of(name, colour)};border-radius:.4rem;"
            f"padding:.45rem .7rem;margin-bottom:.5rem;overflow-wrap:anywhere'>{inner}</div>"
        )

    for event in (document.events or ())[:200]:
        rows = [f"<div><b>{escape(text[event.trigger.start : event.trigger.end])}</b></div>"]
        for a in event.arguments:
            rows.append(
                f"<div><span style='opacity:.7'>{escape(a.role)}:</span> {escape(text[a.start : a.end])}{faint(a.score)}</div>"
            )
        out.append(card(head(event.type, event.score) + "".join(rows), event.type))
    for type_, related in _by_type(document.relations or ()).items():
        rows = [
            f"<div>{escape(text[r.head.start : r.head.end])} → {escape(text[r.tail.start : r.tail.end])}{faint(r.score)}</div>"
            for r in related[:200]
        ]
        out.append(card(head(type_) + "".join(rows), type_))
    by_type: dict[str, list[tuple[str, float | None]]] = {}
    for span in document.entities or ():
        by_type.setdefault(span.type, []).append((text[span.start : span.end], span.score))
    for type_, mentions in by_type.items():
        often = Counter(words for words, _ in mentions)
        best: dict[str, float | None] = {}
        for words, score in mentions:
            best[words] = max((s for s in (best.get(words), score) if s is not None), default=None)
        lines = []
        for words, times in list(often.items())[:200]:
            more = f" <span style='opacity:.7'>× {times}</span>" if times > 1 else ""
            lines.append(f"<div>{escape(words)}{more}{faint(best[words])}</div>")
        out.append(card(head(type_) + "".join(lines), type_))
    with st.container(height=460, border=False):
        st.html("".join(out))


def _by_type(relations: Iterable[Relation]) -> dict[str, list[Relation]]:
    found: dict[str, list[Relation]] = {}
    for relation in relations:
        found.setdefault(relation.type, []).append(relation)
    return found


def _arcs(document: Document, extraction: Extraction, schema: Schema, colour: dict[str, str], prefix: str) -> None:
    links = [
        Arc(r.type, (r.head.start, r.head.end), (r.tail.start, r.tail.end), r.score) for r in document.relations or ()
    ]
    links += [
        Arc(f"{event.type}: {a.role}", (event.trigger.start, event.trigger.end), (a.start, a.end), a.score)
        for event in document.events or ()
        for a in event.arguments
    ]
    if not links:
        asked = schema.expanded()
        if not (asked.relations or asked.events):
            st.caption("The schema asks for no relation and no event.")
        elif not (extraction.wanted.relations or extraction.wanted.events):
            st.caption("This engine finds entities only, so there is nothing to join.")
        elif weaker := len(extraction.relations) + sum(len(event.arguments) for event in extraction.events):
            st.caption(f"No link passes what is chosen; {count(weaker, 'weaker one')} would show at a lower threshold.")
        else:
            st.caption("No relation and no argument was found, not even a weak one.")
        return
    shades = {link.name: colour_of(link.name, colour) for link in links}
    st.plotly_chart(arcs(document.text, links, shades), key=f"{prefix}arcs", config={"displayModeBar": False})
    cut = f" The first {MOST} of {len(links):,} are drawn." if len(links) > MOST else ""
    st.caption(f"From head to tail, and from trigger to argument, mentions in the order of the text.{cut}")


def _triplets(document: Document) -> None:
    text = document.text
    rows = [
        {
            "aspect": text[r.head.start : r.head.end],
            "opinion": text[r.tail.start : r.tail.end],
            "polarity": r.type,
            "score": r.score,
        }
        for r in document.relations or ()
        if r.head.type == "aspect" and r.tail.type == "opinion"
    ]
    if not rows:
        st.caption("No aspect with an opinion was found at this threshold.")
        return
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, height=min(460, 42 + 35 * len(rows)),
        column_config={
            **{name: st.column_config.TextColumn(name.capitalize()) for name in ("aspect", "opinion", "polarity")},
            "score": st.column_config.NumberColumn("Score", format="%.2f"),
        },
    )  # fmt: skip
    often = Counter(row["polarity"] for row in rows)
    st.caption(" · ".join(f"{plain(name)}: {times}" for name, times in often.most_common()))
