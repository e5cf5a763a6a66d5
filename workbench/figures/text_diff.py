"""Two texts side by side, words that only one of them has marked; every text is escaped.

No script and no request: the piece of HTML reads the same on a page and in a file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from html import escape

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_MARK = "background: {colour}; border-radius: 3px; padding: 0 1px"
_COLOURS = ("rgba(213,94,0,.28)", "rgba(0,114,178,.28)")  # only in the first, only in the second


def words_of(text: str) -> list[str]:
    """Words, punctuation marks and spaces, which joined give the text again."""
    return _WORDS.findall(text)


def marked(first: str, second: str) -> tuple[str, str]:
    """HTML of both texts, with `<mark>` around what the other does not have at that place."""
    a, b = words_of(first), words_of(second)
    out: tuple[list[str], list[str]] = ([], [])
    for kind, a0, a1, b0, b1 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        for side, part in ((0, a[a0:a1]), (1, b[b0:b1])):
            text = escape("".join(part))
            if text:
                style = _MARK.format(colour=_COLOURS[side])
                out[side].append(text if kind == "equal" else f'<mark style="{style}; color: inherit">{text}</mark>')
    return "".join(out[0]), "".join(out[1])


def side_by_side(pairs: Sequence[tuple[str, str, str]], titles: tuple[str, str]) -> str:
    """A table of HTML: prompt, first and second text of each pair.

    Args:
        pairs: (prompt, first, second).
        titles: of the two texts.
    """
    cell = "vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid #8884; white-space: pre-wrap; overflow-wrap: anywhere"
    head = "".join(
        f'<th style="text-align: left; padding: .2rem .6rem; width: 50%">{escape(title)}</th>' for title in titles
    )
    rows = []
    for prompt, first, second in pairs:
        said = f'<span style="opacity: .65">{escape(prompt)}</span>'
        one, two = marked(first, second)
        rows.append(f'<tr><td style="{cell}">{said}{one}</td><td style="{cell}">{said}{two}</td></tr>')
    return (
        f'<table style="width: 100%; border-collapse: collapse; table-layout: fixed"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def document(pairs: Sequence[tuple[str, str, str]], titles: tuple[str, str]) -> str:
    """The same as one HTML file."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        "<title>With and without</title><style>:root { color-scheme: light dark } body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto }</style>"
        f"</head><body>{side_by_side(pairs, titles)}</body></html>\n"
    )
