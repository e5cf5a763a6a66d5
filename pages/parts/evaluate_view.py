"""What an evaluation shows: scores beside published figures, by type, and the errors in their texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from pages.parts.extract_job import Evaluated
from pages.parts.words import count, plain
from workbench.extract.evaluate import CATEGORIES, KINDS, METRICS, SPANS, Evaluation, Mistake, published
from workbench.extract.evaluate.mistakes import Item
from workbench.extract.evaluate.stored import Figure
from workbench.extract.marks import Mark
from workbench.figures.marked import colours, marked_html

P = "evaluate."
SHOWN = 20  # errors on the page at once
WHOLE = 20  # rows of a table that is drawn without a scroll bar of its own
AROUND = 220  # characters of context on each side
SAID = {
    ("entity",): "Entities",
    ("relation", "strict"): "Relations, ends with their types",
    ("relation", "boundary"): "Relations, ends alone",
    ("event", "trigger"): "Event triggers",
    ("event", "argument"): "Event arguments",
}
WHY = {
    "missed": "Gold that has no counterpart.",
    "spurious": "Found, but nothing in gold is there.",
    "boundary": "The right type, at borders that overlap but differ.",
    "type": "The right place, another type.",
}


def show_scores(found: Evaluated, of: str) -> None:
    """The table of metrics, published figures under it, and the types of one metric; `of` as in `show_errors`."""
    result, order = found.evaluation, found.order
    rows = []
    for metric in METRICS:
        for spans in SPANS:
            score = result.scores[metric, spans]
            if not score.texts or not (score.count.gold or score.count.predicted):
                continue
            between = f"{score.interval[0]:.1%} to {score.interval[1]:.1%}" if score.interval else "-"
            c = score.count
            rows.append(
                {
                    "what": SAID[metric], "compared by": spans, "precision": c.precision, "recall": c.recall, "F1": c.f1, "95 % interval": between,
                    "right": c.right, "gold": c.gold, "found": c.predicted,
                }
            )  # fmt: skip
    if not rows:
        st.info("Nothing in these texts is annotated with a type of the schema, so there is nothing to score.")
        return
    _shares(pd.DataFrame(rows), f"{P}scores")
    over = (
        f"{result.resamples:,} resamples of the texts"
        if any(row["95 % interval"] != "-" for row in rows)
        else "no interval: too few texts"
    )
    st.caption(f"Micro precision, recall and F1 as UIE's scorer counts them. Interval of F1: {over}.")
    stated = published(order.name, order.split) if order.gold is None and order.limit is None else ()
    if stated:
        lines = [
            {"model": s.model, "parameters": f"{s.parameters} M", "what": SAID[s.metric], "F1": s.f1} for s in stated
        ]
        st.markdown("**Published for the same split**")
        _shares(pd.DataFrame(lines), f"{P}published")
        st.caption("By offset, as their papers state it; models and training data differ, so read it as a yardstick.")
    there = [metric for metric in METRICS if any(row["what"] == SAID[metric] for row in rows)]
    with st.expander("By type", icon=":material/category:"):
        metric = st.selectbox("Of", there, key=f"{P}{of}.by", format_func=SAID.__getitem__)
        by = result.scores[metric, "offset"].by_type
        frame = pd.DataFrame(
            [
                {
                    "type": name,
                    "precision": c.precision,
                    "recall": c.recall,
                    "F1": c.f1,
                    "right": c.right,
                    "gold": c.gold,
                    "found": c.predicted,
                }
                for name, c in sorted(by.items(), key=lambda item: -item[1].gold)
            ]
        )
        _shares(frame, f"{P}types")


def show_figures(figures: Sequence[Figure]) -> None:
    """F1 of test parts, beside what papers state."""
    models = list(dict.fromkeys(model for each in figures for model in each.published))
    rows = []
    for each in figures:
        between = f"{each.low:.1%} to {each.high:.1%}" if each.low is not None and each.high is not None else "-"
        rows.append(
            {
                "test part": each.data + ("" if each.whole else ", first texts"), "what": SAID[tuple(each.what.split())], "F1": each.f1, "95 % interval": between,
                **{model: f"{each.published[model]:.1%}" if model in each.published else "" for model in models},
                "texts": each.texts, "gold": each.gold,
            }
        )  # fmt: skip
    _shares(pd.DataFrame(rows), f"{P}figures")
    beside = f" {' and '.join(models)}: as their papers state for the same part, tuned to each set." if models else ""
    st.caption(f"Micro F1 by offset under the sets' own type names; intervals over texts.{beside}")


def _shares(frame: pd.DataFrame, key: str) -> None:
    """A table whose precision, recall and F1 are shares, shown in per cent with one decimal; counts have their thousands apart."""
    columns = [name for name in ("precision", "recall", "F1") if name in frame]
    counts = [name for name in ("texts", "right", "gold", "found") if name in frame]
    st.dataframe(
        frame.assign(**{name: 100 * frame[name] for name in columns}),
        key=key,
        hide_index=True,
        height="content" if len(frame) <= WHOLE else "auto",
        column_config={name: st.column_config.NumberColumn(name, format="%.1f%%") for name in columns}
        | {name: st.column_config.NumberColumn(name, format="localized") for name in counts},
    )


def show_errors(found: Evaluated, of: str) -> None:
    """Errors of one kind and category, in context, gold above what was found.

    Args:
        of: name of the run or part. The boxes are its own: a box that goes on over two runs keeps showing the counts of the first.
    """
    key = f"{P}{of}.error"
    result = found.evaluation
    st.subheader("Where it is wrong")
    often = Counter((m.kind, m.category) for m in result.mistakes)
    if not often:
        st.success("No error by offset: everything that is annotated was found, and nothing else.")
        return
    table = [{"": kind, **{category: often[kind, category] for category in CATEGORIES}} for kind in KINDS if any(often[kind, c] for c in CATEGORIES)]  # fmt: skip
    st.dataframe(pd.DataFrame(table), key=f"{P}categories", hide_index=True)
    kinds = [row[""] for row in table]
    left, middle, right = st.columns(3)
    kind = left.selectbox(
        "Errors of",
        kinds,
        key=f"{key}.kind",
        format_func=lambda k: f"{k.capitalize()} ({sum(often[k, c] for c in CATEGORIES):,})",
    )
    options = [c for c in CATEGORIES if often[kind, c]]
    category = middle.selectbox(
        "Category",
        options,
        key=f"{key}.category.{kind}",
        format_func=lambda c: f"{c.capitalize()} ({often[kind, c]:,})",
    )
    mine = [m for m in result.mistakes if (m.kind, m.category) == (kind, category)]
    types = sorted({_type(m) for m in mine})
    wanted = right.multiselect("Types", types, key=f"{key}.types.{kind}.{category}", placeholder="All types")
    mine = [m for m in mine if not wanted or _type(m) in wanted]
    pages = max(-(-len(mine) // SHOWN), 1)
    page = int(st.number_input("Page", 1, pages, 1, key=f"{key}.page.{kind}.{category}")) if pages > 1 else 1
    st.caption(
        f"{WHY[category]} {count(len(mine), 'error')}, {(page - 1) * SHOWN + 1} to {min(page * SHOWN, len(mine))} shown."
    )
    colour = colours([f"gold: {t}" for t in types] + [f"found: {t}" for t in types])
    for mistake in mine[(page - 1) * SHOWN : page * SHOWN]:
        _one(result, mistake, colour)


def _type(mistake: Mistake) -> str:
    item = mistake.gold or mistake.predicted
    assert item is not None
    return item.type if not item.role else f"{item.type}: {item.role}"


def _one(result: Evaluation, mistake: Mistake, colour: dict[str, str]) -> None:
    gold = result.gold[mistake.document]
    places = [p for item in (mistake.gold, mistake.predicted) if item is not None for p in item.places]
    start = max(min(p[0] for p in places) - AROUND, 0)
    end = min(max(p[1] for p in places) + AROUND, len(gold.text))
    marks = [*_marks("gold", mistake.gold, start), *_marks("found", mistake.predicted, start)]
    shades: dict[str, Any] = {m.label: ("#009E73" if m.label.startswith("gold") else "#D55E00") for m in marks}
    before, after = "… " if start else "", " …" if end < len(gold.text) else ""
    with st.container(border=True):
        st.caption(plain(gold.id, 80))
        html = marked_html(gold.text[start:end], marks, colour | shades)
        st.html(f"<div style='display:flex;gap:.3em'>{before}<div>{html}</div>{after}</div>")


def _marks(side: str, item: Item | None, shift: int) -> list[Mark]:
    if item is None:
        return []
    name = item.type if not item.role else f"{item.type}: {item.role}"
    ends = ("", "") if len(item.places) == 1 else (" (head)", " (tail)")
    return [
        Mark(s - shift, e - shift, f"{side}: {name}{end}", None, side, 0)
        for (s, e), end in zip(item.places, ends, strict=False)
    ]
