"""From a structure back to entities, relations and events with offsets (UIE, `sel2record.py`, `record.py`).

The output names spans by their words only. Where a span stands is chosen by a mode: `first` occurrence not yet used, the one `closest` to the
head or trigger, `longer_first` (long spans choose before short ones), `all` occurrences, or `pointed`, the place that a copying model points at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.extract.schema import Schema
from workbench.extract.uie.places import Place, Places
from workbench.extract.uie.sel import Asoc, Spot
from workbench.extract.uie.ssi import Ids, Prompt

MODES = ("first", "closest", "longer_first", "all", "pointed")


@dataclass(frozen=True)
class Switches:
    """Where we differ from the original, each by name; `PAPER` has all of them off.

    Attributes:
        word_borders: a span begins and ends between words (decoding).
        tied_roles: only the relations of a type, and the roles of an event, may stand below it (decoding and reading).
        keep_all: a span that is not found loses itself, not all relations or events after it; two mentions of the same pair stay two.
        own_ends: a relation stands where its head's spot stands, and its tail has the type of its own spot, else one that the schema
            allows; the original looks both up by their words and gives an unknown tail the head's type.
        every_argument: arguments stay whether or not they are entities as well.
        every_end: a tail that has no spot of its own is an entity as well, of the type its relation gives it; else the relation would be
            left out, for its end is none.
        two_ends: a relation of a mention with itself is left out.
    """

    word_borders: bool = True
    tied_roles: bool = True
    keep_all: bool = True
    own_ends: bool = True
    every_argument: bool = True
    every_end: bool = True
    two_ends: bool = True


OURS, PAPER = Switches(), Switches(False, False, False, False, False, False, False)


@dataclass
class Found:
    """What a structure says, with code points of the text; values are scores.

    Keys: entities and triggers (type, start, end); relations (relation, (type, start, end), (type, start, end)); arguments (trigger, role,
    start, end).
    """

    entities: dict[tuple[str, int, int], float] = field(default_factory=dict)
    relations: dict[tuple[str, tuple[str, int, int], tuple[str, int, int]], float] = field(default_factory=dict)
    triggers: dict[tuple[str, int, int], float] = field(default_factory=dict)
    arguments: dict[tuple[tuple[str, int, int], str, int, int], float] = field(default_factory=dict)
    lost: int = 0  # spots and associations whose label or span could not be used

    def merge(self, other: Found) -> None:
        """Take another's results in; the better score of two stays."""
        for name in ("entities", "relations", "triggers", "arguments"):
            into = getattr(self, name)
            for key, value in getattr(other, name).items():
                into[key] = max(value, into.get(key, value))
        self.lost += other.lost


@dataclass
class _Placed:
    """A spot that was placed."""

    spot: Spot
    type: str
    places: list[Place]


class Reader:
    """Reads structures of one schema.

    Args:
        schema: sentiment written out. prompt: the labels that were asked. mode: of `MODES`.
    """

    def __init__(self, schema: Schema, prompt: Prompt, mode: str = "closest", switches: Switches = OURS) -> None:
        self.schema, self.prompt, self.mode, self.switches = schema, prompt, mode, switches
        self._entity = {label.name for label in schema.entities}

    def records(self, spots: Sequence[Spot], places: Places, scores: Mapping[int, float] | None = None) -> Found:
        """What a structure says of a text.

        Args:
            spots: as `sel.read` or `gold.structure` give them.
            scores: of a spot or association, by `id`; 1 where there is none.
        """
        reading = _Reading(self, places, scores or {})
        return reading.run([spot for spot in spots if spot.span])

    def names(self, spot: Spot) -> tuple[str, ...]:
        return self.prompt.spots.get(spot.label, ())

    def is_entity(self, name: str) -> bool:
        return name in self._entity

    def allowed(self, type_: str, asoc: Asoc) -> str | None:
        """The relation or role that an association below a type is; None where there is none such."""
        for name in self.prompt.asocs.get(asoc.label, ()):
            if self.is_entity(type_) and name in self.schema.relations:
                heads = self.schema.relations[name].head
                if not self.switches.tied_roles or not heads or type_ in heads:
                    return name
            if type_ in self.schema.events and (not self.switches.tied_roles or name in self.schema.events[type_]):
                return name
        return None


class _Reading:
    """One structure being read."""

    def __init__(self, reader: Reader, places: Places, scores: Mapping[int, float]) -> None:
        self.reader, self.places, self.scores = reader, places, scores
        self.mode, self.switches, self.schema = reader.mode, reader.switches, reader.schema
        self.found = Found()
        self.of_words: dict[Ids, list[tuple[str, Place]]] = defaultdict(list)  # entities by their words

    def run(self, spots: Sequence[Spot]) -> Found:
        placed = self._place(spots)
        for each in placed:
            if self.reader.is_entity(each.type):
                for place in each.places:
                    self.of_words[each.spot.span].append((each.type, place))
                    self._put(self.found.entities, (each.type, *place), self._score(each.spot))
        for each in placed:
            if each.type in self.schema.events and not self._event(each) and not self.switches.keep_all:
                break
        for each in placed:
            if self.reader.is_entity(each.type) and not self._relations(each) and not self.switches.keep_all:
                break
        return self.found

    # ------------------------------------------------------------------ spots
    def _place(self, spots: Sequence[Spot]) -> list[_Placed]:
        order = list(range(len(spots)))
        if self.mode == "longer_first":
            order.sort(key=lambda n: -len(spots[n].span))
        used: dict[str, set[Place]] = defaultdict(set)
        taken: list[Place] = []  # longer_first: no two overlap
        placed: dict[int, list[_Placed]] = {}
        for number in order:
            spot = spots[number]
            every = self.places.of(spot.span)
            names = self.reader.names(spot)
            if not every or not names:
                self.found.lost += 1 + len(spot.asocs)
                continue
            for type_ in names:
                chosen = self._choose(spot, every, used[type_], taken)
                if chosen:
                    used[type_].update(chosen)
                    taken += chosen
                    placed.setdefault(number, []).append(_Placed(spot, type_, chosen))
                else:
                    self.found.lost += 1
        return [each for number in range(len(spots)) for each in placed.get(number, ())]

    def _choose(self, spot: Spot, every: list[Place], used: set[Place], taken: list[Place]) -> list[Place]:
        if self.mode == "all":
            return every
        free = [place for place in every if place not in used]
        if self.mode == "pointed" and spot.place is not None:
            at = self.places.at(spot.span, spot.place)
            if at is not None and at not in used:  # also inside a word, where other places are whole words
                return [at]
        if self.mode == "longer_first":
            apart = [p for p in free if all(p[1] <= q[0] or q[1] <= p[0] for q in taken)]
            if apart or not self.switches.keep_all:
                return apart[:1]
        return free[:1]

    def _score(self, node: Asoc) -> float:
        return self.scores.get(id(node), 1.0)

    @staticmethod
    def _put(table: dict[Any, float], key: Any, score: float) -> None:
        table[key] = max(score, table.get(key, score))

    # ------------------------------------------------------------------ relations
    def _relations(self, each: _Placed) -> bool:
        """Put a spot's relations in; False where one of its spans was not found."""
        whole = True
        for asoc in each.spot.asocs:
            if not asoc.span:
                continue
            name = self.reader.allowed(each.type, asoc)
            tails = self.places.of(asoc.span)
            if name is None or name not in self.schema.relations or not tails:
                self.found.lost += 1
                whole = whole and bool(tails)
                continue
            heads = each.places if self.switches.own_ends else self.places.of(each.spot.span)
            for head, tail in self._pairs(heads, tails, asoc):
                if self.switches.two_ends and head == tail:
                    continue
                for type_ in self._tail_types(name, each.type, asoc.span, tail):
                    key = (name, (each.type, *head), (type_, *tail))
                    if not self.switches.keep_all and any(
                        k[0] == name
                        and self._words(k[1]) == self._words(key[1])
                        and self._words(k[2]) == self._words(key[2])
                        for k in self.found.relations
                    ):
                        continue  # the original's `de_duplicate`
                    self._put(self.found.relations, key, self._score(asoc))
                    if self.switches.every_end and self.reader.is_entity(type_) and key[2] not in self.found.entities:
                        self._put(self.found.entities, key[2], self._score(asoc))
        return whole

    def _words(self, end: tuple[str, int, int]) -> str:
        return self.places.text[end[1] : end[2]]

    def _pairs(self, heads: list[Place], tails: list[Place], asoc: Asoc) -> list[tuple[Place, Place]]:
        if self.mode == "pointed" and asoc.place is not None:
            at = self.places.at(asoc.span, asoc.place)
            if at is not None:
                return [(head, at) for head in heads[:1]]
        if self.switches.own_ends:
            known = [place for _, place in self.of_words.get(asoc.span, ()) if place in tails]
            tails = known or tails
        if self.mode == "first":
            return [(heads[0], tails[0])]
        if self.switches.own_ends:
            return [(head, min(tails, key=lambda tail: _distance(head, tail))) for head in heads]
        return [min(((h, t) for h in heads for t in tails), key=lambda pair: abs(pair[0][0] - pair[1][0]))]

    def _tail_types(self, relation: str, head: str, span: Ids, tail: Place) -> list[str]:
        entities = self.of_words.get(span, ())
        if not self.switches.own_ends:
            return [entities[-1][0]] if entities else [head]  # one dictionary by words: the last one stands
        wanted = self.schema.relations[relation].tail
        there = [type_ for type_, place in entities if place == tail] or [type_ for type_, _ in entities]
        fitting = [type_ for type_ in dict.fromkeys(there) if not wanted or type_ in wanted]
        return fitting[:1] or (list(wanted[:1]) if wanted else [head])

    # ------------------------------------------------------------------ events
    def _event(self, each: _Placed) -> bool:
        for place in each.places:
            trigger = (each.type, *place)
            self._put(self.found.triggers, trigger, self._score(each.spot))
            for asoc in each.spot.asocs:
                if not asoc.span:
                    continue
                role = self.reader.allowed(each.type, asoc)
                every = self.places.of(asoc.span)
                if role is None or role not in self.schema.events[each.type] or not every:
                    self.found.lost += 1
                    continue
                if not self.switches.every_argument and self.of_words and asoc.span not in self.of_words:
                    continue
                key = (trigger, role, *self._argument(asoc, every, place))
                self._put(self.found.arguments, key, self._score(asoc))
        return bool(each.places)

    def _argument(self, asoc: Asoc, every: list[Place], trigger: Place) -> Place:
        if self.mode == "pointed" and asoc.place is not None:
            at = self.places.at(asoc.span, asoc.place)
            if at is not None:
                return at
        return every[0] if self.mode == "first" else min(every, key=lambda place: _distance(trigger, place))


def _distance(one: Place, other: Place) -> int:
    return abs(one[0] - other[0])
