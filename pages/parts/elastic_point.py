"""One sub-model on the Elastic page: its numbers, its routing beside the whole model's, carving it, and the budget."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from pages.parts.elastic_jobs import CarvedModel, Pair, stored_pair
from pages.parts.faults import in_words
from pages.parts.frame import follow
from pages.parts.making import models_at_hand
from pages.parts.recording_job import can_record
from pages.parts.words import plain, size
from workbench import session
from workbench.analysis.curve import COSTS, Curve, CurveTable
from workbench.capture import WorkbenchError
from workbench.elastic.places import CurvePlace
from workbench.jobs import Task

BUDGETS = {
    "Weights (MB)": ("bytes_stored", 1e6),
    "Active parameters (million)": ("parameters_active", 1e6),
    "Time to write a token (ms)": ("decode_ms_p50", 1.0),
    "Time to read the prompt (ms)": ("prefill_ms_p50", 1.0),
}


def show_point(place: CurvePlace, curve: Curve, table: CurveTable, picked: int) -> None:
    """The box with the sub-models, the numbers of the chosen one, and what can be done with it."""
    names = list(curve.rows["sub_model"])
    order = sorted(range(len(table.names)), key=lambda point: (not table.front[point], table.x[point]))
    st.session_state["elastic.sub_model"] = picked
    chosen = st.selectbox(
        "Sub-model",
        order,
        key="elastic.sub_model",
        format_func=lambda point: _label(table, point),
        help="Those on the Pareto front come first; a click on a point chooses it too.",
        on_change=_take,
        args=(names, list(table.names)),
    )
    row = curve.rows.iloc[names.index(table.names[chosen])]
    left, right = st.columns(2, gap="medium")
    left.dataframe(_numbers(row), hide_index=True, width="stretch")
    quality = curve.quality[
        (curve.quality["sub_model"] == table.names[chosen]) & (curve.quality["measure"] == table.measure)
    ]
    right.dataframe(_by_group(quality), hide_index=True, width="stretch")
    if row.get("measured") == "gathered":
        st.caption(
            "In brackets beside a time: where the median of a further run falls, if the machine drifts no more than it did in this one."
        )
    if row.get("measured") == "masked":
        st.caption(f"No time and no memory: {plain(str(row.get('masked_because')), limit=300)}")
    _actions(place, curve, row)


def _take(names: list[str], shown: list[str]) -> None:
    """The box was used: the point is kept as its row in the curve."""
    st.session_state["elastic.point"] = names.index(shown[st.session_state["elastic.sub_model"]])


def _label(table: CurveTable, point: int) -> str:
    name = "the whole model" if table.full[point] else table.names[point]
    return f"{name} (front)" if table.front[point] and not table.full[point] else name


def _numbers(row: Any) -> pd.DataFrame:
    def value(name: str, scale: float, unit: str, low: str = "", high: str = "") -> str:
        found = row.get(name)
        if found is None or pd.isna(found):
            return "not measured"
        spread = ""
        if low and row.get(low) is not None and not pd.isna(row[low]):
            spread = f" [{row[low] / scale:.4g}, {row[high] / scale:.4g}]"
        return f"{found / scale:,.4g} {unit}{spread}"

    lines = [
        ("Layers", f"{row['layers']} ({row.get('depth')})"),
        ("Experts of a layer", f"{row['experts']} ({row.get('experts_kept')})"),
        ("Experts a token", f"{row['top_k']} ({row.get('experts_a_token')})"),
        ("Parameters stored", value("parameters_stored", 1e6, "million")),
        ("Parameters active", value("parameters_active", 1e6, "million")),
        ("A written token, median", value("decode_ms_p50", 1, "ms", "decode_ms_low", "decode_ms_high")),
        ("A written token, 90 %", value("decode_ms_p90", 1, "ms")),
        (
            "A written token, of the whole model's time",
            value("decode_of_full", 1, "", "decode_of_full_low", "decode_of_full_high"),
        ),
        ("Reading the prompt, median", value("prefill_ms_p50", 1, "ms", "prefill_ms_low", "prefill_ms_high")),
        ("Speed of writing", value("decode_tokens_a_second", 1, "tokens/s")),
        ("Peak memory", value("memory_bytes", 1e6, "MB")),
    ]
    return pd.DataFrame(lines, columns=["", "this sub-model"])


def _by_group(quality: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "texts": quality["group"],
            "value": quality["value"].round(3),
            "95 % interval": [
                "one document only" if low is None or pd.isna(low) else f"{low:.3f} to {high:.3f}"
                for low, high in zip(quality["low"], quality["high"], strict=True)
            ],
            "documents": quality["documents"],
        }
    )


# ------------------------------------------------------------------ what can be done with it
def _actions(place: CurvePlace, curve: Curve, row: Any) -> None:
    model = _model_of(row)
    exact = row.get("exact")
    why = None
    if not can_record():
        why = "This installation cannot run models, it can only show what is stored."
    elif not isinstance(exact, str):
        why = "This curve was made by an older version, which did not keep the experts of each layer: sweep again."
    elif model is None:
        why = "The model of this curve is not at hand by its name: write its folder or hub id above."
    elif row["full"]:
        why = "This is the whole model: choose a smaller one first."
    line = st.container(horizontal=True)
    kept = None if row["full"] else stored_pair(place, curve.rows, str(row["sub_model"]))
    routing = line.button(
        "Routing beside the whole model's", key="elastic.routing", icon=":material/grid_on:", disabled=why is not None and kept is None,
        help="Opens the captures that the sweep kept of both." if kept else why or "Reads the shipped texts with both and keeps two captures.",
    )  # fmt: skip
    carve = line.button(
        "Carve it", key="elastic.carve", icon=":material/content_cut:", disabled=why is not None,
        help=why or "Writes it as a checkpoint of its own, which transformers loads without the workbench.",
    )  # fmt: skip
    held = st.session_state.get("elastic.pair")
    if kept is not None and (routing or (isinstance(held, Pair) and held.sub_model != kept.sub_model)):
        _open_pair(kept)
    elif routing and model is not None and isinstance(exact, str):
        _start_routing(place, model, exact, str(row["sub_model"]))
    if carve and model is not None and isinstance(exact, str):
        _start_carve(model, exact, str(row["sub_model"]))
    _show_carved()
    _show_pair()


def _model_of(row: Any) -> str | None:
    """What to load: the curve's model where it is at hand by that name, else what the user writes."""
    name = str(row.get("model") or "")
    if name in {model.name for model in models_at_hand()}:
        return name
    swept = str(st.session_state.get("elastic.new.other") or "").strip()
    if swept.rstrip("/").rpartition("/")[2] == name:  # this tab has just swept it
        st.session_state.setdefault("elastic.model", swept)
    typed = st.text_input(
        "Folder or hub id of the model",
        key="elastic.model",
        placeholder=name or "owner/model",
        help="The curve keeps only the model's name, never a path.",
    ).strip()
    return typed or (name if "/" in name else None)


def _open_pair(kept: Pair) -> None:
    """Take the two captures among those at hand, so that other pages open them too."""
    try:
        whole, small = (session.remember_folder(path).path for path in (kept.whole, kept.small))
    except WorkbenchError as fault:
        st.error(in_words(fault, 400))
        return
    st.session_state["elastic.pair"] = Pair(whole, small, kept.sub_model)


def _start_routing(place: CurvePlace, model: str, exact: str, words: str) -> None:
    from pages.parts.elastic_jobs import record_pair

    library = session.library()

    def work(task: Task) -> Pair:
        return record_pair(model, exact, words, library, task)

    job = session.jobs().start(f"Routing of {words}", work)
    st.session_state["elastic.pair"] = job.id
    follow(job.id)
    st.rerun()


def _start_carve(model: str, exact: str, words: str) -> None:
    from pages.parts.elastic_jobs import carve_model

    def work(task: Task) -> CarvedModel:
        return carve_model(model, exact, words, task)

    job = session.jobs().start(f"Carve {words}", work)
    st.session_state["elastic.carved"] = job.id
    follow(job.id)
    st.rerun()


def _result(name: str) -> Any:
    job = session.jobs().get(st.session_state.get(name, 0))
    return job.snapshot().result if job is not None else None


def _show_carved() -> None:
    made = _result("elastic.carved")
    if not isinstance(made, CarvedModel):
        return
    st.success(
        f"Carved: {size(made.bytes)} of weights in `{made.path}`; `workbench capture --model` takes that folder."
    )
    if made.archive is None:
        st.caption("It is too large to be handed through the browser; take it from its folder.")
        return
    st.download_button(
        f"Download {plain(made.name)}.zip", data=made.archive, file_name=f"{made.name}.zip", mime="application/zip",
        key="elastic.carved.download", icon=":material/download:", on_click="ignore",
    )  # fmt: skip


def _show_pair() -> None:
    """Heat maps of both, one over the other, on the same group and scale."""
    held = st.session_state.get("elastic.pair")
    pair = held if isinstance(held, Pair) else _result("elastic.pair")
    if not isinstance(pair, Pair):
        return
    from workbench.analysis.load import heatmap_table
    from workbench.analysis.select import groups_with_tokens
    from workbench.figures.interactive import heatmap

    places = [session.find_path(path) for path in (pair.whole, pair.small)]
    if places[0] is None or places[1] is None:
        st.info("The captures of this pair are no longer in the library: start them again.")
        return
    try:
        captures = [session.open_capture(one) for one in places if one is not None]
        groups = groups_with_tokens(captures[0])
        group = st.selectbox("Texts of the heat maps", groups, key="elastic.pair.group")
        for name, capture in zip(("The whole model", pair.sub_model), captures, strict=True):
            table = heatmap_table(capture, group)
            st.caption(f"{plain(name)}: load of each expert over an even load, {plain(str(group))}")
            st.plotly_chart(
                heatmap(table, limit=3.0, height=max(240, 90 + 26 * len(table.sites))),
                key=f"elastic.pair.{name == 'The whole model'}",
            )
    except WorkbenchError as fault:
        st.info(in_words(fault, 400))
        return
    st.caption(
        "Colours show which experts the same texts load in each; experts that were left out get nothing. It says nothing about quality."
    )
    if st.button("Compare both in full", key="elastic.pair.compare", icon=":material/difference:"):
        st.switch_page("pages/compare.py", query_params={"a": places[0].id, "b": places[1].id})


# ------------------------------------------------------------------ budget
def show_budget(place: CurvePlace, curve: Curve, table: CurveTable) -> None:
    """What is the best within a budget, and how sure."""
    from workbench.elastic.budget import best_within

    st.subheader("Within a budget")
    possible = {name: known for name, known in BUDGETS.items() if known[0] in curve.costs}
    left, middle, right = st.columns([1, 1, 3], vertical_alignment="bottom")
    kind = left.selectbox("Budget of", list(possible), key="elastic.budget.kind")
    column, scale = possible[kind]
    costs = curve.rows[column].dropna().to_numpy(dtype=np.float64) / scale
    number = middle.number_input(
        "At most",
        min_value=0.0,
        value=float(f"{np.quantile(costs, 0.5):.3g}"),
        key=f"elastic.budget.{place.id}.{column}",
        format="%.4g",
    )
    try:
        choice = best_within(curve, column, number * scale, group=table.group, measure=table.measure)
    except WorkbenchError as fault:
        right.info(in_words(fault, 400))
        return
    sure = "how sure cannot be said, because the curve has no documents to draw from"
    if choice.sure is not None:
        sure = f"it stays the best in **{choice.sure:.0%}** of draws of the documents"
        if choice.runner_up and choice.runner_up_share:
            sure += f"; {plain(choice.runner_up)} is in {choice.runner_up_share:.0%}"
    edge = " The interval of its time reaches beyond the budget." if choice.at_the_edge else ""
    right.markdown(
        f"**{plain(choice.sub_model)}** is the best of {choice.candidates} within that: {table.measure} {choice.quality:.3f} at "
        f"{choice.cost / COSTS[column].scale:,.4g} {COSTS[column].unit}; {sure}.{edge}"
    )
