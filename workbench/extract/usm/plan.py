"""What one schema and one text cost in passes: windows of the text, blocks of labels.

A text longer than the window is read in windows that overlap, each cut between words. A schema with more labels than one pass takes is
asked in blocks: entity types side by side, a relation together with the types at its ends, an event type together with its roles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from workbench.extract.schema import Schema
from workbench.extract.usm.pieces import Pieces
from workbench.extract.usm.prompt import LabelText, Prompt, verbalise


@dataclass
class Block:
    """Labels of one pass.

    Attributes:
        entities, events: mention labels by name -> number. relations, roles: pair labels by name -> number.
        texts: what stands for each label.
    """

    entities: dict[str, int] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    relations: dict[str, int] = field(default_factory=dict)
    roles: dict[str, int] = field(default_factory=dict)
    prompt: Prompt = field(default_factory=Prompt)


@dataclass(frozen=True)
class _Wants:
    """Labels that should stand in one block."""

    entities: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    relations: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()

    def pairs(self) -> Iterable[tuple[str, str]]:
        for part in ("entities", "events", "relations", "roles"):
            yield from ((part, name) for name in getattr(self, part))


def blocks(schema: Schema, most: int, events_apart: bool = False) -> list[Block]:
    """The passes of a schema; sentiment has to be written out (`Schema.expanded`).

    Args:
        most: labels in a pass; a relation or event that alone has more than that is split by its labels.
        events_apart: ask events in passes of their own, apart from entity types and relations.
    """
    if events_apart and schema.events and (schema.entities or schema.relations):
        rest = schema.model_copy(update={"events": {}})
        events = schema.model_copy(update={"entities": (), "relations": {}})
        return [*blocks(rest, most), *blocks(events, most)]
    everything = _Wants(
        tuple(label.name for label in schema.entities),
        tuple(schema.events),
        tuple(schema.relations),
        tuple(dict.fromkeys(role for roles in schema.events.values() for role in roles)),
    )
    described = {label.name: label.description for label in schema.entities}
    if sum(1 for _ in everything.pairs()) <= most:
        return [_block([everything], described)]
    wishes = [_Wants(entities=(label.name,)) for label in schema.entities]
    for name, rule in schema.relations.items():
        ends = tuple(dict.fromkeys((*rule.head, *rule.tail)))[: max(0, most - 1)]
        wishes.append(_Wants(entities=ends, relations=(name,)))
    for name, roles in schema.events.items():
        step = max(1, most - 1)
        wishes += [_Wants(events=(name,), roles=roles[at : at + step]) for at in range(0, max(1, len(roles)), step)]
    found: list[list[_Wants]] = []
    current: set[tuple[str, str]] = set()
    for wish in wishes:
        keys = set(wish.pairs())
        if not found or len(current | keys) > most:
            found.append([])
            current = set()
        found[-1].append(wish)
        current |= keys
    return [_block(each, described) for each in found]


def _block(wishes: Sequence[_Wants], described: dict[str, str]) -> Block:
    parts: dict[str, dict[str, int]] = {"entities": {}, "events": {}, "relations": {}, "roles": {}}
    for wish in wishes:
        for part, name in wish.pairs():
            parts[part].setdefault(name, 0)
    number = 0
    texts: dict[str, list[LabelText]] = {"mentions": [], "pairs": []}
    for part, side in (("entities", "mentions"), ("events", "mentions"), ("relations", "pairs"), ("roles", "pairs")):
        for name in parts[part]:
            parts[part][name] = number
            number += 1
            texts[side].append(LabelText(verbalise(name), described.get(name, "") if part == "entities" else ""))
    return Block(**parts, prompt=Prompt(tuple(texts["mentions"]), tuple(texts["pairs"])))


def windows(pieces: Pieces, size: int, overlap: int) -> list[tuple[int, int]]:
    """(first, stop) of each window: at most `size` pieces, `overlap` shared with the next, no cut inside a word that fits."""
    length = len(pieces)
    if length <= size:
        return [(0, length)]
    found = []
    first = 0
    while True:
        stop = min(first + size, length)
        if stop < length:
            stop = _between_words(pieces, first, stop)
        found.append((first, stop))
        if stop == length:
            return found
        first = max(first + 1, _between_words(pieces, first, max(first + 1, stop - overlap)))


def _between_words(pieces: Pieces, first: int, at: int) -> int:
    """The last border between words at or before `at`; `at` itself where a word is longer than half a window."""
    floor = first + max(1, (at - first) // 2)
    for place in range(at, floor, -1):
        if pieces.words[place] != pieces.words[place - 1]:
            return place
    return at
