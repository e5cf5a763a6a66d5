"""The files of a run folder and what stands in them; docs/training_log.md is the contract."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workbench.capture.errors import WorkbenchError

RUN_VERSION = "1.0"
RUN_FILE, METRICS_FILE, CAPTURES_FOLDER = "run.json", "metrics.jsonl", "captures"
CAPTURE_NAME = re.compile(r"step_(\d{6,})\.capture")
METRIC_NAME = re.compile(r"[A-Za-z0-9_\-./ ]{1,120}")
RESERVED = ("step", "time", "event", "from")  # fields of a line that are no metric

State = Literal["running", "finished", "stopped"]


class TrainingLogError(WorkbenchError):
    """A run folder could not be written or read."""


class RunModel(BaseModel):
    """Which model is trained."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    id: str = "unknown"  # hub id or name, never a path of a machine
    family: str = "unknown"
    architecture: str | None = None  # class name
    parameters: int | None = None
    config: dict[str, Any] = {}


class RunInfo(BaseModel):
    """Content of `run.json`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: str = RUN_VERSION
    name: str = ""
    created: str = ""  # ISO 8601 with offset
    state: State = "running"
    reason: str = ""  # one sentence: why it stopped
    total_steps: int | None = Field(default=None, ge=0)
    model: RunModel = RunModel()
    training: dict[str, Any] = {}
    evaluation: dict[str, Any] = {}
    labels: dict[str, dict[str, str]] = {}  # metric -> label, unit
    software: dict[str, str] = {}
    notes: str = ""


def capture_name(step: int) -> str:
    """Folder name of the capture after `step` steps."""
    return f"step_{step:06d}.capture"
