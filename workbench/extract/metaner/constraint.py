"""What may be written, as machines on tensors (`seq2seq.decode.Constraint`).

`Entries`, for a copying model: (span `is` type (`comma` type)* `stop`)* end, where a span is a run of whole words of the query that begins behind the begin of the one
before it, so that no output repeats itself, and a type is one of the instruction. `SourceOnly`, for any other: tokens of the source and of " is", "." and ",".
How many tokens are left is part of the rule: nothing is begun that could not be closed in time.

Letters in shapes: N rows, S source tokens, V vocabulary, M trie nodes, C children.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import torch
from torch import Tensor

from workbench.extract.metaner.tokens import MetaTokens
from workbench.extract.uie.constraint import Sources

FAR = 10_000
_OUTSIDE = -2  # no vocabulary number


class State(IntEnum):
    """Where in the grammar a row stands, before its next token."""

    BETWEEN = 0
    SPAN = 1
    TYPE = 2
    ENDED = 3


NAMES = {State.BETWEEN: "next span or end", State.SPAN: "span", State.TYPE: "type", State.ENDED: "ended"}


class Entries:
    """The grammar of a copying model's output for one batch.

    Args:
        sources: of the batch. labels: numbers of each type of the instruction. tokens: of the model.
    """

    def __init__(self, sources: Sources, labels: Sequence[Sequence[int]], tokens: MetaTokens) -> None:
        self.sources, self.tokens = sources, tokens
        children: list[dict[int, int]] = [{}, {}]  # node 0: nowhere, node 1: the root
        ends: set[int] = set()
        for label in labels:
            at = 1
            for number in label:
                if number not in children[at]:
                    children.append({})
                    children[at][number] = len(children) - 1
                at = children[at][number]
            ends.add(at)
        width = max(1, max(map(len, children)))
        device = sources.ids.device
        token = torch.full((len(children), width), _OUTSIDE, dtype=torch.long)
        child = torch.zeros((len(children), width), dtype=torch.long)
        far = [FAR] * len(children)
        for node in range(len(children) - 1, -1, -1):
            for n, (number, to) in enumerate(children[node].items()):
                token[node, n], child[node, n] = number, to
            far[node] = 0 if node in ends else 1 + min((far[c] for c in children[node].values()), default=FAR)
        self._token, self.child = token.to(device), child.to(device)
        self.is_end = torch.tensor([n in ends for n in range(len(children))], device=device)
        self.far = torch.tensor(far, device=device)
        self.least = far[1]  # tokens of the shortest type
        self._marks = torch.tensor([tokens.end, tokens.is_, tokens.stop, tokens.comma, tokens.sel.pad], device=device)

    def words(self) -> Tensor:
        known = self._token[self._token >= 0]
        return torch.cat((self._marks, known, self.sources.ids.flatten())).unique()

    def begin(self, index: Tensor, words: Tensor | None = None) -> None:
        s = self.sources
        ids, self.token, self.marks = s.ids, self._token, self._marks
        if words is not None:
            ids, self.marks = torch.searchsorted(words, s.ids), torch.searchsorted(words, self._marks)
            self.token = torch.where(self._token >= 0, torch.searchsorted(words, self._token), _OUTSIDE)
            self.size = len(words)
        else:
            self.size = int(self.words().max()) + 1
        self.ids, self.text, self.beside, self.opens, self.ends, self.rest = (
            part[index] for part in (ids, s.text, s.beside, s.opens, s.ends, s.rest)
        )
        count, length = self.ids.shape
        device = self.ids.device
        self.place = torch.arange(length, device=device).expand(count, -1)
        self.state = torch.zeros(count, dtype=torch.long, device=device)
        self.node = torch.ones(count, dtype=torch.long, device=device)
        self.after = torch.full((count,), -1, dtype=torch.long, device=device)  # where the span before begins
        self.first = torch.full(
            (count, length), -1, dtype=torch.long, device=device
        )  # where a span that ends here begins
        self.ahead = self.text & self.opens
        self.last = torch.zeros_like(self.ahead)

    def select(self, index: Tensor) -> None:
        names = ("ids", "text", "beside", "opens", "ends", "rest", "place", "state", "node", "after", "first", "ahead", "last")  # fmt: skip
        for name in names:
            setattr(self, name, getattr(self, name)[index])

    def states(self) -> Tensor:
        return self.state

    def open_ends(self) -> tuple[Tensor, Tensor]:
        return self.last, self.last & self.ends

    def allowed(self, left: int) -> Tensor:
        budget = left - 1  # tokens that may follow the next one
        between, span, type_, ended = (self.state == state for state in State)
        mask = torch.zeros((len(self.state), self.size + 1), dtype=torch.uint8, device=self.ids.device)
        # behind a span's token: the rest of its word, is, a type, stop, end
        on = self.ahead & (between | span)[:, None] & (self.rest + self.least + 3 <= budget)
        mask.scatter_reduce_(1, torch.where(on, self.ids, self.size), on.to(torch.uint8), "amax")
        fits = type_[:, None] & (self.token[self.node] >= 0) & (self.far[self.child[self.node]] + 2 <= budget)
        mask.scatter_(1, torch.where(fits, self.token[self.node], self.size), 1)
        whole = (self.last & self.ends).any(-1)
        named = type_ & self.is_end[self.node]
        more = named & (self.least + 2 <= budget)
        structure = torch.stack((between, span & whole & (self.least + 2 <= budget), named, more, ended), 1)
        found = mask.bool()
        found[:, self.marks] = structure
        return found[:, :-1]

    def advance(self, tokens: Tensor) -> None:
        end, is_, stop, comma, pad = (tokens == mark for mark in self.marks)
        other = ~(end | is_ | stop | comma | pad)
        before = self.state
        # types
        step = torch.where(self.token[self.node] == tokens[:, None], self.child[self.node], 0).amax(-1)
        self.node = torch.where((before == State.TYPE) & other, step, torch.where(is_ | comma, 1, self.node))
        # spans
        writing = ((before == State.BETWEEN) | (before == State.SPAN)) & other
        begun = (before == State.BETWEEN)[:, None]
        moved = torch.nn.functional.pad(self.first[:, :-1], (1, 0), value=-1)
        hit = self.ahead & (self.ids == tokens[:, None]) & writing[:, None]
        # the leftmost place where the span that is done may have begun
        begins = torch.where(self.last & self.ends, self.first, FAR).amin(-1)
        self.after = torch.where(is_, begins, self.after)
        self.first = torch.where(hit, torch.where(begun, self.place, moved), -1)
        self.last = hit
        self.state = torch.where(
            writing, State.SPAN, torch.where(is_ | comma, State.TYPE, torch.where(stop, State.BETWEEN, torch.where(end | pad, State.ENDED, before)))
        )  # fmt: skip
        onward = torch.nn.functional.pad(hit[:, :-1], (1, 0)) & self.beside
        fresh = self.text & self.opens & (self.place > self.after[:, None])
        self.ahead = torch.where((self.state == State.BETWEEN)[:, None], fresh, onward)


class SourceOnly:
    """Tokens of the source and of the structure, for models with their own vocabulary.

    Args:
        ids: padded sources, [B, S]. mask: 1 where a source is. structure: vocabulary numbers of " is", "." and ",". vocabulary: size of the model's.
    """

    def __init__(
        self, ids: Tensor, mask: Tensor, structure: Sequence[int], tokens: MetaTokens, vocabulary: int
    ) -> None:
        self.tokens, self.vocabulary = tokens, vocabulary
        self._marks = torch.tensor([tokens.end, tokens.sel.pad], device=ids.device)
        never = [tokens.label, tokens.text, tokens.out, tokens.sel.pad]
        self._rows = torch.zeros((len(ids), vocabulary), dtype=torch.bool, device=ids.device)
        self._rows.scatter_(1, torch.where(mask.bool(), ids, tokens.end), True)
        self._rows[:, never] = False
        self._rows[:, [*structure, tokens.end]] = True

    def words(self) -> Tensor:
        return torch.cat((self._rows.any(0).nonzero().flatten(), self._marks)).unique()

    def begin(self, index: Tensor, words: Tensor | None = None) -> None:
        self.may, self.end, self.pad = self._rows[index], *self._marks
        if words is not None:
            self.may = self.may[:, words]
            self.end, self.pad = torch.searchsorted(words, self._marks)
        self.over = torch.zeros(len(index), dtype=torch.bool, device=index.device)

    def select(self, index: Tensor) -> None:
        self.may, self.over = self.may[index], self.over[index]

    def states(self) -> Tensor:
        return torch.full((len(self.over),), -1, dtype=torch.long, device=self.over.device)

    def open_ends(self) -> None:
        return None

    def allowed(self, left: int) -> Tensor:
        places = torch.arange(self.may.shape[1], device=self.may.device)
        found = self.may if left > 1 else (places == self.end).expand_as(self.may)
        return torch.where(self.over[:, None], places == self.pad, found)

    def advance(self, tokens: Tensor) -> None:
        self.over = self.over | (tokens == self.end) | (tokens == self.pad)
