"""Choosing a label by the span that will follow it, and a span by its label, built in (ours).

UIE writes the label before its span, so the choice of a label needs to look ahead: to the place in the text where the next span begins, and from there to the label that
links to it. Here the decoder's state looks over the text, foremost to places that any label links to, what it sees there is held against every label as USM's link from a label to the first piece of a span
does (docs/usm.md), and the pointer to the first token of each label gets that score. Once the label stands, the same link says
where in the text a span of it may begin. A run that starts from a USM model starts with its links.

Letters in shapes: B rows, T target tokens, S source tokens, D width, d width of a link.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from workbench.extract.seq2seq.apart import Layout

HIDDEN = -1e9  # the score of a place that cannot be looked at


class Sight(NamedTuple):
    """What looking ahead needs of a source; computed once.

    Attributes:
        keys: of the places to look at, [B, S, d]. text: their side of the link, [B, S, d]. labels: the labels' side, [B, S, d].
        likely: how surely a span with any of the labels begins at a place, `HIDDEN` where there is no text, [B, S]. first, last: 1 at the first and the last token of each label, else 0, [B, S].
    """

    keys: Tensor
    text: Tensor
    labels: Tensor
    likely: Tensor
    first: Tensor
    last: Tensor

    def of(self, texts: Tensor) -> Sight:
        """Of some of the rows."""
        return Sight(*(part[texts] for part in self))


class Ahead(nn.Module):
    """Scores of labels by what follows.

    Args:
        width: of the states, D. opening, colon: numbers of the tokens behind which a label is chosen, and a span begins. size: of a link, d.
    """

    def __init__(self, width: int, opening: int, colon: int, size: int) -> None:
        super().__init__()
        self.opening, self.colon, self.size = opening, colon, size
        self.look = nn.Linear(width, size)
        self.keys = nn.Linear(width, size, bias=False)
        self.text = nn.Linear(width, size)
        self.label = nn.Linear(width, size)
        self.bias = nn.Parameter(torch.zeros(()))
        self.gain = nn.Parameter(torch.ones(()))
        for part in (self.look, self.keys, self.text, self.label):
            nn.init.normal_(part.weight, std=0.05)

    def sight(self, states: Tensor, pooled: Tensor, layout: Layout, there: Tensor) -> Sight:
        """Prepare a source.

        Args:
            states: of the encoder, [B, S, D]. pooled: the same with the mean of a label's in its places. there: what may be copied, bool [B, S].
        """
        text = there & (layout.segments == 0)
        first = (layout.segments > 0) & (layout.positions == 1)
        side, labels = self.text(states), self.label(pooled)
        links = self._links(side, labels).masked_fill(~first[:, None], HIDDEN)
        likely = (self.gain * links.logsumexp(-1)).masked_fill(~text, HIDDEN)
        ends = nn.functional.pad(layout.positions[:, 1:], (0, 1), value=1) == 0  # the next place begins something
        last = (layout.segments > 0) & (layout.positions > 0) & ends
        return Sight(self.keys(states), side, labels, likely, first.float(), last.float())

    def _links(self, text: Tensor, labels: Tensor) -> Tensor:
        return (text @ labels.transpose(1, 2)).float() * self.size**-0.5 + self.bias

    def forward(self, hidden: Tensor, tokens: Tensor, sight: Sight, said: Tensor) -> Tensor:
        """What each place of the source gets, float32 [B, T, S].

        Args:
            hidden: of the decoder, [B, T, D]. tokens: that it read, [B, T].
            said: what part each place of the source has in the token before each of them (`pointer.shares`), [B, T, S].
        """
        looks = (self.look(hidden) @ sight.keys.transpose(1, 2)).float() * self.size**-0.5 + sight.likely[:, None]
        seen = looks.softmax(-1).to(sight.text.dtype) @ sight.text
        links = self._links(seen, sight.labels)
        label = links * sight.first[:, None] * (tokens == self.opening)[..., None]
        asked = said.float() * sight.last[:, None]  # the label that was just written
        known = asked.sum(-1, keepdim=True)
        asked = (asked / known.clamp_min(1e-6)).to(sight.labels.dtype) @ sight.labels
        starts = self._links(asked, sight.text) * (sight.likely > HIDDEN / 2)[:, None]
        return label + starts * ((tokens == self.colon)[..., None] & (known > 0))
