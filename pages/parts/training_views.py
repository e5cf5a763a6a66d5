"""The views of the Training page: overview, balance, saturation, routing over time; each with its downloads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import streamlit as st

from pages.parts.downloads import FIGURES, NUMBERS
from pages.parts.faults import in_words
from pages.parts.frame import open_place
from pages.parts.runs import balance_of, capture_at, captures_of, heatmap_at, shown_captures, stamp
from pages.parts.selection import key
from pages.parts.words import count, plain
from workbench import session
from workbench.analysis.curves import CurvesTable, joined
from workbench.analysis.curves_captures import balance_curves, saturation_curves
from workbench.analysis.curves_metrics import metric_curves
from workbench.analysis.load import BALANCE_MEASURES
from workbench.analysis.select import groups_with_tokens, key_sites
from workbench.analysis.words import site_title
from workbench.capture import Capture, CaptureError
from workbench.figures.style import heatmap_scale
from workbench.training import Run

PREFIX = "training."
NAMES = {
    "overview": "Overview",
    "balance": "Balance",
    "saturation": "Saturation",
    "play": "Routing over time",
    "metrics": "All metrics",
}
MEASURES = tuple(BALANCE_MEASURES)
FIRST_PANELS = ("Training loss", "Loss on held-out data", "Reward")  # of the overview, where they were logged
Named = Sequence[tuple[str, Run]]


def slug_of(label: str) -> str:
    """The name of a view in addresses."""
    return next(slug for slug, name in NAMES.items() if name == label)


def measure_slug(measure: str) -> str:
    return measure.replace(" ", "-").lower()


def measure_of(slug: str) -> str:
    """Raises ValueError for a measure that is not there."""
    found = next((name for name in MEASURES if measure_slug(name) == slug), None)
    if found is None:
        raise ValueError(slug)
    return found


def among(words: tuple[str, ...]) -> Callable[[str], str]:
    """A reader that takes one of these words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return read


def number(text: str) -> int:
    """Number of a group, -1 for all together."""
    value = int(text)
    if value < -1:
        raise ValueError(text)
    return value


# ---------------------------------------------------------------------- the answer
def answer(run: Run) -> str:
    """One sentence: where the loss stands, and whether the load is even."""
    said = []
    if "loss" in run.metrics:
        loss = run.metrics["loss"].dropna()
        finite = loss[np.isfinite(loss)]
        if len(finite):
            said.append(
                f"The training loss went from {finite.iloc[0]:.3g} to **{finite.iloc[-1]:.3g}** nats a token in "
                f"{int(finite.index[-1]):,} steps"
            )
        if len(loss) > len(finite):
            said.append(
                f"**it was not finite at {count(len(loss) - len(finite), 'step')}**, the first at {int(loss.index[~np.isfinite(loss)][0]):,}"
            )
    if run.captures:
        step, path = run.captures[-1]
        capture = capture_at(str(path), stamp(path))
        sites = tuple(site.id for site in capture.sites)
        last = Run(run.folder, run.info, run.metrics, run.captures[-1:], run.last_time, run.resumed, 0)
        entropy = balance_of(last, "normalised entropy", sites, None)[0][1].values[:, 0]
        dead = balance_of(last, "dead experts", sites, None)[0][1].values[:, 0]
        if np.isfinite(entropy).any():
            low = int(np.nanargmin(entropy))
            said.append(
                f"at step {step:,} the load is least even in {site_title(capture.sites[low])} (entropy {entropy[low]:.2f} of 1), and "
                + (
                    f"**{count(int(np.nansum(dead)), 'expert')}** stayed unused on the evaluation batch"
                    if np.nansum(dead)
                    else "no expert stayed unused on the evaluation batch"
                )
            )
    if not said:
        return "Nothing has been logged yet: the first line of the run brings the first curve."
    sentence = "; ".join(said) + "."
    return sentence[0].upper() + sentence[1:]


# ---------------------------------------------------------------------- views
def show(slug: str, runs: Named) -> None:
    """Draw one view; raises CaptureError with a sentence where the runs cannot give it."""
    {"overview": _overview, "balance": _balance, "saturation": _saturation, "play": _play, "metrics": _metrics}[slug](
        runs
    )


def _overview(runs: Named) -> None:
    tables = []
    frames = [(name, run.metrics) for name, run in runs]
    try:
        tables.append(metric_curves(frames, FIRST_PANELS, labels=runs[0][1].info.labels))
    except CaptureError:
        if not any(run.captures for _, run in runs):
            raise
    if any(run.captures for _, run in runs):
        sites = _sites(runs)
        tables += [
            balance_curves([(name, balance_of(run, measure, sites, None)) for name, run in runs])
            for measure in ("normalised entropy", "MaxVio")
        ]
    caption = (
        f"What the training loop logged, and evenness of the load over experts on the evaluation batch (the same texts at every capture), by optimiser step, all groups "
        f"together; {tables[0].caption.rsplit('; ', 1)[-1] if len(tables) == 1 else 'a falling loss or an even load does not prove that experts specialise.'}"
    )
    _draw("overview", joined(tables, caption), runs)


def _metrics(runs: Named) -> None:
    _draw("metrics", metric_curves([(name, run.metrics) for name, run in runs], labels=runs[0][1].info.labels), runs)


def _balance(runs: Named) -> None:
    _need_captures(runs)
    left, right = st.columns(2)
    measure = left.selectbox(
        "Measure",
        MEASURES,
        key=key("measure", PREFIX),
        format_func=lambda name: name if name in ("CV", "MaxVio") else name.capitalize(),
    )
    lines = right.segmented_control(
        "Lines", ("layers", "groups"), key=key("lines", PREFIX), required=True,
        format_func={"layers": "Layers, all groups together", "groups": "Groups, a panel a layer"}.__getitem__,
    )  # fmt: skip
    sites = _sites(runs, several=lines == "layers")
    groups = list(groups_with_tokens(_first(runs))) if lines == "groups" else None
    table = balance_curves(
        [(name, balance_of(run, str(measure), sites, groups)) for name, run in runs], by_group=groups is not None
    )
    _draw("balance", table, runs)


def _saturation(runs: Named) -> None:
    _need_captures(runs)
    sites = _sites(runs)
    with st.spinner("Comparing the captures token by token"):
        table = _saturation_table(
            tuple((name, captures_of(run)) for name, run in runs), tuple(_stamps(runs)), tuple(sites)
        )
    _draw("saturation", table, runs)


@st.cache_data(max_entries=16, show_spinner=False)
def _saturation_table(_runs: Any, stamps: tuple[str, ...], sites: tuple[str, ...]) -> CurvesTable:
    return saturation_curves(_runs, sites)


def _play(runs: Named) -> None:
    from workbench.figures.interactive_curves import playback

    _need_captures(runs)
    first = _first(runs)
    names = list(groups_with_tokens(first))
    numbers = [-1, *(first.group_index(name) for name in names)]
    if st.session_state.get(key("group", PREFIX)) not in numbers:
        st.session_state[key("group", PREFIX)] = -1
    picked = st.selectbox(
        "Group of tokens", numbers, key=key("group", PREFIX),
        format_func=lambda index: "All groups together" if index < 0 else first.groups[index],
    )  # fmt: skip
    group = None if picked is None or picked < 0 else first.groups[picked]
    columns = st.columns(len(runs)) if len(runs) > 1 else [st.container()]
    limit = _common_limit(runs, group)
    for place, (column, (name, run)) in enumerate(zip(columns, runs, strict=True)):
        with column:
            if len(runs) > 1:
                st.markdown(f"**{plain(name)}**")
            if not run.captures:
                st.info("This run has no capture yet: routing plays once the first one is written.")
                continue
            shown = shown_captures(run)
            try:
                tables = [heatmap_at(str(path), stamp(path), group, None) for _, path in shown]
            except CaptureError as fault:
                st.info(in_words(fault, 400))
                continue
            steps = [step for step, _ in shown]
            figure = playback(tables, steps, limit=limit)
            st.plotly_chart(
                figure, key=f"training.chart.play.{place}", config={"displaylogo": False}, alt=tables[-1].caption
            )
            thinned = f" ({len(shown)} of {len(run.captures)} captures)" if len(shown) < len(run.captures) else ""
            st.caption(
                plain(
                    f"Load of each expert over an even load for {group or 'all groups together'} on the evaluation batch, the same texts at every capture, a frame a "
                    f"capture{thinned}, n = {int(tables[-1].n.max(initial=0)):,} tokens; expert numbers keep their meaning from frame to "
                    "frame of one run, and mean nothing between layers or runs.",
                    limit=1000,
                )
            )
            _play_downloads(place, name, tables, steps, figure, run)


def _common_limit(runs: Named, group: str | None) -> float | None:
    """Half range of one colour scale for all runs shown, None where there is one run alone."""
    if len(runs) < 2:
        return None
    tables = []
    for _, run in runs:
        try:
            tables += [heatmap_at(str(path), stamp(path), group, None) for _, path in shown_captures(run)]
        except CaptureError:
            continue  # said where its own picture would stand
    return heatmap_scale(tables)[0].high if tables else None


def _play_downloads(place: int, name: str, tables: list[Any], steps: list[int], figure: Any, run: Run) -> None:
    from dataclasses import replace

    import pandas as pd

    from workbench import export

    stem = f"{_file_name(name)}-routing"
    # Print cannot play: the first, the last and four captures between them stand side by side.
    few = sorted({round(index * (len(tables) - 1) / 5) for index in range(6)})

    def paper_bytes(form: str) -> bytes:
        from workbench.figures import paper

        panels = [replace(tables[index], group=f"{tables[index].group}, step {steps[index]:,}") for index in few]
        return export.figure_bytes(paper.heatmap(panels), form)

    def numbers() -> Any:
        return pd.concat(
            [table.frame().assign(step=step) for step, table in zip(steps, tables, strict=True)], ignore_index=True
        )

    row = _row(f"training.downloads.play.{place}")
    _file(row, "HTML", f"{stem}.html", "text/html", lambda: export.plotly_html(figure).encode(), f"play.{place}.html")
    for form, mime in FIGURES.items():
        _file(row, form.upper(), f"{stem}.{form}", mime, lambda form=form: paper_bytes(form), f"play.{place}.{form}")
    row.caption("· Numbers", width="content")
    for form, mime in NUMBERS.items():
        label = "Parquet" if form == "parquet" else form.upper()
        _file(
            row,
            label,
            f"{stem}.{form}",
            mime,
            lambda form=form: export.frame_bytes(numbers(), form),
            f"play.{place}.{form}",
        )
    if row.button(
        "See the last capture in Routing", key=f"training.routing.{place}", type="tertiary", icon=":material/grid_on:",
        help="Opens the capture where it lies; the list of captures on Start then names it.",
    ):  # fmt: skip
        open_place(session.remember_folder(run.captures[-1][1]))


# ---------------------------------------------------------------------- shared
def _need_captures(runs: Named) -> None:
    if not any(run.captures for _, run in runs):
        raise CaptureError(
            "This run has no captures, so nothing is known of its routing: give RoutingLog or RoutingCallback an evaluation batch."
        )


def _first(runs: Named) -> Capture:
    path = next(run.captures[-1][1] for _, run in runs if run.captures)
    return capture_at(str(path), stamp(path))


def _sites(runs: Named, several: bool = False) -> tuple[str, ...]:
    """First, middle and last layer; all of them where there are few and they share a panel."""
    capture = _first(runs)
    if several and len(capture.sites) <= 7:
        return tuple(site.id for site in capture.sites)
    return key_sites(capture)


def _stamps(runs: Named) -> list[str]:
    return [f"{name}:{path}:{stamp(path)}" for name, run in runs for _, path in shown_captures(run)]


def _draw(slug: str, table: CurvesTable, runs: Named) -> None:
    """The figure, its caption and its downloads."""
    from workbench import export
    from workbench.figures.interactive_curves import curves

    figure = curves(table)
    st.plotly_chart(figure, key=f"training.chart.{slug}", config={"displaylogo": False}, alt=table.caption)
    st.caption(plain(table.caption, limit=2000))
    stem = f"{_file_name(runs[0][0])}-{slug}"
    row = _row(f"training.downloads.{slug}")
    _file(row, "HTML", f"{stem}.html", "text/html", lambda: export.plotly_html(figure).encode(), f"{slug}.html")

    def paper_bytes(form: str) -> bytes:
        from workbench.figures import paper_curves

        return export.figure_bytes(paper_curves.curves(table), form)

    for form, mime in FIGURES.items():
        _file(row, form.upper(), f"{stem}.{form}", mime, lambda form=form: paper_bytes(form), f"{slug}.{form}")
    row.caption("· Numbers", width="content")
    for form, mime in NUMBERS.items():
        label = "Parquet" if form == "parquet" else form.upper()
        _file(
            row,
            label,
            f"{stem}.{form}",
            mime,
            lambda form=form: export.frame_bytes(table.frame(), form),
            f"{slug}.{form}",
        )


def _row(name: str) -> Any:
    row = st.container(horizontal=True, vertical_alignment="center", gap="small", key=name)
    row.caption(":material/download: Figure", width="content")
    return row


def _file(row: Any, label: str, name: str, mime: str, make: Callable[[], bytes], place: str) -> None:
    row.download_button(
        label,
        data=make,
        file_name=name,
        mime=mime,
        key=f"training.download.{place}",
        type="tertiary",
        on_click="ignore",
    )


def _file_name(name: str) -> str:
    """A run's name as a part of a file name."""
    return "".join(char if char.isalnum() or char in "-_." else "-" for char in name)[:60] or "run"
