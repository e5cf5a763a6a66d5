"""Places of a text that no mention goes across: ends of lines, tabs, and ends of sentences that leave no doubt.

Tokenizers take white space away, so to an encoder three names on lines of their own are one long name. A line that was only wrapped to a
width goes on in the next one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

NARROWEST, WIDEST = 40, 120  # code points of the widest line of a paragraph that was wrapped
_SPACE = re.compile(r"\s+")
_LINE_END = re.compile("\r\n|[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]")
_WORD = re.compile(r"\S+")
# A full stop behind four letters or more, before a capital: shorter words are often cut short ("Dr.", "Inc.", "St.").
_STOP = re.compile(r"(?<=[^\W\d_]{4})\.[\"')\]\u2019\u201d\u00bb]*(?=\s+[\"'(\[\u2018\u201c\u00ab]*([^\W\d_]))")
_LETTERS = re.compile(r"[^\W\d_]+\Z")
_CUT_SHORT = frozenset(
    [
        "acad",
        "approx",
        "assoc",
        "asst",
        "bros",
        "capt",
        "cmdr",
        "corp",
        "dept",
        "elec",
        "engr",
        "govt",
        "intl",
        "messrs",
        "natl",
        "prof",
        "sgts",
        "subj",
        "supt",
        "univ",
    ]
)
_SIGNS = frozenset(".!?:;,|\u2026\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f")  # that tell an encoder of a border


@dataclass(frozen=True)
class Border:
    """A place that no mention goes across.

    Attributes:
        at: code point behind what stands before it. seen: whether a sign stands there; if not, an encoder has to be told.
    """

    at: int
    seen: bool


def borders(text: str) -> list[Border]:
    """Every border inside a text, in order; none at its ends, none where a line was only wrapped."""
    found = {at: Border(at, text[at - 1] in _SIGNS) for at in _ends_of_lines(text)}
    for stop in _STOP.finditer(text):
        word = _LETTERS.search(text, max(0, stop.start() - 20), stop.start())
        if not stop[1].islower() and not (word and word[0].lower() in _CUT_SHORT):
            found[stop.end()] = Border(stop.end(), True)
    return [found[at] for at in sorted(found)]


def _ends_of_lines(text: str) -> list[int]:
    """Where lines and cells end, wrapped lines apart."""
    first, last = len(text) - len(text.lstrip()), len(text.rstrip())
    found: list[int] = []
    lines: list[tuple[int, int]] = []  # of a paragraph
    begin = first
    for gap in _SPACE.finditer(text, first, last):
        breaks = len(_LINE_END.findall(gap[0]))
        if not breaks and "\t" not in gap[0]:
            continue
        lines.append((begin, gap.start()))
        begin = gap.end()
        if breaks != 1:
            found += [*_unwrapped(text, lines), gap.start()]
            lines = []
    return found + _unwrapped(text, [*lines, (begin, last)])


def _unwrapped(text: str, lines: list[tuple[int, int]]) -> list[int]:
    """Ends of a paragraph's lines, its last one's apart, that could have taken one more word without being the widest."""
    width = max(end - start for start, end in lines)
    found = []
    for (start, end), (following, stop) in pairwise(lines):
        word = _WORD.match(text, following, stop)
        more = end - start + 1 + (len(word[0]) if word else 0)
        if not (NARROWEST <= width <= WIDEST and more > width):
            found.append(end)
    return found
