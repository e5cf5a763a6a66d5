"""From an annotated text to its structure: which spots and associations stand for it, in UIE's order (`text2spotasoc.py`)."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

import numpy as np

from workbench.extract.records import Document
from workbench.extract.uie.sel import Asoc, Spot
from workbench.extract.uie.ssi import Ids
from workbench.extract.usm.pieces import Pieces

Found = tuple[Ids, int | None]  # numbers of a span, its first piece


class Cutter:
    """Cuts mentions out of a text: a run of the text's own pieces where the borders allow it, else the mention tokenised alone.

    Args:
        text: as given. pieces: of the text or a window of it.
        tokenizer: for mentions that begin or end inside a piece; None leaves these out.
    """

    def __init__(self, text: str, pieces: Pieces, tokenizer: Any = None) -> None:
        self._text, self._pieces, self._tokenizer = text, pieces, tokenizer

    def __call__(self, start: int, end: int) -> Found | None:
        """Numbers and first piece of a mention; None where it is not whole in the pieces."""
        pieces = self._pieces
        if not len(pieces) or start < pieces.starts[0] or end > pieces.ends[-1]:
            return None
        whole = pieces.span(start, end)
        if whole is not None:
            return tuple(np.asarray(pieces.ids[whole[0] : whole[1] + 1]).tolist()), whole[0]
        if self._tokenizer is None:
            return None
        ids = self._tokenizer(self._text[start:end], add_special_tokens=False, verbose=False, split_special_tokens=True)
        return (tuple(ids["input_ids"]), None) if ids["input_ids"] else None


def structure(
    document: Document,
    cut: Callable[[int, int], Found | None],
    label: Callable[[str], Ids],
    spots: Container[str],
    asocs: Container[str],
) -> list[Spot]:
    """Spots of a document in order of (offset, label), each with its associations in order of the tail.

    Args:
        cut: numbers of a mention, see `Cutter`. label: numbers of a label.
        spots, asocs: names that are asked; what has another name is left out.
    """
    found: dict[tuple[int, int, str], Spot] = {}
    below: dict[tuple[int, int, str], set[tuple[int, int, str]]] = {}

    def spot(start: int, end: int, type_: str) -> tuple[int, int, str] | None:
        key = (start, end, type_)
        if key not in found:
            piece = cut(start, end) if type_ in spots else None
            if piece is None:
                return None
            found[key] = Spot(label(type_), piece[0], place=piece[1])
            below[key] = set()
        return key

    for span in document.entities or ():
        spot(span.start, span.end, span.type)
    for relation in document.relations or ():
        head = spot(relation.head.start, relation.head.end, relation.head.type) if relation.type in asocs else None
        if head is not None:
            spot(relation.tail.start, relation.tail.end, relation.tail.type)
            below[head].add((relation.tail.start, relation.tail.end, relation.type))
    for event in document.events or ():
        trigger = spot(event.trigger.start, event.trigger.end, event.type)
        if trigger is not None:
            below[trigger].update((a.start, a.end, a.role) for a in event.arguments if a.role in asocs)
    for key, tails in below.items():
        for start, end, name in sorted(tails):
            piece = cut(start, end)
            if piece is not None:
                found[key].asocs.append(Asoc(label(name), piece[0], place=piece[1]))
    return [found[key] for key in sorted(found)]
