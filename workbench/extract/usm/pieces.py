"""A text as pieces of the encoder's tokenizer: what each covers, the shape of its word, and between which borders it stands."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.extract.borders import borders

SHAPES = ("none", "lower", "Title", "UPPER", "one capital", "miXed", "digits", "letters and digits", "caseless", "sign")
# Symbols and pictographs, flags among them, with what joins, colours and varies them.
_SYMBOLS = "\u231a\u231b\u23e9-\u23fa\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff"
EMOJI = re.compile(f"[{_SYMBOLS}][{_SYMBOLS}\u200d\u20e3\ufe0e\ufe0f\U000e0020-\U000e007f]*")

FOREIGN = 0.3  # share of letters from which on a reader is told
_LONG = re.compile(r"\S{100}")  # tokenizers of word pieces give up at words of this length
SPELT = 3  # pieces of a word of which each is one letter: its meaning is not in them
PAUSE = " ,"  # what an encoder is given where a line ends without a sign: of " .", " ,", " ;", " |" and " /" lists are read best with it


@dataclass(frozen=True)
class Pieces:
    """A text cut into pieces.

    Attributes:
        ids: vocabulary numbers, int32 [T]. starts, ends: code points of the text that each piece covers, int32 [T], white space at
            their borders left out. shapes: index into `SHAPES` of the word that the piece is part of, int8 [T]. words: number of the
            word that it is part of, int32 [T]. parts: number of the stretch between two borders (`workbench.extract.borders`) that it
            stands in, which no mention leaves, int32 [T]; -1 for a sign of no width that only tells the encoder of a border.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    shapes: NDArray[np.int8]
    words: NDArray[np.int32]
    parts: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)

    def cut(self, first: int, stop: int) -> Pieces:
        """The pieces from `first` to `stop`, exclusive; offsets stay those of the whole text."""
        return Pieces(
            *(getattr(self, name)[first:stop] for name in ("ids", "starts", "ends", "shapes", "words", "parts"))
        )

    def span(self, start: int, end: int) -> tuple[int, int] | None:
        """First and last piece (inclusive) of the code points start to end; None if a border falls inside a piece, or no piece is there."""
        head, tail = self.covering(start, end) or (0, -1)
        if head <= tail and self.starts[head] == start and self.ends[tail] == end:
            return head, tail
        return None

    def covering(self, start: int, end: int) -> tuple[int, int] | None:
        """First and last piece (inclusive) that touch the code points start to end; None if none does."""
        head = bisect_right(self.ends, start)
        tail = bisect_left(self.starts, end) - 1
        return (head, tail) if head <= tail else None

    def unbroken(self, start: int, end: int) -> bool:
        """Whether no border lies inside the code points start to end."""
        place = self.covering(start, end)
        return place is not None and bool(self.parts[place[0]] == self.parts[place[1]])

    def foreign(self, text: str, unknown: int | None) -> float:
        """Share of the text's letters in words that the vocabulary lacks, or spells out letter by letter; 0 without letters.

        Args:
            unknown: number of the unknown token.
        """
        letters = lost = first = 0
        for stop in range(1, len(self) + 1):
            if stop < len(self) and self.words[stop] == self.words[first]:
                continue
            spelt_out = stop - first >= SPELT and bool((self.ends[first:stop] - self.starts[first:stop] <= 1).all())
            for n in range(first, stop):
                here = sum(map(str.isalpha, text[self.starts[n] : self.ends[n]]))
                letters += here
                lost += here if spelt_out or self.ids[n] == unknown else 0
            first = stop
        return lost / letters if letters else 0.0

    def beside(self) -> NDArray[np.bool_]:
        """Which pieces a mention may reach from the one before them, bool [T]."""
        return np.concatenate(([False], (self.parts[1:] == self.parts[:-1]) & (self.parts[1:] >= 0)))[: len(self)]


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> list[Pieces]:
    """Pieces of each text; texts of any length, no special tokens: one that is spelt out in a text is read as text.

    An emoji ends a word: tokenizers that cut at punctuation alone would make an unknown word of "Curie\U0001f642". Where a line ends without
    a sign, the encoder is given `PAUSE`, because it does not see white space.

    Args:
        tokenizer: a fast tokenizer of transformers (it knows offsets).
    """
    if not texts:
        return []
    given = [_as_given(text) for text in texts]
    found = tokenizer(
        [each.text for each in given],
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        truncation=False,
        verbose=False,
        split_special_tokens=True,
    )
    return [
        _pieces(text, each, found["input_ids"][n], found["offset_mapping"][n], found.word_ids(n))
        for n, (text, each) in enumerate(zip(texts, given, strict=True))
    ]


def foreign_note(tokenizer: Any, text: str) -> list[str]:
    """A sentence for texts that a vocabulary was not made for, in whose script or language little can be found; else none."""
    if text.isascii() and not _LONG.search(text):
        return []
    share = encode_texts(tokenizer, [text])[0].foreign(text, tokenizer.unk_token_id)
    if share < FOREIGN:
        return []
    return [
        f"{share:.0%} of this text's letters are in words that the vocabulary of these weights does not know, so little can be found there: choose weights that were trained on its language."
    ]


@dataclass(frozen=True)
class _Given:
    """A text as the tokenizer gets it.

    Attributes:
        places: of each of its code points in the text itself, what was added has that of a neighbour; None where nothing was added.
        pauses: code points that are signs of ours. borders: in the text itself.
    """

    text: str
    places: list[int] | None
    pauses: frozenset[int]
    borders: NDArray[np.int32]


def _as_given(text: str) -> _Given:
    """The text with a space round every run of emoji that touches something, and `PAUSE` at every border that no sign shows."""
    added: list[tuple[int, int, str]] = []  # where, the place that it has, what
    for run in EMOJI.finditer(text):
        start, end = run.span()
        if start > 0 and not text[start - 1].isspace():
            added.append((start, start, " "))
        if end < len(text) and not text[end].isspace():
            added.append((end, end - 1, " "))
    found = borders(text)
    added += [(border.at, border.at, PAUSE) for border in found if not border.seen]
    at = np.array([border.at for border in found], np.int32)
    if not added:
        return _Given(text, None, frozenset(), at)
    parts: list[str] = []
    places: list[int] = []
    pauses: set[int] = set()
    done = 0
    for where, place, what in sorted(added):
        parts += [text[done:where], what]
        places += range(done, where)
        if what == PAUSE:
            pauses.add(len(places) + 1)
        places += [place] * len(what)
        done = where
    return _Given("".join(parts) + text[done:], [*places, *range(done, len(text))], frozenset(pauses), at)


def _pieces(
    text: str, given: _Given, ids: list[int], offsets: list[tuple[int, int]], words: list[int | None]
) -> Pieces:
    kept: list[tuple[int, int, int, int, int]] = []
    for number, (start, end), word in zip(ids, offsets, words, strict=True):
        ours = bool(given.pauses) and any(at in given.pauses for at in range(start, end))
        if given.places is not None and end > start:
            start, end = given.places[start], given.places[end - 1] + 1
        if ours:
            end = start
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        if start < end or ours:
            kept.append((number, start, end, -1 if word is None else word, -1 if ours else 0))
    shapes = np.zeros(len(kept), np.int8)
    first = 0
    for n in range(1, len(kept) + 1):
        if n == len(kept) or kept[n][3] != kept[first][3]:
            shapes[first:n] = shape_of(text[kept[first][1] : kept[n - 1][2]])
            first = n
    table = np.array(kept, np.int32).reshape(-1, 5)
    parts = np.where(table[:, 4] < 0, -1, np.searchsorted(given.borders, table[:, 1], side="right")).astype(np.int32)
    return Pieces(table[:, 0], table[:, 1], table[:, 2], shapes, table[:, 3], parts)


@lru_cache(maxsize=100_000)
def shape_of(word: str) -> int:
    """Index into `SHAPES` of a word."""
    letters = [c for c in word if unicodedata.category(c)[0] == "L"]
    digits = any(c.isdigit() for c in word)
    if not letters:
        return SHAPES.index("digits" if digits else "sign")
    if digits:
        return SHAPES.index("letters and digits")
    upper = sum(c.isupper() or c.istitle() for c in letters)
    if not upper:
        return SHAPES.index("lower" if any(c.islower() for c in letters) else "caseless")
    if upper == len(letters):
        return SHAPES.index("UPPER" if len(letters) > 1 else "one capital")
    return SHAPES.index("Title" if upper == 1 and (letters[0].isupper() or letters[0].istitle()) else "miXed")
