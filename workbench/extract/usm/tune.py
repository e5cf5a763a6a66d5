"""What is learnt on development data after training: how links are summed up, what probability that means, and the best threshold.

Test parts are never looked at. Every set counts the same, however large it is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from workbench.extract.errors import ExtractError, SchemaError
from workbench.extract.extraction import Extraction
from workbench.extract.formats import schema_of, sets
from workbench.extract.formats.sets import SETS, load_data
from workbench.extract.records import Document
from workbench.extract.schema import Schema
from workbench.extract.usm.engine import UsmEngine
from workbench.extract.usm.passes import Found, collect, results
from workbench.extract.usm.reading import KINDS, MODES, Curve, Reading
from workbench.extract.usm.roundtrip import found_in
from workbench.extract.usm.trim import one_reading

# The best F1 lies at a probability of about half of it, so types that are read badly need the low ones.
THRESHOLDS = (0.05, 0.075, 0.1, 0.125, *(round(0.05 * n, 2) for n in range(3, 17)))
LEAST_EXAMPLES = 30  # right and wrong ones each, below which a kind borrows the curve of entities
TABLE_OF = dict(zip(KINDS, ("entities", "relations", "triggers", "arguments"), strict=True))


@dataclass
class Part:
    """Development texts of one set with what the model found in them, by mode."""

    name: str
    documents: list[Document]
    schema: Schema
    found: dict[str, list[Found]]


def measured_schema(name: str, documents: Sequence[Document]) -> Schema:
    """The schema that a set is measured under: its own types. CASIE marks only those entities that are arguments, so its events alone."""
    whole = schema_of(documents)
    return Schema(events=whole.events) if name == "casie" else whole


def development_parts(
    engine: UsmEngine,
    names: Iterable[str],
    root: Path,
    most: int = 150,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> list[Part]:
    """Run the model over development parts once, and read its links by every mode.

    Args:
        names: sets that have a development part.
        most: texts of a set, chosen by the seed.
    """
    return [
        Part(name, documents, schema, read_every_way(engine, documents, schema))
        for name, documents, schema in development_texts(names, root, most, seed, progress)
    ]


def development_texts(
    names: Iterable[str], root: Path, most: int, seed: int, progress: Callable[[str], None] | None = None
) -> Iterator[tuple[str, list[Document], Schema]]:
    """Texts of development parts, chosen by the seed, with the schema they are measured under.

    A set whose relations stand between ends of no type (FewRel) is left out: no schema asks for them.
    """
    for name in names:
        if progress is not None:
            progress(name)
        documents = load_data(name, root, "dev")
        random.Random(f"{seed}/{name}").shuffle(documents)
        documents = documents[: most if name != "casie" else max(1, most // 6)]
        try:
            schema = measured_schema(name, documents)
        except SchemaError:
            continue
        yield name, documents, schema


def read_every_way(engine: UsmEngine, documents: Sequence[Document], schema: Schema) -> dict[str, list[Found]]:
    """Candidates by mode, from one run of the model."""
    whole = schema.expanded()
    plan = engine.plan(whole)
    found: dict[str, list[Found]] = {mode: [] for mode in MODES}
    for at in range(0, len(documents), 32):
        group = documents[at : at + 32]
        cut = engine.windows([document.text for document in group])
        passes = list(engine.passes.link_scores(cut, plan, 8))
        for mode in MODES:
            read = collect(cut, plan, whole, Reading(mode), passes)
            found[mode] += [read.get(number, Found()) for number in range(len(group))]
    return found


def fit(parts: Sequence[Part], calibrated: bool = True) -> Reading:
    """The reading that does best on development parts.

    Args:
        calibrated: whether scores are to mean probabilities on these parts. Without it the plain sigmoid of the links is the score: a model that
            knows next to nothing of the types then still has candidates, which as probabilities would all lie below the floor.

    Raises:
        ExtractError: there are no candidates to learn from.
    """
    if not parts:
        raise ExtractError(
            "There are no development texts to learn thresholds from: name a set that has a development part."
        )
    curves = {mode: _curves(parts, mode) for mode in MODES} if calibrated else {}
    tried = {
        (mode, threshold): float(np.mean(list(f1.values()) or [0.0]))
        for mode in MODES
        for threshold, f1 in f1_by_threshold(parts, Reading(mode, 0.5, curves), THRESHOLDS).items()
    }
    mode, threshold = max(tried, key=lambda each: tried[each])
    reading = Reading(mode, threshold, curves)
    reading = replace(reading, thresholds=own_thresholds(parts, reading))
    # The common threshold was the best for all kinds together; entities no longer have to share it.
    reading = replace(reading, threshold=_common(parts, reading))
    return as_seen(replace(reading, thresholds=own_thresholds(parts, reading)))


def as_seen(reading: Reading) -> Reading:
    """A reading without thresholds below what candidates were kept at when it was chosen (`read_every_way`).

    Such a threshold did there what the least kept one does; on other texts, read under the curves, it would let in what was never seen.
    """
    kept = Reading(reading.mode)
    seen = {kind: round(reading.curve(kind).probability(kept.least(kind)), 4) for kind in KINDS}
    threshold = max(reading.threshold, seen["entity"])
    own = {kind: max(reading.thresholds.get(kind, reading.threshold), seen[kind]) for kind in KINDS[1:]}
    stay = {kind: at for kind, at in own.items() if kind in reading.thresholds or at != threshold}
    return replace(reading, threshold=threshold, thresholds=stay)


def _curves(parts: Sequence[Part], mode: str) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    for kind in KINDS:
        values, right, weights = examples(parts, mode, kind)
        if min(right.sum(), (~right).sum()) >= LEAST_EXAMPLES:
            model = LogisticRegression(C=1e4).fit(values[:, None], right, sample_weight=weights)
            slope = float(model.coef_[0, 0])
            if slope > 0.05:  # else more links would not mean more right
                curves[kind] = Curve(round(slope, 5), round(float(model.intercept_[0]), 5))
    for kind in KINDS:
        curves.setdefault(kind, curves.get("entity", Curve()))
    return curves


def examples(parts: Sequence[Part], mode: str, kind: str) -> tuple[Any, Any, Any]:
    """Candidates of a kind: summed-up links, whether gold has them, weight (sets count the same)."""
    values: list[float] = []
    right: list[bool] = []
    weights: list[float] = []
    for part in parts:
        here: list[tuple[float, bool]] = []
        for document, found in zip(part.documents, part.found[mode], strict=True):
            if not _annotated(document, kind):
                continue
            gold = getattr(found_in(document), TABLE_OF[kind])
            here += [(value, key in gold) for key, value in getattr(found, TABLE_OF[kind]).items()]
        values += [value for value, _ in here]
        right += [is_right for _, is_right in here]
        weights += [1000 / max(1, len(here))] * len(here)
    return np.array(values), np.array(right, bool), np.array(weights)


def _annotated(document: Document, kind: str) -> bool:
    part = {"entity": document.entities, "relation": document.relations}.get(kind, document.events)
    return part is not None


def f1_by_part(parts: Sequence[Part], reading: Reading) -> dict[str, float]:
    """Micro F1 of each set and kind under a reading: entities, strict relations, triggers, arguments."""
    return _f1(parts, reading, [(reading.threshold, reading.thresholds)])[0]


def f1_by_threshold(
    parts: Sequence[Part], reading: Reading, thresholds: Sequence[float]
) -> dict[float, dict[str, float]]:
    """`f1_by_part` at several thresholds, each the same for every kind."""
    return dict(zip(thresholds, _f1(parts, reading, [(each, {}) for each in thresholds]), strict=True))


def _common(parts: Sequence[Part], reading: Reading) -> float:
    """The threshold of entities that is best where every other kind keeps the one it has: by the mean F1 of every set and kind."""
    tries = [reading.threshold, *THRESHOLDS]
    kept = {kind: reading.thresholds.get(kind, reading.threshold) for kind in KINDS[1:]}
    found = _f1(parts, reading, [(each, kept) for each in tries])
    return tries[int(np.argmax([np.mean(list(f1.values()) or [0.0]) for f1 in found]))]


def own_thresholds(parts: Sequence[Part], reading: Reading) -> dict[str, float]:
    """Least probabilities of kinds that do better with one of their own, each chosen with those before it in place.

    Args:
        reading: whose threshold stands for entities, and where nothing is better.
    """
    chosen: dict[str, float] = {}
    for kind in KINDS[1:]:
        tries = [reading.threshold, *THRESHOLDS]
        found = _f1(parts, reading, [(reading.threshold, {**chosen, kind: each}) for each in tries])
        means = [np.mean([f1 for name, f1 in each.items() if name.endswith(f" {kind}")] or [0.0]) for each in found]
        best = int(np.argmax(means))  # the first of equals: the common one
        if best:
            chosen[kind] = tries[best]
    return chosen


def _f1(
    parts: Sequence[Part], reading: Reading, cuts: Sequence[tuple[float, Mapping[str, float]]]
) -> list[dict[str, float]]:
    """F1 of each set and kind by cut: the threshold, and those of kinds with one of their own."""
    found: list[dict[str, float]] = [{} for _ in cuts]
    for part in parts:
        whole = part.schema.expanded()
        kinds = [kind for kind in KINDS if _asked(whole, kind)]
        counts = {(cut, kind): np.zeros(3) for cut in range(len(cuts)) for kind in kinds}
        for document, candidates in zip(part.documents, part.found[reading.mode], strict=True):
            made = Extraction(
                text=document.text, wanted=whole, **results(one_reading(candidates, document.text), whole, reading)
            )
            gold = {kind: _facts(document, kind) for kind in kinds if _annotated(document, kind)}
            for number, (threshold, own) in enumerate(cuts):
                predicted = made.model_copy(update={"threshold": threshold, "advised": dict(own)}).select()
                for kind, wanted in gold.items():
                    got = _facts(predicted, kind)
                    counts[number, kind] += (len(wanted & got), len(wanted), len(got))
        for (number, kind), (right, wanted_in_all, got_in_all) in counts.items():
            if wanted_in_all:
                found[number][f"{part.name} {kind}"] = float(2 * right / (wanted_in_all + got_in_all))
    return found


def _asked(schema: Schema, kind: str) -> bool:
    return bool({"entity": schema.entities, "relation": schema.relations}.get(kind, schema.events))


def _facts(document: Document, kind: str) -> set[Any]:
    if kind == "entity":
        return {span.key for span in document.entities or ()}
    if kind == "relation":
        return {relation.key for relation in document.relations or ()}
    if kind == "trigger":
        return {event.key for event in document.events or ()}
    return {(event.type, a.role, a.start, a.end) for event in document.events or () for a in event.arguments}


def calibration_error(values: Any, right: Any, weights: Any, curve: Curve, bins: int = 10) -> float:
    """Expected calibration error: mean distance of probability and share that is right, over bins of equal width, weighted."""
    made = np.array([curve.probability(float(value)) for value in values])
    error = 0.0
    for at in range(bins):
        inside = (made >= at / bins) & ((made < (at + 1) / bins) | (at == bins - 1))
        if inside.any():
            weight = weights[inside]
            error += weight.sum() * abs(
                np.average(made[inside], weights=weight) - np.average(right[inside], weights=weight)
            )
    return float(error / weights.sum()) if len(values) else 0.0


def report(parts: Sequence[Part], reading: Reading) -> Mapping[str, Any]:
    """What the choice rests on: F1 of each set and kind by mode, and calibration error of two halves of the texts."""
    by_mode = {mode: f1_by_part(parts, replace(reading, mode=mode)) for mode in MODES}
    by_mode["strict, every link above 0"] = f1_by_part(parts, reading.of("strict"))
    halves = [
        [Part(p.name, p.documents[side::2], p.schema, {m: f[side::2] for m, f in p.found.items()}) for p in parts]
        for side in (0, 1)
    ]
    curves = _curves(halves[0], reading.mode)
    errors = {}
    for kind in KINDS:
        values, right, weights = examples(halves[1], reading.mode, kind)
        if len(values):
            errors[kind] = {
                "sigmoid": round(calibration_error(values, right, weights, Curve()), 4),
                "fitted on the other half": round(calibration_error(values, right, weights, curves[kind]), 4),
            }
    return {
        "mode": reading.mode,
        "threshold": reading.threshold,
        "thresholds": reading.thresholds,
        "f1": by_mode,
        "calibration_error": errors,
    }


def with_development(names: Iterable[str]) -> list[str]:
    """Those of some sets that have a development part which is not learnt from.

    Raises:
        ExtractError: there is no such set.
    """
    known = sets.names()
    found = list(names)
    if unknown := [name for name in found if name not in known]:
        raise ExtractError(f"There is no data set '{unknown[0]}': choose among {', '.join(known)}.")
    return [name for name in found if name in SETS and "dev" in SETS[name].splits and SETS[name].trained != "dev only"]


def all_with_development(names: Sequence[str]) -> list[str]:
    """Some sets, each of which has a development part that is not learnt from.

    Raises:
        ExtractError: one has none, or there is no such set.
    """
    found = with_development(names)
    if without := [name for name in names if name not in found]:
        raise ExtractError(
            f"Each set of --data needs a development part that is not learnt from, but '{without[0]}' has none: leave it out."
        )
    return found
