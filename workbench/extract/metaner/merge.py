"""From outputs to spans of a text: reading, all-occurrence matching, and the vote of several prompts (`utils.py`, `getresult.py`)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from workbench.extract.borders import Border

WORD = re.compile(r"\w+|[^\w\s]")
IS = " is "


@dataclass(frozen=True)
class Entry:
    """What an output says: a span in words, its type's name, and how probable that was when it was written."""

    span: str
    type: str
    probability: float = 1.0


@dataclass(frozen=True)
class Hit:
    """A place of the text: code points, type."""

    start: int
    end: int
    type: str
    probability: float = 1.0

    @property
    def key(self) -> tuple[str, int, int]:
        return self.type, self.start, self.end

    def overlaps(self, other: Hit) -> bool:
        return self.start < other.end and other.start < self.end


def read_output(pieces: str | Sequence[tuple[str, float]]) -> list[Entry]:
    """The entries of an output in words: "E1 is L1. E2 is L2, L3."

    It is split at full stops; in a part the last " is " stands before the type, commas between several types. A part without one belongs to the next: its
    full stop was the span's ("Apple Inc. is organization."). What no type follows is left out.

    Args:
        pieces: the output up to its end mark, or parts of it with the probability of each.
    """
    parts: list[tuple[str, float]] = []
    text, chance = "", 1.0
    for piece, probability in [(pieces, 1.0)] if isinstance(pieces, str) else pieces:
        chance *= probability
        first, *rest = piece.split(".")
        text += first
        for each in rest:
            parts.append((text, chance))
            text, chance = each, 1.0
    parts.append((text, chance))
    found: list[Entry] = []
    before, likely = "", 1.0
    for text, chance in parts:
        whole, likely = before + text.replace("is<", "is <"), likely * chance
        head, is_, tail = f"{whole} ".rpartition(IS)
        if not is_:
            before = f"{whole}." if whole.strip() else ""
            continue
        span = head.strip()
        found += [Entry(span, name.strip(), likely) for name in tail.split(",") if span and name.strip()]
        before, likely = "", 1.0
    return found


def words_of(text: str, ends: Iterable[Border] = ()) -> list[tuple[int, int]]:
    """Code points of each word and sign, where a span may begin and end, and of each border as a place of no width, which no span holds."""
    return sorted([*(match.span() for match in WORD.finditer(text)), *((each.at, each.at) for each in ends)])


def occurrences(
    span: str, text: str, words: Sequence[tuple[int, int]], normalise: Callable[[str], str] = str
) -> list[tuple[int, int]]:
    """Every place of a text where a span stands, spaces aside, from the begin of a word to the end of one.

    Args:
        words: code points of each word of the text, and of its borders (`words_of`). normalise: what a model's tokenizer makes of a word when it writes it again.
    """
    wanted = "".join(normalise(span).split())
    if not wanted:
        return []
    row, begins, ends = "", {}, {}
    for start, end in words:
        word = "".join(normalise(text[start:end]).split()) if start < end else "\n"
        if word:
            begins[len(row)] = start
            row += word
            ends[len(row)] = end
    found = []
    at = row.find(wanted)
    while at >= 0:
        if at in begins and at + len(wanted) in ends:
            found.append((begins[at], ends[at + len(wanted)]))
        at = row.find(wanted, at + 1)
    return found


def place(
    entries: Iterable[Entry],
    text: str,
    types: Iterable[str],
    words: Sequence[tuple[int, int]] | None = None,
    normalise: Callable[[str], str] = str,
) -> list[Hit]:
    """What one output says of a text: every occurrence of each entry of a wanted type; of those that overlap the longest stays."""
    wanted, words = set(types), words_of(text) if words is None else words
    found: dict[tuple[str, int, int], Hit] = {}
    for entry in entries:
        if entry.type in wanted:
            for start, end in occurrences(entry.span, text, words, normalise):
                hit = Hit(start, end, entry.type, entry.probability)
                if hit.key not in found or found[hit.key].probability < hit.probability:
                    found[hit.key] = hit
    return apart(sorted(found.values(), key=lambda hit: hit.start - hit.end))


def apart(hits: Iterable[Hit]) -> list[Hit]:
    """Hits that do not overlap an earlier one of the list."""
    kept: list[Hit] = []
    for hit in hits:
        if not any(hit.overlaps(other) for other in kept):
            kept.append(hit)
    return kept


@dataclass(frozen=True)
class Voted:
    """A hit that the prompts agreed on.

    Attributes:
        votes: prompts that said it, of `prompts`. score: share of votes times its mean probability in them.
    """

    hit: Hit
    votes: int
    prompts: int
    score: float


def vote(outputs: Sequence[Sequence[Hit]]) -> list[Voted]:
    """The hits of all prompts of a text that most of them said, none overlapping one that has more votes; in text order.

    Args:
        outputs: of each prompt, from `place`.
    """
    said: dict[tuple[str, int, int], list[Hit]] = {}
    for output in outputs:
        for hit in output:
            said.setdefault(hit.key, []).append(hit)
    order = sorted(said.values(), key=len, reverse=True)  # of as many votes, what was said first
    kept = apart(hits[0] for hits in order)
    count = len(outputs)
    made = []
    for hit in sorted(kept, key=lambda hit: hit.start):
        hits = said[hit.key]
        score = math.fsum(each.probability for each in hits) / count  # = votes / count x mean probability
        made.append(Voted(hit, len(hits), count, score))
    return made
