"""Curves of the captures of a run: balance of the experts by step, and saturation against the last capture.

Choice made here (ours): balance is drawn a line a site of all groups together, or a panel a site with a line a group; sites are
never pooled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.analysis.curves import Curve, CurvesTable, Panel, runs_phrase
from workbench.analysis.load import BALANCE_MEASURES, balance_table
from workbench.analysis.saturation import saturation_table
from workbench.analysis.tables import BalanceTable
from workbench.analysis.words import site_title, tokens_phrase
from workbench.capture import Capture, CaptureError, Group
from workbench.capture.schema import LOAD_DIMS


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
            f"{runs_phrase([name for name, _ in runs])}; a batch of this size says little about rare experts."
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
            f"{', with 95% intervals over blocks of documents' if known else ''}{runs_phrase([name for name, _ in runs])}; chance: what unrelated choices of the same loads would share; "
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
