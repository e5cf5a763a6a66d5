"""Relations and events as arcs between mentions, in the order of the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

MOST = 60  # arcs; more is a tangle
NAMED = 14  # arcs with their names written; of more the names stand in the hover
WIDTH, LETTER = 280.0, 6.4  # pixels: of the narrowest place where arcs are drawn, of a letter of a name
LINE = 0.18  # height of a line of names, in the unit of the arcs' heights
CHIP = {
    "bgcolor": "#e6eaf0",
    "font": {"size": 11, "color": "#1d2530"},
}  # names are read on it in a light and in a dark page


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
    together: dict[tuple[tuple[int, int], tuple[int, int]], list[Arc]] = {}
    for link in links[:MOST]:  # several names between the same two mentions share an arc
        together.setdefault((link.head, link.tail), []).append(link)
    mentions = sorted({place for pair in together for place in pair})
    at = {place: n for n, place in enumerate(mentions)}
    figure = go.Figure()
    highest = 1.0
    placed = _places({(at[head], at[tail]): named for (head, tail), named in together.items()}, len(mentions))
    for (head, tail), named in together.items():
        left, right = at[head], at[tail]
        height, middle = placed[left, right]
        highest = max(highest, height + LINE * len(named))
        turn = np.linspace(0, np.pi, 40)
        x = (left + right) / 2 - (right - left) / 2 * np.cos(turn)
        words = "<br>".join(_named(link) for link in named)
        shade = colour.get(named[0].name, "#7A7F87")
        said = f"{escape(_short(text, head))} → {escape(_short(text, tail))}<br>{words}<extra></extra>"
        line = {"color": shade, "width": 2}
        figure.add_trace(
            go.Scatter(x=x, y=height * np.sin(turn), mode="lines", line=line, hovertemplate=said, showlegend=False)
        )
        figure.add_annotation(
            x=float(x[-1]), y=0.0, ax=float(x[-4]), ay=float(height * np.sin(turn[-4])), axref="x", ayref="y", showarrow=True, arrowhead=2,
            arrowcolor=shade, arrowwidth=2, text="",
        )  # fmt: skip
        if len(together) <= NAMED:
            figure.add_annotation(
                x=middle, y=height, text=words, showarrow=False, yanchor="middle", bordercolor=shade, borderpad=2, **CHIP
            )  # fmt: skip
    figure.update_xaxes(
        tickvals=list(range(len(mentions))), ticktext=[escape(_short(text, place)) for place in mentions], range=[-0.5, len(mentions) - 0.5],
        showgrid=False, zeroline=False, fixedrange=True,
    )  # fmt: skip
    figure.update_yaxes(visible=False, range=[-0.05, highest + 0.1], fixedrange=True)
    figure.update_layout(
        margin={"l": 10, "r": 10, "t": 10, "b": 10}, height=int(150 + 90 * highest), hovermode="closest"
    )
    return figure


def _places(arcs: Mapping[tuple[int, int], Sequence[Arc]], mentions: int) -> dict[tuple[int, int], tuple[float, float]]:
    """How high each arc goes and where its names have their middle, by its ends: wide ones above narrow ones, no name over another or cut."""
    found: dict[tuple[int, int], tuple[float, float]] = {}
    boxes: list[tuple[float, float, float, float]] = []  # of names: left, right, bottom, top
    for left, right in sorted(arcs, key=lambda ends: (abs(ends[1] - ends[0]), min(ends), ends)):
        named = arcs[left, right]
        height = 0.35 + 0.3 * abs(right - left) + 0.2 * (right < left)  # there and back do not cover each other
        middle = (left + right) / 2
        if len(arcs) <= NAMED:
            half = (max(len(f"{link.name} 0.00") for link in named) * LETTER + 6) * mentions / WIDTH / 2
            middle = min(max(middle, half - 0.5), max(mentions - 0.5 - half, half - 0.5))
            tall = LINE * len(named)
            height += tall / 2
            for box in sorted(boxes, key=lambda each: each[2]):  # from below, so that one pass is enough
                beside = middle + half <= box[0] or middle - half >= box[1]
                if not beside and height - tall / 2 < box[3] and height + tall / 2 > box[2]:
                    height = box[3] + tall / 2 + 0.02
            boxes.append((middle - half, middle + half, height - tall / 2, height + tall / 2))
        found[left, right] = height, middle
    return found


def _named(link: Arc) -> str:
    return escape(link.name) if link.score is None else f"{escape(link.name)} {link.score:.2f}"


def _short(text: str, place: tuple[int, int], limit: int = 24) -> str:
    words = " ".join(text[place[0] : place[1]].split())
    return words if len(words) <= limit else words[: limit - 1] + "…"
