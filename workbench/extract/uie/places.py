"""Where the span of an output stands in the text: by its pieces, else by its characters (UIE, `uie/sel2record/record.py`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from workbench.extract.seq2seq.tokens import SelTokens
from workbench.extract.usm.pieces import Pieces

Place = tuple[int, int]  # code points, end exclusive
MOST = 1000  # occurrences of one span that are looked at


class Places:
    """Finds spans in one text.

    Args:
        text: as given. pieces: of the text, or of a window of it; offsets are those of the whole text.
    """

    def __init__(self, text: str, pieces: Pieces, tokenizer: Any, tokens: SelTokens) -> None:
        self.text, self.pieces = text, pieces
        self._tokenizer, self._tokens = tokenizer, tokens
        self._ids: list[int] = pieces.ids.tolist()
        self._first: dict[int, list[int]] = {}
        for at, number in enumerate(self._ids):
            self._first.setdefault(number, []).append(at)
        self._known: dict[tuple[int, ...], list[Place]] = {}

    def of(self, span: Sequence[int]) -> list[Place]:
        """Every place of a span in text order; those between word borders alone if there are any."""
        key = tuple(span)
        if key not in self._known:
            self._known[key] = self._by_pieces(key) or self._by_characters(key)
        return self._known[key]

    def at(self, span: Sequence[int], piece: int) -> Place | None:
        """The place of a span whose first piece is known; None if it does not stand there."""
        stop = piece + len(span)
        if not span or self._ids[piece:stop] != list(span):
            return None
        return int(self.pieces.starts[piece]), int(self.pieces.ends[stop - 1])

    def _unbroken(self, first: int, last: int) -> bool:
        """Whether two pieces are of one part of the text, between the same borders."""
        parts = self.pieces.parts
        return bool(parts[first] == parts[last] and parts[first] >= 0)

    def _by_pieces(self, span: tuple[int, ...]) -> list[Place]:
        words, length = self.pieces.words, len(self._ids)
        whole: list[Place] = []
        inside: list[Place] = []
        for first in self._first.get(span[0], ())[:MOST] if span else ():
            stop = first + len(span)
            if tuple(self._ids[first:stop]) != span or not self._unbroken(first, stop - 1):
                continue
            opens = first == 0 or words[first - 1] != words[first]
            ends = stop == length or words[stop] != words[stop - 1]
            (whole if opens and ends else inside).append(
                (int(self.pieces.starts[first]), int(self.pieces.ends[stop - 1]))
            )
        return whole or inside

    def _by_characters(self, span: tuple[int, ...]) -> list[Place]:
        """Places of a span that is not a run of pieces, for instance because words were cut in another way; an unknown token matches any
        word."""
        if not span or not len(self.pieces):
            return []
        parts: list[str] = []
        run: list[int] = []
        for number in (*span, None):
            if number is None or number == self._tokens.unk:
                words = self._tokenizer.decode(run, skip_special_tokens=True).split() if run else []
                parts.append(r"\s*".join(re.escape(word) for word in words))
                run = []
            else:
                run.append(number)
        if not any(parts):
            return []
        pattern = r"\s*\S+?\s*".join(parts)
        first, stop = int(self.pieces.starts[0]), int(self.pieces.ends[-1])
        for flags in (0, re.IGNORECASE):
            found = [
                (
                    match.start() + len(match[0]) - len(match[0].lstrip()),
                    match.end() - len(match[0]) + len(match[0].rstrip()),
                )
                for match in re.compile(pattern, flags).finditer(self.text, first, stop)
                if match[0].strip() and self.pieces.unbroken(*match.span())
            ][:MOST]
            whole = [place for place in found if self._between_words(place)]
            if found:
                return whole or found
        return []

    def _between_words(self, place: Place) -> bool:
        start, end = place
        before, after = self.text[start - 1 : start], self.text[end : end + 1]
        return not (before.isalnum() and self.text[start].isalnum()) and not (
            after.isalnum() and self.text[end - 1].isalnum()
        )
