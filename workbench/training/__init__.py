"""Training logs: write one from a loop or transformers' Trainer, read it while it grows (docs/training_log.md).

from workbench.training import RoutingLog
with RoutingLog("runs/mine", model, evaluation=batch, every=100) as log:
    log.step(loss=loss)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.training.format import RunInfo, RunModel, TrainingLogError
from workbench.training.read import MetricsFile, Run, read_run
from workbench.training.writer import RunWriter

if TYPE_CHECKING:
    from workbench.training.callback import RoutingCallback
    from workbench.training.log import RoutingLog

__all__ = [
    "MetricsFile",
    "RoutingCallback",
    "RoutingLog",
    "Run",
    "RunInfo",
    "RunModel",
    "RunWriter",
    "TrainingLogError",
    "read_run",
]


def __getattr__(name: str) -> Any:
    """torch and transformers load only with the two names that need them."""
    if name == "RoutingLog":
        from workbench.training.log import RoutingLog

        return RoutingLog
    if name == "RoutingCallback":
        from workbench.training.callback import RoutingCallback

        return RoutingCallback
    raise AttributeError(name)
