"""Training runs as pages hold them: readers that keep their place, captures and numbers that are computed once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from workbench.analysis.curves_captures import balance_points, pooled
from workbench.analysis.load import heatmap_table
from workbench.analysis.tables import BalanceTable, HeatmapTable
from workbench.capture import Capture
from workbench.capture.read import read_capture
from workbench.training import MetricsFile, Run, read_run
from workbench.training.format import CAPTURES_FOLDER, METRICS_FILE, RUN_FILE
from workbench.training.places import RunPlace

QUIET = 120.0  # seconds without a line after which a running run is said to be silent
Signature = tuple[tuple[int, int], tuple[int, int], tuple[int, int], bool]
MOST_CAPTURES = 60  # that are drawn; more are thinned evenly, the first and the last kept


def open_run(place: RunPlace) -> Run:
    """The run as it is now; only what was appended since the last call is read."""
    return read_run(place.path, _metrics(str(place.path)))


@st.cache_resource(max_entries=16, show_spinner=False)
def _metrics(path: str) -> MetricsFile:
    return MetricsFile(Path(path) / METRICS_FILE)


def shown_captures(run: Run) -> list[tuple[int, Path]]:
    """At most `MOST_CAPTURES` captures, evenly spaced."""
    number = len(run.captures)
    if number <= MOST_CAPTURES:
        return list(run.captures)
    kept = sorted({round(index * (number - 1) / (MOST_CAPTURES - 1)) for index in range(MOST_CAPTURES)})
    return [run.captures[index] for index in kept]


def silent_for(run: Run) -> float | None:
    """Seconds since the last line of a run that says it is running, where that is too long; else None."""
    if run.info.state != "running" or run.last_time is None:
        return None
    quiet = time.time() - run.last_time
    return quiet if quiet > QUIET else None


def signature(place: RunPlace) -> Signature:
    """What changes when a page of this run has to be drawn anew: asked every two seconds, so it looks at files and reads none."""
    info, metrics, captures = (_status(place.path / name) for name in (RUN_FILE, METRICS_FILE, CAPTURES_FOLDER))
    return info, metrics, captures, time.time() - metrics[1] / 1e9 > QUIET


def _status(path: Path) -> tuple[int, int]:
    """Size and time of a file's last change in nanoseconds; zeros while it is being replaced."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def stamp(path: Path) -> str:
    """Changes when a capture is replaced."""
    try:
        return str((path / "manifest.json").stat().st_mtime_ns)
    except OSError:
        return "0"


@st.cache_resource(max_entries=2 * MOST_CAPTURES, show_spinner=False)
def capture_at(path: str, stamp: str) -> Capture:
    """One capture of a run."""
    return read_capture(Path(path))


@st.cache_data(max_entries=20 * MOST_CAPTURES, show_spinner=False)
def balance_at(
    path: str, stamp: str, measure: str, sites: tuple[str, ...], groups: tuple[str, ...] | None
) -> BalanceTable:
    """Balance of one capture."""
    return balance_points(capture_at(path, stamp), measure, sites, groups)


@st.cache_data(max_entries=4 * MOST_CAPTURES, show_spinner=False)
def heatmap_at(path: str, stamp: str, group: str | None, sites: tuple[str, ...] | None) -> HeatmapTable:
    """Load of every expert in one capture, of a group or of all together (None)."""
    capture = capture_at(path, stamp)
    if group is None:
        return heatmap_table(pooled(capture), "all groups", sites)
    return heatmap_table(capture, group, sites)


def balance_of(
    run: Run, measure: str, sites: Sequence[str], groups: Sequence[str] | None
) -> list[tuple[int, BalanceTable]]:
    """(step, balance) of every capture shown."""
    chosen = None if groups is None else tuple(groups)
    return [
        (step, balance_at(str(path), stamp(path), measure, tuple(sites), chosen)) for step, path in shown_captures(run)
    ]


def captures_of(run: Run) -> list[tuple[int, Capture]]:
    """(step, capture) of every capture shown."""
    return [(step, capture_at(str(path), stamp(path))) for step, path in shown_captures(run)]
