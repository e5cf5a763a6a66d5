"""Pseudo-extraction on open text (MetaNER §4.2; `pretrain_utlis.py`): a type is a word or phrase that was hidden in the text, an item the `<maskN>` that stands there.

Phrases of at most four words that stand in several texts make episodes: the demonstrations show what one of them looks like around it, the query hides it again. More
words are hidden, which nobody asks for, until 15 % are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from workbench.extract.metaner.tokens import MASKS
from workbench.extract.metaner.train.episodes import Writer
from workbench.extract.metaner.wire import Shot
from workbench.extract.seq2seq.batch import Example
from workbench.extract.seq2seq.pretrain import OpenText, words_of
from workbench.extract.usm.pieces import SHAPES, Pieces

LONGEST = 4  # words of a phrase
HIDDEN = 0.15  # share of a text's pieces
OFTEN, SELDOM = 40, 2  # a phrase in more texts says little, one in fewer cannot be shown and asked
LABELS = (1, 5)  # of a sample; ours
LETTERS = 4  # a phrase begins and ends with a word of at least so many
CAPITAL = {SHAPES.index(name) for name in ("Title", "UPPER", "miXed")}

Place = tuple[int, int, int]  # text, first piece, stop
Ids = tuple[int, ...]


class HiddenWords:
    """Draws samples of the two language-model tasks.

    Args:
        texts: stretches of open text. writer: of the model.
    """

    def __init__(self, texts: Sequence[OpenText], writer: Writer) -> None:
        self.writer = writer
        self._texts = [Shot(each.text, each.pieces) for each in texts if len(each.pieces) >= 8]
        found: dict[Ids, list[Place]] = {}
        self._phrases: list[list[tuple[int, int]]] = []
        for number, shot in enumerate(self._texts):
            phrases = list(_phrases(shot))
            self._phrases.append(phrases)
            for first, stop in phrases:
                found.setdefault(tuple(shot.pieces.ids[first:stop].tolist()), []).append((number, first, stop))
        self._where = {
            ids: places for ids, places in found.items() if SELDOM <= len({number for number, *_ in places}) <= OFTEN
        }
        self._keys = list(self._where)

    def __len__(self) -> int:
        return len(self._keys)

    def plain(self, rng: np.random.Generator) -> Example | None:
        """A text with hidden phrases that are asked for."""
        number = int(rng.integers(len(self._texts)))
        phrases = self._phrases[number]
        if not phrases:
            return None
        chosen = _apart(
            [phrases[n] for n in rng.permutation(len(phrases))], int(rng.integers(LABELS[0], LABELS[1] + 1))
        )
        shot = self._texts[number]
        hidden = self._hide(rng, number, {spot: shot.words(spot[0], spot[1] - 1) for spot in chosen})
        types = {type_ for *_, type_ in hidden.mentions}
        return self.writer.plain(_shuffled(rng, types), hidden)

    def in_context(self, rng: np.random.Generator) -> Example | None:
        """Phrases hidden in demonstrations and in the query."""
        sampling = self.writer.sampling
        count = int(rng.integers(LABELS[0], min(LABELS[1], sampling.demonstrations) + 1))
        shown: list[Shot] = []
        names: dict[Ids, str] = {}
        if not self._keys:
            return None
        key = self._keys[int(rng.integers(len(self._keys)))]
        places = self._where[key]
        query = places[int(rng.integers(len(places)))][0]
        # what else of the query stands in another text
        here = [tuple(self._texts[query].pieces.ids[a:b].tolist()) for a, b in self._phrases[query]]
        others = [ids for ids in dict.fromkeys(here) if ids in self._where and ids != key]
        wanted = [key, *(others[n] for n in rng.permutation(len(others))[: count - 1])]
        for ids in wanted:
            elsewhere = [place for place in self._where[ids] if place[0] != query]
            if elsewhere:
                number, first, stop = elsewhere[int(rng.integers(len(elsewhere)))]
                names[ids] = self._texts[number].words(first, stop - 1)
                shown.append(self._hide(rng, number, {(first, stop): names[ids]}).cut(sampling.shown))
        spots: dict[tuple[int, int], str] = {}
        for ids, name in names.items():
            _, first, stop = next(place for place in self._where[ids] if place[0] == query)
            if all(stop <= a or b <= first for a, b in spots):
                spots[first, stop] = name
        hidden = self._hide(rng, query, spots).cut(sampling.asked)
        there = {type_ for shot in shown for *_, type_ in shot.mentions}
        if not there:
            return None
        order = [shown[n] for n in rng.permutation(len(shown))]
        return self.writer.episode(_shuffled(rng, there), order, hidden)

    def _hide(self, rng: np.random.Generator, number: int, spots: Mapping[tuple[int, int], str]) -> Shot:
        """A text whose phrases (first piece and stop -> type) gave way to masks, and further words too; the former are its mentions."""
        shot, tokens = self._texts[number], self.writer.wire.tokens
        pieces = shot.pieces
        masks = iter((rng.permutation(MASKS)).tolist())
        taken = {n for first, stop in spots for n in range(first, stop)}
        others: list[tuple[int, int]] = []
        left = round(len(pieces) * HIDDEN) - len(taken)
        words = words_of(pieces)
        for n in rng.permutation(len(words)):
            first, stop = words[n]
            if left <= 0 or len(others) > MASKS // 2:
                break
            if not taken & set(range(first, stop)):
                others.append((first, stop))
                left -= stop - first
        ids: list[int] = []
        shapes: list[int] = []
        keep: list[int] = []  # the piece whose place each new piece has
        mentions = []
        at = 0
        for first, stop in sorted([*spots, *others]):
            ids += [*pieces.ids[at:first].tolist(), tokens.masks[next(masks)]]
            shapes += [*pieces.shapes[at:first].tolist(), 0]
            keep += range(at, first + 1)
            if (first, stop) in spots:
                mentions.append((len(ids) - 1, len(ids) - 1, spots[first, stop]))
            at = stop
        ids += pieces.ids[at:].tolist()
        shapes += pieces.shapes[at:].tolist()
        keep += range(at, len(pieces))
        made = Pieces(
            np.array(ids, np.int32), pieces.starts[keep], pieces.ends[keep], np.array(shapes, np.int8), pieces.words[keep], pieces.parts[keep]
        )  # fmt: skip
        return Shot(shot.text, made, tuple(mentions), altered=True)


def _phrases(shot: Shot) -> list[tuple[int, int]]:
    """Runs of capitalised words, and single long words: what says something of a text (informative spans)."""
    pieces = shot.pieces
    words = words_of(pieces)
    found = []
    n = 0
    while n < len(words):
        first, stop = words[n]
        letters = int(pieces.ends[stop - 1] - pieces.starts[first])
        if int(pieces.shapes[first]) in CAPITAL and letters >= LETTERS:
            last = n
            while (
                last + 1 < len(words) and last + 1 - n < LONGEST and int(pieces.shapes[words[last + 1][0]]) in CAPITAL
            ):
                last += 1
            found.append((first, words[last][1]))
            n = last
        elif letters >= LETTERS + 3 and pieces.shapes[first] != SHAPES.index("sign"):
            found.append((first, stop))
        n += 1
    return found


def _apart(spots: Sequence[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """The first spots that do not overlap, so many at most, in text order."""
    chosen: list[tuple[int, int]] = []
    for first, stop in spots:
        if len(chosen) < count and all(stop <= a or b <= first for a, b in chosen):
            chosen.append((first, stop))
    return sorted(chosen)


def _shuffled(rng: np.random.Generator, types: set[str]) -> dict[str, str]:
    """Each phrase stands for itself."""
    every = sorted(types)
    return {every[n]: every[n] for n in rng.permutation(len(every))}
