"""The score of an episode, and what several seeds come to.

The paper's F1 (arXiv 2305.11038 §6.1; getresult.py of its code): micro over sentences on exact (type, offset, text), each counted once a
sentence; mean and standard deviation (of the population, divided by n) over the support sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from workbench.extract.errors import ExtractError
from workbench.extract.evaluate.facts import Count, compare, facts_of
from workbench.extract.records import Document


def episode_count(gold: Sequence[Document], predicted: Sequence[Document]) -> dict[str, Count]:
    """Right, gold and predicted entities by type.

    An offset fixes its text, so (type, offset) compares what (type, offset, text) does; "set" is unique per sentence.

    Raises:
        ExtractError: the texts are not the same.
    """
    if [d.text for d in gold] != [d.text for d in predicted]:
        raise ExtractError(
            "Predictions and test sentences are not the same texts in the same order: compare like with like."
        )
    totals: dict[str, Count] = {}
    for wanted, found in zip(gold, predicted, strict=True):
        right, said = (facts_of(each, ("entity",), "offset") or [] for each in (wanted, found))
        for name, count in compare(right, said, "set").items():
            totals[name] = totals.get(name, Count()) + count
    return totals


def over_seeds(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and population standard deviation; None without values."""
    if not values:
        return {"mean": None, "std": None}
    return {"mean": float(np.mean(values)), "std": float(np.std(values))}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation, least and greatest, and the distance between those."""
    if not values:
        return {**over_seeds(values), "least": None, "greatest": None, "range": None}
    return {**over_seeds(values), "least": min(values), "greatest": max(values), "range": max(values) - min(values)}


def paired(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float | int | None]:
    """How far one method is above another on the episodes that both did: mean and deviation of the differences, and how often it is above.

    Args:
        first, second: F1 by episode. A second one with the single episode "none", which uses no support set, is held against every episode.
    """
    if set(second) == {"none"}:
        second = dict.fromkeys(first, second["none"])
    shared = [first[name] - second[name] for name in first if name in second]
    return {**over_seeds(shared), "above": sum(each > 0 for each in shared), "episodes": len(shared)}


def agreement(one: Iterable[Document], other: Iterable[Document]) -> dict[str, float | int]:
    """How far two extractors agree on the same texts: F1 of one against the other (the same either way), and the counts."""
    count = sum(episode_count(list(one), list(other)).values(), Count())
    both_empty = not count.gold and not count.predicted
    return {"f1": 1.0 if both_empty else count.f1, "both": count.right, "first": count.gold, "second": count.predicted}
