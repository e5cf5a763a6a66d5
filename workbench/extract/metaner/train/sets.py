"""What episodes may be drawn from: never from a set that few-shot extraction is measured on, nor from its texts inside another set."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.extract.errors import EngineError, ExtractError
from workbench.extract.fewshot.episodes import open_sets
from workbench.extract.formats.sets import load_data
from workbench.extract.formats.tokens import Counts
from workbench.extract.formats.uie import read_uie
from workbench.extract.metaner.wire import Shot
from workbench.extract.usm.train.names import COMPANY, OTHER, PERSON, PLACE, names_of
from workbench.extract.usm.train.sources import PLANS, Source, load_sources

# Measured on, or made of texts that are: BioRED takes abstracts from BC5CDR, which marks diseases as NCBI-disease does.
NEVER = frozenset({"wnut17", "ncbi_disease", "sec_filings", "bc5cdr", "biored", "wnut16_twitter", "metaner_fewshot"})
MEASURED = ("wnut17", "ncbi_disease", "sec_filings", "bc5cdr")  # whose texts are looked for in all other sets
SHINGLE = 10  # words in a row that no training text may share with a measured one
SHORT = 5  # words; a shorter text is too common to be told apart
_WORD = re.compile(r"\w+")
# Sets whose samples serve relations or events; here their weight is that of a set of a few types.
HEAVIEST = 2.5
TOUCHED = {"person": PERSON, "location": PLACE, "organization": COMPANY, "miscellaneous": OTHER}


def usable(names: Iterable[str] = ()) -> tuple[str, ...]:
    """Names of the sets that episodes may be drawn from.

    Args:
        names: those that are wanted; all if empty.

    Raises:
        EngineError: one of them may not be used, or there is no plan for it.
    """
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name in NEVER:
            raise EngineError(
                f"'{name}' is never learnt from here, since few-shot extraction is measured on it or on its texts: leave it out of --data."
            )
        if name not in PLANS or not PLANS[name].entities:
            raise EngineError(
                f"There is no plan for episodes from '{name}': choose among {', '.join(n for n in PLANS if n not in NEVER and PLANS[n].entities)}."
            )
    return tuple(wanted or (name for name, plan in PLANS.items() if name not in NEVER and plan.entities))


def shingles(text: str) -> set[int]:
    """Hashes of every run of `SHINGLE` words, of a shorter text that of all its words."""
    words = [word.lower() for word in _WORD.findall(text)]
    if len(words) < SHORT:
        return set()
    return {hash(tuple(words[n : n + SHINGLE])) for n in range(max(1, len(words) - SHINGLE + 1))}


def measured_texts(root: Path) -> set[int]:
    """Shingles of every text that few-shot extraction is measured on, all parts of it; of a set that is not at hand none."""
    found: set[int] = set()
    for name in MEASURED:
        for split in ("train", "dev", "test"):
            try:
                for document in load_data(name, root, split):
                    found |= shingles(document.text)
            except ExtractError:
                continue
    for base in (root, root / "ie"):
        try:
            sets = open_sets(base)
        except ExtractError:
            continue
        for each in sets:
            for file in sorted(each.folder.rglob("*.json")):
                for document in read_uie(file, Counts()):
                    found |= shingles(document.text)
        break
    return found


def load_shots(
    names: Sequence[str],
    root: Path,
    tokenizer: Any,
    window: int,
    most: int,
    seed: int,
    progress: Callable[[str], None] | None = None,
) -> tuple[list[Source], dict[str, list[Shot]], int]:
    """The sets of a run, each window of text as a shot.

    Args:
        names: see `usable`. window: pieces of a shot at most. most: documents of a set at most.

    Returns:
        The sources, without texts that are measured on; set -> shots; how many shots were left out for that.
    """
    if progress is not None:
        progress("the texts that are measured on, to leave them out")
    measured = measured_texts(root)
    sources = load_sources(usable(names), root, tokenizer, window, most, seed, progress)
    shots: dict[str, list[Shot]] = {}
    left_out = 0
    for source in sources:
        source.plan = replace(source.plan, weight=min(source.plan.weight, HEAVIEST))
        known: dict[str, bool] = {}
        for chunk in source.chunks:
            if not chunk.has[0] or not len(chunk.pieces):
                continue
            if chunk.text not in known:
                known[chunk.text] = bool(measured and shingles(chunk.text) & measured)
            if known[chunk.text]:
                left_out += 1
                continue
            mentions = tuple(sorted((first, last, type_) for type_, (first, last) in dict.fromkeys(chunk.entities)))
            shots.setdefault(source.name, []).append(Shot(chunk.text, chunk.pieces, mentions))
    return sources, shots, left_out


def touched(sources: Iterable[Source]) -> dict[str, list[str]]:
    """Which sets have a type of the measured news and web sets: type -> sets."""
    found: dict[str, list[str]] = {name: [] for name in TOUCHED}
    for source in sources:
        names = {name.lower() for type_ in source.entities for name in names_of(source.name, type_)}
        for type_, synonyms in TOUCHED.items():
            if names & set(synonyms):
                found[type_].append(source.name)
    return found
