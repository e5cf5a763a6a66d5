"""Between tokens and characters: texts made of tokens, tokens made of texts, and spans in either.

A document that came from tokens keeps their offsets in the field `tokens` ([[start, end], …]). One without gets words and signs as
tokens, as does what stored tokens leave out. All are cut at every border of its spans, so that no span falls inside a token.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from workbench.extract.records import Document

PIECE = re.compile(r"\w+|[^\w\s]")
SOLID = re.compile(r"\S+")
Counts = Counter[str]  # what a reader or writer had to leave out, by reason
PARTS = ("entities", "relations", "events")


class Tokens(NamedTuple):
    """A text and the (start, end) of each token in it, in code points."""

    text: str
    offsets: tuple[tuple[int, int], ...]

    @property
    def words(self) -> list[str]:
        return [self.text[start:end] for start, end in self.offsets]

    def chars(self, first: int, stop: int) -> tuple[int, int]:
        """Characters of the tokens `first` to `stop` (exclusive).

        Raises:
            ValueError: there are no such tokens, or they are empty.
        """
        if not 0 <= first < stop <= len(self.offsets):
            raise ValueError(f"tokens {first} to {stop} of {len(self.offsets)}")
        start, end = self.offsets[first][0], self.offsets[stop - 1][1]
        if start >= end:
            raise ValueError("an empty token")
        return start, end

    def tokens(self, start: int, end: int) -> tuple[int, int] | None:
        """Tokens (first, stop) that cover these characters exactly, or None if a border falls inside a token or on white space."""
        first = bisect_left(self.offsets, (start, -1))
        stop = bisect_right([e for _, e in self.offsets], end)
        if first < stop and self.offsets[first][0] == start and self.offsets[stop - 1][1] == end:
            return first, stop
        return None


def leave_out(counts: Counts, reason: str, number: int = 1) -> None:
    """Count what is left out or changed; a reason that never came up is not named."""
    if number:
        counts[reason] += number


def join(words: Sequence[str]) -> Tokens:
    """Tokens joined by one space, as the sets of this field are."""
    offsets, at = [], 0
    for word in words:
        offsets.append((at, at + len(word)))
        at += len(word) + 1
    return Tokens(" ".join(words), tuple(offsets))


def align(words: Sequence[str], text: str) -> Tokens:
    """Tokens found in the text they were made from; joined by spaces if the text does not hold them in order."""
    offsets, at = [], 0
    for word in words:
        start = text.find(word, at)
        if start < 0 or (start > at and text[at:start].strip()):
            return join(words)
        at = start + len(word)
        offsets.append((start, at))
    return Tokens(text, tuple(offsets)) if not text[at:].strip() else join(words)


def tokens_of(document: Document, *, solid: bool = False) -> Tokens:
    """Tokens of a document: those it came with, or words and signs; cut at the borders of its spans in any case.

    Args:
        solid: cut them at white space too, for a form that tells its tokens by it.
    """
    stored = (document.model_extra or {}).get("tokens")
    text = document.text
    pieces = _filled(text, _valid(stored, len(text)) or [])
    if solid:
        pieces = [
            (start + part.start(), start + part.end())
            for start, end in pieces
            for part in SOLID.finditer(text[start:end])
        ]
    borders = sorted({at for _, start, end in document.stretches() for at in (start, end)})
    cut: list[tuple[int, int]] = []
    for start, end in pieces:
        inside = borders[bisect_right(borders, start) : bisect_left(borders, end)]
        edges = [start, *inside, end]
        cut += pairwise(edges)
    return Tokens(text, tuple(cut))


def _filled(text: str, pieces: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Pieces of a text with words and signs wherever they leave some out."""
    filled, at = [], 0
    for start, end in [*pieces, (len(text), len(text))]:
        filled += [match.span() for match in PIECE.finditer(text, at, start)]
        filled.append((start, end))
        at = end
    return filled[:-1]


def _valid(stored: Any, length: int) -> list[tuple[int, int]] | None:
    """Stored offsets if they are ascending pairs inside the text."""
    if not isinstance(stored, list | tuple) or not stored:
        return None
    found: list[tuple[int, int]] = []
    at = 0
    for pair in stored:
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(n, int) for n in pair)):
            return None
        start, end = pair
        if not at <= start < end <= length:
            return None
        found.append((start, end))
        at = end
    return found


def original(tokens: Tokens) -> dict[str, Any] | None:
    """What a token format must keep beside its tokens so that offsets survive; None where joining by spaces gives the text."""
    return (
        None
        if join(tokens.words) == tokens
        else {"text": tokens.text, "offsets": [list(pair) for pair in tokens.offsets]}
    )


def restore(words: Sequence[str], kept: Any) -> Tokens:
    """Tokens with their text, from what `original` kept, if anything fitting."""
    if isinstance(kept, dict) and isinstance(kept.get("text"), str):
        offsets = _valid(kept.get("offsets"), len(kept["text"])) if words else []
        if offsets is not None and [kept["text"][start:end] for start, end in offsets] == list(words):
            return Tokens(kept["text"], tuple(offsets))
    return join(words)


def run(indices: Iterable[int]) -> tuple[int, int] | None:
    """(first, stop) of token indices that follow each other, or None if there is a gap."""
    ordered = sorted(set(indices))
    if not ordered or ordered[-1] - ordered[0] + 1 != len(ordered):
        return None
    return ordered[0], ordered[-1] + 1
