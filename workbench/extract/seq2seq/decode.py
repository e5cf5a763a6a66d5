"""Decoding any transformers encoder-decoder under a constraint: batched, with its key-value cache, greedy or by beams.

The constraint is a machine on tensors: a mask of allowed tokens a row and step, so that nothing leaves the device and no Python runs a row.
Rows that have ended are taken out of the batch.

Letters in shapes: B texts, K beams, N = B x K rows, T steps, S source tokens, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from workbench.extract.seq2seq.model import CopySeq2Seq
from workbench.extract.seq2seq.tokens import SelTokens


class Constraint(Protocol):
    """What may be written. The machine holds the state of N rows; every method works on all of them at once."""

    def begin(self, index: Tensor) -> None:
        """Start anew; row n writes about text `index[n]`, [N]."""
        ...

    def allowed(self, left: int) -> Tensor:
        """bool [N, V]: what may come next if `left` tokens may still be written, this one and the end token included."""
        ...

    def advance(self, tokens: Tensor) -> None:
        """Take the tokens written, [N]."""
        ...

    def select(self, index: Tensor) -> None:
        """Keep these rows, [N']."""
        ...

    def states(self) -> Tensor:
        """int64 [N]: the state of each row before the next token."""
        ...

    def open_ends(self) -> Tensor | None:
        """bool [N, S]: places of the source where the span written so far may end; None where that is not followed."""
        ...


@dataclass
class Written:
    """What was written about one text.

    Attributes:
        ids: token numbers, the end token included. chances: of each among the allowed ones. allowed: how many there were.
        states: of the constraint before each token. places: source place of each copied token as the model points at it, -1 elsewhere.
        score: mean log-probability of a token.
    """

    ids: list[int]
    chances: list[float]
    allowed: list[int]
    states: list[int]
    places: list[int]
    score: float


class Decoder:
    """A model that writes.

    Args:
        model: an encoder-decoder of transformers, or a `CopySeq2Seq`.
    """

    def __init__(self, model: Any, tokens: SelTokens) -> None:
        self.model, self.tokens = model, tokens
        self._prefix = "decoder_prefix" in inspect.signature(model.forward).parameters

    @torch.inference_mode()
    def write(
        self,
        source: Tensor,
        mask: Tensor,
        shapes: Tensor | None,
        most: int,
        constraint: Constraint | None = None,
        beams: int = 1,
        stopped: Callable[[], bool] | None = None,
    ) -> list[Written]:
        """Write about a batch of sources.

        Args:
            source, mask, shapes: int64 [B, S]; shapes of words for a copying model.
            most: tokens at most, the end token included.
            beams: 1 is greedy.
            stopped: asked before each step; once true, what was written so far is returned.
        """
        options = {"shape_ids": shapes} if shapes is not None and isinstance(self.model, CopySeq2Seq) else {}
        encoded = self.model.get_encoder()(input_ids=source, attention_mask=mask, **options)
        rows = torch.arange(source.shape[0], device=source.device).repeat_interleave(beams)
        run = _Run(self, encoded, mask, rows, most, constraint, beams)
        for step in range(most):
            if (stopped is not None and stopped()) or not run.step(step):
                break
        return run.results()

    def forward(self, encoded: Any, mask: Tensor, prefix: Tensor, past: Any) -> Any:
        """One step from the last token of what was written, [N, t]."""
        more = {"decoder_prefix": prefix} if self._prefix else {}
        return self.model(
            encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=prefix[:, -1:], past_key_values=past, use_cache=True, **more
        )  # fmt: skip


def _rows(encoded: Any, index: Tensor) -> Any:
    """Encoder output of some rows."""
    return type(encoded)(**{name: value[index] for name, value in encoded.items() if isinstance(value, Tensor)})


class _Run:
    """The rows of one batch."""

    def __init__(
        self,
        decoder: Decoder,
        encoded: Any,
        mask: Tensor,
        rows: Tensor,
        most: int,
        constraint: Constraint | None,
        beams: int,
    ) -> None:
        self.decoder, self.most, self.beams, self.constraint = decoder, most, beams, constraint
        self.texts = int(rows[-1]) + 1 if len(rows) else 0
        self.row = rows  # text of each row
        self.encoded, self.mask = _rows(encoded, rows), mask[rows]
        self.past: Any = None
        count, device = len(rows), rows.device
        self.prefix = torch.full((count, 1), decoder.tokens.start, dtype=torch.long, device=device)
        self.ended = torch.zeros(count, dtype=torch.bool, device=device)
        self.total = torch.zeros(count, device=device)
        if beams > 1:  # all beams of a text are the same at first: only one may go on
            self.total.view(-1, beams)[:, 1:] = -1e9
        self.tracks: list[tuple[Tensor, ...]] = []  # a step: chance, allowed, state, place, each [N]
        self.along: Tensor | None = None  # log-probability of the span so far, by the place of its last token, [N, S]
        self.done: dict[int, Written] = {}
        if constraint is not None:
            constraint.begin(rows)

    def step(self, number: int) -> bool:
        """Write a token in every row; False once all have ended."""
        if not len(self.row):
            return False
        out = self.decoder.forward(self.encoded, self.mask, self.prefix, self.past)
        self.past = out.past_key_values
        logits = out.logits[:, -1].float()
        left = self.most - number
        if self.constraint is not None:
            may = self.constraint.allowed(left)
            logits = logits.masked_fill(~may, -torch.inf)
            allowed, states = may.sum(-1), self.constraint.states()
            lost = torch.isneginf(logits).all(
                -1, keepdim=True
            )  # the model gives nothing that is allowed: all of it alike
            logits = torch.where(lost & may, 0.0, logits)
        else:
            allowed = torch.full_like(self.row, -1)
            states = allowed
        chances = logits.log_softmax(-1)
        if self.beams > 1:
            token, chance, parent = self._best(chances)
            self._select(parent, keep_beams=True)
            allowed, states = allowed[parent], states[parent]
            pointer = getattr(out, "pointer", None)
            pointer = pointer[parent, -1] if pointer is not None else None
        else:
            chance, token = chances.max(-1)
            if self.constraint is None:
                token = torch.where(self.ended, self.decoder.tokens.pad, token)
                chance = torch.where(self.ended, 0.0, chance)
            self.total = self.total + chance
            pointer = getattr(out, "pointer", None)
            pointer = pointer[:, -1] if pointer is not None else None
        self.prefix = torch.cat((self.prefix, token[:, None]), 1)
        if self.constraint is not None:
            self.constraint.advance(token)
        self.tracks.append((chance, allowed, states, self._places(pointer)))
        self.ended = self.ended | (token == self.decoder.tokens.eos)
        return self._take_out()

    def _best(self, chances: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The best K continuations of each text: tokens, their chances, the rows they go on from."""
        pad, beams = self.decoder.tokens.pad, self.beams
        rest = torch.full_like(chances, -torch.inf)
        rest[:, pad] = 0.0
        chances = torch.where(self.ended[:, None], rest, chances)
        width = chances.shape[-1]
        total = (self.total[:, None] + chances).view(-1, beams * width)
        best, where = total.topk(beams, -1)
        parent = (where // width + torch.arange(len(total), device=where.device)[:, None] * beams).flatten()
        token = (where % width).flatten()
        self.total = best.flatten()
        return token, chances[parent, token], parent

    def _places(self, pointer: Tensor | None) -> Tensor:
        """Where the model points at for the last token of each row, given the span so far."""
        ends = self.constraint.open_ends() if self.constraint is not None else None
        if pointer is None or ends is None:
            return torch.full_like(self.row, -1)
        if self.along is None:
            self.along = torch.full_like(pointer, -torch.inf)
        before = torch.nn.functional.pad(self.along[:, :-1], (1, 0), value=-torch.inf)
        fresh = torch.isneginf(before).all(-1, keepdim=True)  # the first token of a span
        ahead = torch.where(fresh, 0.0, before)
        self.along = torch.where(ends, ahead + pointer, -torch.inf)
        best, place = self.along.max(-1)
        return torch.where(torch.isneginf(best), -1, place)

    def _select(self, index: Tensor, keep_beams: bool = False) -> None:
        """Keep some rows, in this order."""
        for name in ("prefix", "ended") if keep_beams else ("prefix", "ended", "total", "row", "mask"):
            setattr(self, name, getattr(self, name)[index])
        if not keep_beams:
            self.encoded = _rows(self.encoded, index)
        if self.past is not None:
            self.past.reorder_cache(index) if keep_beams else self.past.batch_select_indices(index)
        self.tracks = [tuple(part[index] for part in track) for track in self.tracks]
        if self.along is not None:
            self.along = self.along[index]
        if self.constraint is not None:
            self.constraint.select(index)

    def _take_out(self) -> bool:
        """Put texts aside that have ended, once they are half of the rows; False if nothing is left."""
        over = self.ended.view(-1, self.beams).all(-1)
        count = int(over.sum())
        if count == len(over):
            self._keep(torch.arange(len(over), device=over.device))
            self.row = self.row[:0]
            return False
        if 2 * count >= len(over):
            self._keep(over.nonzero().flatten())
            left = (~over).nonzero().flatten()
            self._select((left[:, None] * self.beams + torch.arange(self.beams, device=left.device)).flatten())
        return True

    def _keep(self, groups: Tensor) -> None:
        """Store the best beam of some texts."""
        if not len(groups):
            return
        lengths = (self.prefix[:, 1:] != self.decoder.tokens.pad).sum(-1).clamp_min(1)
        mean = self.total / lengths
        best = mean.view(-1, self.beams)[groups].argmax(-1) + groups * self.beams
        ids = self.prefix[best, 1:].tolist()
        parts = [torch.stack([track[n][best] for track in self.tracks], 1) for n in range(4)]
        tracks = [parts[0].exp().clamp_max(1).tolist(), *(part.tolist() for part in parts[1:])]
        for n, row in enumerate(best.tolist()):
            stop = next((k + 1 for k, number in enumerate(ids[n]) if number == self.decoder.tokens.eos), len(ids[n]))
            chances, allowed, states, places = (part[n][:stop] for part in tracks)
            self.done[int(self.row[row])] = Written(
                ids[n][:stop],
                chances,
                allowed,
                states,
                places,
                float(mean[row]),
            )

    def results(self) -> list[Written]:
        """One a text, in order."""
        if len(self.row):
            self._keep(torch.arange(len(self.row) // self.beams, device=self.row.device))
        return [self.done.get(n, Written([], [], [], [], [], 0.0)) for n in range(self.texts)]
