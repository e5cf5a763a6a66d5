"""Annotated texts made at random for round trips: any script, emoji, zero-width signs, nested and crossing spans."""

from __future__ import annotations

import random

from workbench.extract.records import Argument, Document, Event, Relation, Span

ALPHABET = "abc XYZ0,.-'é 中文字 שלום عربي 👩‍🔬🇫🇷 \u200b\u200d\u00a0<&>"
SPACED = ALPHABET + "\t\n  "


def text(draw: random.Random, alphabet: str = SPACED) -> str:
    return "".join(draw.choice(alphabet) for _ in range(draw.randint(1, 60)))


def span(draw: random.Random, text: str, types: tuple[str, ...]) -> Span | None:
    """A random span that neither begins nor ends in white space; None where the text has none."""
    inked = [n for n, c in enumerate(text) if not c.isspace()]
    if not inked:
        return None
    start, last = sorted((draw.choice(inked), draw.choice(inked)))
    return Span(start=start, end=last + 1, type=draw.choice(types))


def document(seed: int, alphabet: str = SPACED, relations: bool = True, events: bool = True) -> Document:
    draw = random.Random(seed)
    words = text(draw, alphabet)
    entities = list(
        dict.fromkeys(
            s for s in (span(draw, words, ("person", "creative work", "x-y")) for _ in range(draw.randint(0, 6))) if s
        )
    )
    pairs = [
        Relation(type=draw.choice(("works for", "kin")), head=draw.choice(entities), tail=draw.choice(entities))
        for _ in range(3 if entities else 0)
    ]
    made = []
    for _ in range(draw.randint(0, 2)):
        type_ = draw.choice(("attack", "birth"))
        trigger, filler = span(draw, words, (type_,)), span(draw, words, ("x",))
        if trigger and filler:
            argument = Argument(role="victim", start=filler.start, end=filler.end)
            made.append(Event(type=type_, trigger=trigger, arguments=(argument,)))
    return Document(
        id=f"d{seed}",
        text=words,
        entities=tuple(entities),
        relations=tuple(dict.fromkeys(pairs)) if relations else None,
        events=tuple({(e.key): e for e in made}.values()) if events else None,
    )


def facts(document: Document) -> tuple[object, ...]:
    """What a round trip must keep, order and extra fields apart."""
    return (
        document.text,
        None if document.entities is None else sorted(s.key for s in document.entities),
        None if document.relations is None else sorted(r.key for r in document.relations),
        None
        if document.events is None
        else sorted((e.key, sorted(a.key for a in e.arguments)) for e in document.events),
    )
