"""The structural schema instructor (UIE, arXiv 2203.12277 §3.1): the schema as a prompt before the text.

    <spot> LABEL … <asoc> LABEL … <extra_id_2> TEXT </s>

Every label is tokenised on its own; the order is alphabetical unless labels are shuffled (training).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.extract.schema import Schema
from workbench.extract.seq2seq.tokens import SelTokens
from workbench.extract.usm.plan import Block
from workbench.extract.usm.prompt import verbalise

Ids = tuple[int, ...]


class LabelIds:
    """Token numbers of labels, kept for the next time."""

    def __init__(self, tokenizer: Any, tokens: SelTokens) -> None:
        self._tokenizer, self._tokens = tokenizer, tokens
        self._known: dict[str, Ids] = {}

    def __call__(self, name: str) -> Ids:
        """Numbers of a label's name, written out; the unknown token where nothing is left of it."""
        if name not in self._known:
            if len(self._known) > 200_000:
                self._known.clear()
            found = self._tokenizer(
                verbalise(name), add_special_tokens=False, verbose=False, split_special_tokens=True
            )["input_ids"]
            known = tuple(number for number in found if number not in self._tokens.special)
            self._known[name] = known or (self._tokens.unk or 0,)
        return self._known[name]


@dataclass(frozen=True)
class Prompt:
    """The labels of one pass by their token numbers.

    Attributes:
        spots, asocs: label -> the names it stands for (two names may come to the same numbers, and an entity and an event type may share one).
        order: spots in prompt order, then asocs.
    """

    spots: dict[Ids, tuple[str, ...]]
    asocs: dict[Ids, tuple[str, ...]]

    def ids(self, tokens: SelTokens) -> list[int]:
        """The prompt up to the start of the text."""
        out: list[int] = []
        for marker, labels in ((tokens.spot, self.spots), (tokens.asoc, self.asocs)):
            for label in labels:
                out += (marker, *label)
        return [*out, tokens.text]

    def places(self) -> dict[tuple[str, Ids], int]:
        """First position in `ids` of each label, by ("spot" or "asoc", label)."""
        found: dict[tuple[str, Ids], int] = {}
        at = 0
        for kind, labels in (("spot", self.spots), ("asoc", self.asocs)):
            for label in labels:
                found[kind, label] = at + 1
                at += 1 + len(label)
        return found


def make_prompt(coder: LabelIds, spots: Iterable[str], asocs: Iterable[str], ordered: bool = True) -> Prompt:
    """A prompt of label names; alphabetical unless `ordered` is False."""

    def table(names: Iterable[str]) -> dict[Ids, tuple[str, ...]]:
        found: dict[Ids, tuple[str, ...]] = {}
        for name in sorted(set(names), key=lambda n: (verbalise(n), n)) if ordered else dict.fromkeys(names):
            label = coder(name)
            found[label] = (*found.get(label, ()), name)
        return found

    return Prompt(table(spots), table(asocs))


def prompt_of(coder: LabelIds, block: Block) -> Prompt:
    """The prompt of a block of labels: entity and event types are spots; relations, polarities and roles are asocs."""
    return make_prompt(coder, [*block.entities, *block.events], [*block.relations, *block.roles])


def roles_of_spots(schema: Schema, block: Block) -> dict[str, frozenset[str]]:
    """Which asocs may stand below each spot of a block: third line of UIE's schema file."""
    found: dict[str, set[str]] = {name: set() for name in (*block.entities, *block.events)}
    for name in block.relations:
        rule = schema.relations[name]
        for head in rule.head or block.entities:
            if head in found:
                found[head].add(name)
    for name in block.events:
        found[name] |= set(schema.events[name]) & set(block.roles)
    return {name: frozenset(asocs) for name, asocs in found.items()}


def source_ids(prompt: Sequence[int], text: Sequence[int], tokens: SelTokens) -> list[int]:
    """What the encoder reads: prompt, text, end token."""
    return [*prompt, *(int(number) for number in text), tokens.eos]
