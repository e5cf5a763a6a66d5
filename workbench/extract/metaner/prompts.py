"""A schema, demonstrations and texts as prompts: which demonstrations stand in which prompt, in which order, under which names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.extract.errors import EngineError
from workbench.extract.metaner.tokens import TYPES, MetaTokens, type_name
from workbench.extract.metaner.windows import BUDGET, CONTEXT, SEED, interleave, prompts
from workbench.extract.metaner.wire import Shot, Source, Wire
from workbench.extract.records import Document
from workbench.extract.schema import Schema
from workbench.extract.usm.pieces import Pieces
from workbench.extract.usm.plan import windows
from workbench.extract.usm.prompt import verbalise

LEAST_ROOM = 16  # pieces of a text that a prompt must have room for
OVERLAP = 16  # pieces that neighbouring windows of a text share


@dataclass(frozen=True)
class Shape:
    """How prompts are made.

    Attributes:
        anonymous: types stand under `<type1>` … in the order of the schema, else under their names.
        context: demonstrations of a prompt. budget: tokens of a prompt. seed: of the order. window: pieces of text in a prompt at most.
        ordered: keep the demonstrations in the order given, instead of shuffling and interleaving them as the original does.
    """

    anonymous: bool = True
    context: int = CONTEXT
    budget: int = BUDGET
    seed: int = SEED
    window: int = 200
    ordered: bool = False


@dataclass
class Prompt:
    """One prompt.

    Attributes:
        text: number of the text. window: first and stop piece. query: what is asked about. source: what the encoder reads.
        shown: numbers of the demonstrations, as given.
    """

    text: int
    window: tuple[int, int]
    query: Shot
    source: Source
    shown: list[int] = field(default_factory=list)


def names_of(schema: Schema, anonymous: bool) -> dict[str, str]:
    """Type -> the name that stands for it.

    Raises:
        EngineError: there are no types, or more than there are names.
    """
    types = [label.name for label in schema.entities]
    if not types:
        raise EngineError("MetaNER extracts entities, but the schema names no entity type: name at least one.")
    if len(types) > TYPES - 1:
        raise EngineError(
            f"MetaNER takes {TYPES - 1} entity types at most, but the schema has {len(types)}: ask for fewer at a time."
        )
    if anonymous:
        return {type_: type_name(number) for number, type_ in enumerate(types, start=1)}
    found: dict[str, str] = {}
    for type_ in types:
        words = verbalise(type_)
        alike = sum(verbalise(other) == words for other in found)
        found[type_] = f"{words} {alike + 1}" if alike else words
    return found


class Prompts:
    """The prompts of a schema with its demonstrations.

    Attributes:
        names: type -> its name in a prompt. asked: of the types that some demonstration shows; of all where there are none.

    Args:
        tokenizer, tokens: of the model. copies: whether it is a copying model. schema: what is asked for.
        demonstrations: annotated texts; none: the plain task, under the types' own names. longest: tokens of a source at most, None: no limit.
    """

    def __init__(
        self,
        tokenizer: Any,
        tokens: MetaTokens,
        copies: bool,
        schema: Schema,
        demonstrations: Sequence[Document] = (),
        shape: Shape | None = None,
        longest: int | None = None,
    ) -> None:
        self.wire, self.shape, self.longest = Wire(tokenizer, tokens, copies), shape or Shape(), longest
        self.names = names_of(schema, self.shape.anonymous and bool(demonstrations))
        self.notes: list[str] = []
        self.shots = self.wire.shots(demonstrations)
        kinds = [{type_ for *_, type_ in shot.mentions} for shot in self.shots]
        self.order = (
            list(range(len(kinds))) if self.shape.ordered else interleave(list(self.names), kinds, self.shape.seed)
        )
        instruction = Source()
        self.wire.instruction(instruction, list(self.names.values()))
        self.head = len(instruction.ids)
        limit = self.shape.budget if longest is None else min(self.shape.budget, longest)
        self.room = limit - self.head - 2
        if self.room < LEAST_ROOM:
            raise EngineError(
                f"The names of the types take {self.head} of the {limit} tokens of a prompt, which leaves no room for a text: ask for fewer or shorter ones."
            )
        self.window = min(self.shape.window, self.room if not self.shots else max(LEAST_ROOM, self.room // 2))
        self._fit()
        shown = {type_ for each in kinds for type_ in each}
        silent = [type_ for type_ in self.names if self.shots and type_ not in shown]
        self.asked = {type_: name for type_, name in self.names.items() if type_ not in silent}
        if silent:
            self.notes.append(
                f"No demonstration shows {', '.join(silent)}: MetaNER finds what it is shown, so show at least one example of each type."
            )

    def _fit(self) -> None:
        """Cut demonstrations that a model with a fixed number of places could not read beside a text."""
        if self.longest is None:
            return
        cut = 0
        most = self.room - self.window
        for number, shot in enumerate(self.shots):
            size = len(shot.pieces)
            while self.wire.size(shot, self.names) > most and size > 1:
                size -= max(1, (self.wire.size(shot, self.names) - most) // 2)
                shot = shot.cut(max(1, size))
            cut += shot is not self.shots[number]
            self.shots[number] = shot
        if cut:
            self.notes.append(
                f"{cut} of {len(self.shots)} demonstrations were cut, because a prompt has room for {self.room} tokens."
            )

    def of(self, number: int, text: str, pieces: Pieces) -> Iterator[Prompt]:
        """The prompts about one text; none about a text without a word, and of a copying model none where the demonstrations show no type.

        Args:
            number: of the text. pieces: all of it.
        """
        if self.wire.copies and not self.asked:
            return
        sizes = [self.wire.size(self.shots[n], self.names) for n in self.order]
        for first, stop in windows(pieces, self.window, min(OVERLAP, self.window // 4)):
            if stop <= first:
                continue
            query = Shot(text, pieces.cut(first, stop))
            if not self.shots:
                yield Prompt(number, (first, stop), query, self.wire.plain(self.names, query))
                continue
            room = self.room - len(self.wire.words(query)[0])
            for chosen in prompts(sizes, room, self.shape.context):
                shown = [self.order[n] for n in chosen]
                source = self.wire.prompt(self.names, [self.shots[n] for n in shown], query)
                yield Prompt(number, (first, stop), query, source, shown)
