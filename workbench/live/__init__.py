"""Live: a model reads and writes under a routing probe, and hands out the experts of every token as it goes.

from workbench.live import Control, LiveRun, Prompt, Sampling
run = LiveRun(loaded, [Prompt("Once upon a time")], Sampling(max_new_tokens=32))
run.go(Control())
for event in run.traces()[0].events():
    ...
"""

from workbench.live.control import Control
from workbench.live.prompt import LiveError, Prompt
from workbench.live.run import LiveRun
from workbench.live.sampling import Sampling

__all__ = ["Control", "LiveError", "LiveRun", "Prompt", "Sampling"]
