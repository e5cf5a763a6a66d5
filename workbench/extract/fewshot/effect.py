"""What demonstrations do to one text: each one left out, the attention each gets, and how far learning in context is from fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from workbench.extract.engines import Engine
from workbench.extract.evaluate.facts import Count
from workbench.extract.evaluate.scores import within
from workbench.extract.extraction import Attention, Extraction, score_of
from workbench.extract.fewshot.scoring import agreement, episode_count
from workbench.extract.fewshot.tuning import Tuning, fine_tuned
from workbench.extract.records import Document, Span
from workbench.extract.schema import Schema

Told = Callable[[int, int, str], None]  # done, in all, what
Asked = Callable[[], bool]


@dataclass(frozen=True)
class Effect:
    """What leaving one demonstration out changes.

    Attributes:
        number: of the demonstration, from 0.
        gone: results that are only found with it. new: results that are only found without it.
        moved: sum over results found either way of how far the score moves, absolute. greatest: the largest single move, signed
            (score with it, less score without it).
    """

    number: int
    gone: tuple[Span, ...]
    new: tuple[Span, ...]
    moved: float
    greatest: float

    @property
    def size(self) -> float:
        """One number to sort by: results that come or go count as their score, the others as their move."""
        return sum(score_of(span) for span in (*self.gone, *self.new)) + self.moved


def change(number: int, having: Extraction, lacking: Extraction, threshold: float | None = None) -> Effect:
    """The effect of a demonstration.

    Args:
        having, lacking: candidates of the same text with it and without it. threshold: least score of a result; None: the engine's.
    """
    left = {span.key: span for span in having.select(threshold, nested=False).entities or ()}
    right = {span.key: span for span in lacking.select(threshold, nested=False).entities or ()}
    moves = [score_of(left[key]) - score_of(right[key]) for key in left.keys() & right.keys()]
    return Effect(
        number,
        tuple(span for key, span in left.items() if key not in right),
        tuple(span for key, span in right.items() if key not in left),
        float(sum(abs(move) for move in moves)),
        float(max(moves, key=abs, default=0.0)),
    )


def leave_one_out(
    engine: Engine,
    text: str,
    schema: Schema,
    shots: Sequence[Document],
    threshold: float | None = None,
    progress: Told = lambda *_: None,
    stopped: Asked = lambda: False,
) -> list[Effect]:
    """The effect of each demonstration on one text: as many runs of the engine as there are demonstrations, and one more.

    Stopped early, the effects that were computed.
    """
    whole = engine.extract([text], schema, shots, stopped=stopped)
    found: list[Effect] = []
    for number in range(len(shots) if whole else 0):
        progress(number, len(shots), "Leaving each demonstration out")
        rest = [shot for n, shot in enumerate(shots) if n != number]
        lacking = engine.extract([text], schema, rest, stopped=stopped)
        if not lacking:
            break
        found.append(change(number, whole[0], lacking[0], threshold))
    return found


def attention_shares(attention: Attention, demonstrations: int) -> list[float]:
    """Share of the attention of the result's tokens that falls on each demonstration: mean over heads and rows, sum over its tokens.

    Args:
        demonstrations: how many were given; one that no column belongs to has 0.
    """
    weights = np.asarray(attention.weights, dtype=np.float64).mean(axis=(0, 1))  # [columns]
    shares = np.zeros(demonstrations)
    for weight, place in zip(weights, attention.columns, strict=True):
        if place.document is not None and place.document < demonstrations:
            shares[place.document] += weight
    return [float(share) for share in shares]


@dataclass(frozen=True)
class Distance:
    """Two ways of learning from the same examples, on the same texts.

    Attributes:
        in_context, tuned: what each found. agreement: see `scoring.agreement`.
        f1: of each against gold, by "in context" and "fine-tuned"; empty without gold.
    """

    in_context: tuple[Document, ...]
    tuned: tuple[Document, ...]
    agreement: dict[str, float | int]
    f1: Mapping[str, float] = field(default_factory=dict)

    def lines(self) -> list[dict[str, Any]]:
        """A row for every result of either: text number, words, type, and the score of each, or None."""
        rows = []
        for number, (one, other) in enumerate(zip(self.in_context, self.tuned, strict=True)):
            left = {span.key: span for span in one.entities or ()}
            right = {span.key: span for span in other.entities or ()}
            for key in sorted(left.keys() | right.keys()):
                start, end, type_ = key
                rows.append(
                    {
                        "text": number, "words": one.text[start:end], "type": type_, "start": start,
                        "in context": score_of(left[key]) if key in left else None,
                        "fine-tuned": score_of(right[key]) if key in right else None,
                    }
                )  # fmt: skip
        return rows


def distance(
    engine: Engine,
    texts: Sequence[Document],
    schema: Schema,
    shots: Sequence[Document],
    tuning: Tuning | None = None,
    threshold: float | None = None,
    gold: Sequence[Document] = (),
    progress: Told = lambda *_: None,
    stopped: Asked = lambda: False,
) -> Distance | None:
    """How far the extractor made in context is from the one fine-tuned on the same examples.

    Args:
        texts: what both read; what is annotated in them is not looked at. gold: annotated texts that both are measured on besides.

    Returns:
        None where it was stopped.

    Raises:
        EngineError: the engine cannot be fine-tuned. Stopped: it was stopped while it was being fine-tuned.
    """
    read = [document.text for document in (*texts, *gold)]

    def found(by: Engine, given: Sequence[Document], what: str) -> list[Document]:
        made = by.extract(read, schema, given, progress=lambda done: progress(done, len(read), what), stopped=stopped)
        return [each.select(threshold, nested=False) for each in made]

    one = found(engine, shots, "In context")
    tuned = fine_tuned(engine, shots, schema, tuning, lambda done, total: progress(done, total, "Fine-tuning on the examples"), stopped)  # fmt: skip
    other = found(tuned, (), "Fine-tuned")
    if len(one) < len(read) or len(other) < len(read):
        return None
    at = len(texts)
    wanted = [within(document, schema)[0] for document in gold]
    f1 = {}
    if wanted:
        for name, made in (("in context", one), ("fine-tuned", other)):
            f1[name] = sum(episode_count(wanted, made[at:]).values(), Count()).f1
    return Distance(tuple(one[:at]), tuple(other[:at]), agreement(one, other), f1)
