"""Decoding any transformers encoder-decoder under a constraint: batched, with its key-value cache, greedy or by beams.

The constraint is a machine on tensors: a mask of allowed tokens a row and step, so that nothing leaves the device and no Python runs a row.
Only the words that a batch can write are scored. Where no row has a choice, tokens are written without a pass of the decoder, and read by the
next one together. Rows that have ended are taken out of the batch.

Letters in shapes: B texts, K beams, N = B x K rows, t tokens of one pass, S source tokens, W words that can be written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from workbench.extract.seq2seq.causal import PromptModel
from workbench.extract.seq2seq.model import CopySeq2Seq
from workbench.extract.seq2seq.steps import Head, Steps, steps_of
from workbench.extract.seq2seq.tokens import SelTokens


class Constraint(Protocol):
    """What may be written. The machine holds the state of N rows; every method works on all of them at once."""

    def words(self) -> Tensor:
        """Vocabulary numbers that can ever be written about these texts, sorted, int64 [W]."""
        ...

    def begin(self, index: Tensor, words: Tensor | None = None) -> None:
        """Start anew; row n writes about text `index[n]`, [N]. From here on tokens are places in `words`, or vocabulary numbers if that is None."""
        ...

    def allowed(self, left: int) -> Tensor:
        """bool [N, W]: what may come next if `left` tokens may still be written, this one and the end token included."""
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

    def open_ends(self) -> tuple[Tensor, Tensor] | None:
        """bool [N, S] each: places of the source where the last token of the span written so far may stand, and those of them where the span may
        end (not amid a word, for instance); None where that is not followed."""
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
        model: an encoder-decoder of transformers, a `CopySeq2Seq`, or a `PromptModel`.
    """

    def __init__(self, model: Any, tokens: SelTokens) -> None:
        self.model, self.tokens = model, tokens
        self._head: tuple[Head | None] | None = None  # found out when it is first needed

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
        encoded: Any = None,
    ) -> list[Written]:
        """Write about a batch of sources.

        Args:
            source, mask, shapes: int64 [B, S]; shapes of words for a copying model.
            most: tokens at most, the end token included.
            beams: 1 is greedy.
            stopped: asked before each pass of the decoder; once true, what was written so far is returned.
            encoded: output of the encoder, where it is there already.
        """
        if not len(source):
            return []
        encoded = self.encode(source, mask, shapes) if encoded is None else encoded
        words = self._words(source, constraint)
        steps = steps_of(self.model, encoded, mask, beams, words, self._cut_head(words))
        run = _Run(self, steps, source, words, most, constraint, beams)
        while run.written < most:
            if (stopped is not None and stopped()) or not run.step():
                break
        return run.results()

    @torch.inference_mode()
    def encode(self, source: Tensor, mask: Tensor, shapes: Tensor | None) -> Any:
        """Output of the encoder."""
        options = {"shape_ids": shapes} if shapes is not None and isinstance(self.model, CopySeq2Seq) else {}
        return self.model.get_encoder()(input_ids=source, attention_mask=mask, **options)

    def _words(self, source: Tensor, constraint: Constraint | None) -> Tensor | None:
        """Vocabulary numbers that have to be scored; None: all."""
        if constraint is not None:
            return constraint.words()
        if isinstance(self.model, CopySeq2Seq):  # it can write nothing else
            pad = torch.tensor([self.tokens.pad], device=source.device)
            return torch.cat((self.model.fixed_ids, pad, source.flatten())).unique()
        return None

    def _cut_head(self, words: Tensor | None) -> Head | None:
        if words is None or isinstance(self.model, (CopySeq2Seq, PromptModel)):
            return None
        if self._head is None:
            self._head = (Head.of(self.model),)
        return self._head[0]


class _Run:
    """The rows of one batch."""

    def __init__(
        self,
        decoder: Decoder,
        steps: Steps,
        source: Tensor,
        words: Tensor | None,
        most: int,
        constraint: Constraint | None,
        beams: int,
    ) -> None:
        self.tokens, self.steps, self.words, self.most, self.beams = decoder.tokens, steps, words, most, beams
        self.constraint, self.texts, device = constraint, len(source), source.device
        self.row = torch.arange(self.texts, device=device).repeat_interleave(beams)  # text of each row
        count = len(self.row)
        pad = torch.tensor(self.tokens.pad, device=device)
        self.pad = int(pad if words is None else torch.searchsorted(words, pad))  # its place in the list
        self.fresh = torch.full((count, 1), self.tokens.start, dtype=torch.long, device=device)  # not read yet
        self.ended = torch.zeros(count, dtype=torch.bool, device=device)
        self.total = torch.zeros(count, device=device)
        if beams > 1:  # all beams of a text are the same at first: only one may go on
            self.total.view(-1, beams)[:, 1:] = -1e9
        self.written = 0
        self.tracks = torch.zeros(
            (5, count, 32), device=device
        )  # of each token: its number, log-probability, choices, state, place
        self.along: Tensor | None = None  # log-probability of the span so far, by the place of its last token, [N, S]
        self.waiting: list[
            tuple[int, tuple[Tensor, Tensor]]
        ] = []  # tokens whose places the next pass tells, and where their span may end
        self.may: tuple[Tensor, Tensor] | None = (
            None  # what may come next, and how many that is, where it is known already
        )
        self.done: dict[int, Written] = {}
        if constraint is not None:
            constraint.begin(self.row, words)

    def step(self) -> bool:
        """One pass of the decoder, and a token in every row, with those behind it where no row has a choice; False once all have ended."""
        scores, pointers = self.steps.feed(self.fresh)
        if self.constraint is not None:
            may, allowed = self._allowed()
            scores = scores.masked_fill(~may, -torch.inf)
            lost = torch.isneginf(scores).all(
                -1, keepdim=True
            )  # the model gives nothing that is allowed: all of it alike
            scores = torch.where(lost & may, 0.0, scores)
            states = self.constraint.states()
        else:
            allowed = states = torch.full_like(self.row, -1)
        self._tell_places(pointers)
        chances = scores.log_softmax(-1)
        if self.beams > 1:
            token, chance, parent = self._best(chances)
            self._reorder(parent)
            allowed, states = allowed[parent], states[parent]
            pointers = pointers[parent] if pointers is not None else None
        else:
            chance, token = chances.max(-1)
            if self.constraint is None:
                token = torch.where(self.ended, self.pad, token)
                chance = torch.where(self.ended, 0.0, chance)
            self.total = self.total + chance
        self.fresh = token.new_empty((len(token), 0))
        self._take(token, chance, allowed, states)
        if pointers is not None:
            self._tell_places(pointers[:, -1:])
        if self.constraint is not None and self.beams == 1:
            self._take_forced()
        return self._take_out()

    def _allowed(self) -> tuple[Tensor, Tensor]:
        assert self.constraint is not None
        if self.may is None:
            may = self.constraint.allowed(self.most - self.written)
            self.may = may, may.sum(-1)
        return self.may

    def _take_forced(self) -> None:
        """Write on while no row has a choice: these tokens are read in the next pass, together. (With beams, sequences are compared at the same
        length, so there it would be another search.)"""
        assert self.constraint is not None
        while self.written < self.most and not bool(self.ended.all()):
            may, allowed = self._allowed()
            if bool((allowed != 1).any()):
                return
            self._take(may.to(torch.uint8).argmax(-1), torch.zeros_like(self.total), allowed, self.constraint.states())

    def _take(self, token: Tensor, chance: Tensor, allowed: Tensor, states: Tensor) -> None:
        """Write a token in every row."""
        number = token if self.words is None else self.words[token]
        if self.written == self.tracks.shape[2]:
            self.tracks = torch.cat((self.tracks, torch.zeros_like(self.tracks)), 2)
        self.tracks[:4, :, self.written] = torch.stack((number.to(chance.dtype), chance, allowed, states))
        self.tracks[4, :, self.written] = -1  # its place is told later
        if self.constraint is not None:
            self.constraint.advance(token)
            ends = self.constraint.open_ends()
            if ends is not None:
                self.waiting.append((self.written, ends))
        self.written += 1
        self.may = None
        self.fresh = torch.cat((self.fresh, number[:, None]), 1)
        self.ended = self.ended | (number == self.tokens.eos)

    def _best(self, chances: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The best K continuations of each text: tokens, their chances, the rows they go on from."""
        beams = self.beams
        rest = torch.full_like(chances, -torch.inf)
        rest[:, self.pad] = 0.0
        chances = torch.where(self.ended[:, None], rest, chances)
        width = chances.shape[-1]
        total = (self.total[:, None] + chances).view(-1, beams * width)
        best, where = total.topk(beams, -1)
        parent = (where // width + torch.arange(len(total), device=where.device)[:, None] * beams).flatten()
        token = (where % width).flatten()
        self.total = best.flatten()
        return token, chances[parent, token], parent

    def _tell_places(self, pointers: Tensor | None) -> None:
        """Where the model points at for the tokens that wait for it, given the span so far.

        Args:
            pointers: log-probability of copying from each place for the tokens behind those that were read last, [N, t, S].
        """
        waiting, self.waiting = self.waiting, []
        if pointers is None:
            return
        for (at, ends), pointer in zip(waiting, pointers.unbind(1), strict=False):
            if self.along is None:
                self.along = torch.full_like(pointer, -torch.inf)
            before = torch.nn.functional.pad(self.along[:, :-1], (1, 0), value=-torch.inf)
            fresh = torch.isneginf(before).all(-1, keepdim=True)  # the first token of a span
            ahead = torch.where(fresh, 0.0, before)
            stand, end = ends
            self.along = torch.where(stand, ahead + pointer, -torch.inf)
            whole = torch.where(end, self.along, -torch.inf)
            best, place = torch.where(torch.isneginf(whole).all(-1, keepdim=True), self.along, whole).max(-1)
            self.tracks[4, :, at] = torch.where(torch.isneginf(best), -1, place)

    def _reorder(self, parent: Tensor) -> None:
        """Go on from these rows."""
        self.steps.reorder(parent)
        self._rows(parent)

    def _rows(self, index: Tensor) -> None:
        self.ended, self.tracks = self.ended[index], self.tracks[:, index]
        if self.along is not None:
            self.along = self.along[index]
        self.waiting = [(at, (stand[index], end[index])) for at, (stand, end) in self.waiting]
        if self.may is not None:
            self.may = self.may[0][index], self.may[1][index]
        if self.constraint is not None:
            self.constraint.select(index)

    def _take_out(self) -> bool:
        """Put texts aside that have ended, once they are a quarter of the rows; False if nothing is left."""
        over = self.ended.view(-1, self.beams).all(-1)
        count = int(over.sum())
        if count == len(over):
            return False
        if 4 * count >= len(over) and not self.waiting:
            self._keep(over.nonzero().flatten())
            left = (~over).nonzero().flatten()
            self.steps.keep(left)
            index = (left[:, None] * self.beams + torch.arange(self.beams, device=left.device)).flatten()
            self.row, self.total, self.fresh = self.row[index], self.total[index], self.fresh[index]
            self._rows(index)
        return True

    def _keep(self, groups: Tensor) -> None:
        """Store the best beam of some texts."""
        ids = self.tracks[0, :, : self.written].long()
        lengths = (ids != self.tokens.pad).sum(-1).clamp_min(1)
        mean = self.total / lengths
        best = mean.view(-1, self.beams)[groups].argmax(-1) + groups * self.beams
        parts = self.tracks[:, best, : self.written]
        chances = parts[1].exp().clamp_max(1).tolist()
        numbers, allowed, states, places = (parts[n].long().tolist() for n in (0, 2, 3, 4))
        for n, (row, score) in enumerate(zip(best.tolist(), mean[best].tolist(), strict=True)):
            stop = next((k + 1 for k, number in enumerate(numbers[n]) if number == self.tokens.eos), self.written)
            self.done[int(self.row[row])] = Written(
                numbers[n][:stop], chances[n][:stop], allowed[n][:stop], states[n][:stop], places[n][:stop], score
            )

    def results(self) -> list[Written]:
        """One a text, in order."""
        if any(bool(stand.any()) for _, (stand, _) in self.waiting):
            self._tell_places(self.steps.feed(self.fresh)[1])
        self._keep(torch.arange(len(self.row) // self.beams, device=self.row.device))
        return [self.done[n] for n in range(self.texts)]
