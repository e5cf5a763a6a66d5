"""The plan of the experiment on elastic training: which models are trained, and which sub-models are measured."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.elastic.errors import ElasticError

if TYPE_CHECKING:
    from probes import SubModel

ELASTIC, PLAIN, SEPARATE = "elastic", "plain", "separate"


class Shape(NamedTuple):
    """Layers, experts of a layer, experts a token."""

    layers: int
    experts: int
    top_k: int


WHOLE = Shape(6, 16, 2)
CEILINGS = (Shape(4, 16, 2), Shape(6, 8, 2), Shape(4, 8, 1))


@dataclass(frozen=True)
class Experiment:
    """What is trained and measured.

    Attributes:
        steps: of each run. seeds: 0, 1, ... batch: factor on the samples of a step.
        width, heads, inner: sizes of the model: hidden, attention heads, inside a routed expert.
        whole: shape of the whole model.
        layers, experts, top_k: values whose combinations are the sub-models.
        separate: shapes trained by themselves.
        each: kept-back samples of each task that are measured.
        minutes: longest training of one run.
        workers: runs at once, a thread each.
    """

    steps: int = 600
    seeds: int = 3
    batch: float = 0.5
    width: int = 96
    heads: int = 4
    inner: int = 48
    whole: Shape = WHOLE
    layers: tuple[int, ...] = (6, 5, 4)
    experts: tuple[int, ...] = (16, 8, 4)
    top_k: tuple[int, ...] = (2, 1)
    separate: tuple[Shape, ...] = CEILINGS
    each: int = 64
    minutes: float = 10.0
    workers: int = 2

    def __post_init__(self) -> None:
        for name, value in (
            ("--steps", self.steps),
            ("--seeds", self.seeds),
            ("--held-out", self.each),
            ("--workers", self.workers),
        ):
            if value < 1:
                raise ElasticError(f"{name} must be at least 1, but is {value}.")
        if not self.minutes > 0:
            raise ElasticError(f"--minutes must be above 0, but is {self.minutes}.")

    @property
    def shapes(self) -> list[Shape]:
        """The sub-models, the whole model first."""
        return [
            Shape(depth, experts, top_k)
            for depth in self.layers
            for experts in self.experts
            for top_k in self.top_k
            if top_k <= experts
        ]

    def identity(self) -> dict[str, Any]:
        """What must be the same for runs to belong together."""
        told = asdict(self)
        return json.loads(json.dumps({name: told[name] for name in told if name not in ("minutes", "workers")}))


@dataclass(frozen=True)
class Run:
    """One model to train and measure."""

    kind: str
    seed: int
    shape: Shape

    @property
    def name(self) -> str:
        own = "" if self.kind != SEPARATE else f"-{self.shape.layers}x{self.shape.experts}x{self.shape.top_k}"
        return f"{self.kind}{own}-seed{self.seed}"


def runs_of(plan: Experiment) -> list[Run]:
    """All runs, the long ones first."""
    seeds = range(plan.seeds)
    pairs = [Run(kind, seed, plan.whole) for seed in seeds for kind in (ELASTIC, PLAIN)]
    return [*pairs, *(Run(SEPARATE, seed, shape) for seed in seeds for shape in plan.separate)]


def sub_model(shape: Shape, whole: Shape) -> SubModel:
    """The sub-model of this shape: evenly spaced layers (those with audio heads stay), experts by gate mass."""
    from probes import SubModel

    return SubModel(
        layers=None if shape.layers == whole.layers else f"even:{shape.layers}",
        experts=None if shape.experts == whole.experts else f"share:{shape.experts / whole.experts}:mass",
        top_k=None if shape.top_k == whole.top_k else shape.top_k,
    )
