"""Naming a span by likeness, built in (ours): which type goes to the span that was just written.

An output says "span is type". Once the mark for "is" stands, the span is held against the spans before that mark in the source's demonstrations, and the pointer to
what follows each of them gets their likeness, under a matrix and a factor that are learnt. It is also held against the words
of the instruction's labels, which is learnt. States are compared less the mean of their source, since those of sentence encoders are nearly the same in all places.

Letters in shapes: B rows, T target tokens, S source tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHARP, LABELS = 1.0, 10.0  # of likeness before training (more of it did harm before it was learnt); of labels


class Naming(nn.Module):
    """Likeness of spans.

    Args:
        width: of the encoder's states. is_: number of the mark between span and type. label: number of the mark before a label.
    """

    def __init__(self, width: int, is_: int, label: int) -> None:
        super().__init__()
        self.is_, self.label = is_, label
        self.span = nn.Linear(width, width, bias=False)
        self.words = nn.Linear(width, width, bias=False)
        self.sharp = nn.Parameter(torch.tensor(SHARP))
        nn.init.eye_(self.span.weight)
        nn.init.zeros_(self.words.weight)

    def centred(self, states: Tensor, mask: Tensor) -> Tensor:
        """States less their mean, [B, S, D].

        Args:
            mask: which places are a source, [B, S].
        """
        there = mask.to(states.dtype)[..., None]
        return (states - (states * there).sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp_min(1)) * there

    def keys(self, centred: Tensor, embedded: Tensor, source: Tensor) -> Tensor:
        """What each place of the source has to be like, [B, S, D]; 0 where no type stands.

        Args:
            centred: of `centred`. embedded: of the source's tokens, [B, S, D]. source: [B, S].
        """
        before = nn.functional.pad(source[:, :-1], (1, 0), value=-1)
        spans = nn.functional.pad(centred[:, :-2], (0, 0, 2, 0))
        alike = _unit(self.span(spans)) * self.sharp
        named = _exact(self.words(nn.functional.normalize(embedded, dim=-1))) * LABELS
        return alike * (before == self.is_)[..., None] + named * (before == self.label)[..., None]

    def queries(self, said: Tensor, tokens: Tensor) -> Tensor:
        """The span that was just written, where its type comes next, [B, T, D]; 0 elsewhere.

        Args:
            said: centred state of the source where the token before each token was copied from, [B, T, D]. tokens: what was written, [B, T].
        """
        return _unit(self.span(said)) * (tokens == self.is_)[..., None]


def _exact(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _unit(x: Tensor) -> Tensor:
    """Vectors of length 1, at least float32."""
    return nn.functional.normalize(_exact(x), dim=-1)
