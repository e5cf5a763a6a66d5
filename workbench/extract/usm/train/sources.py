"""Sources of training samples: documents of a set in windows of pieces, with what is annotated in them and how far.

What a set may be used for stands in the README of the data (docs/data.md): weights that learnt from sets whose licence is not stated are
for research use. ATIS (LDC) and the WNUT-16 copy under the GPL are left out.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from workbench.extract.errors import ExtractError
from workbench.extract.formats.sets import load_data
from workbench.extract.formats.tokens import Counts
from workbench.extract.records import Document, read_documents
from workbench.extract.usm.links import Pair
from workbench.extract.usm.pieces import Pieces, encode_texts
from workbench.extract.usm.train.names import DROPPED
from workbench.extract.usm.train.patterns import OPEN, PATTERNS, stated_types
from workbench.extract.usm.train.swaps import swapped


@dataclass(frozen=True)
class Plan:
    """How one set is used.

    Attributes:
        weight: share of the samples, relative to the others.
        domain: label names of other domains serve as labels that are surely absent.
        complete: whether a type's mentions are all annotated; else cells outside annotated spans are left out of the loss.
        pairs: whether relations or arguments are all annotated between annotated spans.
        entities: whether entity types are asked at all (CASIE marks only what is an argument).
        splits: parts that may be learnt from.
    """

    weight: float
    domain: str
    complete: bool = True
    pairs: bool = True
    entities: bool = True
    splits: tuple[str, ...] = ("train",)


PLANS: dict[str, Plan] = {
    "wnut17": Plan(7, "general"), "ncbi_disease": Plan(7, "bio"), "bc5cdr": Plan(7, "bio"), "conll04": Plan(7, "general"),
    "scierc": Plan(9, "science"), "casie": Plan(11, "cyber", entities=False), "14res": Plan(5.5, "reviews"), "14lap": Plan(5, "reviews"),
    "anatem": Plan(1.5, "bio"), "bc2gm": Plan(1.5, "bio"), "bionlp13cg": Plan(1.5, "bio"), "wikigold": Plan(1.5, "general"),
    "btc_twitter": Plan(2.5, "general"), "sec_filings": Plan(0.7, "general"), "uner_en_ewt": Plan(1, "general", splits=("dev",)),
    "litbank": Plan(1.5, "general"), "fewrel": Plan(2.5, "general", complete=False, pairs=False),
    "re_docred": Plan(2.5, "general", splits=("dev",)), "re3d": Plan(1, "general"), "ade": Plan(1.5, "bio", complete=False),
    "wikievents": Plan(0.5, "general", splits=("dev",)), "rams": Plan(0.5, "general", complete=False, splits=("dev",)),
    "semcor_wordnet": Plan(4, "words", complete=False), "masc_wordnet": Plan(1, "words", complete=False),
    "ufet_crowd": Plan(2, "words", complete=False), "dart": Plan(1.5, "general", complete=False), "geneva": Plan(2.5, "general"),
    "wtq_silver": Plan(1, "general", complete=False), "product_attributes": Plan(1, "products", complete=False), "sgd": Plan(1.2, "dialog"),
    "hwu64_nlu": Plan(0.7, "dialog"), "snips": Plan(0.8, "dialog"), "multidogo": Plan(0.3, "dialog"), "polyai_spans": Plan(0.2, "dialog"),
    "culotta_wikipedia": Plan(0.6, "general"), "maccrobat2020": Plan(1, "bio"), "somesci": Plan(0.6, "software"),
    "wiesp2022_astro": Plan(1, "science"), "stackoverflow_ner": Plan(1, "software"), "sofc_exp": Plan(0.3, "science"), "aptner": Plan(1, "cyber"),
    "matsyn": Plan(0.6, "science"), "phee": Plan(0.6, "bio"), "wlp": Plan(0.6, "science"), "bio_mtl": Plan(1, "bio"), "tasteset2": Plan(0.5, "recipes"),
    "inlegalner_dev": Plan(0.6, "law"), "biored": Plan(1.2, "bio"), "cyner": Plan(0.7, "cyber"), "mams_absa": Plan(1.2, "reviews"),
    "skillspan": Plan(0.5, "general"),
}  # fmt: skip
# Texts of these parts may not be learnt from, whichever set repeats them, also within a longer text (`KeptBack`).
KEPT_BACK = dict.fromkeys(("wnut17", "ncbi_disease", "bc5cdr", "conll04", "scierc", "casie", "14res", "14lap"), ("dev", "test")) | {
    "anatem": ("test",), "bionlp13cg": ("test",), "bc2gm": ("test",),
}  # fmt: skip


@dataclass
class Chunk:
    """A window of a document: spans are first and last piece, inclusive, counted from the window's first piece."""

    pieces: Pieces
    entities: list[tuple[str, Pair]] = field(default_factory=list)
    relations: list[tuple[str, tuple[Pair, str], tuple[Pair, str]]] = field(default_factory=list)
    events: list[tuple[str, Pair, list[tuple[str, Pair]]]] = field(default_factory=list)
    has: tuple[bool, bool, bool] = (True, True, True)  # entities, relations, events annotated
    text: str = ""  # of the whole document, which the offsets of the pieces count


@dataclass
class Source:
    """A set ready for sampling, with the inventory of its labels."""

    name: str
    plan: Plan
    chunks: list[Chunk]
    entities: tuple[str, ...] = ()
    relations: dict[str, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)
    events: dict[str, tuple[str, ...]] = field(default_factory=dict)


def load_sources(
    names: Iterable[str],
    root: Path,
    tokenizer: Any,
    window: int,
    most: int = 6000,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    patterns: float = 0.0,
    shelf: dict[Any, Any] | None = None,
    swaps: int = 0,
    silver: str = "",
) -> list[Source]:
    """The sets of a run.

    Args:
        names: of sets in `PLANS`.
        root: folder of the sets.
        tokenizer, window: pieces of a chunk at most.
        most: documents of a set at most, chosen by the seed.
        progress: called with each set's name, and once more if documents of it are left out, with how many and why.
        patterns: weight of a further source, types that the texts themselves state (`patterns`); 0: none.
        shelf: keeps what was read for later calls with the same root and tokenizer; reading takes a minute or more.
        swaps: copies of each document with mentions swapped (`swaps`).
        silver: JSONL file of texts that a model annotated under the names of the only set (`silver`): half of the samples; empty: none.

    Raises:
        ExtractError: a set is unknown or not there, the file cannot be read, or it is given with several sets.
    """
    names = list(names)
    if silver and len(names) != 1:
        raise ExtractError(f"Silver texts go with one set, whose names they bear, not with {len(names)}: name one set.")
    check_planned(names)
    shelf = {} if shelf is None else shelf
    found: list[Source] = []
    stated: list[Source] = []
    for name in names:
        if progress is not None:
            progress(name)
        key = (name, window, most, seed, swaps)
        if key not in shelf:
            counts = Counts()
            documents = readable_documents(name, root, most, seed, counts)
            if progress is not None and counts[SHOWN]:
                progress(f"{name}: {counts[SHOWN]:,} {SHOWN} are left out")
            copies = swapped(documents, swaps, seed) if swaps else []
            shelf[key] = make_source(name, PLANS[name], [*documents, *copies], tokenizer, window)
            if name in OPEN:
                shelf[PATTERNS, *key] = _stated(stated_types(documents), tokenizer, window)
        found.append(shelf[key])
        if patterns and name in OPEN:
            stated.append(shelf[PATTERNS, *key])
    if silver:
        found.append(make_source(names[0], PLANS[names[0]], list(read_documents(silver)), tokenizer, window))
    chunks = [chunk for source in stated for chunk in source.chunks]
    if chunks:
        types = tuple(sorted({type_ for source in stated for type_ in source.entities}))
        found.append(Source(PATTERNS, Plan(patterns, "words", complete=False), chunks, types))
    return found


def check_planned(names: Iterable[str]) -> None:
    """Raise unless there is a plan for each of these sets.

    Raises:
        ExtractError: naming the first without one.
    """
    if unknown := [name for name in names if name not in PLANS]:
        raise ExtractError(f"There is no training plan for '{unknown[0]}': choose among {', '.join(PLANS)}.")


def readable_documents(name: str, root: Path, most: int, seed: int, counts: Counts | None = None) -> list[Document]:
    """What may be learnt from of a set, `most` at most, in the order of chance.

    Args:
        counts: takes what was left out or mended, by reason; `SHOWN` for documents that show a text that is measured on.
    """
    counts = Counts() if counts is None else counts
    kept_back = _kept_back(root)
    found = [d for split in PLANS[name].splits for d in load_data(name, root, split, counts)]
    documents = [d for d in found if not kept_back.shown(d.text)]
    if len(documents) < len(found):
        counts[SHOWN] += len(found) - len(documents)
    random.Random(f"{seed}/{name}").shuffle(documents)
    return documents[:most]


def _stated(documents: Sequence[Document], tokenizer: Any, window: int) -> Source:
    """Types that the texts of a set state."""
    source = make_source(PATTERNS, Plan(0.0, "words", complete=False), documents, tokenizer, window)
    source.chunks = [chunk for chunk in source.chunks if chunk.entities]
    return source


def make_source(name: str, plan: Plan, documents: Sequence[Document], tokenizer: Any, window: int) -> Source:
    """A source from documents, with the inventory of what they use."""
    chunks: list[Chunk] = []
    pieces = encode_texts(tokenizer, [document.text for document in documents])
    dropped = DROPPED.get(name, frozenset())
    for document, whole in zip(documents, pieces, strict=True):
        if len(whole):
            chunks += _chunks(document, whole, window, plan, dropped)
    source = Source(name, plan, chunks)
    relations: dict[str, tuple[set[str], set[str]]] = {}
    events: dict[str, dict[str, None]] = {}
    entities: dict[str, None] = {}
    for chunk in chunks:
        entities.update((type_, None) for type_, _ in chunk.entities)
        for type_, head, tail in chunk.relations:
            heads, tails = relations.setdefault(type_, (set(), set()))
            heads.update({head[1]} - {""})
            tails.update({tail[1]} - {""})
        for type_, _, arguments in chunk.events:
            events.setdefault(type_, {}).update((role, None) for role, _ in arguments)
    source.entities = tuple(sorted(entities))
    source.relations = {name: (frozenset(h), frozenset(t)) for name, (h, t) in sorted(relations.items())}
    source.events = {name: tuple(sorted(roles)) for name, roles in sorted(events.items())}
    return source


def _chunks(document: Document, whole: Pieces, window: int, plan: Plan, dropped: frozenset[str]) -> Iterable[Chunk]:
    has = (document.entities is not None and plan.entities, document.relations is not None, document.events is not None)
    first = 0
    while first < len(whole):
        stop = _cut(document.text, whole, first, window)
        chunk = Chunk(whole.cut(first, stop), has=has, text=document.text)

        def place(start: int, end: int, first: int = first, stop: int = stop) -> Pair | None:
            found = whole.covering(start, end)
            if found is None or found[0] < first or found[1] >= stop:
                return None
            return found[0] - first, found[1] - first

        if has[0]:
            for span in document.entities or ():
                at = place(span.start, span.end)
                if at is not None and span.type not in dropped:
                    chunk.entities.append((span.type, at))
        for relation in document.relations or ():
            head, tail = place(relation.head.start, relation.head.end), place(relation.tail.start, relation.tail.end)
            named = relation.type in _CODED or not re.fullmatch(r"P\d+", relation.type)
            if named and head is not None and tail is not None:
                chunk.relations.append((relation.type, (head, relation.head.type), (tail, relation.tail.type)))
        for event in document.events or ():
            trigger = place(event.trigger.start, event.trigger.end)
            if trigger is not None:
                arguments = [(a.role, at) for a in event.arguments if (at := place(a.start, a.end)) is not None]
                chunk.events.append((event.type, trigger, arguments))
        yield chunk
        first = stop


_CODED = frozenset({"P580", "P582", "P569", "P570", "P577", "P571", "P576", "P585"})  # codes that names.py names


def _cut(text: str, whole: Pieces, first: int, window: int) -> int:
    """Where a window ends: behind the last sentence end in its second half, or when it is full, between two words."""
    stop = min(first + window, len(whole))
    if stop == len(whole):
        return stop
    for at in range(stop, first + window // 2, -1):
        if text[whole.ends[at - 1] - 1] in ".!?\n" and text[whole.ends[at - 1] : whole.starts[at]].isspace():
            return at
    at = stop
    while at > first + 1 and whole.words[at] == whole.words[at - 1] and at > stop - 20:
        at -= 1
    return at


_WORD = re.compile(r"[^\W_]+")
LEAST_ALIKE = 26  # letters from which two texts that are the same are so by no chance
LEAST_INSIDE = 60  # letters from which a text that stands inside another does so by no chance
SHOWN = "documents that show a text that is measured on"


class KeptBack:
    """Texts that no document to learn from may show: as the whole of it or, where they are long, within it, or it within them.

    Letters and digits alone are compared, in lower case: sets cut and join words differently. A text is looked for at the first letters of
    words only.

    Args:
        texts: of development and test parts.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        words = [_words(text) for text in texts]
        keys = {"".join(each): each for each in words}
        self._whole = frozenset(key for key in keys if len(key) >= LEAST_ALIKE)
        self._heads: dict[str, list[str]] = {}  # the first letters of long texts -> these texts
        self._inside: set[int] = set()  # hashes of as many letters from each of their words on
        for key, each in keys.items():
            if len(key) >= LEAST_INSIDE:
                self._heads.setdefault(key[:LEAST_INSIDE], []).append(key)
                self._inside.update(hash(run) for _, run in _runs(key, each))

    def shown(self, text: str) -> bool:
        """Whether a text shows one of them."""
        words = _words(text)
        key = "".join(words)
        if key in self._whole:
            return True
        if len(key) < LEAST_INSIDE:
            return False
        within = hash(key[:LEAST_INSIDE]) in self._inside
        if within and any(key in each for alike in self._heads.values() for each in alike):
            return True
        return any(key.startswith(each, at) for at, run in _runs(key, words) for each in self._heads.get(run, ()))


def _words(text: str) -> list[str]:
    found: list[str] = _WORD.findall(text.lower())
    return found


def _runs(key: str, words: Sequence[str]) -> Iterator[tuple[int, str]]:
    """`LEAST_INSIDE` letters from the begin of each word on, as long as there are so many, and where they begin."""
    at = 0
    for word in words:
        if at + LEAST_INSIDE > len(key):
            return
        yield at, key[at : at + LEAST_INSIDE]
        at += len(word)


@cache
def _kept_back(root: Path) -> KeptBack:
    """Texts of all development and test parts that are measured on, so that no other set can show them."""
    found: list[str] = []
    for name, splits in KEPT_BACK.items():
        for split in splits:
            try:
                found += [document.text for document in load_data(name, root, split)]
            except ExtractError:
                continue  # a set that is not at hand cannot be measured on either
    return KeptBack(found)


def definitions(root: Path) -> dict[str, str]:
    """Descriptions of label names, lower case: WordNet senses of nouns and slots of dialogues, where those sets are at hand."""
    found: dict[str, str] = {}
    for base in (root, root / "ie_types"):
        path = base / "semcor_wordnet" / "noun_synsets.json.gz"
        if path.is_file():
            with gzip.open(path, "rt", encoding="utf-8") as file:
                for sense in json.load(file).values():
                    found.setdefault(sense["name"].lower(), sense["definition"])
    return found
