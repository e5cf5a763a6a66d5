"""Pre-training of a copying model on open text: tasks whose answers stand in the text, in the form of structured output (ours).

find    labels are words of the text: the span runs from the word to the next sign; associations do the same for a word behind it
shape   labels are "name", "number", "quotation": spans by the shape of their words
is-a    "X is a Y": the label is Y, the span is X (pattern of Hearst, COLING 1992, in its simplest form)
infill  words are taken out and stand as labels in the prompt, shuffled; they are written behind the marks of their gaps
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from workbench.extract.errors import ExtractError
from workbench.extract.seq2seq.batch import Example
from workbench.extract.seq2seq.stream import Maker
from workbench.extract.seq2seq.tokens import SelTokens, encode_plain, sentinel
from workbench.extract.usm.pieces import SHAPES, Pieces

Label = tuple[int, ...]
Node = tuple[Label, int, int]  # label, first piece of its span, stop
CAPITAL = {SHAPES.index(name) for name in ("Title", "UPPER", "miXed")}
DIGITS = {SHAPES.index(name) for name in ("digits", "letters and digits")}
LONGEST_TARGET = 200  # tokens
FIRST_GAP = 7  # number of the first sentinel that marks a gap; those below have roles
GAPS = 8
_IS_A = re.compile(
    r"\b((?:[A-Z][\w'-]+ ?){1,4}) ?(?:is|was|are|were) (?:a|an|the|one of the) ((?:[a-z][\w-]+ ?){1,3}?)(?= ?[,.;:(]| (?:of|in|at|and|that|who|which|from|by|for|to|with|on|as)\b)"
)


@dataclass
class OpenText:
    """A stretch of open text."""

    text: str
    pieces: Pieces


def read_open_texts(paths: Iterable[str | Path], most: int = 20_000_000) -> list[str]:
    """Paragraphs of text files, white space put in order.

    Args:
        paths: .txt files, or folders of them. most: characters of a file at most.

    Raises:
        ExtractError: there is no text.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        files += sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    found = []
    for file in files:
        if file.name in ("SOURCE.txt", "LICENSE.txt"):
            continue
        try:
            text = file.read_text(encoding="utf-8", errors="replace")[:most]
        except OSError:
            raise ExtractError(f"The text '{file}' cannot be read: check the path.") from None
        text = text.replace(" @-@ ", "-").replace(" @,@ ", ",").replace(" @.@ ", ".").replace("<unk>", " ")
        parts = re.split(r"\n\s*\n|\n(?= = )|<\|endoftext\|>", text)
        found += [" ".join(part.split()) for part in parts]
    found = [text for text in found if len(text) >= 40]
    if not found:
        raise ExtractError("There is no open text to learn from: name .txt files, or a folder of them, with --texts.")
    return found


def stretches(
    texts: Sequence[str], tokenizer: Any, tokens: SelTokens, shortest: int = 16, longest: int = 96
) -> list[OpenText]:
    """Texts cut into stretches between sentences where possible."""
    found = []
    for text, pieces in zip(texts, encode_plain(tokenizer, tokens, texts), strict=True):
        first = 0
        while len(pieces) - first >= shortest:
            stop = min(first + longest, len(pieces))
            for at in range(stop, first + longest // 2, -1):
                if (
                    stop < len(pieces)
                    and text[pieces.ends[at - 1] - 1] in ".!?"
                    and pieces.words[at - 1] != pieces.words[min(at, len(pieces) - 1)]
                ):
                    stop = at
                    break
            found.append(OpenText(text, pieces.cut(first, stop)))
            first = stop
    return found


class Tasks:
    """Makes examples.

    Args:
        texts: stretches of open text. tokenizer, tokens: of the model.
    """

    def __init__(self, texts: Sequence[OpenText], tokenizer: Any, tokens: SelTokens) -> None:
        self._texts, self._tokens = texts, tokens
        self._tokenizer = tokenizer
        self._gaps = [tokenizer.convert_tokens_to_ids(sentinel(FIRST_GAP + n)) for n in range(GAPS)]
        self._names = {name: self._label(name) for name in ("name", "number", "quotation")}
        self._kinds: list[tuple[OpenText, list[Node]]] | None = None

    def makers(self) -> dict[str, tuple[float, Maker]]:
        """Kinds of examples with their weights."""
        makers: dict[str, tuple[float, Maker]] = {
            "find": (0.4, self.find),
            "shape": (0.2, self.shape),
            "infill": (0.25, self.infill),
        }
        if self._is_a():
            makers["is-a"] = (0.15, self.is_a)
        return makers

    def _label(self, words: str) -> Label:
        return tuple(self._tokenizer(words, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def _text(self, rng: np.random.Generator) -> OpenText:
        return self._texts[int(rng.integers(len(self._texts)))]

    # ------------------------------------------------------------------ structured tasks
    def find(self, rng: np.random.Generator) -> Example | None:
        pieces = self._text(rng).pieces
        words = _content_words(pieces)
        if len(words) < 4:
            return None
        signs = _signs(pieces)
        chosen = rng.permutation(len(words))[: int(rng.integers(1, 7))]
        spots: list[tuple[Node, list[Node]]] = []
        labels: dict[Label, None] = {}
        under: dict[Label, None] = {}
        for number in sorted(chosen.tolist()):
            label = _ids(pieces, *words[number])
            if label in labels:
                continue
            labels[label] = None
            for first, stop in words:
                if _ids(pieces, first, stop) == label:
                    spots.append(((label, first, _until(first, stop, signs)), []))
        spots.sort(key=lambda spot: spot[0][1])
        if rng.random() < 0.5:
            for (_, first, _), inner in spots:
                later = [word for word in words if word[0] > first][:6]
                if later and rng.random() < 0.6:
                    begin, stop = later[int(rng.integers(len(later)))]
                    label = _ids(pieces, begin, stop)
                    under[label] = None
                    inner.append((label, begin, _until(begin, stop, signs)))
            for node, inner in spots:  # an association is asked of every spot, so that the prompt tells what is true
                there = {label for label, *_ in inner}
                for label in under:
                    if label not in there:
                        place = next((w for w in words if w[0] > node[1] and _ids(pieces, *w) == label), None)
                        if place is not None:
                            inner.append((label, place[0], _until(*place, signs)))
                inner.sort(key=lambda each: each[1])
        absent = self._absent(rng, pieces, int(rng.integers(0, 4)))
        return self._example(rng, pieces, [*labels, *(a for a in absent if a not in labels)], list(under), spots)

    def shape(self, rng: np.random.Generator) -> Example | None:
        text = self._text(rng)
        found = _by_shape(text, self._names)
        asked = [label for label in self._names.values() if rng.random() < 0.7] or [self._names["name"]]
        spots: list[tuple[Node, list[Node]]] = [(node, []) for node in found if node[0] in asked]
        if not spots and rng.random() < 0.7:
            return None
        return self._example(rng, text.pieces, asked, [], spots)

    def is_a(self, rng: np.random.Generator) -> Example | None:
        kinds = self._is_a()
        text, nodes = kinds[int(rng.integers(len(kinds)))]
        labels = dict.fromkeys(label for label, *_ in nodes)
        for _ in range(int(rng.integers(0, 6))):
            labels[kinds[int(rng.integers(len(kinds)))][1][0][0]] = None
        return self._example(rng, text.pieces, list(labels), [], [(node, []) for node in nodes], silent_end=True)

    def _is_a(self) -> list[tuple[OpenText, list[Node]]]:
        if self._kinds is None:
            self._kinds = []
            for text in self._texts:
                nodes = []
                first, last = int(text.pieces.starts[0]), int(text.pieces.ends[-1])
                for match in _IS_A.finditer(text.text, first, last):
                    name = match[1].rstrip()
                    place = text.pieces.span(match.start(1), match.start(1) + len(name))
                    label = self._label(match[2].strip())
                    if (
                        place is not None
                        and label
                        and name.split()[0]
                        not in ("It", "He", "She", "This", "That", "There", "They", "What", "Here", "The")
                    ):
                        nodes.append((label, place[0], place[1] + 1))
                if nodes:
                    self._kinds.append((text, sorted(nodes, key=lambda node: node[1])))
        return self._kinds

    def _absent(self, rng: np.random.Generator, pieces: Pieces, count: int) -> list[Label]:
        """Words of other texts that do not stand in this one."""
        there = {_ids(pieces, *word) for word in _content_words(pieces)}
        found = []
        for _ in range(count):
            other = self._text(rng).pieces
            words = _content_words(other)
            if words:
                label = _ids(other, *words[int(rng.integers(len(words)))])
                if label not in there:
                    found.append(label)
        return found

    def _example(
        self,
        rng: np.random.Generator,
        pieces: Pieces,
        spots: list[Label],
        asocs: list[Label],
        tree: list[tuple[Node, list[Node]]],
        silent_end: bool = False,
    ) -> Example:
        t = self._tokens
        source: list[int] = []
        at: dict[tuple[int, Label], int] = {}
        for marker, labels in ((t.spot, spots), (t.asoc, asocs)):
            for number in rng.permutation(len(labels)):
                at[marker, labels[number]] = len(source) + 1
                source += (marker, *labels[number])
        source.append(t.text)
        text = len(source)
        target, places = [t.open], [-1]

        def head(marker: int, node: Node) -> None:
            label, first, stop = node
            target.extend((t.open, *label, t.colon, *_ids(pieces, first, stop)))
            start = at[marker, label]
            places.extend((-1, *range(start, start + len(label)), -1, *range(text + first, text + stop)))

        for node, inner in tree:
            cost = sum(len(label) + stop - first + 3 for label, first, stop in (node, *inner))
            if len(target) + cost > LONGEST_TARGET:
                silent_end = True  # the rest is left out, so the end is not where it would be
                break
            head(t.spot, node)
            for below in inner:
                head(t.asoc, below)
                target.append(t.close)
                places.append(-1)
            target.append(t.close)
            places.append(-1)
        silent = frozenset((len(target), len(target) + 1)) if silent_end else frozenset()
        return Example(
            source=[*source, *pieces.ids.tolist(), t.eos],
            target=[*target, t.close, t.eos],
            shapes=[0] * text + pieces.shapes.tolist(),
            places=places,
            silent=silent,
        )

    # ------------------------------------------------------------------ infill
    def infill(self, rng: np.random.Generator) -> Example | None:
        pieces = self._text(rng).pieces
        starts = [n for n in range(len(pieces)) if n == 0 or pieces.words[n] != pieces.words[n - 1]]
        if len(starts) < 8:
            return None
        count = int(rng.integers(2, min(GAPS, len(starts) // 3) + 1))
        chosen = sorted(rng.choice(len(starts) - 1, count, replace=False).tolist())
        spans: list[tuple[int, int]] = []
        for number, word in enumerate(chosen):
            last = min(
                word + int(rng.integers(1, 4)), chosen[number + 1] - 1 if number + 1 < count else len(starts) - 1
            )
            if last > word:
                spans.append((starts[word], starts[last]))
        if len(spans) < 2:
            return None
        t = self._tokens
        source: list[int] = []
        at = {}
        for number in rng.permutation(len(spans)):
            at[int(number)] = len(source) + 1
            source += (t.spot, *_ids(pieces, *spans[number]))
        source.append(t.text)
        shapes = [0] * len(source)
        target: list[int] = []
        places: list[int] = []
        begin = 0
        for number, (first, stop) in enumerate(spans):
            source += [*_ids(pieces, begin, first), self._gaps[number]]
            shapes += [*pieces.shapes[begin:first].tolist(), 0]
            target += (self._gaps[number], *_ids(pieces, first, stop))
            places += (-1, *range(at[number], at[number] + stop - first))
            begin = stop
        source += [*pieces.ids[begin:].tolist(), t.eos]
        shapes += pieces.shapes[begin:].tolist()
        return Example(source, [*target, t.eos], shapes, places)


def _ids(pieces: Pieces, first: int, stop: int) -> Label:
    return tuple(pieces.ids[first:stop].tolist())


def words_of(pieces: Pieces) -> list[tuple[int, int]]:
    """First piece and stop of each word."""
    borders = [0, *(np.flatnonzero(np.diff(pieces.words)) + 1).tolist(), len(pieces)]
    return list(pairwise(borders))


def _content_words(pieces: Pieces) -> list[tuple[int, int]]:
    """Words of at least five letters."""
    sign = SHAPES.index("sign")
    return [
        (a, b) for a, b in words_of(pieces) if pieces.ends[b - 1] - pieces.starts[a] >= 5 and pieces.shapes[a] != sign
    ]


def _signs(pieces: Pieces) -> list[int]:
    sign = SHAPES.index("sign")
    return [n for n in range(len(pieces)) if pieces.shapes[n] == sign] + [len(pieces)]


def _until(first: int, stop: int, signs: Sequence[int]) -> int:
    """Where a span ends: before the next sign, after its first word at least, after twelve pieces at most."""
    end = next(sign for sign in signs if sign > first)
    return end if end - first <= 12 and end >= stop else stop


def _by_shape(text: OpenText, names: dict[str, Label]) -> list[Node]:
    """Runs of capitalised words, words with digits, and what stands between quotation marks."""
    pieces = text.pieces
    found: list[Node] = []
    words = words_of(pieces)
    number = 0
    while number < len(words):
        first, stop = words[number]
        shape = int(pieces.shapes[first])
        if shape in DIGITS:
            found.append((names["number"], first, stop))
        elif shape in CAPITAL:
            while number + 1 < len(words) and int(pieces.shapes[words[number + 1][0]]) in CAPITAL:
                number += 1
            found.append((names["name"], first, words[number][1]))
        number += 1
    marks = [(a, b) for a, b in words if text.text[pieces.starts[a] : pieces.ends[b - 1]] == '"']
    found += [
        (names["quotation"], one[1], two[0])
        for one, two in zip(marks[::2], marks[1::2], strict=False)
        if 0 < two[0] - one[1] <= 24
    ]
    return sorted(found, key=lambda node: (node[1], node[2]))
