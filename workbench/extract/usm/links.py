"""Links: the seven matrices of USM, their one direction convention, and the targets that gold annotation gives.

Convention, kept in training, decoding and evidence:

    H2T  head piece of a span -> its tail piece
    H2H  head of the subject  -> head of the object       T2T  tail of the subject -> tail of the object
    L2H  label -> head of a span of that type, or of the OBJECT of that relation or role
    L2T  label -> tail of the same
    H2L  head of the SUBJECT -> label of the relation or role       T2L  tail of the SUBJECT -> label

The subject of an event's argument is its trigger, the object is the argument. The subject of a sentiment is the aspect.
The first-hand description is arXiv 2301.03282; where it leaves direction open, this is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Pair = tuple[int, int]  # first and last piece of a span, inclusive


@dataclass
class Gold:
    """What is true of one text under one prompt, in pieces; label numbers as in `Prompt`.

    Attributes:
        typed: (label, span): mention labels with their spans, pair labels with their objects.
        linked: (subject, object).
        subjects: (subject, pair label).
        spans: further spans that have no label of their own here, such as the ends of a relation.
        known: pieces on which annotation is complete, bool [T]; None: everywhere. Cells of other pieces are no negatives.
        pairs_known: whether relations are annotated completely (on known pieces).
        unsought: labels that nobody looked for in this text: their cells say nothing, nor do spans and pairs that could be theirs.
    """

    typed: set[tuple[int, Pair]] = field(default_factory=set)
    linked: set[tuple[Pair, Pair]] = field(default_factory=set)
    subjects: set[tuple[Pair, int]] = field(default_factory=set)
    spans: set[Pair] = field(default_factory=set)
    known: NDArray[np.bool_] | None = None
    pairs_known: bool = True
    unsought: frozenset[int] = frozenset()

    def all_spans(self) -> set[Pair]:
        """Every span that has to be linked head to tail."""
        ends = {end for pair in self.linked for end in pair}
        return self.spans | {span for _, span in self.typed} | ends | {span for span, _ in self.subjects}


@dataclass(frozen=True)
class Targets:
    """Dense targets of one sample, int8: 1 linked, 0 not linked, -1 left out of the loss.

    Attributes:
        tokens: H2T, H2H, T2T, [3, T, T]; source first. H2T below the diagonal is left out: a tail never stands before its head.
        from_label: L2H, L2T, [2, L, T]. to_label: H2L, T2L, [2, T, L]; mention labels are left out.
    """

    tokens: NDArray[np.int8]
    from_label: NDArray[np.int8]
    to_label: NDArray[np.int8]


def targets(gold: Gold, length: int, mentions: int, pairs: int) -> Targets:
    """The seven target matrices.

    Args:
        gold: of the sample.
        length: pieces of text, T.
        mentions, pairs: numbers of labels; L is their sum.
    """
    labels = mentions + pairs
    tokens = np.zeros((3, length, length), np.int8)
    from_label = np.zeros((2, labels, length), np.int8)
    to_label = np.zeros((2, length, labels), np.int8)
    if gold.known is not None:
        unknown = ~gold.known
        tokens[0][unknown[:, None] & unknown[None, :]] = -1
        from_label[:, :, unknown] = -1
        tokens[1:][:, unknown[:, None] | unknown[None, :]] = -1
        to_label[:, unknown, :] = -1
    if not gold.pairs_known or max(gold.unsought, default=-1) >= mentions:
        # between the heads and tails of the spans in pairs annotation is complete; of the rest nobody knows
        ends = np.zeros((2, length), bool)
        for subject, object_ in gold.linked:
            for span in (subject, object_):
                ends[0, span[0]] = ends[1, span[1]] = True
        for side in (0, 1):
            tokens[1 + side][~ends[side][:, None] | ~ends[side][None, :]] = -1
            if not gold.pairs_known:
                to_label[side][~ends[side]] = -1
                from_label[side][mentions:, ~ends[side]] = -1
    if gold.unsought:
        without = sorted(gold.unsought)
        from_label[:, without] = -1
        to_label[:, :, without] = -1
        marked = np.zeros(length, bool)
        for head, tail in gold.all_spans():
            marked[head : tail + 1] = True
        # a span that nobody marked may lie anywhere but across one that is
        tokens[0][~marked[:, None] & ~marked[None, :]] = -1
    tokens[0][np.tri(length, k=-1, dtype=bool)] = -1
    if not pairs:
        tokens[1:] = -1
    to_label[:, :, :mentions] = -1
    for head, tail in gold.all_spans():
        tokens[0, head, tail] = 1
    for subject, object_ in gold.linked:
        tokens[1, subject[0], object_[0]] = 1
        tokens[2, subject[1], object_[1]] = 1
    for label, span in gold.typed:
        from_label[0, label, span[0]] = 1
        from_label[1, label, span[1]] = 1
    for span, label in gold.subjects:
        to_label[0, span[0], label] = 1
        to_label[1, span[1], label] = 1
    return Targets(tokens, from_label, to_label)
