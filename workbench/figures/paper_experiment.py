"""The experiment on elastic training for print: losses of every sub-model, cut from both trainings, and of models trained by themselves."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workbench.analysis.elastic_experiment import KINDS, OVERALL, SHAPE, summary
from workbench.figures.paper_frame import NORMAL, SMALL, TITLE, WIDTH, new_figure, plain
from workbench.figures.style import NEUTRAL, PALETTE

LOOKS = {"plain": (PALETTE[1], "s", -0.17), "elastic": (PALETTE[0], "o", 0.0), "separate": (PALETTE[2], "D", 0.17)}
COLUMNS = 2


def elastic_experiment(losses: pd.DataFrame) -> Figure:
    """A panel for all tasks together and one a task; a place a sub-model, marks the mean over seeds, bars one standard deviation.

    Args:
        losses: rows of every run (`analysis.elastic_experiment.summary`).
    """
    table = summary(losses)
    tasks = list(dict.fromkeys(table["task"]))
    shapes = list(dict.fromkeys(tuple(int(part) for part in shape) for shape in table[SHAPE].to_numpy()))
    rows = -(-len(tasks) // COLUMNS)
    seeds = int(table["seeds"].max())
    figure = new_figure(WIDTH, 1.55 * rows + 0.6, _caption(seeds))
    panels = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True)
    places = {shape: place for place, shape in enumerate(shapes)}
    for number, axes in enumerate(panels.flat):
        if number >= len(tasks):
            axes.set_visible(False)
            continue
        own = table[table["task"] == tasks[number]]
        _panel(axes, own, places)
        name = "All tasks" if tasks[number] == OVERALL else f"{tasks[number]} ({own['group'].iloc[0]})"
        axes.set_title(plain(name), fontsize=TITLE, loc="left")
        axes.set_ylabel("plain whole model = 1" if tasks[number] == OVERALL else own["unit"].iloc[0], fontsize=SMALL)
    for axes in panels[-1]:
        axes.set_xticks(
            range(len(shapes)), [" · ".join(map(str, shape)) for shape in shapes], rotation=90, fontsize=SMALL
        )
        axes.set_xlabel("layers · experts · experts a token", fontsize=NORMAL)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=NORMAL, frameon=False)
    return figure


def _panel(axes: Axes, own: pd.DataFrame, places: dict[tuple[int, ...], int]) -> None:
    for kind, (colour, marker, shift) in LOOKS.items():
        rows = own[own["kind"] == kind]
        if rows.empty:
            continue
        x = np.array([places[tuple(int(part) for part in shape)] for shape in rows[SHAPE].to_numpy()]) + shift
        axes.errorbar(
            x, rows["mean"], yerr=rows["sd"].fillna(0), fmt=marker, color=colour, markersize=3, elinewidth=0.7, capsize=1.5, label=KINDS[kind],
            markeredgewidth=0,
        )  # fmt: skip
    for border in range(1, len(places)):
        before, after = list(places)[border - 1 : border + 1]
        if before[0] != after[0]:
            axes.axvline(border - 0.5, color=NEUTRAL, linewidth=0.4)
    axes.tick_params(labelsize=SMALL, width=0.5, length=2)
    axes.grid(axis="y", linewidth=0.3, alpha=0.5)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _caption(seeds: int) -> str:
    return (
        f"Loss on samples that training kept back, mean and standard deviation of {seeds} seeds: sub-models cut from a model trained with elastic "
        "passes and from its twin without them, and models of some of these shapes trained by themselves on as many samples. It does not show other "
        "sizes, longer trainings, or what a fine-tune after the cut would recover."
    )
