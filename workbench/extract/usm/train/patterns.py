"""Types that texts state by themselves: "Oslo is a city", "painters such as Munch", "Munch, a Norwegian painter,".

A source of label names as various as language (after Hearst 1992, https://aclanthology.org/C92-2082). Only what a pattern matched is
taught; every other token is left out of the loss.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from workbench.extract.records import Document, Span

PATTERNS = "patterns"
OPEN = frozenset(
    ["fewrel", "re_docred", "wikigold", "semcor_wordnet", "masc_wordnet", "culotta_wikipedia", "ufet_crowd", "geneva", "litbank"]
)  # fmt: skip


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NAME = r"(?:[A-Z][\w'’.-]*\w)(?:\s+(?:(?:of|the|and|de|van|von|du)\s+)?[A-Z0-9][\w'’-]*)*"
_KIND = r"(?:[a-z][a-z-]+\s+){0,3}[a-z][a-z-]+"
_SHORTEST = r"(?:[a-z][a-z-]+\s+){0,3}?[a-z][a-z-]+"  # up to the first word that ends the phrase
_CASED = r"(?:[A-Z][\w-]*\s+){0,2}"  # "Norwegian", before the kind
_END = r"(?=\s*(?:[,.;:)]|$|\s(?:of|in|that|who|which|for|from|with|and|or|on|at|to|by|based|located|born|known)\b))"
_LISTED = re.compile(
    rf"\b(?P<y>{_KIND})\s*,?\s+(?:such as|including|like)\s+(?P<x>{_NAME})"
)  # what stands before the kind may be anything
_STATED = (
    re.compile(
        rf"(?P<x>{_NAME})\s*(?:\([^()]{{0,60}}\)\s*)?,?\s+(?:is|was)\s+(?:an?|the)\s+{_CASED}(?P<y>{_SHORTEST}){_END}"
    ),
    re.compile(rf"(?P<x>{_NAME})\s*,\s+(?:an?|the)\s+{_CASED}(?P<y>{_SHORTEST}){_END}"),
    _LISTED,
    re.compile(rf"\b(?:an?|the)\s+{_CASED}(?P<y>{_KIND})\s+(?:called|named)\s+(?P<x>{_NAME})"),
)
_STARTS = _words(
    """
    The A An It He She They This That There These Those In On At But And Or If When While We I You His Her Its Their Our My
    As For What Who Which Where How Today Then Here Another One Each Every Some Many Most All Both
    However Therefore Thus Also Yet So Everything Nothing God
    """
)
_NO_KIND = _words(
    """
    member part one result number type kind sort form name time way lot thing example first second third last same other
    case fact cause reason known short subject set series group pair list use source basis end start center centre top bottom side rest
    majority version variety range only own such not also very most more best many few new old great good large small long
    main major key former latter following late early high low big different
    """
)
_LOOSE = _words(
    """
    of in that who which for from with and or on at to by is was are be has had been being the an than as it its their his
    her then when where while but not very most more also only given him them
    """
)


def stated_types(documents: Sequence[Document]) -> list[Document]:
    """Documents in which a pattern matched, with the mentions and the types that they state, and nothing else."""
    found = []
    for document in documents:
        spans = {(start, end): kind for start, end, kind in matches(document.text)}
        if spans:
            entities = tuple(Span(start=start, end=end, type=kind) for (start, end), kind in sorted(spans.items()))
            found.append(Document(id=document.id, text=document.text, entities=entities))
    return found


def matches(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, kind) of each mention whose kind the text states."""
    for pattern in _STATED:
        for match in pattern.finditer(text):
            kind = kind_of(match["y"], 1 if pattern is _LISTED else 2)
            start, end = match.span("x")
            first = match["x"].split(maxsplit=1)
            if first[0] in _STARTS:  # "The Nile": the name begins behind it
                if len(first) == 1 or not first[1][0].isupper():
                    continue
                start = end - len(first[1])
            if kind and end - start > 2:
                yield start, end, kind


def kind_of(phrase: str, most: int = 2) -> str:
    """The type that a phrase names: its last words, `most` at most, in the singular; "" where it says nothing."""
    words = phrase.lower().split()
    while words and words[-1] in _LOOSE:
        words.pop()
    kept: list[str] = []
    for word in reversed(words[-most:]):
        if word in _LOOSE or (kept and word in _NO_KIND):
            break
        kept.insert(0, word)
    if not kept or kept[-1] in _NO_KIND or len(kept[-1]) < 3 or kept[-1].endswith(("ly", "ing", "ed")):
        return ""
    last = kept[-1]
    if last.endswith("ies") and last not in ("movies", "zombies", "cookies", "series") and len(last) > 4:
        kept[-1] = last[:-3] + "y"
    elif last.endswith("s") and not last.endswith(("ss", "us", "is")) and len(last) > 3:
        kept[-1] = last[:-1]
    return " ".join(kept)
