"""The structured extraction language (UIE, arXiv 2203.12277 §2; `uie/extraction/utils.py`), written and read by token numbers.

    SEL  := open SPOT* close
    SPOT := open LABEL colon SPAN ASOC* close
    ASOC := open LABEL colon SPAN close
    SPAN := pieces of the text | null

Numbers instead of characters, so that brackets or special tokens that are spelt out in a text cannot break the reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from workbench.extract.seq2seq.tokens import SelTokens

WELL, FIXED, ILL = "well-formed", "fixed", "ill-formed"
NULL: tuple[int, ...] = ()  # the span of a rejected label
DEPTH = 3


@dataclass
class Asoc:
    """A label and a span below a spot.

    Attributes:
        label: numbers of its pieces. span: numbers of its pieces; `NULL` where the label is rejected.
        at: first token of the span in the output; 0 before it is written or read.
        place: first piece of the span in the text's pieces, where it is known.
    """

    label: tuple[int, ...]
    span: tuple[int, ...]
    at: int = 0
    place: int | None = None


@dataclass
class Spot(Asoc):
    """A label and a span, with what is associated to them."""

    asocs: list[Asoc] = field(default_factory=list)


@dataclass(frozen=True)
class Sel:
    """A structured output that was read.

    Attributes:
        spots: in the order written, null spans included.
        status: `WELL`; `FIXED` where closing brackets had to be added; `ILL` where nothing could be read.
        dropped: brackets left out because they are not LABEL colon SPAN, or stand too deep.
    """

    spots: list[Spot]
    status: str
    dropped: int = 0

    @property
    def grammatical(self) -> bool:
        """Whether it is a sentence of the grammar to the letter."""
        return self.status == WELL and not self.dropped


def write(spots: Sequence[Spot], tokens: SelTokens) -> list[int]:
    """Token numbers of a structure, without the end token; sets `at` of each spot and association."""
    out = [tokens.open]
    for spot in spots:
        _head(spot, out, tokens)
        for asoc in spot.asocs:
            _head(asoc, out, tokens)
            out.append(tokens.close)
        out.append(tokens.close)
    out.append(tokens.close)
    return out


def _head(node: Asoc, out: list[int], tokens: SelTokens) -> None:
    out += [tokens.open, *node.label, tokens.colon]
    node.at = len(out)
    out += node.span or (tokens.null,)


@dataclass
class _Node:
    """A bracket in the making: its own tokens with their places, and the brackets in it."""

    own: list[tuple[int, int]] = field(default_factory=list)
    inner: list[_Node] = field(default_factory=list)


def read(ids: Sequence[int], tokens: SelTokens) -> Sel:
    """The structure of a model's output, as far as it is one (UIE, `spotasoc_predict_parser.py`).

    Start, padding and end tokens are passed over; what follows the bracket that closes the first one is cut off.
    """
    root: _Node | None = None
    stack: list[_Node] = []
    done = False
    for at, number in enumerate(ids):
        if number in (tokens.pad, tokens.eos) or (number == tokens.start and not stack):
            continue
        if number == tokens.open:
            node = _Node()
            if stack:
                stack[-1].inner.append(node)
            else:
                root = node
            stack.append(node)
        elif number == tokens.close:
            if not stack:
                return Sel([], ILL)
            stack.pop()
            if not stack:
                done = True
                break
        elif not stack:
            return Sel([], ILL)  # words before the first bracket
        else:
            stack[-1].own.append((at, number))
    if root is None:
        return Sel([], ILL)
    dropped = int(bool(root.own))
    spots = []
    for node in root.inner:
        spot = _node(node, tokens)
        if spot is None:
            dropped += 1
            continue
        for below in node.inner:
            asoc = _node(below, tokens)
            if asoc is None:
                dropped += 1
            else:
                dropped += len(below.inner)
                spot.asocs.append(Asoc(asoc.label, asoc.span, asoc.at))
        spots.append(spot)
    return Sel(spots, WELL if done else FIXED, dropped)


def _node(node: _Node, tokens: SelTokens) -> Spot | None:
    """LABEL colon SPAN of a bracket; None where it is not that."""
    colons = [n for n, (_, number) in enumerate(node.own) if number == tokens.colon]
    if len(colons) != 1:
        return None
    label = tuple(number for _, number in node.own[: colons[0]])
    span = node.own[colons[0] + 1 :]
    if not label or not span or set(label) & {tokens.null}:
        return None
    numbers = tuple(number for _, number in span)
    if tokens.null in numbers:
        return Spot(label, NULL, span[0][0]) if numbers == (tokens.null,) else None
    return Spot(label, numbers, span[0][0])
