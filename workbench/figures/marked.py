"""A text with marked stretches, nested and crossing ones too: for the page (a component) and as one HTML file with no script.

A stretch is a row with start, end (code points), label and score. Each is a line under its words, in the colour of its label, one line
a layer, so that nested stretches stand below each other; its name and score stand before its first word. All texts are escaped.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple, Protocol

from workbench.figures.style import PALETTE

LINE, GAP = 3, 2  # pixels of a line under the words, and between two
DEEPEST = 8  # lines below each other; what nests deeper shares the last one, and its name still stands before it


class Stretch(Protocol):
    """What is marked: code points, the label, and a score or None."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def label(self) -> str: ...
    @property
    def score(self) -> float | None: ...


class Segment(NamedTuple):
    """A piece of text that the same stretches cover: their indices, outermost first."""

    start: int
    end: int
    covered: tuple[int, ...]


def colours(labels: Sequence[str]) -> dict[str, str]:
    """A colour for each label, in the order given; after seven they begin again, and the name tells them apart."""
    return {label: PALETTE[n % len(PALETTE)] for n, label in enumerate(labels)}


def layers(marks: Sequence[Stretch]) -> list[int]:
    """The layer of each stretch, 0 nearest the words: the shortest are nearest, and no two of a layer overlap."""
    taken: list[tuple[list[int], list[int]]] = []  # starts and ends of each layer, both ascending
    found = [0] * len(marks)
    for index in sorted(range(len(marks)), key=lambda n: (marks[n].end - marks[n].start, marks[n].start)):
        start, end = marks[index].start, marks[index].end
        layer = at = 0
        while layer < len(taken):
            starts, ends = taken[layer]
            at = bisect_right(starts, start)
            if (at == 0 or ends[at - 1] <= start) and (at == len(starts) or end <= starts[at]):
                break
            layer, at = layer + 1, 0
        if layer == len(taken):
            taken.append(([], []))
        taken[layer][0].insert(at, start)
        taken[layer][1].insert(at, end)
        found[index] = layer
    return found


def drawn_layers(marks: Sequence[Stretch]) -> list[int]:
    """`layers`, at most `DEEPEST` of them."""
    return [min(layer, DEEPEST - 1) for layer in layers(marks)]


def segments(length: int, marks: Sequence[Stretch]) -> list[Segment]:
    """The text cut at every border of a stretch."""
    opening: dict[int, list[int]] = {}
    closing: dict[int, list[int]] = {}
    for n, mark in enumerate(marks):
        opening.setdefault(mark.start, []).append(n)
        closing.setdefault(mark.end, []).append(n)
    borders = sorted({0, length, *opening, *closing})
    active: set[int] = set()
    found = []
    for start, end in pairwise(borders):
        active -= set(closing.get(start, ()))
        active |= set(opening.get(start, ()))
        order = sorted(active, key=lambda n: (marks[n].start - marks[n].end, n))
        found.append(Segment(start, end, tuple(order)))
    return found


def marked_html(text: str, marks: Sequence[Stretch], colour: Mapping[str, str]) -> str:
    """The text with its marks as HTML without script.

    Args:
        colour: of every label, from `colours`; an argument's label takes that of its event, before the colon.
    """
    layer = drawn_layers(marks)
    depth = max(layer, default=-1) + 1
    out = []
    for segment in segments(len(text), marks):
        words = escape(text[segment.start : segment.end])
        begun = [n for n in segment.covered if marks[n].start == segment.start]
        out += [_chip(marks[n], colour_of(marks[n].label, colour)) for n in begun]
        if segment.covered:
            lines = [(layer[n], colour_of(marks[n].label, colour)) for n in segment.covered]
            said = "; ".join(_said(marks[n]) for n in segment.covered)
            words = f'<span style="{_style(lines, depth)}" title="{escape(said)}">{words}</span>'
        out.append(words)
    return f'<div class="marked" style="white-space:pre-wrap;unicode-bidi:plaintext;overflow-wrap:anywhere;line-height:{2 + 0.32 * depth:.2f};padding-bottom:{depth * (LINE + GAP)}px">{"".join(out)}</div>'


def colour_of(label: str, colour: Mapping[str, str]) -> str:
    """The colour of a label, or of the event before its colon."""
    return colour.get(label) or colour.get(label.partition(": ")[0]) or "#7A7F87"


def _style(lines: Sequence[tuple[int, str]], depth: int) -> str:
    images = ",".join(f"linear-gradient({c},{c})" for _, c in lines)
    places = ",".join(f"0 calc(100% - {(depth - 1 - n) * (LINE + GAP)}px)" for n, _ in lines)
    return (
        f"background-image:{images};background-position:{places};background-size:100% {LINE}px;background-repeat:no-repeat;"
        f"padding-bottom:{depth * (LINE + GAP)}px"
    )


def _chip(mark: Stretch, colour: str) -> str:
    score = "" if mark.score is None else f" {mark.score:.2f}"
    return (
        f'<span style="font-size:.68em;font-weight:600;background:color-mix(in srgb,{colour} 22%,transparent);border:1px solid {colour};'
        f'border-radius:.3em;padding:0 .3em;margin-right:.2em;vertical-align:.25em;white-space:nowrap;unicode-bidi:isolate">{escape(mark.label)}{score}</span>'
    )


def _said(mark: Stretch) -> str:
    return mark.label if mark.score is None else f"{mark.label} {mark.score:.2f}"


def document_html(
    title: str,
    facts: Sequence[str],
    parts: Sequence[tuple[str, str, Sequence[Stretch]]],
    colour: Mapping[str, str],
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[object]]]] = (),
) -> str:
    """One HTML file that stands alone and runs nothing: a policy in its head forbids scripts and every request.

    Args:
        facts: lines under the title: engine, threshold, how it was run.
        parts: (name, text, marks) of each text.
        tables: (name, columns, rows).
    """
    body = [f"<h1>{escape(title)}</h1>", *(f"<p class='fact'>{escape(fact)}</p>" for fact in facts)]
    for name, text, marks in parts:
        body += [f"<h2>{escape(name)}</h2>" if name else "", marked_html(text, marks, colour)]
    for name, columns, rows in tables:
        head = "".join(f"<th>{escape(column)}</th>" for column in columns)
        cells = "".join("<tr>" + "".join(f"<td>{escape(_cell(c))}</td>" for c in row) + "</tr>" for row in rows)
        body.append(f"<h2>{escape(name)}</h2><table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table>")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title><style>'
        ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:1.6rem}.fact{opacity:.75;margin:.1rem 0;font-size:.9rem}"
        "table{border-collapse:collapse;font-size:.9rem;display:block;overflow-x:auto}td,th{border-bottom:1px solid #8885;padding:.2rem .6rem;text-align:left;vertical-align:top}"
        "@media print{table{display:table;width:100%;font-size:.7rem}td,th{overflow-wrap:anywhere;padding:.15rem .3rem}}"
        f"</style></head><body>{''.join(body)}</body></html>"
    )


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
