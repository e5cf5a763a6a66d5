"""`RunWriter`: append metrics and captures to a run folder so that a crash at any moment leaves a readable run.

Needs neither torch nor transformers. Choices made here:
- A line is one `write` on a descriptor opened for appending: a killed process leaves whole lines, or one cut last line,
  which readers ignore and the next writer ends.
- Nothing is rewritten but `run.json`, which is replaced as a whole. Steps that are done again after a resume are voided by a
  line, not by cutting the file.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from workbench.capture.archive import remove_folder
from workbench.capture.errors import WorkbenchError
from workbench.capture.write import write_error
from workbench.training.format import (
    CAPTURES_FOLDER,
    METRIC_NAME,
    METRICS_FILE,
    RESERVED,
    RUN_FILE,
    RunInfo,
    RunModel,
    TrainingLogError,
    capture_name,
)
from workbench.training.read import capture_folders, read_info

if TYPE_CHECKING:
    from workbench.capture import Capture


class RunWriter:
    """An open run folder; made by `RunWriter.open`, closed by `finish`, `stop` or the end of its `with` block."""

    def __init__(self, folder: Path, info: RunInfo, descriptor: int) -> None:
        self.folder = folder
        self.info = info
        self._descriptor: int | None = descriptor

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        model: RunModel | Mapping[str, Any] | None = None,
        name: str = "",
        total_steps: int | None = None,
        training: Mapping[str, Any] | None = None,
        evaluation: Mapping[str, Any] | None = None,
        labels: Mapping[str, Mapping[str, str]] | None = None,
        notes: str = "",
        resume_from: int | None = None,
    ) -> RunWriter:
        """Begin a run in a folder, or go on with the one that it holds.

        Args:
            folder: made if it is not there; other files in it (checkpoints) are left alone.
            model: what is trained; `config` has to be plain JSON.
            name: for a title, default the folder's name.
            total_steps: steps that the run is to take, if known.
            training, evaluation: free facts for a reader; evaluation says what the fixed batch of the captures is.
            labels: metric -> {"label", "unit"}.
            resume_from: optimiser steps done in the state that training goes on from; what was logged after it is void,
                and captures of later steps are removed. Where the folder holds no run, one is begun.

        Raises:
            TrainingLogError: if the folder holds a run and `resume_from` is not given, or a metrics file of something else.
        """
        path = Path(folder)
        there = (path / RUN_FILE).is_file()
        if there and resume_from is None:
            raise TrainingLogError(
                f"'{path}' holds a run already: name another folder, or go on with it by resume_from=STEP."
            )
        if not there and (path / METRICS_FILE).exists():
            raise TrainingLogError(
                f"'{path}' holds a {METRICS_FILE} of something else, which is left alone: name another folder."
            )
        facts: dict[str, Any] = {
            "total_steps": total_steps,
            "training": None if training is None else dict(training),
            "evaluation": None if evaluation is None else dict(evaluation),
            "labels": None if labels is None else {key: dict(value) for key, value in labels.items()},
            "notes": notes or None,
            "name": name or None,
            "model": None if model is None else model if isinstance(model, RunModel) else RunModel(**model),
        }
        told = {key: value for key, value in facts.items() if value is not None}
        software = {"python": platform.python_version()}
        if there:
            before = read_info(path)
            info = before.model_copy(
                update=told | {"state": "running", "reason": "", "software": {**before.software, **software}}
            )
        else:
            created = datetime.datetime.now(datetime.UTC).astimezone().isoformat(timespec="seconds")
            info = RunInfo(created=created, software=software, **({"name": path.resolve().name} | told))
        step = resume_from if there and resume_from is not None else 0
        try:
            (path / CAPTURES_FOLDER).mkdir(parents=True, exist_ok=True)
            _write_info(path, info)
            descriptor = _append_to(path / METRICS_FILE)
        except OSError as fault:
            raise write_error(fault, path) from fault
        writer = cls(path, info, descriptor)
        if there:
            writer._line({"step": step, "time": time.time(), "event": "resume", "from": step})
            for later, capture in capture_folders(path):
                if later > step:
                    remove_folder(capture)
        else:
            writer._line({"step": 0, "time": time.time(), "event": "start"})
        return writer

    # ------------------------------------------------------------------ what is logged
    def metrics(self, step: int, values: Mapping[str, Any] | None = None, **named: Any) -> None:
        """Append one line.

        Args:
            step: optimiser steps done.
            values, named: metric -> number (or a tensor of one number); infinity and NaN are kept as "not finite".

        Raises:
            TrainingLogError: for a name or a value that a line cannot hold, or a closed run.
        """
        line: dict[str, Any] = {"step": _step(step), "time": round(time.time(), 3)}
        for key, value in {**(values or {}), **named}.items():
            if key in RESERVED or not METRIC_NAME.fullmatch(key):
                raise TrainingLogError(
                    f"A metric is named with letters, digits, '_', '-', '.', '/' and blanks, and not {', '.join(RESERVED)}, but "
                    f"{key!r} came: rename it."
                )
            try:
                number = float(value.detach() if hasattr(value, "detach") else value)
            except (TypeError, ValueError, RuntimeError) as fault:
                raise TrainingLogError(
                    f"Metric '{key}' has to be one number, but a {type(value).__name__} came: log a mean of it."
                ) from fault
            line[key] = number if math.isfinite(number) else None
        self._line(line)

    def capture(self, step: int, capture: Capture) -> Path:
        """Write the capture of the fixed evaluation batch after `step` steps; one that is there is replaced."""
        return capture.save(self.folder / CAPTURES_FOLDER / capture_name(_step(step)), overwrite=True)

    # ------------------------------------------------------------------ the end
    def finish(self, step: int | None = None) -> None:
        """The run has ended as it should; without effect on a closed run."""
        self._close("finished", "", step)

    def stop(self, reason: str, step: int | None = None) -> None:
        """The run has ended before its time.

        Args:
            reason: one sentence.
        """
        self._close("stopped", " ".join(reason.split())[:500], step)

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
        else:
            self.stop(reason_of(error))

    def _close(self, state: str, reason: str, step: int | None) -> None:
        if self._descriptor is None:
            return
        if step is not None:
            self._line({"step": _step(step), "time": time.time(), "event": "end"})
        os.fsync(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = None
        self.info = self.info.model_copy(update={"state": state, "reason": reason})
        _write_info(self.folder, self.info)

    def _line(self, line: Mapping[str, Any]) -> None:
        if self._descriptor is None:
            raise TrainingLogError(f"The run in '{self.folder}' is closed: open it again with resume_from=STEP.")
        data = (json.dumps(line, allow_nan=False) + "\n").encode()
        try:
            if os.write(self._descriptor, data) != len(data):
                raise TrainingLogError(f"The disk took only a part of a line of '{self.folder}': free some space.")
        except OSError as fault:
            raise write_error(fault, self.folder / METRICS_FILE) from fault


def reason_of(error: BaseException) -> str:
    """Why a run stopped, in one sentence without a path or a traceback."""
    if isinstance(error, KeyboardInterrupt):
        return "Stopped by Ctrl-C."
    if isinstance(error, WorkbenchError):
        return str(error)
    return f"Stopped by an error of kind {type(error).__name__}: the log of the training program has the details."


def _step(step: int) -> int:
    if isinstance(step, bool) or int(step) != step or step < 0:
        raise TrainingLogError(f"A step is a whole number from 0 on, but {step!r} came.")
    return int(step)


def _append_to(path: Path) -> int:
    """Open for appending; a last line that a crash cut is ended first, so that the next one is whole."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    size = os.lseek(descriptor, 0, os.SEEK_END)
    if size:
        os.lseek(descriptor, size - 1, os.SEEK_SET)
        if os.read(descriptor, 1) != b"\n":
            os.write(descriptor, b"\n")
    return descriptor


def _write_info(folder: Path, info: RunInfo) -> None:
    part = folder / f".{RUN_FILE}.{secrets.token_hex(4)}"
    try:
        part.write_text(info.model_dump_json(indent=1) + "\n", encoding="utf-8")
        os.replace(part, folder / RUN_FILE)
    except OSError as fault:
        part.unlink(missing_ok=True)
        raise write_error(fault, folder / RUN_FILE) from fault
