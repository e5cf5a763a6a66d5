"""From link scores to mentions and linked pairs, in pieces (conventions: `links`).

a mention (label, span)          needs H2T, L2H, L2T
a pair (label, subject, object)  needs H2T of both, H2H, T2T, L2H and L2T to the object, H2L and T2L from the subject
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from workbench.extract.usm.links import Pair
from workbench.extract.usm.model import Scores
from workbench.extract.usm.reading import Floats, summed

MOST_SPANS = 200  # subjects, and objects, of one pass that are looked at for pairs
MOST_OF_A_LABEL = 200  # candidates of a label in one pass; an untrained model accepts nearly all


@dataclass(frozen=True)
class LinkScores:
    """Scores of one sample as arrays: H2T, H2H, T2T [T, T]; L2H, L2T [L, T]; H2L, T2L [T, L]."""

    H2T: Floats
    H2H: Floats
    T2T: Floats
    L2H: Floats
    L2T: Floats
    H2L: Floats
    T2L: Floats

    @staticmethod
    def of(scores: Scores, length: int, labels: int) -> LinkScores:
        """Of a sample's scores without their padding."""
        tokens = scores.tokens[:, :length, :length].float().cpu().numpy()
        start = scores.from_label[:, :labels, :length].float().cpu().numpy()
        end = scores.to_label[:, :length, :labels].float().cpu().numpy()
        return LinkScores(*tokens, *start, *end)

    def between(self, parts: NDArray[np.int32]) -> LinkScores:
        """The same with no span across a border, and none of a piece that is not of the text.

        Args:
            parts: of the sample's pieces (`Pieces.parts`), [T].
        """
        if len(parts) == 0 or (parts[0] >= 0 and (parts == parts[0]).all()):
            return self
        inside = (parts[:, None] == parts[None, :]) & (parts >= 0)
        return replace(self, H2T=np.where(inside, self.H2T, np.float32(-np.inf)))


@dataclass(frozen=True)
class Mention:
    """A span under a label, pieces inclusive; `value`: its links summed up."""

    label: int
    span: Pair
    value: float


@dataclass(frozen=True)
class Linked:
    """Two spans under a pair label; `value`: its links summed up."""

    label: int
    subject: Pair
    object: Pair
    value: float


def mentions(scores: LinkScores, labels: Sequence[int], mode: str, least: float) -> list[Mention]:
    """Every (label, span) whose links come to more than `least`, nested and overlapping ones included."""
    found: list[Mention] = []
    length = len(scores.H2T)
    if not length:
        return found
    lower = np.tri(length, k=-1, dtype=bool)
    for label in labels:
        values = summed([scores.H2T, scores.L2H[label][:, None], scores.L2T[label][None, :]], mode)
        values = np.where(lower, -np.inf, values)
        heads, tails = _best(values, least)
        found += [
            Mention(label, (int(head), int(tail)), float(values[head, tail]))
            for head, tail in zip(heads, tails, strict=True)
        ]
    return found


def mention_links(scores: LinkScores, label: int, span: Pair) -> dict[str, float]:
    """The links that a mention needs."""
    head, tail = span
    return {
        "H2T": float(scores.H2T[head, tail]),
        "L2H": float(scores.L2H[label, head]),
        "L2T": float(scores.L2T[label, tail]),
    }


def linked(
    scores: LinkScores,
    label: int,
    subjects: Sequence[Pair],
    objects: Sequence[Pair] | None,
    mode: str,
    least: float,
    object_least: float,
) -> list[Linked]:
    """Every pair of a label whose links come to more than `least`.

    Args:
        label: a pair label.
        subjects: spans that may be subjects.
        objects: spans that may be objects; None: every span that the label takes for its object (arguments of events).
        object_least: what the object's own three links have to come to in that case.
    """
    subjects = list(dict.fromkeys(subjects))[:MOST_SPANS]
    if objects is None:
        found = mentions(scores, [label], mode, object_least)
        objects = [each.span for each in sorted(found, key=lambda each: -each.value)]
    objects = list(dict.fromkeys(objects))[:MOST_SPANS]
    if not subjects or not objects:
        return []
    (sh, st), (oh, ot) = np.array(subjects).T, np.array(objects).T
    values = summed(
        [
            scores.H2T[sh, st][:, None],
            scores.H2T[oh, ot][None, :],
            scores.H2H[np.ix_(sh, oh)],
            scores.T2T[np.ix_(st, ot)],
            scores.L2H[label, oh][None, :],
            scores.L2T[label, ot][None, :],
            scores.H2L[sh, label][:, None],
            scores.T2L[st, label][:, None],
        ],
        mode,
    )
    return [
        Linked(label, subjects[s], objects[o], float(values[s, o])) for s, o in zip(*_best(values, least), strict=True)
    ]


def _best(values: Floats, least: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the values above `least`, of the highest ones if there are more than `MOST_OF_A_LABEL`."""
    rows, columns = np.nonzero(values > least)
    if len(rows) > MOST_OF_A_LABEL:
        kept = np.argpartition(-values[rows, columns], MOST_OF_A_LABEL)[:MOST_OF_A_LABEL]
        rows, columns = rows[kept], columns[kept]
    return rows, columns


def pair_links(scores: LinkScores, label: int, subject: Pair, object_: Pair) -> dict[tuple[str, str], float]:
    """The links that a pair needs, by link and what it is about: "subject", "object" or "pair"."""
    (sh, st), (oh, ot) = subject, object_
    return {
        ("H2T", "subject"): float(scores.H2T[sh, st]),
        ("H2T", "object"): float(scores.H2T[oh, ot]),
        ("H2H", "pair"): float(scores.H2H[sh, oh]),
        ("T2T", "pair"): float(scores.T2T[st, ot]),
        ("L2H", "object"): float(scores.L2H[label, oh]),
        ("L2T", "object"): float(scores.L2T[label, ot]),
        ("H2L", "subject"): float(scores.H2L[sh, label]),
        ("T2L", "subject"): float(scores.T2L[st, label]),
    }
