"""Relations and events as arcs between mentions, in the order of the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

MOST = 60  # arcs; more is a tangle


class Arc(NamedTuple):
    """From the mention at `head` to that at `tail` (start, end in code points), with a name and a score or None."""

    name: str
    head: tuple[int, int]
    tail: tuple[int, int]
    score: float | None


def arcs(text: str, links: Sequence[Arc], colour: Mapping[str, str]) -> go.Figure:
    """Mentions on a line and arcs above it, arrow at the tail; the first `MOST` of them.

    Args:
        colour: of each arc's name.
    """
    links = links[:MOST]
    mentions = sorted({place for link in links for place in (link.head, link.tail)})
    at = {place: n for n, place in enumerate(mentions)}
    figure = go.Figure()
    highest = 1.0
    for link in links:
        left, right = at[link.head], at[link.tail]
        height = 0.35 + 0.3 * abs(right - left)
        highest = max(highest, height)
        turn = np.linspace(0, np.pi, 40)
        x = (left + right) / 2 - (right - left) / 2 * np.cos(turn)
        score = "" if link.score is None else f" {link.score:.2f}"
        said = f"{escape(_short(text, link.head))} → {escape(_short(text, link.tail))}<br>{escape(link.name)}{score}<extra></extra>"
        shade = colour.get(link.name, "#7A7F87")
        figure.add_trace(
            go.Scatter(
                x=x,
                y=height * np.sin(turn),
                mode="lines",
                line={"color": shade, "width": 2},
                hovertemplate=said,
                showlegend=False,
            )
        )
        figure.add_annotation(
            x=float(x[-1]), y=0.0, ax=float(x[-4]), ay=float(height * np.sin(turn[-4])), axref="x", ayref="y", showarrow=True, arrowhead=2,
            arrowcolor=shade, arrowwidth=2, text="",
        )  # fmt: skip
        figure.add_annotation(
            x=(left + right) / 2,
            y=height,
            text=f"{escape(link.name)}{score}",
            showarrow=False,
            yshift=9,
            font={"size": 12, "color": shade},
        )
    figure.update_xaxes(
        tickvals=list(range(len(mentions))), ticktext=[escape(_short(text, place)) for place in mentions], range=[-0.5, len(mentions) - 0.5],
        showgrid=False, zeroline=False, fixedrange=True,
    )  # fmt: skip
    figure.update_yaxes(visible=False, range=[-0.05, highest + 0.35], fixedrange=True)
    figure.update_layout(
        margin={"l": 10, "r": 10, "t": 10, "b": 10}, height=int(170 + 45 * highest), hovermode="closest"
    )
    return figure


def _short(text: str, place: tuple[int, int], limit: int = 24) -> str:
    words = " ".join(text[place[0] : place[1]].split())
    return words if len(words) <= limit else words[: limit - 1] + "…"
