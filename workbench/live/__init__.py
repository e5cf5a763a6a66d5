"""Live: a model reads and writes under a routing probe, and hands out the experts of every token as it goes.

from workbench.live import Control, LiveRun, Prompt, Sampling
run = LiveRun(loaded, [Prompt("Once upon a time")], Sampling(max_new_tokens=32))
run.go(Control())
for event in run.traces()[0].events():
    ...

Importing this package is cheap: torch loads with `LiveRun`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from workbench.live.control import Control
from workbench.live.prompt import LiveError, Prompt
from workbench.live.sampling import Sampling

if TYPE_CHECKING:
    from workbench.live.run import LiveRun

__all__ = ["Control", "LiveError", "LiveRun", "Prompt", "Sampling"]


def __getattr__(name: str) -> Any:
    if name != "LiveRun":
        raise AttributeError(f"module 'workbench.live' has no attribute '{name}'")
    return import_module("workbench.live.run").LiveRun
