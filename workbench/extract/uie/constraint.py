"""The grammar of structured output as a machine on tensors (UIE, `constraint_decoder`), compiled once a schema.

Labels are walked in a trie. A span is followed by the set of places where it may end in the source: a bit a place, moved on by one with
each token (Shift-And, Baeza-Yates and Gonnet 1992), which is the state of the source's suffix automaton. How many tokens are left is part of
the rule: nothing is begun that could not be closed in time, so every output is well-formed whatever the limit.

Letters in shapes: B texts, N rows, S source tokens, V vocabulary, M trie nodes, C children.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from workbench.extract.seq2seq.tokens import SelTokens
from workbench.extract.uie.records import OURS, Switches
from workbench.extract.uie.ssi import Ids, Prompt
from workbench.extract.usm.pieces import Pieces


class State(IntEnum):
    """Where in the grammar a row stands, before its next token."""

    START = 0
    BETWEEN = 1  # inside the outer bracket
    SPOT_LABEL = 2
    SPOT_SPAN = 3
    SPOT_NULL = 4
    SPOT_AFTER = 5  # behind an association
    ASOC_LABEL = 6
    ASOC_SPAN = 7
    ASOC_NULL = 8
    END = 9
    ENDED = 10


NAMES = {
    State.START: "start", State.BETWEEN: "next spot or end", State.SPOT_LABEL: "label of a spot", State.SPOT_SPAN: "span of a spot",
    State.SPOT_NULL: "rejected spot", State.SPOT_AFTER: "next association or close", State.ASOC_LABEL: "label of an association",
    State.ASOC_SPAN: "span of an association", State.ASOC_NULL: "rejected association", State.END: "end", State.ENDED: "ended",
}  # fmt: skip
_OTHER, _OPEN, _CLOSE, _COLON, _NULL, _EOS, _PAD = range(7)
_S = State
_MOVES = {
    (_S.START, _OPEN): _S.BETWEEN, (_S.BETWEEN, _OPEN): _S.SPOT_LABEL, (_S.BETWEEN, _CLOSE): _S.END, (_S.SPOT_LABEL, _COLON): _S.SPOT_SPAN,
    (_S.SPOT_SPAN, _NULL): _S.SPOT_NULL, (_S.SPOT_SPAN, _OPEN): _S.ASOC_LABEL, (_S.SPOT_SPAN, _CLOSE): _S.BETWEEN,
    (_S.SPOT_NULL, _CLOSE): _S.BETWEEN, (_S.SPOT_AFTER, _OPEN): _S.ASOC_LABEL, (_S.SPOT_AFTER, _CLOSE): _S.BETWEEN,
    (_S.ASOC_LABEL, _COLON): _S.ASOC_SPAN, (_S.ASOC_SPAN, _NULL): _S.ASOC_NULL, (_S.ASOC_SPAN, _CLOSE): _S.SPOT_AFTER,
    (_S.ASOC_NULL, _CLOSE): _S.SPOT_AFTER, (_S.END, _EOS): _S.ENDED,
}  # fmt: skip
# Tokens that are needed from a state to the end, the end token included, when nothing more is said than must be.
_BEHIND_SPOT_COLON, _BEHIND_ASOC_COLON = 4, 5  # null close close end; null close close close end
_TO_END = {
    _S.BETWEEN: 2, _S.SPOT_NULL: 3, _S.SPOT_AFTER: 3, _S.ASOC_NULL: 4, _S.END: 1, _S.ENDED: 0,
}  # fmt: skip
LEAST = 3  # tokens of the shortest output: open close end
FAR = 10_000


class Grammar:
    """The tries of one schema's prompts.

    Args:
        prompts: with the asocs that may stand below each spot, by numbers; None: every asoc (the original).
        tokens: of the model. vocabulary: numbers it knows. device: of the tables.
    """

    def __init__(
        self,
        prompts: Sequence[tuple[Prompt, Mapping[Ids, frozenset[Ids]] | None]],
        tokens: SelTokens,
        vocabulary: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.tokens, self.vocabulary = tokens, vocabulary
        self._children: list[dict[int, int]] = [{}]  # node 0: nowhere
        self._ends = [False]
        self._below = [0]
        roots = []
        for prompt, ties in prompts:
            asoc_roots: dict[frozenset[Ids], int] = {}

            def asoc_root(
                label: Ids,
                prompt: Prompt = prompt,
                ties: Mapping[Ids, frozenset[Ids]] | None = ties,
                known: dict[frozenset[Ids], int] = asoc_roots,
            ) -> int:
                wanted = frozenset(prompt.asocs) if ties is None else ties.get(label, frozenset())
                if not wanted:
                    return 0
                if wanted not in known:
                    known[wanted] = self._trie(dict.fromkeys(wanted, 0))
                return known[wanted]

            roots.append(self._trie({label: asoc_root(label) for label in prompt.spots}))
        width = max(1, max(map(len, self._children)))
        nodes = len(self._children)
        token = torch.full((nodes, width), vocabulary, dtype=torch.long)
        child = torch.zeros((nodes, width), dtype=torch.long)
        for node, known in enumerate(self._children):
            for n, (number, to) in enumerate(known.items()):
                token[node, n], child[node, n] = number, to
        self.token, self.child = token.to(device), child.to(device)
        self.is_end = torch.tensor(self._ends, device=device)
        self.below = torch.tensor(self._below, device=device)
        self.far = torch.tensor(self._distances(), device=device)
        self.roots = torch.tensor(roots, device=device)
        kind = torch.full((vocabulary,), _OTHER, dtype=torch.long)
        for number, what in (
            (tokens.open, _OPEN),
            (tokens.close, _CLOSE),
            (tokens.colon, _COLON),
            (tokens.null, _NULL),
            (tokens.eos, _EOS),
            (tokens.pad, _PAD),
        ):
            kind[number] = what
        self.kind = kind.to(device)
        moves = torch.arange(len(State))[:, None].repeat(1, 7)
        for (state, what), to in _MOVES.items():
            moves[state, what] = to
        self.moves = moves.to(device)
        self.structure = torch.tensor(
            [tokens.open, tokens.close, tokens.colon, tokens.null, tokens.eos, tokens.pad], device=device
        )
        to_end = torch.full((len(State),), FAR)
        for state, cost in _TO_END.items():
            to_end[state] = cost
        self.to_end = to_end.to(device)
        self.own = torch.cat((self.structure, self.token[self.token < vocabulary])).unique()

    def within(self, words: Tensor) -> Grammar:
        """The same grammar with tokens as places in a sorted list that holds all of its own, [W]."""
        made = copy(self)
        made.vocabulary = len(words)
        made.token = torch.where(self.token < self.vocabulary, torch.searchsorted(words, self.token), len(words))
        made.kind, made.structure = self.kind[words], torch.searchsorted(words, self.structure)
        return made

    def _trie(self, labels: Mapping[Ids, int]) -> int:
        """A trie of labels, each with the root of what may stand below it; returns its root."""
        root = self._node()
        for label, below in labels.items():
            at = root
            for number in label:
                known = self._children[at]
                if number not in known:
                    known[number] = self._node()
                at = self._children[at][number]
            self._ends[at] = True
            self._below[at] = below
        return root

    def _node(self) -> int:
        self._children.append({})
        self._ends.append(False)
        self._below.append(0)
        return len(self._children) - 1

    def _distances(self) -> list[int]:
        """Tokens from each node to the nearest end of a label. Children are made after their parents."""
        found = [FAR] * len(self._children)
        for node in range(len(self._children) - 1, -1, -1):
            found[node] = (
                0 if self._ends[node] else 1 + min((found[c] for c in self._children[node].values()), default=FAR)
            )
        return found


@dataclass
class Sources:
    """What a batch of sources looks like to the machine.

    Attributes:
        ids: int64 [B, S]. text: which places are text, bool [B, S]. beside: which of them a span may reach from the one before, bool [B, S].
        opens, ends: where a span may begin and end, bool [B, S]. rest: pieces to the end of the word, int64 [B, S].
        prompt: number of each text's prompt in the grammar, [B].
    """

    ids: Tensor
    text: Tensor
    beside: Tensor
    opens: Tensor
    ends: Tensor
    rest: Tensor
    prompt: Tensor


def make_sources(
    ids: Tensor,
    begins: Sequence[int],
    pieces: Sequence[Pieces],
    prompts: Sequence[int],
    switches: Switches = OURS,
) -> Sources:
    """Describe a batch.

    Args:
        ids: padded sources, [B, S]. begins: where each text begins in its source.
        pieces: of each text, whose words and borders bound the spans. prompts: number of each text's prompt.
    """
    text, beside, opens, ends = (torch.zeros(ids.shape, dtype=torch.bool) for _ in range(4))
    rest = torch.zeros(ids.shape, dtype=torch.long)
    for n, (begin, row) in enumerate(zip(begins, pieces, strict=True)):
        stop = begin + len(row)
        text[n, begin:stop] = True
        if not len(row):
            continue
        if not switches.word_borders:
            beside[n, begin:stop] = opens[n, begin:stop] = ends[n, begin:stop] = True
            continue
        beside[n, begin:stop] = torch.as_tensor(row.beside())
        changes = torch.as_tensor(row.words[1:] != row.words[:-1])
        ours = torch.as_tensor(row.parts < 0)
        opens[n, begin:stop] = torch.cat((torch.tensor([True]), changes)) & ~ours
        ends[n, begin:stop] = torch.cat((changes, torch.tensor([True])))
        last = torch.where(ends[n, begin:stop], torch.arange(len(row)), len(row))
        rest[n, begin:stop] = last.flip(0).cummin(0).values.flip(0) - torch.arange(len(row))
    device = ids.device
    return Sources(
        ids, text.to(device), beside.to(device), opens.to(device), ends.to(device), rest.to(device), torch.tensor(list(prompts), device=device)
    )  # fmt: skip


class Machine:
    """`Constraint` of structured output for one batch."""

    def __init__(self, grammar: Grammar, sources: Sources) -> None:
        self.whole, self.sources = grammar, sources
        self.grammar = grammar  # with tokens as places in the list that is written from

    def words(self) -> Tensor:
        return torch.cat((self.whole.own, self.sources.ids.flatten())).unique()

    def begin(self, index: Tensor, words: Tensor | None = None) -> None:
        count, length = len(index), self.sources.ids.shape[1]
        device = index.device
        s = self.sources
        self.grammar = self.whole if words is None else self.whole.within(words)
        ids = s.ids if words is None else torch.searchsorted(words, s.ids)
        self.ids, self.text, self.beside, self.opens, self.ends, self.rest = (
            part[index] for part in (ids, s.text, s.beside, s.opens, s.ends, s.rest)
        )
        self.root = self.grammar.roots[s.prompt[index]]
        self.state = torch.zeros(count, dtype=torch.long, device=device)
        self.node = torch.zeros(count, dtype=torch.long, device=device)
        self.below = torch.zeros(count, dtype=torch.long, device=device)
        self.ahead = torch.zeros((count, length), dtype=torch.bool, device=device)
        self.last = torch.zeros((count, length), dtype=torch.bool, device=device)

    def select(self, index: Tensor) -> None:
        names = ("ids", "text", "beside", "opens", "ends", "rest", "root", "state", "node", "below", "ahead", "last")  # fmt: skip
        for name in names:
            setattr(self, name, getattr(self, name)[index])

    def states(self) -> Tensor:
        return self.state

    def open_ends(self) -> tuple[Tensor, Tensor]:
        return self.last, self.last & self.ends

    def allowed(self, left: int) -> Tensor:
        g, state = self.grammar, self.state
        budget = left - 1  # tokens that may follow the next one
        spot_label, asoc_label = state == State.SPOT_LABEL, state == State.ASOC_LABEL
        spot_span, asoc_span = state == State.SPOT_SPAN, state == State.ASOC_SPAN
        whole = (self.last & self.ends).any(-1)  # the span may end here
        empty = (spot_span | asoc_span) & ~self.last.any(-1)
        under = torch.where(asoc_label | asoc_span, 1, 0)  # one more bracket to close
        far_spot, far_asoc = g.far[self.root], g.far[self.below]
        behind_spot = ((spot_span & whole) | (state == State.SPOT_AFTER)) & (self.below > 0)
        may_open = (
            ((state == State.START) & (budget >= g.to_end[State.BETWEEN]))
            | ((state == State.BETWEEN) & (far_spot + 1 + _BEHIND_SPOT_COLON <= budget))
            | (behind_spot & (far_asoc + 1 + _BEHIND_ASOC_COLON <= budget))
        )
        may_close = (
            (state == State.BETWEEN)
            | (spot_span & whole) | (asoc_span & whole)
            | (state == State.SPOT_NULL) | (state == State.SPOT_AFTER) | (state == State.ASOC_NULL)
        )  # fmt: skip
        structure = torch.stack(
            (may_open, may_close, (spot_label | asoc_label) & g.is_end[self.node], empty, state == State.END, state == State.ENDED), 1
        )  # fmt: skip
        mask = torch.zeros((len(state), g.vocabulary + 1), dtype=torch.bool, device=state.device)
        on = (self.ahead & (self.rest + 3 + under[:, None] <= budget)).to(torch.uint8)
        # several places may hold the same token: one that may come next is enough
        spans = torch.zeros((len(state), g.vocabulary + 1), dtype=torch.uint8, device=state.device)
        spans.scatter_reduce_(1, self.ids, on, "amax")
        mask |= spans.bool()
        labels = g.token[self.node]
        to = g.far[g.child[self.node]] + 1 + _BEHIND_SPOT_COLON + under[:, None]
        labels = torch.where((spot_label | asoc_label)[:, None] & (to <= budget), labels, g.vocabulary)
        mask.scatter_(1, labels, True)
        mask[:, g.structure] = structure
        return mask[:, :-1]

    def advance(self, tokens: Tensor) -> None:
        g = self.grammar
        kind = g.kind[tokens]
        before, self.state = self.state, g.moves[self.state, kind]
        other = kind == _OTHER
        # labels
        step = torch.where(g.token[self.node] == tokens[:, None], g.child[self.node], 0).amax(-1)
        at = torch.where(other, step, self.node)
        to_spot = (before == State.BETWEEN) & (self.state == State.SPOT_LABEL)
        to_asoc = self.state == State.ASOC_LABEL
        self.below = torch.where((before == State.SPOT_LABEL) & (kind == _COLON), g.below[self.node], self.below)
        self.node = torch.where(to_spot, self.root, torch.where(to_asoc & (kind == _OPEN), self.below, at))
        # spans
        inside = ((self.state == State.SPOT_SPAN) | (self.state == State.ASOC_SPAN))[:, None]
        begun = (kind == _COLON)[:, None]
        self.last = self.ahead & (self.ids == tokens[:, None]) & inside & ~begun
        moved = torch.nn.functional.pad(self.last[:, :-1], (1, 0)) & self.beside
        self.ahead = torch.where(begun & inside, self.text & self.opens, moved)


def ties_of(prompt: Prompt, below: Mapping[str, frozenset[str]]) -> dict[Ids, frozenset[Ids]]:
    """Asocs below each spot by token numbers, from names (`ssi.roles_of_spots`)."""
    return {
        label: frozenset(
            asoc for asoc, asocs in prompt.asocs.items() if any(a in below.get(n, ()) for n in names for a in asocs)
        )
        for label, names in prompt.spots.items()
    }
