"""How results are read off link scores: which links count, how they are summed up, and what probability that means.

Two ways to sum up the links that a result needs: "strict" takes the weakest (the paper's rule: every link above 0), "mean" their mean (ours).
Either number x becomes a probability by a logistic curve fitted on development data, 1 / (1 + e^-(slope x + offset)).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.extract.extraction import FLOOR

MODES = ("strict", "mean")
LEAST = 1e-9  # probability of a candidate: below it there is no finite sum of links
KINDS = ("entity", "relation", "trigger", "argument")
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Curve:
    """A logistic curve from summed-up links to a probability; the plain sigmoid where nothing was fitted."""

    slope: float = 1.0
    offset: float = 0.0

    def probability(self, value: float) -> float:
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, self.slope * value + self.offset))))

    def value(self, probability: float) -> float:
        """The summed-up links that mean this probability."""
        return (math.log(probability / (1 - probability)) - self.offset) / self.slope


@dataclass(frozen=True)
class Reading:
    """What was learnt on development data.

    Attributes:
        mode: "strict" or "mean", whichever did better. threshold: the least probability that did best over all kinds.
        curves: mode -> kind -> curve; empty before calibration.
        thresholds: kind -> least probability, of kinds that did better with one of their own.
    """

    mode: str = "mean"
    threshold: float = 0.5
    curves: dict[str, dict[str, Curve]] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)

    @property
    def calibrated(self) -> bool:
        return bool(self.curves)

    def curve(self, kind: str, mode: str | None = None) -> Curve:
        return self.curves.get(mode or self.mode, {}).get(kind, Curve())

    @property
    def floor(self) -> float:
        """Least probability of a candidate that is kept: `FLOOR`, or less where results themselves go deeper."""
        return max(LEAST, min(FLOOR, self.threshold, *self.thresholds.values()))

    def least(self, kind: str) -> float:
        """Summed-up links below which a candidate is not kept."""
        return self.curve(kind).value(self.floor)

    def of(self, decoding: str) -> Reading:
        """The reading of a wish: "auto" as learnt; "strict" or "mean" by that rule.

        A strict reading cuts each kind at the probability that its weakest link of 0 means.
        """
        if decoding == "auto" or (decoding == self.mode == "mean"):
            return self
        if decoding == "mean":
            return Reading("mean", 0.5, self.curves)
        at_zero = {kind: self.curve(kind, "strict").probability(0.0) for kind in KINDS}
        return Reading("strict", at_zero.pop("entity"), self.curves, at_zero)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> Reading:
        """A reading as `to_json` gives it; the plain sigmoid for {}.

        Raises:
            ValueError: it is none, or says what cannot be: an unknown mode, a share outside [0, 1], a curve that does not rise.
        """
        if not values:
            return Reading()
        try:
            curves = {
                mode: {kind: Curve(**curve) for kind, curve in kinds.items()}
                for mode, kinds in values.get("curves", {}).items()
            }
            made = Reading(values["mode"], values["threshold"], curves, dict(values.get("thresholds", {})))
            shares = [made.threshold, *made.thresholds.values()]
            rise = [(curve.slope, curve.offset) for kinds in curves.values() for curve in kinds.values()]
            sound = (
                made.mode in MODES
                and {*made.thresholds, *(kind for kinds in curves.values() for kind in kinds)} <= {*KINDS}
                and all(0 <= share <= 1 for share in shares)
                and all(slope > 0 and math.isfinite(slope) and math.isfinite(offset) for slope, offset in rise)
            )
        except (KeyError, TypeError, AttributeError) as fault:
            raise ValueError(f"what its configuration says of decoding is no reading ({fault!r})") from None
        if not sound:
            raise ValueError(
                f"expected a mode of {' or '.join(MODES)}, thresholds from 0 to 1 and rising curves for decoding, got {values}"
            )
        return made


def summed(links: list[Floats], mode: str) -> Floats:
    """Links of many candidates summed up, element by element.

    Args:
        links: one array a link, of shapes that broadcast.
    """
    if mode == "strict":
        weakest: Floats = reduce(np.minimum, links)
        return weakest
    total: Floats = reduce(np.add, links)
    return total / np.float32(len(links))
