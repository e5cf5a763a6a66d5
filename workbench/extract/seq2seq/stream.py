"""The stream of training batches: kinds of examples by their weights, examples of like length together, no batch above a number of tokens.

Everything follows from the seed and the number of the batch, so a run that is resumed sees what it would have seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from workbench.extract.seq2seq.batch import Batch, Example, make_batch
from workbench.extract.seq2seq.tokens import SelTokens

POOL = 24  # batches that are drawn, sorted by length and cut together
Maker = Callable[[np.random.Generator], Example | None]
TRIES = 50  # draws of one example before its maker counts as empty


class Stream:
    """Batches of a run.

    Args:
        makers: kind -> (weight, makes an example or None where a draw came to nothing).
        tokens: of the model. size: examples a batch. seed: of everything that chance decides.
        cycle: kinds in turn, over and over, instead of by chance.

    Attributes:
        rank: of the process that draws; each draws its own.
    """

    def __init__(
        self,
        makers: Mapping[str, tuple[float, Maker]],
        tokens: SelTokens,
        size: int,
        seed: int,
        cycle: Sequence[str] = (),
    ) -> None:
        self._cycle = tuple(kind for kind in cycle if makers[kind][0] > 0)
        self.makers = {kind: maker for kind, (weight, maker) in makers.items() if weight > 0}
        weights = np.array([weight for weight, _ in makers.values() if weight > 0])
        self._chances = weights / weights.sum()
        self.tokens, self.size, self.seed = tokens, size, seed
        self.rank = 0
        self._pool: tuple[int, list[list[Example]]] = (-1, [])

    def examples(self, pool: int) -> list[list[Example]]:
        """The batches of a pool."""
        rng = np.random.default_rng((self.seed, pool, self.rank) if self.rank else (self.seed, pool))
        kinds = list(self.makers)
        drawn: list[Example] = []
        count = self.size * POOL
        if self._cycle:
            turns = [kinds.index(self._cycle[(pool * count + n) % len(self._cycle)]) for n in range(count)]
        else:
            turns = rng.choice(len(kinds), count, p=self._chances).tolist()
        for number in turns:
            for _ in range(TRIES):
                example = self.makers[kinds[number]](rng)
                if example is not None:
                    example.kind = kinds[number]
                    drawn.append(example)
                    break
        if not drawn:
            raise ValueError("no maker gave an example")
        drawn.sort(key=lambda each: each.cost)
        batches = [drawn[n : n + self.size] for n in range(0, len(drawn), self.size)]
        return [batches[n] for n in rng.permutation(len(batches))]

    def rows(self, step: int) -> list[Example]:
        """The examples of a step, from 0."""
        pool, place = divmod(step, POOL)
        if self._pool[0] != pool:
            self._pool = (pool, self.examples(pool))
        return self._pool[1][place % len(self._pool[1])]

    def batch(self, step: int) -> tuple[Batch, Counter[str]]:
        """The batch of a step, from 0, and how many examples of each kind are in it."""
        rows = self.rows(step)
        return make_batch(rows, self.tokens), Counter(row.kind for row in rows)
