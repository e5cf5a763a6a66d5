"""The sub-models of a sweep: a grid of the three axes, a list, or both, each once and only where the model can run it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.elastic.errors import SweepError

if TYPE_CHECKING:
    from torch import nn

    from probes import Plan, SubModel

ALL = "all"
FULL = "full"  # key of the whole model


@dataclass(frozen=True)
class Point:
    """One sub-model of a sweep.

    Attributes:
        key: its words; "full" for the whole model.
        sub_model, plan: what they mean.
        layers, experts, top_k: the words of each axis, "all" where it is left as it is.
        full: whether it is the whole model.
    """

    key: str
    sub_model: SubModel
    plan: Plan
    layers: str
    experts: str
    top_k: str
    full: bool


def grid(layers: Sequence[str], experts: Sequence[str], top_k: Sequence[str]) -> list[SubModel]:
    """Every combination of the values of three axes; an axis without values is left as it is.

    Args:
        layers, experts, top_k: values as in `SubModel.parse` ("first:4", "share:0.5:mass", "2"), or "all".

    Raises:
        SubModelError: if a value cannot be read.
    """
    from probes import SubModel

    def value(words: str) -> str | None:
        return None if words == ALL else words

    return [
        SubModel(layers=value(kept), experts=value(share), top_k=value(number))  # type: ignore[arg-type]
        for kept in layers or (ALL,)
        for share in experts or (ALL,)
        for number in top_k or (ALL,)
    ]


def make_points(
    model: nn.Module,
    wanted: Sequence[SubModel],
    ranking_of: Callable[[SubModel], Any],
    *,
    listed: Sequence[SubModel] = (),
) -> tuple[list[Point], dict[str, str]]:
    """The points of a sweep, the whole model first, and why others of the grid were left out.

    Args:
        model: the full model.
        wanted: of a grid; those that the model cannot run (top-k above the experts left) are left out.
        ranking_of: gives each sub-model its ranking.
        listed: asked for one by one; one that the model cannot run is an error.

    Returns:
        (points, words of those left out -> why). Sub-models that come to the same are kept once, under the first name.

    Raises:
        SubModelError: if a listed sub-model cannot run, or a ranking is missing.
        SweepError: if nothing is left.
    """
    from probes import SubModel, SubModelError

    full = SubModel().plan(model)
    points: dict[Any, Point] = {_identity(full): Point(FULL, SubModel(), full, ALL, ALL, ALL, True)}
    left_out: dict[str, str] = {}
    for sub in [*listed, *wanted]:
        ranking = ranking_of(sub)
        try:
            plan = sub.plan(model, ranking)
        except SubModelError as fault:
            if sub in listed:
                raise
            left_out[str(sub)] = str(fault)
            continue
        points.setdefault(_identity(plan), Point(str(sub), sub, plan, *_axes(sub), False))
    if len(points) == 1 and left_out:
        raise SweepError(f"None of the sub-models can run: {next(iter(left_out.values()))}")
    return list(points.values()), left_out


def _identity(plan: Plan) -> Any:
    return (tuple(sorted(plan.layers.items())), tuple(sorted(plan.experts.items())), tuple(sorted(plan.top_k.items())))


def _axes(sub: SubModel) -> tuple[str, str, str]:
    """The words of each axis, without the name of the axis where it stands for all."""
    found = {"layers": ALL, "experts": ALL, "top_k": ALL}
    parts: dict[str, list[str]] = {}
    for word in str(sub).split():
        name, _, value = word.partition("=")
        axis, at, place = name.partition("@")
        if axis in found:
            parts.setdefault(axis, []).append(f"{place}={value}" if at else value)
    found |= {axis: " ".join(values) for axis, values in parts.items()}
    return found["layers"], found["experts"], found["top_k"]
