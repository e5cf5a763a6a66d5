"""The grammar of UIE written down a row at a time, as a `prefix_allowed_tokens_fn` wants it: what the machine on tensors is held against and beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workbench.extract.seq2seq.tokens import SelTokens
from workbench.extract.uie.ssi import Ids, Prompt


class PlainConstraint:
    """Allowed tokens after a prefix, found anew from the whole prefix each time.

    Args:
        text: numbers of the text's pieces. words: word number of each, or None where spans may begin and end anywhere.
        parts: of each (`Pieces.parts`), where spans stay within one; None: spans go anywhere.
        ties: asocs below each spot; None: all.
    """

    def __init__(
        self,
        prompt: Prompt,
        ties: Mapping[Ids, frozenset[Ids]] | None,
        text: Sequence[int],
        words: Sequence[int] | None,
        tokens: SelTokens,
        parts: Sequence[int] | None = None,
    ) -> None:
        self.prompt, self.ties, self.tokens = prompt, ties, tokens
        self.text = list(text)
        self.words = list(words) if words is not None else None
        self.parts = [0] * len(self.text) if parts is None else list(parts)

    def __call__(self, prefix: Sequence[int]) -> set[int]:
        """Tokens that may follow what was written, the start token left out."""
        t = self.tokens
        if not prefix:
            return {t.open}
        if prefix[-1] in (t.eos, t.pad):
            return {t.pad}
        depth = 0
        spot: Ids = ()
        opened: list[int] = []
        for at, number in enumerate(prefix):
            if number == t.open:
                depth += 1
                opened.append(at)
            elif number == t.close:
                depth -= 1
                opened.pop()
            elif number == t.colon and depth == 2:
                spot = tuple(prefix[opened[-1] + 1 : at])
        if depth == 0:
            return {t.eos}
        if depth == 1:
            return {t.close} | ({t.open} if self.prompt.spots else set())
        own = prefix[opened[-1] + 1 :]
        below = set(self.prompt.asocs) if self.ties is None else set(self.ties.get(spot, ()))
        if t.colon not in own:
            labels = set(self.prompt.spots) if depth == 2 else below
            return self._labels(tuple(own), labels)
        if prefix[-1] == t.close:  # behind an association
            return {t.close} | ({t.open} if below else set())
        span = list(own[list(own).index(t.colon) + 1 :])
        if span == [t.null]:
            return {t.close}
        return self._span(span, depth == 2 and bool(below))

    def _labels(self, written: Ids, labels: set[Ids]) -> set[int]:
        found = {
            label[len(written)] for label in labels if label[: len(written)] == written and len(label) > len(written)
        }
        return found | ({self.tokens.colon} if written in labels else set())

    def _span(self, span: list[int], may_open: bool) -> set[int]:
        t = self.tokens
        found: set[int] = set() if span else {t.null}
        for first in range(len(self.text) + 1):
            stop = first + len(span)
            if stop > len(self.text) or self.text[first:stop] != span or (stop == first == len(self.text)):
                continue
            if not self._border(first) or not self._one_part(first, stop):
                continue
            if stop < len(self.text) and self._one_part(first, stop + 1):
                found.add(self.text[stop])
            if span and self._border(stop):
                found |= {t.close} | ({t.open} if may_open else set())
        return found

    def _one_part(self, first: int, stop: int) -> bool:
        parts = set(self.parts[first:stop])
        return len(parts) < 2 and -1 not in parts

    def _border(self, at: int) -> bool:
        if self.words is None or at in (0, len(self.text)):
            return True
        return self.words[at] != self.words[at - 1]
