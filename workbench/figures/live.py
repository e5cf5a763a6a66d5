"""What the Live page draws from a trace: the data of its strip of tokens, and the way of one token through all layers."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from workbench.analysis.trace import NO_EXPERT, Trace, share_by_expert
from workbench.analysis.words import site_title
from workbench.figures.live_script import expert_colour
from workbench.figures.style import site_axis, site_labels

MOST_TOKENS = 1500  # drawn in a strip; more are in the files
MOST_CHIPS = 8
MOST_WORDS = 40


def strip_data(
    trace: Trace, site: str, *, picked: int | None = None, only: int | None = None, numbers: bool = False
) -> dict[str, Any]:
    """What the script of `live_script` draws: the last tokens of a trace, coloured by their experts at one site.

    Args:
        trace: cut to what is to be seen.
        site: whose experts give the colours.
        picked: the token that is framed.
        only: an expert; its tokens alone are coloured, by gate weight.
        numbers: write the expert's number at each token.
    """
    first = max(0, len(trace) - MOST_TOKENS)
    index = trace.site_index(site)
    chosen, weights = trace.experts[index, first:], trace.weights[index, first:]
    marked = np.zeros(len(chosen))
    if only is not None:
        weight = trace.weight_of(site, only)[first:]
        top = float(np.nanmax(weight, initial=0.0))
        marked = np.nan_to_num(weight / top if top > 0 else weight, nan=0.0)
    return {
        "text": list(trace.pieces[first:]),
        "expert": chosen[:, 0].tolist(),
        "note": [_note(ids, row) for ids, row in zip(chosen.tolist(), weights.tolist(), strict=True)],
        "marked": [round(float(value), 3) for value in marked],
        "written": trace.written[first:].astype(int).tolist(),
        "special": trace.special[first:].astype(int).tolist(),
        "waiting": (~trace.routed[first:]).astype(int).tolist(),
        "modality": list(trace.modality[first:]),
        "probability": [None if value != value else round(value, 6) for value in trace.probability[first:].tolist()],
        "first": first,
        "picked": -1 if picked is None else picked,
        "only": -1 if only is None else only,
        "numbers": numbers,
        "where": site_title(trace.sites[index]),
        "legend": [list(row) for row in share_by_expert(trace, site)[:MOST_CHIPS]],
    }


def _note(ids: list[int], weights: list[float]) -> str:
    said = [
        f"expert {expert} ({weight:.2f})" for expert, weight in zip(ids, weights, strict=True) if expert != NO_EXPERT
    ]
    return ", ".join(said)


def token_words(trace: Trace, place: int) -> str:
    """A token as a person says it: its number and its text in quotes, not escaped."""
    piece = trace.pieces[place]
    if trace.modality[place] not in ("text", "unknown") or piece is None:
        return f"token {place} ({trace.modality[place]})"
    shown = piece.replace("\n", "↵").replace("\t", "→")
    shown = shown if len(shown) <= MOST_WORDS else shown[: MOST_WORDS - 1] + "…"
    return f"token {place} “{shown}”"


def route(trace: Trace, place: int) -> go.Figure:
    """The way of one token through all layers: a bar a site, a piece for each chosen expert, as long as its gate weight.

    Args:
        trace: the sequence.
        place: number of the token.

    Returns:
        A figure with a trace for each rank of choice; customdata is [site id, expert, gate weight, rank]. Sites that the token
        did not see have no bar; a token that has not gone through the layers has none at all, and the figure says so.
    """
    labels = site_labels(trace.sites)
    rows = [index for index in range(len(trace.sites)) if (trace.experts[index, place] != NO_EXPERT).any()]
    figure = go.Figure()
    for rank in range(trace.experts.shape[2]):
        there = [index for index in rows if trace.experts[index, place, rank] != NO_EXPERT]
        if not there:
            continue
        experts = [int(trace.experts[index, place, rank]) for index in there]
        weights = [float(trace.weights[index, place, rank]) for index in there]
        figure.add_trace(
            go.Bar(
                name=f"choice {rank + 1}",
                orientation="h",
                y=[rows.index(index) for index in there],
                x=weights,
                text=[str(expert) for expert in experts],
                textposition="inside",
                insidetextanchor="middle",
                textangle=0,
                textfont={"color": "#1d2530", "size": 12},
                marker={"color": [expert_colour(expert) for expert in experts], "line": {"width": 1, "color": "white"}},
                customdata=[
                    [trace.sites[index].id, expert, f"{weight:.3f}", rank + 1]
                    for index, expert, weight in zip(there, experts, weights, strict=True)
                ],
                hovertemplate=(
                    "<b>%{customdata[0]}, expert %{customdata[1]}</b><br>gate weight %{customdata[2]}, choice "
                    "%{customdata[3]}<extra></extra>"
                ),
            )
        )
    step = max(1, -(-len(rows) // 30))
    figure.update_layout(
        barmode="stack",
        bargap=0.15,
        height=int(np.clip(120 + 24 * len(rows), 220, 900)),
        margin={"l": 60, "r": 20, "t": 44, "b": 46},
        title={"text": f"Route of {escape(token_words(trace, place))}", "font": {"size": 15}},
        showlegend=False,
        hovermode="closest",
        uniformtext={"minsize": 8, "mode": "hide"},
        xaxis={"title": "gate weight (the number on a piece is its expert)", "rangemode": "tozero"},
        yaxis={
            "title": site_axis(trace.sites),
            "autorange": "reversed",
            "tickvals": list(range(0, len(rows), step)),
            "ticktext": [escape(labels[rows[at]]) for at in range(0, len(rows), step)],
            "showgrid": False,
        },
    )
    if not rows:
        figure.update_layout(
            xaxis={"visible": False},
            yaxis={"visible": False},
            annotations=[
                {
                    "text": "It was written last and has not gone through the layers.",
                    "showarrow": False,
                    "xref": "paper",
                    "yref": "paper",
                    "x": 0.5,
                    "y": 0.5,
                }
            ],
        )
    return figure
