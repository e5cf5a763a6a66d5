"""MetaNER's prompts and outputs as token numbers (arXiv 2305.11038 §3; `config/formats/metaner.yaml`, `predictor.py`).

    encoder    <extra_id_7> L1 <extra_id_7> L2 …
               { <extra_id_4> TEXT <extra_id_6> E1 is L1. E2 is L2. <extra_id_5> } for each demonstration
               <extra_id_4> QUERY                                          nothing behind it
    decoder    starts from <extra_id_6>, ends with <extra_id_5>

An encoder-decoder of transformers gets exactly these strings, each part tokenised by itself. A copying model gets the text's own pieces, and
three marks for " is ", "." and ",": it then writes only marks and tokens of its source, and a sign inside a span is never structure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.extract.metaner.tokens import LABEL, MetaTokens
from workbench.extract.records import Document
from workbench.extract.seq2seq.tokens import encode_plain
from workbench.extract.usm.pieces import Pieces

Mention = tuple[int, int, str]  # first and last piece, type


@dataclass(frozen=True)
class Shot:
    """A text, or a window of one, with what is marked in it.

    Attributes:
        text: the whole text; offsets of `pieces` count its characters. mentions: in text order.
        altered: whether the pieces are no longer those of the text, because words are hidden.
    """

    text: str
    pieces: Pieces
    mentions: tuple[Mention, ...] = ()
    altered: bool = False

    def words(self, first: int = 0, last: int = -1) -> str:
        """The characters from one piece to another."""
        return self.text[self.pieces.starts[first] : self.pieces.ends[last]] if len(self.pieces) else ""

    def said(self, names: Mapping[str, str]) -> list[tuple[int, int, list[str]]]:
        """What is written about it: (first and last piece, names), each string once, with every type that has a name."""
        found: dict[str, tuple[int, int, list[str]]] = {}
        for first, last, type_ in self.mentions:
            name = names.get(type_)
            if name is not None:
                key = f"{first}" if self.altered else self.words(first, last)
                entry = found.setdefault(key, (first, last, []))
                if name not in entry[2]:
                    entry[2].append(name)
        return list(found.values())

    def cut(self, most: int) -> Shot:
        """The first pieces."""
        if len(self.pieces) <= most:
            return self
        return Shot(self.text, self.pieces.cut(0, most), tuple(m for m in self.mentions if m[1] < most), self.altered)


@dataclass
class Source:
    """What the encoder reads.

    Attributes:
        ids, shapes: of each token. parts: what stands where: (what, number of it, first, stop), with what one of "label", "text" and "output" of a
            demonstration, and "query".
    """

    ids: list[int] = field(default_factory=list)
    shapes: list[int] = field(default_factory=list)
    parts: list[tuple[str, int, int, int]] = field(default_factory=list)

    def add(self, ids: Sequence[int], shapes: Sequence[int] = (), what: str = "", number: int = 0) -> None:
        first = len(self.ids)
        self.ids += ids
        self.shapes += [*shapes, *[0] * (len(ids) - len(shapes))]
        if what:
            self.parts.append((what, number, first, len(self.ids)))

    def places(self, *what: str) -> list[int]:
        """Places of tokens of some parts."""
        return [n for kind, _, first, stop in self.parts if kind in what for n in range(first, stop)]

    @property
    def query(self) -> int:
        """Where the query's first piece stands."""
        return next((first for what, _, first, _ in self.parts if what == "query"), len(self.ids))


class Wire:
    """Writes prompts and outputs.

    Args:
        tokenizer, tokens: of the model. copies: whether it is a copying model.
    """

    def __init__(self, tokenizer: Any, tokens: MetaTokens, copies: bool) -> None:
        self.tokenizer, self.tokens, self.copies = tokenizer, tokens, copies
        self._names: dict[str, tuple[int, ...]] = {}
        self._known = {tokenizer.convert_ids_to_tokens(n): n for n in (*tokens.types, *tokens.masks)}

    def shots(self, documents: Sequence[Document]) -> list[Shot]:
        """Annotated texts as shots; a span whose borders are inside a piece takes the whole piece."""
        found = []
        for document, pieces in zip(
            documents, encode_plain(self.tokenizer, self.tokens.sel, [d.text for d in documents]), strict=True
        ):
            mentions = []
            for span in document.entities or ():
                place = pieces.covering(span.start, span.end)
                if place is not None:
                    mentions.append((*place, span.type))
            found.append(Shot(document.text, pieces, tuple(sorted(mentions))))
        return found

    def name(self, name: str) -> tuple[int, ...]:
        """Numbers of a label: of an anonymous one its token, else of its words."""
        if name not in self._names:
            known = self._known.get(name)
            self._names[name] = (known,) if known is not None else tuple(self._encode(name))
        return self._names[name]

    def _encode(self, text: str) -> list[int]:
        """Numbers of a text that may not bring in a special token."""
        found: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        unknown = self.tokens.sel.unk if self.tokens.sel.unk is not None else self.tokens.sel.pad
        return [unknown if n in self.tokens.sel.special else n for n in found]

    # ------------------------------------------------------------------ the parts of a prompt
    def instruction(self, source: Source, names: Sequence[str]) -> None:
        """The labels."""
        for number, name in enumerate(names):
            if self.copies:
                source.add((self.tokens.label, *self.name(name)), what="label", number=number)
            else:
                source.add(self._strings(f" {LABEL} {name}", [name]), what="label", number=number)

    def _strings(self, text: str, names: Sequence[str]) -> list[int]:
        """Numbers of a text of ours that ends in names; only anonymous ones may be special tokens."""
        if all(name in self._known or "<" not in name for name in names):
            found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            return found
        found = []
        for name in names:
            before, _, text = text.partition(name)
            found += self.tokenizer(before, add_special_tokens=False)["input_ids"] if before.strip() else []
            found += self.name(name)
        return [*found, *(self.tokenizer(text, add_special_tokens=False)["input_ids"] if text.strip() else [])]

    def words(self, shot: Shot) -> tuple[list[int], list[int]]:
        """Numbers and shapes of a text."""
        if self.copies or shot.altered:
            return shot.pieces.ids.tolist(), shot.pieces.shapes.tolist()
        return self._encode(shot.words()), []

    def entries(self, shot: Shot, names: Mapping[str, str]) -> Iterator[tuple[int, int, list[int], list[int]]]:
        """What is written of each span: its first and last piece, numbers of the span, numbers of what follows."""
        t = self.tokens
        for n, (first, last, said) in enumerate(shot.said(names)):
            own = shot.pieces.ids[first : last + 1].tolist()
            if self.copies:
                rest = [t.is_]
                for name in said:
                    rest += [*self.name(name), t.comma]
                rest[-1] = t.stop
                yield first, last, own, rest
            else:  # from the second one on with a leading space
                span = own if shot.altered else self._encode(f"{' ' if n else ''}{shot.words(first, last)}")
                yield first, last, span, self._strings(f" is {', '.join(said)}.", said)

    def output(self, shot: Shot, names: Mapping[str, str]) -> list[int]:
        """What is to be written about a shot, the end left out."""
        return [number for *_, span, rest in self.entries(shot, names) for number in (*span, *rest)]

    def demonstration(self, source: Source, shot: Shot, names: Mapping[str, str], number: int = 0) -> None:
        ids, shapes = self.words(shot)
        source.add((self.tokens.text,))
        source.add(ids, shapes, "text", number)
        source.add((self.tokens.out,))
        source.add(self.output(shot, names), what="output", number=number)
        source.add((self.tokens.end,))

    def size(self, shot: Shot, names: Mapping[str, str]) -> int:
        """Tokens of a demonstration."""
        return len(self.words(shot)[0]) + len(self.output(shot, names)) + 3

    def prompt(self, names: Mapping[str, str], demonstrations: Sequence[Shot], query: Shot) -> Source:
        """Instruction, demonstrations and query.

        Args:
            names: type -> the name that stands for it, in the order of the instruction.
        """
        source = Source()
        self.instruction(source, list(names.values()))
        for number, shot in enumerate(demonstrations):
            self.demonstration(source, shot, names, number)
        source.add((self.tokens.text,))
        source.add(*self.words(query), "query")
        return source

    def plain(self, names: Mapping[str, str], query: Shot) -> Source:
        """The prompt of the plain task, without demonstrations: instruction, text, `<extra_id_5>`."""
        source = Source()
        self.instruction(source, list(names.values()))
        source.add(*self.words(query), "query")
        source.add((self.tokens.end,))
        return source
