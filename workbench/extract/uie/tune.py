"""What is learnt on development data after training: the offset mode, curves from log-probabilities to probabilities, the threshold.

Test parts are never looked at. Every set counts the same, however large it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from workbench.extract.errors import ExtractError
from workbench.extract.records import Document
from workbench.extract.schema import Schema
from workbench.extract.uie.engine import UieEngine
from workbench.extract.uie.reading import TABLES, UieReading
from workbench.extract.uie.records import Found
from workbench.extract.usm.reading import KINDS, Curve
from workbench.extract.usm.ship import SETS as SHIPPED_ON
from workbench.extract.usm.tune import LEAST_EXAMPLES, calibration_error, development_texts, with_development

MODES = ("pointed", "closest", "longer_first")
THRESHOLDS = (0.0, *(round(0.05 * n, 2) for n in range(2, 15)))


@dataclass
class Part:
    """Development texts of one set with what the model wrote about them, read by each mode."""

    name: str
    documents: list[Document]
    schema: Schema
    found: dict[str, list[Found]]


def development_parts(
    engine: UieEngine,
    names: Iterable[str],
    root: Path,
    most: int,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> list[Part]:
    """Run the model over development parts once, and read its outputs by every mode.

    Args:
        names: sets that have a development part. most: texts of a set, chosen by the seed.
    """
    return [
        Part(name, documents, schema, read_every_way(engine, documents, schema))
        for name, documents, schema in development_texts(names, root, most, seed, progress)
    ]


def read_every_way(engine: UieEngine, documents: Sequence[Document], schema: Schema) -> dict[str, list[Found]]:
    """Results by mode, values unscored, from one run of the model."""
    passes = engine.passes(schema.expanded())
    found = {mode: [Found() for _ in documents] for mode in MODES}
    texts = [document.text for document in documents]
    for each in passes.run(texts, passes.jobs(texts), 8):
        engine.counts[each.sel.status] += 1
        for mode in MODES:
            found[mode][each.job.text].merge(passes.records(each, mode))
    return found


def gold_of(document: Document) -> dict[str, set[Any] | None]:
    """What is true of a document, by kind, in the keys of `Found`; None where it is not annotated."""
    return {
        "entity": None if document.entities is None else {(s.type, s.start, s.end) for s in document.entities},
        "relation": None
        if document.relations is None
        else {
            (r.type, (r.head.type, r.head.start, r.head.end), (r.tail.type, r.tail.start, r.tail.end))
            for r in document.relations
        },
        "trigger": None
        if document.events is None
        else {(e.type, e.trigger.start, e.trigger.end) for e in document.events},
        "argument": None
        if document.events is None
        else {
            ((e.type, e.trigger.start, e.trigger.end), a.role, a.start, a.end)
            for e in document.events
            for a in e.arguments
        },
    }


def _asked(schema: Schema, kind: str) -> bool:
    return bool({"entity": schema.entities, "relation": schema.relations}.get(kind, schema.events))


def examples(parts: Sequence[Part], mode: str, kind: str) -> tuple[Any, Any, Any]:
    """Results of a kind: values, whether gold has them, weights (sets count the same)."""
    values: list[float] = []
    right: list[bool] = []
    weights: list[float] = []
    for part in parts:
        here = []
        for document, found in zip(part.documents, part.found[mode], strict=True):
            gold = gold_of(document)[kind]
            if gold is not None:
                here += [(value, key in gold) for key, value in getattr(found, TABLES[kind]).items()]
        values += [value for value, _ in here]
        right += [is_right for _, is_right in here]
        weights += [1000 / max(1, len(here))] * len(here)
    return np.array(values), np.array(right, bool), np.array(weights)


def curves_of(parts: Sequence[Part], mode: str) -> dict[str, Curve]:
    """A logistic curve a kind; a kind with too few examples borrows that of entities, or of all together."""
    curves: dict[str, Curve] = {}
    for kind in KINDS:
        values, right, weights = examples(parts, mode, kind)
        if len(values) and min(right.sum(), (~right).sum()) >= LEAST_EXAMPLES:
            model = LogisticRegression(C=1e4).fit(values[:, None], right, sample_weight=weights)
            slope = float(model.coef_[0, 0])
            if slope > 0.01:  # else a surer output would not be more often right
                curves[kind] = Curve(round(slope, 5), round(float(model.intercept_[0]), 5))
    spare = curves.get("entity") or next(iter(curves.values()), None)
    return {kind: curves.get(kind, spare) for kind in KINDS} if spare is not None else {}


def f1(parts: Sequence[Part], reading: UieReading) -> dict[str, float]:
    """Micro F1 of each set and kind under a reading."""
    made = {}
    for part in parts:
        whole = part.schema.expanded()
        for kind in (k for k in KINDS if _asked(whole, k)):
            counts = np.zeros(3)
            for document, found in zip(part.documents, part.found[reading.mode], strict=True):
                gold = gold_of(document)[kind]
                if gold is not None:
                    table = getattr(found, TABLES[kind])
                    got = {k for k, v in table.items() if reading.probability(kind, v) >= reading.threshold}
                    counts += (len(gold & got), len(gold), len(got))
            if counts[1]:
                made[f"{part.name} {kind}"] = float(2 * counts[0] / (counts[1] + counts[2]))
    return made


def fit(parts: Sequence[Part]) -> UieReading:
    """The reading that does best on development parts.

    Raises:
        ExtractError: there are none.
    """
    if not parts:
        raise ExtractError("There are no development texts to learn from: name a set that has a development part.")
    tried: dict[tuple[str, float], float] = {}
    readings = {mode: UieReading(mode, 0.0, curves_of(parts, mode)) for mode in MODES}
    for mode, reading in readings.items():
        for threshold in THRESHOLDS:
            tried[mode, threshold] = float(
                np.mean(list(f1(parts, replace(reading, threshold=threshold)).values()) or [0])
            )
    mode, threshold = max(tried, key=lambda each: tried[each])
    return replace(readings[mode], threshold=threshold)


def report(parts: Sequence[Part], reading: UieReading) -> dict[str, Any]:
    """What the choice rests on: F1 of each set and kind by mode, and calibration error of two halves of the texts."""
    halves = [
        [Part(p.name, p.documents[side::2], p.schema, {m: f[side::2] for m, f in p.found.items()}) for p in parts]
        for side in (0, 1)
    ]
    curves = curves_of(halves[0], reading.mode)
    errors = {}
    for kind in KINDS:
        values, right, weights = examples(halves[1], reading.mode, kind)
        if len(values) and kind in curves:
            plain = np.exp(np.minimum(values, 0))
            logits = np.log(plain.clip(1e-6, 1 - 1e-6) / (1 - plain.clip(1e-6, 1 - 1e-6)))
            errors[kind] = {
                "token probabilities": round(calibration_error(logits, right, weights, Curve()), 4),
                "fitted on the other half": round(calibration_error(values, right, weights, curves[kind]), 4),
            }
    scores = {mode: {k: round(v, 4) for k, v in f1(parts, replace(reading, mode=mode)).items()} for mode in MODES}
    return {"mode": reading.mode, "threshold": reading.threshold, "f1": scores, "calibration_error": errors}


def learn(
    model: Any,
    tokenizer: Any,
    names: Iterable[str],
    root: Path,
    most: int,
    seed: int = 0,
    notice: Callable[[str], None] | None = None,
) -> UieReading | None:
    """Put what is learnt on the development parts of some sets into a model's configuration; None where there are none."""
    every = with_development(names)
    found = [name for name in every if name in SHIPPED_ON] or every
    if not found:
        return None
    model.eval()
    reading = fit(development_parts(UieEngine(model, tokenizer), found, root, most, seed, notice))
    model.config.engine = {**(getattr(model.config, "engine", None) or {}), **reading.to_json()}
    return reading
