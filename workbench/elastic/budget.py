"""The best measured sub-model within a budget of bytes, active parameters or milliseconds, and how sure that is.

Sure: documents are drawn anew many times, the same ones for every sub-model; the share of draws in which the chosen one is
still the best of those within the budget. That says how much the choice hangs on which documents were read, and nothing
about other texts. Whether a sub-model is within a budget of milliseconds is judged by its median, and where the interval of
the median reaches beyond the budget the answer says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.analysis.curve import COSTS, EVERY, Curve, CurveTable, curve_table, document_sums, draws
from workbench.elastic.errors import BudgetError

RESAMPLES = 2000
_SIZE = re.compile(r"^\s*([0-9]*\.?[0-9]+)\s*([kmgt]?)(i?)b?\s*$", re.IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


@dataclass(frozen=True)
class Choice:
    """An answer to a budget.

    Attributes:
        sub_model: words of the best sub-model. layers, experts, top_k: its axes.
        quality, low, high: its quality with interval. measure, group: of what.
        cost, limit: what it costs and what was allowed, both in the column's own unit (bytes, numbers, ms). column: which.
        sure: share of draws in which it stays the best within the budget; None where the curve has no documents to draw from.
        runner_up, runner_up_share: the next one, and the share of draws in which that is best.
        candidates: sub-models within the budget.
        at_the_edge: its interval of milliseconds reaches beyond the budget.
        on_front: whether it is on the curve's Pareto front, as it must be.
        full_quality: of the whole model, for comparison; None if it was not measured.
    """

    sub_model: str
    layers: str
    experts: str
    top_k: str
    quality: float
    low: float | None
    high: float | None
    measure: str
    group: str
    cost: float
    limit: float
    column: str
    sure: float | None
    runner_up: str | None
    runner_up_share: float | None
    candidates: int
    at_the_edge: bool
    on_front: bool
    full_quality: float | None

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return dict(self.__dict__)


def best_within(
    curve: Curve, column: str, limit: float, *, group: str = EVERY, measure: str = "loss", seed: int = 0
) -> Choice:
    """The sub-model of best quality that costs at most `limit`; of equal ones the cheapest.

    Args:
        column: a cost (`workbench.analysis.curve.COSTS`). limit: in that column's unit: bytes, numbers or ms.
        group, measure: whose quality.

    Raises:
        BudgetError: if no measured sub-model is within the budget; the sentence names the cheapest.
        CaptureError: if the curve has no such cost, group or measure.
    """
    table = curve_table(curve, column, group, measure)
    scale = COSTS[column].scale
    cost = table.x * scale
    inside = np.flatnonzero(cost <= limit)
    if not len(inside):
        if not len(cost):
            raise BudgetError(
                f"The curve has no sub-model with a measured {COSTS[column].title.lower()}: sweep again with the clock on."
            )
        raise BudgetError(
            f"No measured sub-model is within {_words(limit, column)}; the cheapest, '{table.names[int(cost.argmin())]}', takes "
            f"{_words(float(cost.min()), column)}: allow more, or sweep smaller sub-models."
        )
    badness = table.y if table.better == "lower" else -table.y
    place = int(min(inside, key=lambda point: (badness[point], cost[point])))
    shares = _shares(curve, table, inside, cost, seed)
    others = (
        []
        if shares is None
        else sorted(((share, point) for point, share in shares.items() if point != place), reverse=True)
    )
    full = table.y[table.full]
    return Choice(
        sub_model=table.names[place],
        layers=table.axes[place][0],
        experts=table.axes[place][1],
        top_k=table.axes[place][2],
        quality=float(table.y[place]),
        low=_known(table.y_low[place]),
        high=_known(table.y_high[place]),
        measure=measure,
        group=group,
        cost=float(cost[place]),
        limit=float(limit),
        column=column,
        sure=None if shares is None else shares[place],
        runner_up=table.names[others[0][1]] if others else None,
        runner_up_share=others[0][0] if others else None,
        candidates=len(inside),
        at_the_edge=bool(table.x_high[place] * scale > limit),
        on_front=bool(table.front[place]),
        full_quality=float(full[0]) if len(full) else None,
    )


def _shares(
    curve: Curve, table: CurveTable, inside: np.ndarray, cost: np.ndarray, seed: int
) -> dict[int, float] | None:
    """Point -> share of draws in which it is the best of those inside; ties go to the cheapest, as in the choice."""
    ordered = sorted((int(point) for point in inside), key=lambda point: cost[point])
    found = document_sums(curve, [table.names[point] for point in ordered], table.group, table.measure)
    if found is None or len(found[1]) < 2:
        return None
    drawn = draws(*found, resamples=RESAMPLES, seed=seed)
    best = np.argmin(drawn if table.better == "lower" else -drawn, axis=1)
    counts = np.bincount(best, minlength=len(ordered))
    return {point: float(count) / len(drawn) for point, count in zip(ordered, counts, strict=True)}


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _words(value: float, column: str) -> str:
    known = COSTS[column]
    return f"{value / known.scale:,.4g} {known.unit}"


def sentence(choice: Choice) -> str:
    """The answer in one sentence."""
    sure = (
        "the curve has no documents to say how sure that is"
        if choice.sure is None
        else f"the best in {choice.sure:.0%} of draws of the documents"
        + (f" ('{choice.runner_up}' in {choice.runner_up_share:.0%})" if choice.runner_up_share else "")
    )
    spread = "" if choice.low is None else f" [{choice.low:.3f}, {choice.high:.3f}]"
    edge = "; the interval of its time reaches beyond the budget" if choice.at_the_edge else ""
    full = "" if choice.full_quality is None else f" (the whole model: {choice.full_quality:.3f})"
    return (
        f"'{choice.sub_model}' at {_words(choice.cost, choice.column)}, {choice.measure} {choice.quality:.3f}{spread}{full}: best of "
        f"{choice.candidates} within {_words(choice.limit, choice.column)}, {sure}{edge}."
    )


def parse_size(words: str) -> float:
    """Bytes of words such as "3.5GB", "900 MB", "2GiB" or a bare number.

    Raises:
        BudgetError: if they are no size.
    """
    return _parse(words, "a size such as 3.5GB, 900MB or 2GiB")


def parse_count(words: str) -> float:
    """A number of parameters of words such as "1.3B", "800M" or a bare number.

    Raises:
        BudgetError: if they are no number.
    """
    text = words.strip()
    return _parse(
        text[:-1] + "g" if text[-1:] in "bB" and text[:-1] else text, "a number of parameters such as 1.3B or 800M"
    )


def _parse(words: str, wanted: str) -> float:
    found = _SIZE.match(words)
    value = float(found[1]) * (1024 if found[3] else 1000) ** _POWER[found[2].lower()] if found is not None else 0.0
    if value <= 0:
        raise BudgetError(f"A budget is {wanted}, but '{words}' came: write it like that.")
    return value
