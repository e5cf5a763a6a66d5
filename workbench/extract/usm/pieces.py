"""A text as pieces of the encoder's tokenizer, with the code points that each piece covers and the shape of its word."""

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

SHAPES = ("none", "lower", "Title", "UPPER", "one capital", "miXed", "digits", "letters and digits", "caseless", "sign")
# Symbols and pictographs, flags among them, with what joins, colours and varies them.
_SYMBOLS = "\u231a\u231b\u23e9-\u23fa\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff"
EMOJI = re.compile(f"[{_SYMBOLS}][{_SYMBOLS}\u200d\u20e3\ufe0e\ufe0f\U000e0020-\U000e007f]*")


@dataclass(frozen=True)
class Pieces:
    """A text cut into pieces.

    Attributes:
        ids: vocabulary numbers, int32 [T]. starts, ends: code points of the text that each piece covers, int32 [T], white space at
            their borders left out. shapes: index into `SHAPES` of the word that the piece is part of, int8 [T]. words: number of the
            word that it is part of, int32 [T].
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    shapes: NDArray[np.int8]
    words: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)

    def cut(self, first: int, stop: int) -> Pieces:
        """The pieces from `first` to `stop`, exclusive; offsets stay those of the whole text."""
        return Pieces(*(getattr(self, name)[first:stop] for name in ("ids", "starts", "ends", "shapes", "words")))

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


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> list[Pieces]:
    """Pieces of each text; texts of any length, no special tokens: one that is spelt out in a text is read as text.

    An emoji ends a word: tokenizers that cut at punctuation alone would make an unknown word of "Curie\U0001f642".

    Args:
        tokenizer: a fast tokenizer of transformers (it knows offsets).
    """
    if not texts:
        return []
    spaced = [_with_emoji_apart(text) for text in texts]
    found = tokenizer(
        [given for given, _ in spaced],
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        truncation=False,
        verbose=False,
        split_special_tokens=True,
    )
    made = []
    for n, (text, (_, places)) in enumerate(zip(texts, spaced, strict=True)):
        offsets = found["offset_mapping"][n]
        if places is not None:
            offsets = [(places[start], places[end - 1] + 1) if end > start else (0, 0) for start, end in offsets]
        made.append(_pieces(text, found["input_ids"][n], offsets, found.word_ids(n)))
    return made


def _with_emoji_apart(text: str) -> tuple[str, list[int] | None]:
    """The text with a space round every run of emoji that touches something, and for each of its code points the place in the text.

    An added space has the place of the emoji's nearest code point; None where nothing was added.
    """
    parts: list[str] = []
    places: list[int] = []
    done = 0
    for run in EMOJI.finditer(text):
        start, end = run.span()
        before = start > 0 and not text[start - 1].isspace()
        after = end < len(text) and not text[end].isspace()
        parts.append(f"{text[done:start]}{' ' * before}{run.group()}{' ' * after}")
        places += [*range(done, start), *[start] * before, *range(start, end), *[end - 1] * after]
        done = end
    if len(places) == done:
        return text, None
    return "".join(parts) + text[done:], [*places, *range(done, len(text))]


def _pieces(text: str, ids: list[int], offsets: list[tuple[int, int]], words: list[int | None]) -> Pieces:
    kept: list[tuple[int, int, int, int]] = []
    for number, (start, end), word in zip(ids, offsets, words, strict=True):
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        if start < end:
            kept.append((number, start, end, -1 if word is None else word))
    shapes = np.zeros(len(kept), np.int8)
    first = 0
    for n in range(1, len(kept) + 1):
        if n == len(kept) or kept[n][3] != kept[first][3]:
            shapes[first:n] = shape_of(text[kept[first][1] : kept[n - 1][2]])
            first = n
    table = np.array(kept, np.int32).reshape(-1, 4)
    return Pieces(table[:, 0], table[:, 1], table[:, 2], shapes, table[:, 3])


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
