"""Training examples of an encoder-decoder, and batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from workbench.extract.seq2seq.model import ANYWHERE, IGNORED
from workbench.extract.seq2seq.tokens import SelTokens


@dataclass
class Example:
    """A source and what is to be written.

    Attributes:
        source: token numbers, end token included. shapes: of each source token; may be shorter, then 0.
        target: token numbers, end token included.
        places: where in the source each target token stands, or `ANYWHERE`; may be shorter.
        silent: target positions that are not counted in the loss.
        kind: what it teaches, for the log.
    """

    source: list[int]
    target: list[int]
    shapes: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    silent: frozenset[int] = frozenset()
    kind: str = ""

    @property
    def cost(self) -> int:
        """Tokens of both sides."""
        return len(self.source) + len(self.target)


@dataclass(frozen=True)
class Batch:
    """Padded examples.

    Attributes:
        source, mask, shapes: int64 [B, S]. inputs: what the decoder reads, [B, T]. labels: what it is to write, [B, T], `IGNORED` is not
        counted. places: [B, T].
    """

    source: Tensor
    mask: Tensor
    shapes: Tensor
    inputs: Tensor
    labels: Tensor
    places: Tensor

    @property
    def tokens(self) -> int:
        """Positions computed, padding included."""
        return self.source.numel() + self.inputs.numel()

    def to(self, device: torch.device | str) -> Batch:
        return replace(self, **{name: getattr(self, name).to(device) for name in self.__dataclass_fields__})


def make_batch(examples: Sequence[Example], tokens: SelTokens) -> Batch:
    """Pad examples; the decoder reads the start token and then its target, one behind."""

    def pad(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
        longest = max(len(row) for row in rows)
        return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows], dtype=torch.long)

    def stretch(row: Sequence[int], length: int, filler: int) -> list[int]:
        return [*row, *[filler] * (length - len(row))]

    return Batch(
        source=pad([e.source for e in examples], tokens.pad),
        mask=pad([[1] * len(e.source) for e in examples], 0),
        shapes=pad([stretch(e.shapes, len(e.source), 0) for e in examples], 0),
        inputs=pad([[tokens.start, *e.target[:-1]] for e in examples], tokens.pad),
        labels=pad([[IGNORED if n in e.silent else t for n, t in enumerate(e.target)] for e in examples], IGNORED),
        places=pad([stretch(e.places, len(e.target), ANYWHERE) for e in examples], ANYWHERE),
    )
