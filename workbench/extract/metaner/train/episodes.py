"""Episodes for in-context pre-training, and samples of the plain task (MetaNER §4.2; `pretrain.py`).

An in-context episode takes one set: up to 5 target types, demonstrations that show each of them, up to 9 further types that the demonstrations hold, and a query,
drawn with a chance of 0.6 from texts with a target type and else from any, so that some hold none. Type names are replaced by `<type1>` … with a chance of 0.8.
A set that is only partly annotated gives no negatives: where nothing is marked, whether something begins there and where the output ends is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from workbench.extract.metaner.tokens import type_name
from workbench.extract.metaner.wire import Shot, Source, Wire
from workbench.extract.seq2seq.batch import Example
from workbench.extract.seq2seq.model import ANYWHERE
from workbench.extract.usm.train.names import allowed_names
from workbench.extract.usm.train.sources import Source as TextSet

QUERY_WITH_TARGET = 0.6  # MetaNER, pretrain.py
ANONYMOUS = 0.8
TARGETS, EXTRA, PLAIN_LABELS = 5, 9, (2, 14)
OWN_NAME = 0.6  # chance of a set's own name for a type, else a synonym; ours, as for our other engines


@dataclass(frozen=True)
class Sampling:
    """How episodes are drawn.

    Attributes:
        anonymous: chance that a type stands under `<typeN>`. demonstrations: of an episode at most.
        shown: pieces of a demonstration at most. asked: pieces of a query at most. max_source, max_target: tokens of an example.
    """

    anonymous: float = ANONYMOUS
    demonstrations: int = 5
    shown: int = 100
    asked: int = 200
    max_source: int = 512
    max_target: int = 160


@dataclass
class Episode(Example):
    """An example with demonstrations, and what the meta loss needs of it.

    Attributes:
        shown: each demonstration as an example of its own. bare, bare_shapes: instruction and query without demonstrations.
        kept: where the tokens of `bare` stand in the source.
    """

    shown: list[Example] = field(default_factory=list)
    bare: list[int] = field(default_factory=list)
    bare_shapes: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)


class Writer:
    """Makes examples of prompts.

    Args:
        wire: of the model.
    """

    def __init__(self, wire: Wire, sampling: Sampling) -> None:
        self.wire, self.sampling = wire, sampling

    def target(
        self, source: Source, query: Shot, names: Mapping[str, str], complete: bool = True
    ) -> tuple[list[int], list[int], frozenset[int]]:
        """What is to be written about a query: numbers, places in the source, and which are not counted.

        Args:
            source: what the encoder reads. complete: whether every mention is marked.
        """
        wire = self.wire
        target: list[int] = []
        places: list[int] = []
        silent = set()
        begin = source.query
        for first, last, span, rest in wire.entries(query, names):
            if len(target) + len(span) + len(rest) + 1 > self.sampling.max_target:
                complete = False  # the rest is left out, so the end is not where it would be
                break
            if not complete:
                silent.add(len(target))
            target += (*span, *rest)
            there = range(begin + first, begin + last + 1) if wire.copies else [ANYWHERE] * len(span)
            places += (*there, *[ANYWHERE] * len(rest))
        if not complete:
            silent.add(len(target))
        return [*target, wire.tokens.end], [*places, ANYWHERE], frozenset(silent)

    def episode(
        self, names: Mapping[str, str], shown: Sequence[Shot], query: Shot, complete: bool = True
    ) -> Episode | None:
        """An in-context example; None where it is too long."""
        source = self.wire.prompt(names, shown, query)
        if len(source.ids) > self.sampling.max_source:
            return None
        target, places, silent = self.target(source, query, names, complete)
        bare = self.wire.prompt(names, (), query)
        head = len(bare.ids) - len(source.places("query")) - 1
        kept = [*range(head), *range(source.query - 1, len(source.ids))]
        single = []
        for shot in shown:
            own = self.wire.prompt(names, (), shot)
            wanted, at, quiet = self.target(own, shot, names, complete)
            single.append(Example(own.ids, wanted, own.shapes, at, quiet))
        return Episode(
            source.ids,
            target,
            source.shapes,
            places,
            silent,
            shown=single,
            bare=bare.ids,
            bare_shapes=bare.shapes,
            kept=kept,
        )

    def plain(self, names: Mapping[str, str], query: Shot, complete: bool = True) -> Example | None:
        """An example without demonstrations; None where it is too long."""
        source = self.wire.plain(names, query)
        if len(source.ids) > self.sampling.max_source:
            return None
        target, places, silent = self.target(source, query, names, complete)
        return Example(source.ids, target, source.shapes, places, silent)


class Episodes:
    """Draws from annotated sets.

    Args:
        sources: with their weights and types. shots: set -> its texts. writer: of the model.
    """

    def __init__(self, sources: Sequence[TextSet], shots: Mapping[str, Sequence[Shot]], writer: Writer) -> None:
        self.writer, self._shots = writer, shots
        self._sources = [source for source in sources if len(shots.get(source.name, ())) > 1]
        weights = np.array([source.plan.weight for source in self._sources])
        self._chances = weights / weights.sum()
        self._with: dict[str, dict[str, list[int]]] = {}
        for source in self._sources:
            known: dict[str, list[int]] = {}
            for number, shot in enumerate(shots[source.name]):
                for type_ in dict.fromkeys(type_ for *_, type_ in shot.mentions):
                    known.setdefault(type_, []).append(number)
            # a type that one text alone holds cannot be shown and asked
            self._with[source.name] = {type_: where for type_, where in sorted(known.items()) if len(where) > 1}

    @property
    def types(self) -> dict[str, int]:
        """Set -> how many types can be shown and asked."""
        return {name: len(known) for name, known in self._with.items()}

    def _set(self, rng: np.random.Generator) -> TextSet:
        return self._sources[int(rng.choice(len(self._sources), p=self._chances))]

    # ------------------------------------------------------------------ in context
    def in_context(self, rng: np.random.Generator) -> Example | None:
        """An episode of one set."""
        source, sampling = self._set(rng), self.writer.sampling
        known, shots = self._with[source.name], self._shots[source.name]
        if not known:
            return None
        targets = _some(rng, list(known), int(rng.integers(1, TARGETS + 1)))
        count = int(rng.integers(1, sampling.demonstrations + 1))
        targets = targets[: max(1, count)]  # a type that no demonstration holds is not asked
        query = self._query(rng, source, targets)
        chosen = self._demonstrations(rng, source, targets, count, query)
        if not chosen:
            return None
        shown = [shots[n].cut(sampling.shown) for n in chosen]
        there = {type_ for shot in shown for *_, type_ in shot.mentions}
        targets = [type_ for type_ in targets if type_ in there]
        others = sorted(there - set(targets))
        asked = [*targets, *_some(rng, others, int(rng.integers(0, EXTRA + 1)))]
        if not asked:
            return None
        asked = [asked[n] for n in rng.permutation(len(asked))]
        names = self.names(rng, source, asked, sampling.anonymous)
        return self.writer.episode(names, shown, shots[query].cut(sampling.asked), source.plan.complete)

    def _query(self, rng: np.random.Generator, source: TextSet, targets: Sequence[str]) -> int:
        known = self._with[source.name]
        # where not all is marked, a text without a target may hold one all the same
        if not source.plan.complete or rng.random() < QUERY_WITH_TARGET:
            where = known[targets[int(rng.integers(len(targets)))]]
            return where[int(rng.integers(len(where)))]
        return int(rng.integers(len(self._shots[source.name])))

    def _demonstrations(
        self, rng: np.random.Generator, source: TextSet, targets: Sequence[str], count: int, query: int
    ) -> list[int]:
        """Texts that hold the targets in turn, the query not among them."""
        known, text = self._with[source.name], self._shots[source.name][query].text
        chosen: list[int] = []
        for n in range(count):
            where = known[targets[n % len(targets)]]
            for _ in range(4):
                number = where[int(rng.integers(len(where)))]
                if number not in chosen and self._shots[source.name][number].text != text:
                    chosen.append(number)
                    break
        return chosen

    def names(
        self, rng: np.random.Generator, source: TextSet, types: Sequence[str], anonymous: float
    ) -> dict[str, str]:
        """A name for each type, no two alike: anonymous, its own or a synonym."""
        free = rng.permutation(len(self.writer.wire.tokens.types)) + 1
        found: dict[str, str] = {}
        for number, type_ in enumerate(types):
            name = type_name(int(free[number]))
            if rng.random() >= anonymous:
                own = allowed_names(source.name, type_, frozenset())
                name = own[0] if len(own) == 1 or rng.random() < OWN_NAME else own[int(rng.integers(1, len(own)))]
            if name not in found.values():
                found[type_] = name
        return found

    # ------------------------------------------------------------------ plain
    def plain(self, rng: np.random.Generator) -> Example | None:
        """A sample without demonstrations: 2 to 14 labels, a share of 0, 10, … or 100 % of them in the text."""
        source, sampling = self._set(rng), self.writer.sampling
        known, shots = self._with[source.name], self._shots[source.name]
        if len(known) < 1:
            return None
        number = int(rng.integers(len(shots)))
        if not source.plan.complete and not shots[number].mentions:
            return None
        shot = shots[number].cut(sampling.asked)
        there = list(dict.fromkeys(type_ for *_, type_ in shot.mentions))
        absent = [type_ for type_ in known if type_ not in there]
        count = int(rng.integers(PLAIN_LABELS[0], PLAIN_LABELS[1] + 1))
        positive = min(len(there), round(count * int(rng.integers(0, 11)) / 10))
        if not source.plan.complete:
            positive = max(1, positive)
        asked = [*_some(rng, there, positive), *_some(rng, absent, count - positive)]
        asked = [asked[n] for n in rng.permutation(len(asked))]
        return self.writer.plain(self.names(rng, source, asked, 0.0), shot, source.plan.complete) if asked else None


def _some(rng: np.random.Generator, items: Sequence[str], count: int) -> list[str]:
    return [items[n] for n in rng.permutation(len(items))[: max(0, count)]]
