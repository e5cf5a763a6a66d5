"""A mention, and the same mention with the emoji beside it, are one: the better reading stays.

An emoji is a piece of its own that the encoder seldom knows, so the links that end a mention before it are open behind it too.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

from workbench.extract.usm.passes import Found
from workbench.extract.usm.pieces import EMOJI

Place = tuple[int, int]
Mention = tuple[str, int, int]
Key = TypeVar("Key", bound=Hashable)


def one_reading(found: Found, text: str) -> Found:
    """Candidates without those that are another one of the same label, of no lower value, and emoji at its borders.

    What was linked to a mention that goes is linked to the one that stays. A mention of emoji alone stays, as does one that is found
    with its emoji only, or better with it.
    """
    if not EMOJI.search(text):
        return found
    bare = _bare(text)

    def mention(key: Mention) -> Mention:
        return key[0], *bare(key[1:])

    entities, triggers = _second(found.entities, mention), _second(found.triggers, mention)
    stay = {key[1:] for key in found.entities if key not in entities}
    moved = {key[1:]: to[1:] for key, to in entities.items() if key[1:] not in stay}
    arguments = _folded(found.arguments, lambda key: (triggers.get(key[0], key[0]), *key[1:]))
    fillers = _second(arguments, lambda key: (*key[:2], bare(key[2])))
    return Found(
        entities=_without(found.entities, entities),
        triggers=_without(found.triggers, triggers),
        relations=_folded(found.relations, lambda key: (key[0], moved.get(key[1], key[1]), moved.get(key[2], key[2]))),
        arguments=_without(arguments, fillers),
    )


def _bare(text: str) -> Callable[[Place], Place]:
    """From a place of the text to what it is without emoji and white space at its borders; itself where nothing would be left."""
    emoji = {at for run in EMOJI.finditer(text) for at in range(*run.span())}

    def aside(at: int) -> bool:
        return at in emoji or text[at].isspace()

    def bare(place: Place) -> Place:
        start, end = place
        while start < end and aside(start):
            start += 1
        while end > start and aside(end - 1):
            end -= 1
        return (start, end) if start < end else place

    return bare


def _second(table: dict[Key, float], bare: Callable[[Key], Key]) -> dict[Key, Key]:
    """Keys of a table whose bare key has no lower value, with that key."""
    pairs = ((key, bare(key)) for key in table)
    return {key: to for key, to in pairs if to != key and to in table and table[to] >= table[key]}


def _without(table: dict[Key, float], keys: dict[Key, Key]) -> dict[Key, float]:
    return {key: value for key, value in table.items() if key not in keys}


def _folded(table: dict[Key, float], to: Callable[[Key], Key]) -> dict[Key, float]:
    """A table under other keys; of entries that come together the highest stays."""
    made: dict[Key, float] = {}
    for key, value in table.items():
        made[to(key)] = max(value, made.get(to(key), value))
    return made
