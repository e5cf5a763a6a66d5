"""From a chunk to a training sample: which labels are asked, under which names, and what is then true.

Prompts hold 1-10 labels, now and then more, in random order: present ones, some of which are left out, absent ones of the same set, and
absent ones of far domains. A label stands under its own name or a synonym, sometimes with its definition. Now and then another set's
labels of a kind that the prompt lacks stand beside: events beside entity types, relations beside events. Hardly any set has all, but users ask for all.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from workbench.extract.usm.batch import Sample
from workbench.extract.usm.links import Gold, Pair
from workbench.extract.usm.prompt import LabelCoder, LabelText
from workbench.extract.usm.train.names import allowed_names, normal
from workbench.extract.usm.train.sources import Chunk, Source

# Names that may be true of any text: never taken as absent because they come from another domain.
EVERYWHERE = frozenset(
    [
        "person", "people", "location", "place", "organization", "date", "time", "number", "quantity", "event", "city", "country", "name",
        "title", "object", "group", "action", "activity", "product", "unit", "size", "amount", "company", "state", "year", "month", "day",
        "address", "price", "value", "description", "method", "material", "age", "status", "position", "model", "mention", "area",
        "modifier", "type", "role", "other", "feature", "relation", "definition", "color", "weight", "length", "software", "version",
        "device", "url", "website", "file", "text",
    ]
)  # fmt: skip


@dataclass
class Prompter:
    """Draws prompts.

    Attributes:
        coder: pieces of labels.
        sources: all of the run; their names serve as absent labels for far domains.
        banned: normal forms of names that must not appear (see `names.banned_names`).
        definitions: name -> description.
        drop: chance that a present label is left out. describe: chance of a description. own_name: chance of the set's own name.
        from_relations: chance that relations serve as types. far_labels: whether labels of other domains are asked.
        whole: chance that everything the set has is asked. beside: chance that another set's events, or entity types and relations, are asked too.
    """

    coder: LabelCoder
    sources: list[Source]
    banned: frozenset[str] = frozenset()
    definitions: dict[str, str] = field(default_factory=dict)
    drop: float = 0.1
    describe: float = 0.15
    own_name: float = 0.5
    from_relations: float = 0.2
    far_labels: bool = True
    whole: float = 0.0
    beside: float = 0.0

    def __post_init__(self) -> None:
        self._far: dict[str, list[str]] = {}
        for source in self.sources:
            if source.plan.domain != "words":
                types = [*source.entities, *source.relations, *source.events]
                for type_ in types:
                    names = allowed_names(source.name, type_, self.banned)
                    if names and not any(set(normal(name).split()) & EVERYWHERE for name in names):
                        self._far.setdefault(source.plan.domain, []).append(names[0])

    # ------------------------------------------------------------------ one sample
    def draw(self, source: Source, chunk: Chunk, rng: np.random.Generator) -> tuple[Sample, Gold]:
        """A prompt for a chunk and what is true under it."""
        most = int(rng.integers(1, 11)) if rng.random() < 0.8 else int(rng.integers(8, 26))
        asked = _Asked(self, source, rng)
        ways = [
            way
            for way, there in (
                ("entities", chunk.has[0] and bool(source.entities)),
                ("relations", chunk.has[1] and bool(source.relations)),
                ("events", chunk.has[2] and bool(source.events)),
            )
            if there
        ]
        weights = {"entities": 1.0, "relations": 2.0, "events": 2.0}
        chances = np.array([weights[way] for way in ways])
        if self.whole and rng.random() < self.whole:
            self._everything(asked, chunk)
            return asked.result(chunk)
        way = ways[int(rng.choice(len(ways), p=chances / chances.sum()))] if ways else ""
        if way == "relations":
            self._relations(asked, chunk, most)
        elif way == "events":
            self._events(asked, chunk, most)
        elif way == "entities":
            self._entities(asked, chunk, most)
        if self.beside and way and source.plan.domain != "words" and rng.random() < self.beside:
            self._beside(asked, way)
        elif self.far_labels and source.plan.domain != "words":
            self._far_labels(asked, rng)
        return asked.result(chunk)

    def _entities(self, asked: _Asked, chunk: Chunk, most: int) -> None:
        present = list(dict.fromkeys(type_ for type_, _ in chunk.entities))
        asked.add_mentions(asked.some(present, most))
        absent = [type_ for type_ in asked.source.entities if type_ not in present]
        asked.add_mentions(asked.some(absent, max(0, most - len(asked.mentions)), drop=False))
        asked.set_entities(chunk)

    def _relations(self, asked: _Asked, chunk: Chunk, most: int) -> None:
        source, rng = asked.source, asked.rng
        present = list(dict.fromkeys(type_ for type_, *_ in chunk.relations))
        if source.plan.complete and source.name not in ("14res", "14lap") and rng.random() < self.from_relations:
            # types from relations: "cast member" asks for those who are cast members
            for type_ in asked.some(present, most) + asked.some(list(source.relations), most // 2):
                number = asked.mention(type_)
                if number is not None:
                    for found, _, tail in chunk.relations:
                        if found == type_:
                            asked.gold.typed.add((number, tail[0]))
            return
        chosen = asked.some(present, max(1, most // 2))
        absent = [type_ for type_ in source.relations if type_ not in present]
        chosen += asked.some(absent, max(1, most // 2 - len(chosen)), drop=False)
        if len(source.relations) <= 8 and rng.random() < 0.5:
            chosen = list(source.relations)
        ends = {end for type_ in chosen for side in source.relations[type_] for end in side}
        asked.add_mentions(rng.permutation(sorted(ends)).tolist())
        others = [type_ for type_ in source.entities if type_ not in ends]
        asked.add_mentions(asked.some(others, max(0, most - len(asked.mentions) - len(chosen)), drop=False))
        for type_ in rng.permutation(chosen).tolist():
            asked.pair(type_)
        if not source.entities and rng.random() < 0.3:
            number = asked.add_text("entity")
            if number is not None:
                asked.gold.typed.update(
                    (number, span) for _, head, tail in chunk.relations for span in (head[0], tail[0])
                )
        asked.set_entities(chunk)
        for type_, head, tail in chunk.relations:
            asked.link(type_, head[0], tail[0])

    def _events(self, asked: _Asked, chunk: Chunk, most: int) -> None:
        source, rng = asked.source, asked.rng
        present = list(dict.fromkeys(type_ for type_, *_ in chunk.events))
        if len(source.events) <= 6 and rng.random() < 0.5:
            chosen, roles_at_most = list(source.events), 40
        else:
            chosen = asked.some(present, max(1, most // 3))
            absent = [type_ for type_ in source.events if type_ not in present]
            chosen += asked.some(absent, max(1, most // 3 - len(chosen)), drop=False)
            roles_at_most = most
        asked.add_mentions(rng.permutation(chosen).tolist())
        roles = [role for type_ in chosen for role in source.events[type_]]
        for role in asked.some(list(dict.fromkeys(roles)), roles_at_most, drop=False):
            asked.pair(role)
        if chunk.has[0] and source.entities and rng.random() < 0.5:
            asked.add_mentions(asked.some(list(source.entities), 4, drop=False))
            asked.set_entities(chunk)
        for type_, trigger, arguments in chunk.events:
            number = asked.mentions.get(type_)
            if number is not None:
                asked.gold.typed.add((number, trigger))
                for role, span in arguments:
                    asked.link(role, trigger, span)

    def _everything(self, asked: _Asked, chunk: Chunk) -> None:
        """The whole schema of the set, as an evaluation asks it."""
        source, rng = asked.source, asked.rng
        asked.add_mentions(rng.permutation([*source.entities, *source.events]).tolist())
        roles = [role for roles in source.events.values() for role in roles]
        for type_ in rng.permutation(list(dict.fromkeys([*source.relations, *roles]))).tolist():
            asked.pair(type_)
        asked.set_entities(chunk)
        for type_, head, tail in chunk.relations:
            asked.link(type_, head[0], tail[0])
        for type_, trigger, arguments in chunk.events:
            if type_ in asked.mentions:
                asked.gold.typed.add((asked.mentions[type_], trigger))
                for role, span in arguments:
                    asked.link(role, trigger, span)

    def _far_labels(self, asked: _Asked, rng: np.random.Generator) -> None:
        if rng.random() > (0.6 if len(asked.mentions) + len(asked.pairs) < 4 else 0.25):
            return
        domains = [domain for domain in self._far if domain != asked.source.plan.domain]
        for _ in range(int(rng.integers(1, 4))):
            if domains:
                names = self._far[domains[int(rng.integers(len(domains)))]]
                asked.add_text(names[int(rng.integers(len(names)))])

    def _beside(self, asked: _Asked, way: str) -> None:
        """Labels of a kind that the prompt lacks, from another set. Those of a far domain are surely absent; of the others nobody knows."""
        rng, wanted = asked.rng, "events" if way != "events" else ("entities", "relations")[int(asked.rng.integers(2))]
        others = [
            each
            for each in self.sources
            if each is not asked.source and each.plan.domain != "words" and getattr(each, wanted)
        ]
        if not others:
            return
        chances = np.array([each.plan.weight for each in others])
        other = others[int(rng.choice(len(others), p=chances / chances.sum()))]
        apart = other.plan.domain not in (asked.source.plan.domain, "general")
        # Half the time only what is surely absent: else no prompt of two kinds would say that a stretch is no span.
        asked.only_absent = apart and rng.random() < 0.5
        mentions: list[str] = []
        pairs: list[str] = []
        if wanted == "events":
            mentions = asked.some(list(other.events), int(rng.integers(1, 6)), drop=False)
            roles = dict.fromkeys(role for type_ in mentions for role in other.events[type_])
            pairs = asked.some(list(roles), int(rng.integers(1, 11)), drop=False)
        elif wanted == "relations":
            pairs = asked.some(list(other.relations), int(rng.integers(1, 6)), drop=False)
            mentions = sorted({end for type_ in pairs for side in other.relations[type_] for end in side})[:6]
        else:
            mentions = asked.some(list(other.entities), int(rng.integers(1, 7)), drop=False)
        for type_ in mentions:
            asked.borrow(other, type_, absent=apart)
        for type_ in pairs:
            asked.borrow(other, type_, absent=apart, pair=True)


class _Asked:
    """Labels of a prompt in the making."""

    def __init__(self, prompter: Prompter, source: Source, rng: np.random.Generator) -> None:
        self.prompter, self.source, self.rng = prompter, source, rng
        self.mentions: dict[str, int] = {}
        self.pairs: dict[str, int] = {}
        self.gold = Gold()
        self._texts: list[LabelText] = []  # of mention labels
        self._pair_texts: list[LabelText] = []
        self._used: set[str] = set()
        self._unsought: set[int] = set()  # numbered as `link` does
        self.only_absent = False  # whether `borrow` leaves out what the text may have

    def some(self, types: list[str], most: int, drop: bool = True) -> list[str]:
        """Some of these types in random order; present ones are left out now and then."""
        if most <= 0 or not types:
            return []
        order = self.rng.permutation(len(types))[:most]
        return [types[n] for n in order if not drop or self.rng.random() >= self.prompter.drop]

    def add_mentions(self, types: list[str]) -> None:
        for type_ in types:
            self.mention(type_)

    def mention(self, type_: str) -> int | None:
        """The number of a mention label, None where it may not be named or its name is taken."""
        if type_ not in self.mentions:
            text = self._text(type_)
            if text is None:
                return None
            self.mentions[type_] = len(self._texts)
            self._texts.append(text)
        return self.mentions[type_]

    def pair(self, type_: str) -> None:
        text = self._text(type_) if type_ not in self.pairs else None
        if text is not None:
            self.pairs[type_] = len(self._pair_texts)
            self._pair_texts.append(text)

    def add_text(self, name: str) -> int | None:
        """A mention label by its words, unless it names one of the set's own types."""
        key = normal(name)
        if key in self._used or key in self.prompter.banned or key in self._own():
            return None
        self._used.add(key)
        self._texts.append(LabelText(name))
        return len(self._texts) - 1

    def _own(self) -> frozenset[str]:
        known = getattr(self.source, "_names", None)
        if known is None:
            types = [*self.source.entities, *self.source.relations, *self.source.events]
            known = frozenset(
                normal(name) for type_ in types for name in allowed_names(self.source.name, type_, frozenset())
            )
            self.source._names = known  # type: ignore[attr-defined]
        return known

    def borrow(self, other: Source, type_: str, absent: bool, pair: bool = False) -> None:
        """A label of another set, unless it may name one of the set's own.

        Args:
            absent: whether the text surely has none, common words aside; else its cells are left out of the loss.
        """
        names = allowed_names(other.name, type_, self.prompter.banned)
        if any(normal(name) in self._own() for name in names):
            return
        known = absent and not any(set(normal(name).split()) & EVERYWHERE for name in names)
        text = self._text(type_, other.name) if known or not self.only_absent else None
        if text is None:
            return
        if pair:
            self._pair_texts.append(text)
            number = -len(self._pair_texts)
        else:
            self._texts.append(text)
            number = len(self._texts) - 1
        if not known:
            self._unsought.add(number)

    def _text(self, type_: str, set_name: str = "") -> LabelText | None:
        names = allowed_names(set_name or self.source.name, type_, self.prompter.banned)
        if not names:
            return None
        own = len(names) == 1 or self.rng.random() < self.prompter.own_name
        name = names[0] if own else names[int(self.rng.integers(1, len(names)))]
        key = normal(name)
        if key in self._used or key in self.prompter.banned:
            return None
        self._used.add(key)
        description = self.prompter.definitions.get(name, "") if self.rng.random() < self.prompter.describe else ""
        return LabelText(name, description)

    def set_entities(self, chunk: Chunk) -> None:
        for type_, span in chunk.entities:
            if type_ in self.mentions:
                self.gold.typed.add((self.mentions[type_], span))

    def link(self, type_: str, subject: Pair, object_: Pair) -> None:
        """A relation or argument, if its label is asked; pair labels are numbered behind the mention labels in `result`."""
        if type_ in self.pairs:
            number = -1 - self.pairs[type_]
            self.gold.linked.add((subject, object_))
            self.gold.typed.add((number, object_))
            self.gold.subjects.add((subject, number))

    def result(self, chunk: Chunk) -> tuple[Sample, Gold]:
        if not self._texts and not self._pair_texts:
            self.add_text("entity that is not there")
        count = len(self._texts)

        def final(number: int) -> int:
            return number if number >= 0 else count - 1 - number

        gold = Gold(
            typed={(final(label), span) for label, span in self.gold.typed},
            linked=self.gold.linked,
            subjects={(span, final(label)) for span, label in self.gold.subjects},
            pairs_known=self.source.plan.pairs,
            unsought=frozenset(final(label) for label in self._unsought),
        )
        if not self.source.plan.complete:
            known = np.zeros(len(chunk.pieces), bool)
            marked = [span for _, span in chunk.entities]
            marked += [end[0] for _, head, tail in chunk.relations for end in (head, tail)]
            marked += [span for _, trigger, arguments in chunk.events for span in (trigger, *(a for _, a in arguments))]
            for head, tail in marked:
                known[head : tail + 1] = True
            gold.known = known
        coder = self.prompter.coder
        labels = tuple(coder.ids(text) for text in (*self._texts, *self._pair_texts))
        return Sample(chunk.pieces, labels, count), gold
