"""From a chunk to a training example: which labels are asked, what is then true, and labels that are rejected (UIE, `DynamicSSIGenerator`,
`spot_asoc_noiser.py`).

Prompt and target are drawn anew for each batch. Unlike the original, a label stands under its own name or a synonym, positive labels are left
out now and then, and absent labels come from other domains too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from workbench.extract.seq2seq.batch import Example
from workbench.extract.seq2seq.tokens import SelTokens
from workbench.extract.uie.sel import NULL, Asoc, Spot, write
from workbench.extract.uie.ssi import Ids, LabelIds, source_ids
from workbench.extract.usm.links import Pair
from workbench.extract.usm.train.names import allowed_names, normal
from workbench.extract.usm.train.prompts import EVERYWHERE
from workbench.extract.usm.train.sources import Chunk, Source

UNTYPED = "entity"  # stands for the ends of relations whose set gives them no type


@dataclass(frozen=True)
class Sampling:
    """How prompts are drawn.

    Attributes:
        labels: labels of each kind in most prompts, at most. drop: chance that a present label is left out.
        reject: chance of a rejected label a spot, for spots and for asocs. ordered: share of prompts in alphabetical order.
        own_name: chance of a set's own name. far: chance of absent labels of other domains.
        whole: ask the whole schema of a set in every prompt, as UIE does when it is fine-tuned; `labels` and `drop` say nothing then.
        max_source, max_target: tokens of an example.
    """

    labels: int = 10
    drop: float = 0.1
    reject: float = 0.1
    ordered: float = 0.4
    own_name: float = 0.6
    far: float = 0.3
    max_source: int = 384
    max_target: int = 240
    whole: bool = False


@dataclass
class Draw:
    """What was asked so far: type -> numbers of the name it has in this prompt."""

    spots: dict[str, Ids] = field(default_factory=dict)
    asocs: dict[str, Ids] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    names: dict[Ids, str] = field(default_factory=dict)  # written out


class Sampler:
    """Draws examples.

    Args:
        coder: numbers of labels. sources: all of the run. banned: normal forms of names that must not appear.
    """

    def __init__(
        self,
        coder: LabelIds,
        tokens: SelTokens,
        sources: list[Source],
        sampling: Sampling,
        banned: frozenset[str] = frozenset(),
    ) -> None:
        self._coder, self._tokens, self.sampling, self._banned = coder, tokens, sampling, banned
        self._far: dict[str, list[str]] = {}
        self._own: dict[str, set[str]] = {}
        for source in sources:
            every = [*source.entities, *source.relations, *source.events]
            self._own[source.name] = {
                normal(name) for type_ in every for name in allowed_names(source.name, type_, frozenset())
            }
            if source.plan.domain != "words":
                for type_ in every:
                    names = allowed_names(source.name, type_, banned)
                    if names and not any(set(normal(name).split()) & EVERYWHERE for name in names):
                        self._far.setdefault(source.plan.domain, []).append(names[0])

    # ------------------------------------------------------------------ what is asked
    def draw(self, source: Source, chunk: Chunk, rng: np.random.Generator) -> Example | None:
        """A prompt for a chunk with its target; None where nothing can be asked."""
        parts = self.tree(source, chunk, rng)
        if parts is None:
            return None
        asked, spots = parts
        return self.example(source, chunk, asked, spots, rng)

    def tree(self, source: Source, chunk: Chunk, rng: np.random.Generator) -> tuple[Draw, list[Spot]] | None:
        """Labels and structure of a chunk."""
        asked = Draw()
        if self.sampling.whole:
            spots = self._whole(asked, source, chunk, rng)
            return (asked, _in_order(spots)) if asked.spots else None
        few = rng.random() < 0.8
        most = int(rng.integers(1, self.sampling.labels + 1)) if few else max(25, self.sampling.labels)
        ways = [("entities", 1.0)] if chunk.has[0] and source.entities else []
        ways += [("relations", 2.0)] if chunk.has[1] and source.relations else []
        ways += [("events", 2.0)] if chunk.has[2] and source.events else []
        if not ways:
            return None
        weights = np.array([weight for _, weight in ways])
        way = ways[int(rng.choice(len(ways), p=weights / weights.sum()))][0]
        makers = {"entities": self._entities, "relations": self._relations, "events": self._events}
        spots = makers[way](asked, source, chunk, most, rng)
        if source.plan.domain != "words" and rng.random() < self.sampling.far:
            self._far_labels(asked, source, rng)
        if not asked.spots:
            return None
        return asked, _in_order(spots)

    def _whole(self, asked: Draw, source: Source, chunk: Chunk, rng: np.random.Generator) -> list[Spot]:
        """Every type, relation, event and role that the set has and marks in this chunk."""
        below: dict[tuple[str, Pair], list[tuple[str, Pair]]] = {}
        if chunk.has[0]:
            self._ask(asked.spots, asked, source, list(source.entities), rng)
        if chunk.has[1] and source.relations:
            self._ask_ends(asked, source, list(source.relations), rng)
            self._ask(asked.asocs, asked, source, list(source.relations), rng)
            self._relations_below(asked, chunk, below)
        if chunk.has[2]:
            self._ask(asked.spots, asked, source, list(source.events), rng)
            roles = dict.fromkeys(role for roles in source.events.values() for role in roles)
            self._ask(asked.asocs, asked, source, list(roles), rng)
            self._events_below(asked, chunk, below)
        return self._spots(asked, chunk, below)

    def _ask_ends(self, asked: Draw, source: Source, relations: list[str], rng: np.random.Generator) -> set[str]:
        """Ask the types between which relations stand, or one for all where the set names none; returns them."""
        ends = sorted({end for type_ in relations for side in source.relations[type_] for end in side})
        self._ask(asked.spots, asked, source, [ends[n] for n in rng.permutation(len(ends))], rng)
        if not ends:
            asked.spots[""] = self._coder(UNTYPED)
            asked.names[asked.spots[""]] = UNTYPED
        return set(ends)

    @staticmethod
    def _relations_below(asked: Draw, chunk: Chunk, below: dict[tuple[str, Pair], list[tuple[str, Pair]]]) -> None:
        for type_, head, tail in chunk.relations:
            if type_ in asked.asocs:
                below.setdefault((head[1], head[0]), []).append((type_, tail[0]))
                below.setdefault((tail[1], tail[0]), [])

    @staticmethod
    def _events_below(asked: Draw, chunk: Chunk, below: dict[tuple[str, Pair], list[tuple[str, Pair]]]) -> None:
        for type_, trigger, arguments in chunk.events:
            if type_ in asked.spots:
                below.setdefault((type_, trigger), []).extend(a for a in arguments if a[0] in asked.asocs)

    def _some(self, types: list[str], most: int, rng: np.random.Generator, drop: bool = True) -> list[str]:
        order = rng.permutation(len(types))[: max(0, most)]
        return [types[n] for n in order if not drop or rng.random() >= self.sampling.drop]

    def _entities(self, asked: Draw, source: Source, chunk: Chunk, most: int, rng: np.random.Generator) -> list[Spot]:
        present = list(dict.fromkeys(type_ for type_, _ in chunk.entities))
        self._ask(asked.spots, asked, source, self._some(present, most, rng), rng)
        absent = [type_ for type_ in source.entities if type_ not in present]
        self._ask(asked.spots, asked, source, self._some(absent, most - len(asked.spots), rng, False), rng)
        return self._spots(asked, chunk, {})

    def _relations(self, asked: Draw, source: Source, chunk: Chunk, most: int, rng: np.random.Generator) -> list[Spot]:
        present = list(dict.fromkeys(type_ for type_, *_ in chunk.relations))
        if source.plan.complete and source.name not in ("14res", "14lap") and rng.random() < 0.15:
            return self._as_types(asked, source, chunk, present, most, rng)
        chosen = self._some(present, max(1, most // 2), rng)
        absent = [type_ for type_ in source.relations if type_ not in present]
        chosen += self._some(absent, max(1, most // 2 - len(chosen)), rng, False)
        if len(source.relations) <= 8 and rng.random() < 0.6:
            chosen = list(source.relations)
        ends = self._ask_ends(asked, source, chosen, rng)
        others = [type_ for type_ in source.entities if type_ not in ends]
        if chunk.has[0]:
            self._ask(asked.spots, asked, source, self._some(others, most - len(asked.spots), rng, False), rng)
        self._ask(asked.asocs, asked, source, chosen, rng)
        below: dict[tuple[str, Pair], list[tuple[str, Pair]]] = {}
        self._relations_below(asked, chunk, below)
        return self._spots(asked, chunk, below)

    def _as_types(
        self, asked: Draw, source: Source, chunk: Chunk, present: list[str], most: int, rng: np.random.Generator
    ) -> list[Spot]:
        """Types from relations: "cast member" asks for those who are cast members."""
        absent = [type_ for type_ in source.relations if type_ not in present]
        chosen = self._some(present, most, rng) + self._some(absent, most // 2, rng, False)
        self._ask(asked.spots, asked, source, chosen, rng)
        found = {(type_, tail[0]): None for type_, _, tail in chunk.relations if type_ in asked.spots}
        return [self._spot(chunk, asked.spots[type_], pair) for type_, pair in found]

    def _events(self, asked: Draw, source: Source, chunk: Chunk, most: int, rng: np.random.Generator) -> list[Spot]:
        present = list(dict.fromkeys(type_ for type_, *_ in chunk.events))
        if len(source.events) <= 6 and rng.random() < 0.6:
            chosen, roles_at_most = list(source.events), 40
        else:
            chosen = self._some(present, max(1, most // 3), rng)
            absent = [type_ for type_ in source.events if type_ not in present]
            chosen += self._some(absent, max(1, most // 3 - len(chosen)), rng, False)
            roles_at_most = max(4, most)
        self._ask(asked.spots, asked, source, chosen, rng)
        roles = list(dict.fromkeys(role for type_ in chosen for role in source.events[type_]))
        self._ask(asked.asocs, asked, source, self._some(roles, roles_at_most, rng, False), rng)
        below: dict[tuple[str, Pair], list[tuple[str, Pair]]] = {}
        self._events_below(asked, chunk, below)
        return self._spots(asked, Chunk(chunk.pieces), below)

    def _far_labels(self, asked: Draw, source: Source, rng: np.random.Generator) -> None:
        domains = [domain for domain in self._far if domain != source.plan.domain]
        for _ in range(int(rng.integers(1, 4)) if domains else 0):
            names = self._far[domains[int(rng.integers(len(domains)))]]
            name = names[int(rng.integers(len(names)))]
            key = normal(name)
            if key not in asked.used and key not in self._banned and key not in self._own[source.name]:
                asked.used.add(key)
                asked.spots[f"\0{name}"] = self._coder(name)
                asked.names.setdefault(asked.spots[f"\0{name}"], name)

    def _ask(
        self, table: dict[str, Ids], asked: Draw, source: Source, types: list[str], rng: np.random.Generator
    ) -> None:
        for type_ in types:
            names = allowed_names(source.name, type_, self._banned)
            if type_ in table or not names:
                continue
            own = len(names) == 1 or rng.random() < self.sampling.own_name
            name = names[0] if own else names[int(rng.integers(1, len(names)))]
            key = normal(name)
            label = self._coder(name)
            if key not in asked.used and key not in self._banned and label not in table.values():
                asked.used.add(key)
                table[type_] = label
                asked.names.setdefault(label, name)

    # ------------------------------------------------------------------ what is true
    def _spots(self, asked: Draw, chunk: Chunk, below: dict[tuple[str, Pair], list[tuple[str, Pair]]]) -> list[Spot]:
        every = dict.fromkeys([*((type_, pair) for type_, pair in chunk.entities), *below])
        found = []
        for type_, pair in every:
            if type_ in asked.spots:
                spot = self._spot(chunk, asked.spots[type_], pair)
                for name, place in sorted(below.get((type_, pair), ()), key=lambda each: (each[1], each[0])):
                    spot.asocs.append(self._asoc(chunk, asked.asocs[name], place))
                found.append(spot)
        return found

    def _spot(self, chunk: Chunk, label: Ids, pair: Pair) -> Spot:
        return Spot(label, _cut(chunk, pair), place=pair[0])

    def _asoc(self, chunk: Chunk, label: Ids, pair: Pair) -> Asoc:
        return Asoc(label, _cut(chunk, pair), place=pair[0])

    def reject(self, asked: Draw, spots: list[Spot], rng: np.random.Generator) -> None:
        """Put labels with a null span in: associations first, then spots, each at the rate of the real spots."""
        count = len(spots)
        used = {asoc.label for spot in spots for asoc in spot.asocs}
        free = [label for label in asked.asocs.values() if label not in used]
        for _ in range(int(rng.binomial(count, self.sampling.reject)) if free else 0):
            spot = spots[int(rng.integers(count))]
            spot.asocs.insert(int(rng.integers(len(spot.asocs) + 1)), Asoc(free[int(rng.integers(len(free)))], NULL))
        there = {spot.label for spot in spots}
        free = [label for label in asked.spots.values() if label not in there]
        for _ in range(int(rng.binomial(count, self.sampling.reject)) if free else 0):
            spots.insert(int(rng.integers(len(spots))), Spot(free[int(rng.integers(len(free)))], NULL))

    # ------------------------------------------------------------------ the example
    def example(
        self, source: Source, chunk: Chunk, asked: Draw, spots: list[Spot], rng: np.random.Generator
    ) -> Example | None:
        """Prompt and text as the source, the structure as the target."""
        complete = source.plan.complete
        if complete:  # elsewhere an absent label may only be unmarked
            self.reject(asked, spots, rng)
        return example(
            named(asked, asked.spots), named(asked, asked.asocs), chunk.pieces.ids.tolist(), chunk.pieces.shapes.tolist(), spots, self._tokens,
            self.sampling, rng, complete,
        )  # fmt: skip


def _in_order(spots: list[Spot]) -> list[Spot]:
    return sorted(spots, key=lambda spot: (spot.place, len(spot.span), spot.label))


def _cut(chunk: Chunk, pair: Pair) -> Ids:
    return tuple(chunk.pieces.ids[pair[0] : pair[1] + 1].tolist())


def named(asked: Draw, table: dict[str, Ids]) -> dict[Ids, str]:
    """The labels of one kind that were asked: numbers -> name."""
    return {label: asked.names[label] for label in table.values()}


def example(
    spot_labels: Mapping[Ids, str],
    asoc_labels: Mapping[Ids, str],
    text: list[int],
    shapes: list[int],
    spots: list[Spot],
    tokens: SelTokens,
    sampling: Sampling,
    rng: np.random.Generator,
    complete: bool = True,
) -> Example | None:
    """An example of labels, a text and its structure; None where the source is too long.

    Args:
        spot_labels, asoc_labels: numbers -> name; the name decides the alphabetical order.
        complete: whether the end of the structure is known; else it is not counted.
    """
    prompt: list[int] = []
    at: dict[tuple[int, Ids], int] = {}
    ordered = rng.random() < sampling.ordered
    for marker, given in ((tokens.spot, spot_labels), (tokens.asoc, asoc_labels)):
        labels = sorted(given, key=lambda label: (given[label], label))
        if not ordered:
            labels = [labels[n] for n in rng.permutation(len(labels))]
        for label in labels:
            at[marker, label] = len(prompt) + 1
            prompt += (marker, *label)
    prompt.append(tokens.text)
    source = source_ids(prompt, text, tokens)
    if len(source) > sampling.max_source:
        return None
    cut = False
    target = write(spots, tokens)
    while len(target) >= sampling.max_target and spots:
        spots, cut = spots[:-1], True
        target = write(spots, tokens)
    places = [-1] * len(target)
    for marker, node in [(tokens.spot, s) for s in spots] + [(tokens.asoc, a) for s in spots for a in s.asocs]:
        first = node.at - 1 - len(node.label)
        places[first : node.at - 1] = range(at[marker, node.label], at[marker, node.label] + len(node.label))
        if node.place is not None:
            begin = len(prompt) + node.place
            places[node.at : node.at + len(node.span)] = range(begin, begin + len(node.span))
    end = frozenset((len(target) - 1, len(target)))
    return Example(
        source=source,
        target=[*target, tokens.eos],
        shapes=[0] * len(prompt) + shapes,
        places=places,
        silent=end if cut or not complete else frozenset(),
    )
