"""The stream of training batches: sets by their weights, prompts drawn anew each time, samples of like length together.

Everything follows from the seed and the number of the batch, so a run that is resumed sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from workbench.extract.errors import ExtractError
from workbench.extract.usm.batch import Batch, Sample, make_batch, stack_targets
from workbench.extract.usm.links import Gold, targets
from workbench.extract.usm.train.prompts import Prompter
from workbench.extract.usm.train.sources import Source

POOL = 24  # batches that are drawn, sorted by length and cut together


@dataclass(frozen=True)
class Drawn:
    """A batch with its targets, and how many samples of each set are in it."""

    batch: Batch
    targets: tuple[Tensor, Tensor, Tensor]
    sources: dict[str, int]


class Mixture:
    """Batches of a run.

    Args:
        sources: with their weights.
        prompter: draws labels.
        size: samples a batch.
        seed: of everything that chance decides.
        special: numbers of the tokens that open a segment, end the text and pad.

    Raises:
        ExtractError: no source has a text.

    Attributes:
        rank: of this process among several: each draws its own samples.
    """

    rank = 0

    def __init__(
        self, sources: Sequence[Source], prompter: Prompter, size: int, seed: int, special: tuple[int, int, int]
    ) -> None:
        self.sources = [source for source in sources if source.chunks]
        if not self.sources:
            raise ExtractError(
                "A run needs a set to learn from, but none is left: each one named is held out, shares its types' names with one that is, or has no texts; name further sets or hold out fewer."
            )
        self.prompter, self.size, self.seed, self.special = prompter, size, seed, special
        weights = np.array([source.plan.weight for source in self.sources])
        self._chances = weights / weights.sum()
        self._pool: tuple[int, list[list[tuple[str, Sample, Gold]]]] = (-1, [])

    def samples(self, pool: int) -> list[list[tuple[str, Sample, Gold]]]:
        """The batches of a pool, each a list of (set, sample, gold)."""
        rng = np.random.default_rng((self.seed, pool, self.rank) if self.rank else (self.seed, pool))
        drawn = []
        for number in rng.choice(len(self.sources), self.size * POOL, p=self._chances):
            source = self.sources[number]
            chunk = source.chunks[int(rng.integers(len(source.chunks)))]
            empty = not (chunk.entities or chunk.relations or chunk.events)
            if empty and rng.random() < 0.5:  # half of the texts without anything are passed over
                chunk = source.chunks[int(rng.integers(len(source.chunks)))]
            drawn.append((source.name, *self.prompter.draw(source, chunk, rng)))
        drawn.sort(key=lambda each: each[1].length)
        batches = [drawn[n : n + self.size] for n in range(0, len(drawn), self.size)]
        order = rng.permutation(len(batches))
        return [batches[n] for n in order]

    def batch(self, step: int) -> Drawn:
        """The batch of a step, from 0."""
        pool, place = divmod(step, POOL)
        if self._pool[0] != pool:
            self._pool = (pool, self.samples(pool))
        rows = self._pool[1][place]
        made = make_batch([sample for _, sample, _ in rows], *self.special)
        wanted = stack_targets(
            [targets(gold, len(s.pieces), s.mentions, len(s.labels) - s.mentions) for _, s, gold in rows]
        )
        counts: dict[str, int] = {}
        for name, *_ in rows:
            counts[name] = counts.get(name, 0) + 1
        return Drawn(made, wanted, counts)
