"""The three objectives of UIE's pre-training (arXiv 2203.12277 §4): `pair` (schema and text -> structure), `record` (structure alone) and
`text` (spans of plain text).

A copying model can write only what stands in its source, so for it (ours) the source of `record` is the schema and the record's spans in any
order, and `text` puts words that were taken out back into their gaps.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from workbench.extract.errors import EngineError
from workbench.extract.loop import named_number
from workbench.extract.seq2seq.batch import Example
from workbench.extract.seq2seq.pretrain import OpenText, Tasks
from workbench.extract.seq2seq.stream import Maker
from workbench.extract.seq2seq.tokens import SelTokens, sentinel
from workbench.extract.uie.sel import Asoc, Spot, write
from workbench.extract.uie.train.sampling import Sampler, example, named
from workbench.extract.usm.train.sources import Chunk, Source

CORRUPTED, MEAN_SPAN = 0.15, 3  # of T5's span corruption, as in UIE
OBJECTIVES = {"pair": 0.9, "record": 0.05, "text": 0.05}


def parse_objectives(given: Iterable[str]) -> dict[str, float]:
    """Shares of objectives written as "pair=0.9"; the usual ones where nothing is given.

    Raises:
        EngineError: one is none.
    """
    found: dict[str, float] = {}
    for each in given:
        name, value = named_number(each)
        if name not in OBJECTIVES or not value >= 0:
            raise EngineError(
                f"An objective is given as NAME=SHARE with {', '.join(OBJECTIVES)}, not as '{each}': write for instance pair=0.9."
            )
        found[name] = value
    if found and not any(found.values()):
        raise EngineError("Every objective has the share 0: give one of them a share above 0.")
    return found or dict(OBJECTIVES)


class Objectives:
    """Makes examples of each objective.

    Args:
        sampler: draws prompts. sources: with their weights.
        tokenizer, tokens: of the model. copies: whether the model can only copy.
    """

    def __init__(
        self, sampler: Sampler, sources: list[Source], tokenizer: object, tokens: SelTokens, copies: bool
    ) -> None:
        self._sampler, self._tokens, self._copies = sampler, tokens, copies
        self._sources = [source for source in sources if source.chunks]
        weights = np.array([source.plan.weight for source in self._sources])
        self._chances = weights / weights.sum()
        vocabulary = tokenizer.get_vocab()  # type: ignore[attr-defined]
        self._gaps = [vocabulary[sentinel(n)] for n in range(100) if sentinel(n) in vocabulary]
        texts = [OpenText("", chunk.pieces) for source in self._sources for chunk in source.chunks[:2000]]
        self._tasks = Tasks(texts, tokenizer, tokens) if copies else None

    def makers(self, weights: dict[str, float]) -> dict[str, tuple[float, Maker]]:
        """Objectives by name with their weights."""
        made = {"pair": self.pair, "record": self.record, "text": self.text}
        return {name: (weight, made[name]) for name, weight in weights.items()}

    def chunk(self, rng: np.random.Generator) -> tuple[Source, Chunk]:
        """A chunk of a set; half of those without anything in them are passed over."""
        source = self._sources[int(rng.choice(len(self._sources), p=self._chances))]
        for _ in range(2):
            chunk = source.chunks[int(rng.integers(len(source.chunks)))]
            if chunk.entities or chunk.relations or chunk.events or rng.random() < 0.5:
                break
        return source, chunk

    def pair(self, rng: np.random.Generator) -> Example | None:
        return self._sampler.draw(*self.chunk(rng), rng)

    def record(self, rng: np.random.Generator) -> Example | None:
        source, chunk = self.chunk(rng)
        parts = self._sampler.tree(source, chunk, rng)
        if parts is None or not parts[1]:
            return None
        asked, spots = parts
        if not self._copies:
            return Example([self._tokens.eos], [*write(spots, self._tokens), self._tokens.eos])
        spans = list(dict.fromkeys(node.span for spot in spots for node in (spot, *spot.asocs)))
        text: list[int] = []
        at = {}
        for number in rng.permutation(len(spans)):
            at[spans[number]] = len(text)
            text += spans[number]
        again = [
            Spot(s.label, s.span, place=at[s.span], asocs=[Asoc(a.label, a.span, place=at[a.span]) for a in s.asocs])
            for s in sorted(spots, key=lambda s: (at[s.span], s.label))
        ]
        spot_names, asoc_names = named(asked, asked.spots), named(asked, asked.asocs)
        return example(spot_names, asoc_names, text, [], again, self._tokens, self._sampler.sampling, rng)

    def text(self, rng: np.random.Generator) -> Example | None:
        if self._tasks is not None:
            return self._tasks.infill(rng)
        ids = self.chunk(rng)[1].pieces.ids.tolist()
        return corrupted(ids, self._gaps, self._tokens, rng)


def corrupted(ids: list[int], gaps: list[int], tokens: SelTokens, rng: np.random.Generator) -> Example | None:
    """T5's span corruption (Raffel et al. 2020 §3.1.4): spans give way to sentinels, and are written behind them.

    Args:
        ids: of a text. gaps: numbers of the sentinels, in order.
    """
    count = max(1, round(len(ids) * CORRUPTED))
    spans = min(max(1, round(count / MEAN_SPAN)), len(gaps) - 1)
    if len(ids) < 2 * count + spans:
        return None
    lengths = _parts(count, spans, rng)
    between = _parts(len(ids) - count, spans + 1, rng)
    source: list[int] = []
    target: list[int] = []
    at = 0
    for number in range(spans):
        source += [*ids[at : at + between[number]], gaps[number]]
        at += between[number]
        target += [gaps[number], *ids[at : at + lengths[number]]]
        at += lengths[number]
    return Example([*source, *ids[at:], tokens.eos], [*target, gaps[spans], tokens.eos])


def _parts(total: int, count: int, rng: np.random.Generator) -> list[int]:
    """A random split of a number into so many parts of at least 1."""
    cuts = np.sort(rng.choice(total - 1, count - 1, replace=False) + 1) if count > 1 else np.array([], int)
    found: list[int] = np.diff([0, *cuts.tolist(), total]).tolist()
    return found
