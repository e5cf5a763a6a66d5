"""Curves of training runs: what was measured by step, balance of the captures by step, saturation against the last one.

Choices made here (ours):
- A panel a family of metrics (docs/training_log.md), a line a part; two runs share the panels and the colours.
- More points than can be seen are joined by means of equally many consecutive steps, and the caption says of how many.
- Balance is drawn a line a site of all groups together, or a panel a site with a line a group; sites are never pooled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from workbench.analysis.load import BALANCE_MEASURES, balance_table
from workbench.analysis.saturation import saturation_table
from workbench.analysis.tables import BalanceTable
from workbench.analysis.words import site_title, tokens_phrase
from workbench.capture import Capture, CaptureError, Group
from workbench.capture.schema import LOAD_DIMS

MOST_POINTS = 600  # a line; a screen has not many more columns
ALL = "all"  # name of the line of a metric itself, beside those of its parts
# Parts of a loss that are no modelling loss: another scale, another panel.
AUXILIARY = ("aux", "auxiliary", "balance", "router", "z", "mtp", "load_balancing")
FIXED = {"fixed": "evaluation batch"}  # "eval/loss/fixed": the batch that every capture of a run reads
_UNSHOWN = ("tokens", "epoch", "seconds")  # what the x axis is, not what is measured


@dataclass(frozen=True)
class Panel:
    """One field of a figure: a title, the unit of its y axis, the level of "nothing special" or None, the top or None."""

    title: str
    unit: str
    level: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class Curve:
    """One line.

    Attributes:
        panel: index of its panel. name: label of the line. run: whose it is.
        x: int64 [N] steps. y: float64 [N], NaN: no number. n: int64 [N] tokens behind each point, 0 where it is no count.
        low, high: float64 [N] ends of the 95 % interval, or None.
        broken: int64 [M] steps at which the value was measured and was not finite.
    """

    panel: int
    name: str
    run: str
    x: np.ndarray
    y: np.ndarray
    n: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    broken: np.ndarray | None = None


@dataclass(frozen=True)
class CurvesTable:
    """Panels with lines by step; `groups` fixes the colours of lines that are groups."""

    panels: tuple[Panel, ...]
    curves: tuple[Curve, ...]
    runs: tuple[str, ...]
    groups: tuple[Group, ...]
    caption: str

    def frame(self) -> pd.DataFrame:
        """A row a point."""
        parts = [
            pd.DataFrame(
                {
                    "run": curve.run,
                    "measure": self.panels[curve.panel].title,
                    "unit": self.panels[curve.panel].unit,
                    "line": curve.name,
                    "step": curve.x,
                    "value": curve.y,
                    "low": np.nan if curve.low is None else curve.low,
                    "high": np.nan if curve.high is None else curve.high,
                    "n_tokens": curve.n,
                }
            )
            for curve in self.curves
        ]
        columns = ["run", "measure", "unit", "line", "step", "value", "low", "high", "n_tokens"]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


# ---------------------------------------------------------------------- metrics
def family(metric: str) -> tuple[str, str, str]:
    """Panel title, unit and line name of a metric, by the names of docs/training_log.md."""
    head, _, part = metric.partition("/")
    if head == "loss" and part in AUXILIARY:
        return "Other losses", "", part
    if head == "eval":
        what, _, rest = part.partition("/")
        return (
            ("Loss on held-out data", "nats a token", FIXED.get(rest, rest or ALL))
            if what == "loss"
            else (f"eval/{what}", "", rest or ALL)
        )
    known = {
        "loss": ("Training loss", "nats a token"),
        "reward": ("Reward", ""),
        "grad_norm": ("Norm of the gradient", ""),
        "lr": ("Learning rate", ""),
    }
    title, unit = known.get(head, (head, ""))
    return title, unit, part or ALL


def metric_curves(
    runs: Sequence[tuple[str, pd.DataFrame]],
    panels: Sequence[str] | None = None,
    *,
    most: int = MOST_POINTS,
    labels: Mapping[str, Mapping[str, str]] | None = None,
) -> CurvesTable:
    """What a training loop measured.

    Args:
        runs: (name, metrics): index step, a column a metric; NaN: not measured, infinity: measured and not finite.
        panels: titles to show, default all, the known ones first.
        most: points a line.
        labels: metric -> {"label", "unit"} of the run's own.

    Raises:
        CaptureError: if nothing was measured yet.
    """
    told = labels or {}
    columns = list(dict.fromkeys(column for _, metrics in runs for column in metrics.columns if column not in _UNSHOWN))
    places: dict[str, Panel] = {}
    for column in sorted(columns, key=_rank):
        title, unit, _ = family(column)
        places.setdefault(title, Panel(title, told.get(column, {}).get("unit", unit)))
    if panels is not None:
        places = {title: panel for title, panel in places.items() if title in panels}
    if not places:
        raise CaptureError("No metric has been logged yet: the curves begin with the first step of the run.")
    order = list(places)
    curves: list[Curve] = []
    widest = 1
    for run, metrics in runs:
        for column in sorted(metrics.columns, key=_rank):
            title, _, name = family(column)
            if column in _UNSHOWN or title not in places:
                continue
            measured = metrics[column].dropna()
            steps, values = measured.index.to_numpy(dtype=np.int64), measured.to_numpy(dtype=np.float64)
            finite = np.isfinite(values)
            x, y, joined = binned(steps, np.where(finite, values, np.nan), most)
            widest = max(widest, joined)
            label = told.get(column, {}).get("label", name)
            curves.append(
                Curve(order.index(title), label, run, x, y, np.zeros(len(x), dtype=np.int64), broken=steps[~finite])
            )
    fixed = any("eval/loss/fixed" in metrics.columns for _, metrics in runs)
    told_fixed = "; “evaluation batch”: the same few texts each time, those that the captures read" if fixed else ""
    points = "a point a logged step" if widest == 1 else f"a point the mean of up to {widest} logged steps"
    return CurvesTable(
        panels=tuple(places.values()),
        curves=tuple(curves),
        runs=tuple(name for name, _ in runs),
        groups=(),
        caption=(
            f"What the training loop logged by optimiser step, {points}{_runs_phrase([name for name, _ in runs])}{told_fixed}; losses of different "
            "parts or runs compare only on the same data and tokenizer."
        ),
    )


def _rank(metric: str) -> tuple[int, str, int, str]:
    """The known families first, the whole before its parts."""
    title, _, name = family(metric)
    known = (
        "Training loss",
        "Loss on held-out data",
        "Reward",
        "Other losses",
        "Norm of the gradient",
        "Learning rate",
    )
    return (known.index(title) if title in known else len(known), title, int(name != ALL), metric)


def binned(x: np.ndarray, y: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, int]:
    """At most `most` points: the last x and the mean y of equally many consecutive ones; and of how many."""
    if len(x) <= most:
        return x, y, 1
    width = -(-len(x) // most)
    starts = np.arange(0, len(x), width)
    good = np.isfinite(y)
    total, number = np.add.reduceat(np.where(good, y, 0.0), starts), np.add.reduceat(good.astype(np.int64), starts)
    ends = np.append(starts[1:], len(x)) - 1
    return x[ends], np.where(number > 0, total / np.maximum(number, 1), np.nan), width


def joined(tables: Sequence[CurvesTable], caption: str | None = None) -> CurvesTable:
    """The panels of several tables of the same runs in one; the caption joins theirs unless one is given."""
    panels: list[Panel] = []
    curves: list[Curve] = []
    for table in tables:
        curves += [replace(curve, panel=curve.panel + len(panels)) for curve in table.curves]
        panels += table.panels
    return CurvesTable(
        panels=tuple(panels),
        curves=tuple(curves),
        runs=tables[0].runs if tables else (),
        groups=next((table.groups for table in tables if table.groups), ()),
        caption=caption if caption is not None else " ".join(table.caption for table in tables),
    )


# ---------------------------------------------------------------------- captures
def pooled(capture: Capture) -> Capture:
    """The counts of a capture with all its groups as one; every token that has a group counts once."""
    load = {}
    for name, dims in LOAD_DIMS.items():
        load[name] = capture.table(name).values.sum(axis=dims.index("group"), keepdims=True)
    one = Group(name="all groups")
    tokens = {stack: {one.name: sum(groups.values())} for stack, groups in capture.manifest.tokens.items()}
    manifest = capture.manifest.model_copy(update={"groups": (one,), "tokens": tokens, "streams": ("load",)})
    return Capture(manifest, load)


def balance_points(capture: Capture, measure: str, sites: Sequence[str], groups: Sequence[str] | None) -> BalanceTable:
    """Balance of one capture at some sites: of every group named, or of all groups together (None)."""
    if groups is None:
        return balance_table(pooled(capture), sites, None, measure)
    return balance_table(capture, sites, groups, measure)


def balance_curves(
    runs: Sequence[tuple[str, Sequence[tuple[int, BalanceTable]]]], *, by_group: bool = False
) -> CurvesTable:
    """Balance by step, from `balance_points` of every capture.

    Args:
        runs: (name, [(step, table)]), all tables of the same measure and sites.
        by_group: a panel a site and a line a group; else one panel and a line a site, of all groups together.

    Raises:
        CaptureError: if there is no capture.
    """
    first = next((table for _, points in runs for _, table in points), None)
    if first is None:
        raise CaptureError("This run has no capture yet: balance is shown once the first one is written.")
    how = BALANCE_MEASURES[first.measure]
    title = first.measure if first.measure in ("CV", "MaxVio") else first.measure.capitalize()
    even = float(first.even[0])
    if by_group:
        panels = tuple(
            Panel(f"{title}, {site_title(site)}", how.unit, float(level), how.upper)
            for site, level in zip(first.sites, first.even, strict=True)
        )
    else:
        panels = (Panel(title, how.unit, even if np.all(first.even == even) else None, how.upper),)
    curves = []
    for run, points in runs:
        steps = np.array([step for step, _ in points], dtype=np.int64)
        for s, site in enumerate(first.sites):
            for group in first.groups:
                found = [_at(table, site.id, group.name) for _, table in points]
                curves.append(
                    Curve(
                        s if by_group else 0,
                        group.name if by_group else site_title(site),
                        run,
                        steps,
                        np.array([value for value, _ in found]),
                        np.array([n for _, n in found], dtype=np.int64),
                    )
                )
    whose = "of each group" if by_group else "of all groups together"
    return CurvesTable(
        panels=panels,
        curves=tuple(curves),
        runs=tuple(name for name, _ in runs),
        groups=first.all_groups if by_group else (),
        caption=(
            f"{title} of the load over experts ({how.says}) {whose} on the evaluation batch, the same texts at every capture, a point a capture, {_n_phrase(curves)}"
            f"{_runs_phrase([name for name, _ in runs])}; a batch of this size says little about rare experts."
        ),
    )


def saturation_curves(
    runs: Sequence[tuple[str, Sequence[tuple[int, Capture]]]],
    sites: Sequence[str],
    groups: Sequence[str] | None = None,
) -> CurvesTable:
    """Share of a token's experts that the last capture of the run chooses too (OLMoE, 2409.02060, section 5.1), by step.

    Args:
        runs: (name, [(step, capture)]). sites: a panel each. groups: a line each, default all.

    Raises:
        CaptureError: without two captures with token rows, or if they are not of the same tokens.
    """
    panels: list[Panel] = []
    curves: list[Curve] = []
    colours: tuple[Group, ...] = ()
    for run, captures in runs:
        if len(captures) < 2:
            continue
        *earlier, (_, last) = captures
        table = saturation_table(
            [capture for _, capture in earlier], last, sites, groups, names=[str(step) for step, _ in earlier]
        )
        panels = panels or [
            Panel(f"Saturation, {site_title(site)}", "share of the last capture's experts", None, 1.0)
            for site in table.sites
        ]
        colours = colours or table.all_groups
        steps = np.array([step for step, _ in earlier], dtype=np.int64)
        for s in range(len(table.sites)):
            for g, group in enumerate(table.groups):
                curves.append(
                    Curve(s, group.name, run, steps, table.value[:, s, g], table.n[:, s, g], table.low[:, s, g], table.high[:, s, g])
                )  # fmt: skip
            unrelated = np.nanmean(table.chance[:, s], axis=1) if table.chance.size else np.zeros(0)
            curves.append(Curve(s, "chance", run, steps, unrelated, np.zeros(len(steps), dtype=np.int64)))
    if not panels:
        raise CaptureError(
            "Saturation compares captures of a run with its last one, so it needs two of them: wait for the next."
        )
    known = any(curve.low is not None and np.isfinite(curve.low).any() for curve in curves)
    return CurvesTable(
        panels=tuple(panels),
        curves=tuple(curves),
        runs=tuple(name for name, _ in runs),
        groups=colours,
        caption=(
            f"Share of a token's experts that the last capture of the run chooses for it too, {_n_phrase(curves)}"
            f"{', with 95% intervals over blocks of documents' if known else ''}{_runs_phrase([name for name, _ in runs])}; chance: what unrelated choices of the same loads would share; "
            "equal experts do not prove that they compute the same in both checkpoints."
        ),
    )


def _at(table: BalanceTable, site: str, group: str) -> tuple[float, int]:
    """Value and n at a site and group that another capture named; NaN where this one does not have them."""
    sites, groups = [where.id for where in table.sites], [where.name for where in table.groups]
    if site not in sites or group not in groups:
        return np.nan, 0
    at = sites.index(site), groups.index(group)
    return float(table.values[at]), int(table.n[at])


def _n_phrase(curves: Sequence[Curve]) -> str:
    n = [curve.n[curve.n > 0] for curve in curves]
    return tokens_phrase(np.concatenate(n) if n else np.zeros(0, dtype=np.int64))


def _runs_phrase(names: Sequence[str]) -> str:
    return "" if len(names) < 2 else f"; solid: {names[0]}, dotted: {', '.join(names[1:])}"
