"""Scores of a set of texts: micro precision, recall and F1, by type, with bootstrap intervals over texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from workbench.extract.engines import Engine
from workbench.extract.errors import ExtractError
from workbench.extract.evaluate.facts import METRICS, SPANS, Count, Metric, check_mode, compare, facts_of
from workbench.extract.evaluate.mistakes import CATEGORIES, KINDS, Mistake, mistakes_of
from workbench.extract.extraction import Extraction
from workbench.extract.records import Document, Relation
from workbench.extract.schema import Schema

RESAMPLES = 1000
MIN_TEXTS = 2  # an interval needs two texts


@dataclass(frozen=True)
class Score:
    """One metric by offset or by string.

    Attributes:
        count: right, gold and predicted tuples of all texts.
        texts: how many texts are annotated for it; none where the schema does not ask for it.
        by_type: counts of each type.
        interval: 2.5th and 97.5th percentile of the micro F1 of resampled texts, or None with fewer than two texts.
    """

    count: Count
    texts: int
    by_type: dict[str, Count]
    interval: tuple[float, float] | None

    def to_json(self) -> dict[str, Any]:
        """Fractions in [0, 1]; null where no text is annotated or the schema does not ask."""
        known = self.texts > 0

        def leaf(count: Count) -> dict[str, Any]:
            return {
                "precision": count.precision if known else None,
                "recall": count.recall if known else None,
                "f1": count.f1 if known else None,
                "right": count.right,
                "gold": count.gold,
                "predicted": count.predicted,
            }

        by_type = {name: leaf(count) for name, count in sorted(self.by_type.items())}
        return {**leaf(self.count), "texts": self.texts, "f1_interval": self.interval, "by_type": by_type}


@dataclass(frozen=True)
class Evaluation:
    """Everything that comparing predictions with gold gives.

    Attributes:
        scores: (metric, "offset" or "string") -> score.
        mistakes: every error by offset.
        texts: how many texts were compared. seconds: that the engine took, or 0 for stored predictions.
        mode: match mode. outside: gold items that the schema does not ask for (`within`), left out of every count.
        notes: what the engine said of every text, a sentence each.
        gold, predicted: what was compared.
        resamples, seed: of the intervals.
    """

    scores: dict[tuple[Metric, str], Score]
    mistakes: tuple[Mistake, ...]
    texts: int
    seconds: float
    mode: str
    outside: int = 0
    notes: tuple[str, ...] = ()
    resamples: int = RESAMPLES
    seed: int = 0
    gold: tuple[Document, ...] = field(default=(), repr=False)
    predicted: tuple[Document, ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, Any]:
        """The form that `workbench evaluate --json` prints."""
        form: dict[str, Any] = {}
        for metric in METRICS:
            place = form
            for part in metric:
                place = place.setdefault(part, {})
            for spans in SPANS:
                place[spans] = self.scores[metric, spans].to_json()
        errors = {kind: dict.fromkeys(CATEGORIES, 0) for kind in KINDS}
        for mistake in self.mistakes:
            errors[mistake.kind][mistake.category] += 1
        return {
            **form,
            "sentences": self.texts,
            "seconds": self.seconds,
            "errors": errors,
            "match_mode": self.mode,
            "gold_outside_schema": self.outside,
            "notes": list(self.notes),
            "bootstrap": {"resamples": self.resamples, "seed": self.seed, "over": "sentences", "level": 0.95},
        }


def check_options(mode: str, seed: int) -> None:
    """Refuse options of a comparison; a run that takes hours asks before it starts.

    Raises:
        ExtractError: there is no such match mode, or the seed is below 0.
    """
    check_mode(mode)
    if seed < 0:
        raise ExtractError(f"The seed of the resamples is a whole number from 0 on, and {seed} came: choose another.")


def score(
    gold: Sequence[Document],
    predicted: Sequence[Document],
    mode: str = "normal",
    resamples: int = RESAMPLES,
    seed: int = 0,
    seconds: float = 0.0,
) -> Evaluation:
    """Compare predictions with gold, text by text.

    Args:
        gold, predicted: the same texts in the same order.
        mode: match mode: "normal", "set" or "multimatch".
        resamples: how many times the texts are drawn again for the intervals; 0: no intervals.
        seed: of the drawing.

    Raises:
        ExtractError: the texts differ, there is no such match mode, or the seed is below 0.
    """
    check_options(mode, seed)
    if len(gold) != len(predicted):
        raise ExtractError(
            f"{len(gold)} gold texts and {len(predicted)} predictions cannot be compared: give as many of each."
        )
    for n, (a, b) in enumerate(zip(gold, predicted, strict=True), start=1):
        if a.text != b.text:
            raise ExtractError(
                f"Text {n} ('{a.id}') differs between gold and prediction: offsets only fit the same text."
            )
    scores: dict[tuple[Metric, str], Score] = {}
    weights = _draws(len(gold), resamples, seed)
    for metric in METRICS:
        for spans in SPANS:
            rows: list[dict[str, Count]] = []
            for a, b in zip(gold, predicted, strict=True):
                facts = facts_of(a, metric, spans)
                rows.append({} if facts is None else dict(compare(facts, facts_of(b, metric, spans) or (), mode)))
            texts = sum(facts_of(a, metric, "offset") is not None for a in gold)
            totals: dict[str, Count] = {}
            for row in rows:
                for name, count in row.items():
                    totals[name] = totals.get(name, Count()) + count
            micro = np.array([list(sum(row.values(), Count())) for row in rows], dtype=np.float64).reshape(-1, 4)
            interval = None if weights is None or texts < MIN_TEXTS else _interval(weights @ micro)
            scores[metric, spans] = Score(sum(totals.values(), Count()), texts, totals, interval)
    mistakes = tuple(m for n, (a, b) in enumerate(zip(gold, predicted, strict=True)) for m in mistakes_of(n, a, b))
    return Evaluation(
        scores,
        mistakes,
        len(gold),
        seconds,
        mode,
        resamples=resamples,
        seed=seed,
        gold=tuple(gold),
        predicted=tuple(predicted),
    )


def _draws(texts: int, resamples: int, seed: int) -> np.ndarray | None:
    """How often each text is drawn in each resample, [resamples, texts]."""
    if texts < MIN_TEXTS or resamples < 1:
        return None
    return np.random.default_rng(seed).multinomial(texts, np.full(texts, 1 / texts), size=resamples).astype(np.float64)


def _interval(sums: np.ndarray) -> tuple[float, float]:
    """95 % percentile interval of the micro F1 (`Count.f1`) of sums of (right, gold, predicted, again), [resamples, 4]."""
    right, gold, predicted, again = sums.T
    found = right - again
    below = right * gold + found * predicted
    f1 = np.where(below > 0, 2 * right * found / np.maximum(below, 1), 0.0)
    low, high = np.percentile(f1, [2.5, 97.5])
    return float(low), float(high)


def within(document: Document, schema: Schema) -> tuple[Document, int]:
    """What a schema asks for of a document, and how many items that leaves out.

    Left out are items of types that the schema does not name, arguments of other roles, and relations with an end whose type its rule
    does not take or no entity type declares: nothing that is asked can be such an end. An end without a type is taken anywhere. An
    event of another type is one item, with its arguments.

    Returns:
        The document, a part that the schema does not ask for being None, "not annotated"; and the number of items left out.
    """
    whole = schema.expanded()
    types = {label.name for label in whole.entities}

    def stands(relation: Relation) -> bool:
        rule = whole.relations.get(relation.type)
        return rule is not None and all(
            not end.type or end.type in (taken or types)
            for end, taken in ((relation.head, rule.head), (relation.tail, rule.tail))
        )

    entities = tuple(span for span in document.entities or () if span.type in types)
    relations = tuple(relation for relation in document.relations or () if stands(relation))
    named = [event for event in document.events or () if event.type in whole.events]
    events = tuple(
        event.model_copy(update={"arguments": tuple(a for a in event.arguments if a.role in whole.events[event.type])})
        for event in named
    )
    kept = {
        "entities": entities if whole.entities and document.entities is not None else None,
        "relations": relations if whole.relations and document.relations is not None else None,
        "events": events if whole.events and document.events is not None else None,
    }
    before = sum(len(part or ()) for part in (document.entities, document.relations, document.events))
    roles = sum(len(a.arguments) - len(b.arguments) for a, b in zip(named, events, strict=True))
    return document.model_copy(update=kept), before - len(entities) - len(relations) - len(events) + roles


def evaluate(
    engine: Engine,
    documents: Sequence[Document],
    schema: Schema,
    *,
    threshold: float | None = None,
    nested: bool = True,
    mode: str = "normal",
    batch_size: int = 8,
    resamples: int = RESAMPLES,
    seed: int = 0,
    demonstrations: Sequence[Document] = (),
    progress: Callable[[int], None] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> Evaluation:
    """Run an engine over annotated texts and score it; stopped early, it scores the texts that were done.

    A part that the engine does not look for is left out, as one that is not annotated: it has no score, and a note says so.

    Args:
        threshold, nested: as in `Extraction.select`.
        progress: called with the number of texts done.

    Raises:
        ExtractError: there are no texts, there is no such match mode, or the seed is below 0.
    """
    check_options(mode, seed)
    if not documents:
        raise ExtractError("There are no texts to evaluate on: the file or split is empty.")
    wanted = [within(document, schema) for document in documents]
    start = time.perf_counter()
    found: list[Extraction] = engine.extract(
        [d.text for d in documents], schema, demonstrations, batch_size=batch_size, progress=progress, stopped=stopped
    )
    seconds = time.perf_counter() - start
    predicted = [e.select(threshold, nested, document_id=d.id) for e, d in zip(found, documents, strict=False)]
    gold = [_looked_for(document, made) for (document, _), made in zip(wanted, predicted, strict=False)]
    result = score(gold, predicted, mode, resamples, seed, seconds)
    if not any(schema.events.values()):  # triggers alone: a list of events is there, but arguments are not asked for
        nothing = Score(Count(), 0, {}, None)
        result = replace(result, scores=result.scores | {(("event", "argument"), spans): nothing for spans in SPANS})
    notes = [
        note for note in dict.fromkeys(note for e in found for note in e.notes) if all(note in e.notes for e in found)
    ]
    return replace(result, outside=sum(count for _, count in wanted[: len(found)]), notes=tuple(notes))


def _looked_for(gold: Document, predicted: Document) -> Document:
    """Gold without the parts that were not looked for."""
    unread = [part for part in ("entities", "relations", "events") if getattr(predicted, part) is None]
    return gold.model_copy(update=dict.fromkeys(unread))
