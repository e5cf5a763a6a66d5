"""What is learnt on development data about reading outputs: the offset mode, what a token's probability means, the best threshold.

A result's value is the sum of log-probabilities of what had to be written for it: its label, its span and the token behind it; for a relation or
argument those of its head or trigger as well. A logistic curve a kind makes it a probability.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from workbench.extract.uie.records import Found
from workbench.extract.uie.sel import Asoc, Spot
from workbench.extract.usm.reading import KINDS, Curve

TABLES = dict(zip(KINDS, ("entities", "relations", "triggers", "arguments"), strict=True))


@dataclass(frozen=True)
class UieReading:
    """How outputs are read.

    Attributes:
        mode: offset mode, of `records.MODES`. threshold: least probability of a result.
        curves: kind -> curve; empty before calibration, and then a probability is what the model says.
    """

    mode: str = "closest"
    threshold: float = 0.0
    curves: Mapping[str, Curve] = field(default_factory=dict)

    @property
    def calibrated(self) -> bool:
        return bool(self.curves)

    def probability(self, kind: str, value: float) -> float:
        curve = self.curves.get(kind)
        return math.exp(min(0.0, value)) if curve is None else curve.probability(value)

    def scored(self, found: Found) -> Found:
        """The same results with probabilities as values."""
        made = Found(lost=found.lost)
        for kind, table in TABLES.items():
            into = getattr(made, table)
            for key, value in getattr(found, table).items():
                into[key] = self.probability(kind, value)
        return made

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "curves": {kind: asdict(curve) for kind, curve in self.curves.items()}}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> UieReading:
        curves = {kind: Curve(**curve) for kind, curve in values.get("curves", {}).items()}
        return UieReading(values.get("mode", "closest"), values.get("threshold", 0.0), curves)


def values_of(spots: Sequence[Spot], chances: Sequence[float]) -> dict[int, float]:
    """Sum of log-probabilities behind each spot and association, by `id`.

    Args:
        spots: as read from an output. chances: of each token of that output.
    """

    def own(node: Asoc) -> float:
        first, stop = node.at - 1 - len(node.label), node.at + max(1, len(node.span)) + 1
        return sum(math.log(max(chance, 1e-9)) for chance in chances[max(0, first) : stop])

    found = {}
    for spot in spots:
        found[id(spot)] = own(spot)
        for asoc in spot.asocs:
            found[id(asoc)] = found[id(spot)] + own(asoc)
    return found
