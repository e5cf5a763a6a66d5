"""Read a run folder while another process writes it.

`MetricsFile` keeps its place: asked again, it reads only what was appended, so that a page can follow a long run.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from workbench.capture.errors import reason
from workbench.capture.schema import MANIFEST_FILE
from workbench.training.format import (
    CAPTURE_NAME,
    CAPTURES_FOLDER,
    METRICS_FILE,
    RESERVED,
    RUN_FILE,
    RUN_VERSION,
    RunInfo,
    TrainingLogError,
)

MAX_INFO = 20_000_000  # bytes of run.json


@dataclass(frozen=True)
class Run:
    """A run at one moment.

    Attributes:
        metrics: a row a step (index "step", ascending), a column a metric; NaN where it was not measured, infinity where
            it was and was not finite.
        captures: (step, folder), ascending.
        last_time: seconds since 1970 of the last line, or None.
        resumed: steps at which the run was taken up again.
        skipped: lines that could not be read.
    """

    folder: Path
    info: RunInfo
    metrics: pd.DataFrame
    captures: tuple[tuple[int, Path], ...]
    last_time: float | None
    resumed: tuple[int, ...]
    skipped: int

    @property
    def step(self) -> int:
        """Steps done."""
        steps = [int(self.metrics.index[-1])] if len(self.metrics) else [0]
        return max([*steps, *(step for step, _ in self.captures[-1:])])


class MetricsFile:
    """The lines of one metrics.jsonl, read as they come; may be asked by several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._start_anew()

    def _start_anew(self) -> None:
        self._place = 0
        self._node: tuple[int, int] | None = None
        self._rows: dict[int, dict[str, float]] = {}
        self._time: float | None = None
        self._resumed: list[int] = []
        self._skipped = 0

    def read(self) -> tuple[pd.DataFrame, float | None, tuple[int, ...], int]:
        """Metrics by step, time of the last line, steps of resumption, lines that could not be read."""
        with self._lock:
            self._catch_up()
            steps = sorted(self._rows)
            frame = pd.DataFrame.from_records(
                [self._rows[step] for step in steps], index=pd.Index(steps, name="step", dtype="int64")
            )
            return frame.astype(float), self._time, tuple(self._resumed), self._skipped

    def _catch_up(self) -> None:
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                node = (status.st_dev, status.st_ino)
                if status.st_size < self._place or (self._node is not None and node != self._node):
                    self._start_anew()  # another file stands there now
                self._node = node
                file.seek(self._place)
                data = file.read()
        except FileNotFoundError:
            self._start_anew()
            return
        except OSError as fault:
            raise TrainingLogError(
                f"'{self.path}' could not be read ({reason(fault)}): check its permissions."
            ) from fault
        whole = data.rfind(b"\n") + 1  # what stands behind the last newline is still being written
        for line in data[:whole].split(b"\n"):
            self._take(line)
        self._place += whole

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            values: Any = json.loads(line)
            step = values["step"]
            if isinstance(step, bool) or not isinstance(step, int) or step < 0:
                raise ValueError(step)
        except (ValueError, KeyError, TypeError):
            self._skipped += 1
            return
        moment = values.get("time")
        if isinstance(moment, int | float):
            self._time = float(moment)
        if values.get("event") == "resume":
            origin = values.get("from", step)
            self._resumed.append(int(origin))
            self._rows = {known: row for known, row in self._rows.items() if known <= origin}
        numbers = {key: _number(value) for key, value in values.items() if key not in RESERVED and _is_number(value)}
        if numbers:
            self._rows.setdefault(step, {}).update(numbers)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _number(value: float | None) -> float:
    return np.inf if value is None or not np.isfinite(value) else float(value)


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run."""
    return (folder / RUN_FILE).is_file()


def read_info(folder: Path) -> RunInfo:
    """`run.json` of a folder.

    Raises:
        TrainingLogError: one sentence if it is missing, damaged or of a newer major version.
    """
    path = folder / RUN_FILE
    try:
        if path.stat().st_size > MAX_INFO:
            raise TrainingLogError(f"'{path}' is larger than {MAX_INFO // 1_000_000} MB, so it is no {RUN_FILE}.")
        raw = json.loads(path.read_text(encoding="utf-8"))
        info = RunInfo.model_validate(raw)
    except FileNotFoundError as fault:
        raise TrainingLogError(
            f"'{folder}' is no run folder, because it has no {RUN_FILE}: name a folder that a training log was written to."
        ) from fault
    except (OSError, ValueError, ValidationError) as fault:
        raise TrainingLogError(f"'{path}' could not be read ({reason(fault)}): copy the run again.") from fault
    if info.schema_version.split(".")[0] != RUN_VERSION.split(".")[0]:
        raise TrainingLogError(
            f"The run in '{folder}' has format {info.schema_version}, and this version reads {RUN_VERSION}: update the workbench."
        )
    return info


def capture_folders(folder: Path) -> list[tuple[int, Path]]:
    """(step, folder) of every whole capture of a run, ascending."""
    root = folder / CAPTURES_FOLDER
    if not root.is_dir():
        return []
    found = []
    for path in root.iterdir():
        match = CAPTURE_NAME.fullmatch(path.name)
        if match and (path / MANIFEST_FILE).is_file():
            found.append((int(match.group(1)), path))
    return sorted(found)


def read_run(folder: str | Path, metrics: MetricsFile | None = None) -> Run:
    """A run as it is now.

    Args:
        folder: the run's folder.
        metrics: the reader of an earlier call, which reads only what is new; default a fresh one.

    Raises:
        TrainingLogError: one sentence if the folder holds no readable run.
    """
    path = Path(folder)
    info = read_info(path)
    frame, last, resumed, skipped = (metrics or MetricsFile(path / METRICS_FILE)).read()
    return Run(path, info, frame, tuple(capture_folders(path)), last, resumed, skipped)
