"""Extract: a second engine on the same text, and where the two agree."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pages.parts.extract_job import Run
from pages.parts.extract_view import label_colours, show_marked
from pages.parts.words import count, plain
from workbench.extract import Document
from workbench.extract.marks import lines_of

_P = "extract."
MOST_ROWS = 2000


def show_beside(first: Run, shown: Document, second: Run, other: Document, said: str) -> None:
    """The text as the second engine reads it, and both engines' results in one table.

    Args:
        shown, other: what is chosen of the two. said: which engine the second is, and how it ran.
    """
    names = plain(first.which.engine), plain(second.which.engine)  # the page offers no engine beside itself
    with st.container(border=True, key=f"{_P}beside.box"):
        st.markdown(f"**{names[0]} beside {names[1]}**")
        left, right = st.columns(2, gap="medium")
        with left:
            st.caption(said)
            show_marked(other, label_colours(second.schema), f"{_P}marked.beside")
            for note in second.extraction.notes:
                st.caption(plain(note, 400))
        with right:
            frame = compared(shown, other, names)
            if frame.empty:
                st.caption("Neither finds anything at this threshold.")
                return
            both = frame[[*names]].notna().all(axis=1)
            only = [int(frame[name].notna().sum() - both.sum()) for name in names]
            st.caption(
                f"{count(int(both.sum()), 'result')} of both, {only[0]:,} of {names[0]} alone, {only[1]:,} of {names[1]} alone; the same place and type is the same result."
            )
            if st.toggle("Only where they differ", key=f"{_P}beside.differ"):
                frame = frame[~both]
            st.dataframe(
                frame.head(MOST_ROWS), key=f"{_P}beside.table", hide_index=True, height=min(420, 42 + 35 * max(1, len(frame))),
                column_config={
                    "words": st.column_config.TextColumn("Words"),
                    "type": st.column_config.TextColumn("Type"),
                    **{name: st.column_config.NumberColumn(name, format="%.2f") for name in names},
                },
            )  # fmt: skip


def compared(one: Document, other: Document, names: tuple[str, str]) -> pd.DataFrame:
    """Results of two documents on the same text, a row each: words, type, and the score that each gives it, empty where it has none."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, document in zip(names, (one, other), strict=True):
        for line in lines_of(document):
            if line["kind"] == "relation":
                start, *rest = (line[f"{end}_{side}"] for end in ("head", "tail") for side in ("start", "end"))
                words = f"{line['head']} → {line['tail']}"
            else:
                start, rest, words = line["start"], [line["end"]], line["text"]
            label = line["type"] if line["role"] is None else f"{line['type']}: {line['role']}"
            # in the order of the text, the longer of what begins together first
            key = (start, line["kind"], *(-place for place in rest), label)
            row = rows.setdefault(key, {"words": words, "type": label, **dict.fromkeys(names)})
            score = 1.0 if line["score"] is None else float(line["score"])
            row[name] = max(score, row[name] or 0.0)  # two events of a type may have the same argument
    frame = pd.DataFrame([rows[key] for key in sorted(rows)], columns=["words", "type", *names])
    return frame.astype(dict.fromkeys(names, "float64"))
