"""Play, pause, step and stop of one run, and whose turn it is among its sequences.

The thread that runs the model asks `gate` before every pass that would read the prompt or write a token; the pages only set
what it will find there. So a pause holds the model itself: no token is computed until play or step.
"""

from __future__ import annotations

import threading
import time

from workbench.capture.errors import WorkbenchError


class Stopped(WorkbenchError):
    """Raised in the model's thread when the run was asked to stop while it waited."""

    def __init__(self) -> None:
        super().__init__("The run was stopped on request: what was written until then stays.")


class Control:
    """The buttons of a run.

    Args:
        paused: begin paused, before the prompt is read.
    """

    def __init__(self, *, paused: bool = False) -> None:
        self._changed = threading.Condition()
        self._paused = paused
        self._paused_since = time.monotonic()
        self._steps = 0
        self._stopped = False
        self._waiting = False

    def play(self) -> None:
        """Go on."""
        with self._changed:
            self._paused = False
            self._steps = 0
            self._changed.notify_all()

    def pause(self) -> None:
        """Hold before the next pass; steps that were asked for and not made are forgotten."""
        with self._changed:
            if not self._paused:
                self._paused_since = time.monotonic()
            self._paused = True
            self._steps = 0

    def step(self) -> None:
        """Make one pass and hold again: read the prompt, or write one token of every sequence. Pauses a run that plays."""
        with self._changed:
            self._paused = True
            self._paused_since = time.monotonic()
            self._steps += 1
            self._changed.notify_all()

    def stop(self) -> None:
        """End after the pass that is being made."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    @property
    def paused(self) -> bool:
        return self._paused

    @property
    def stopped(self) -> bool:
        return self._stopped

    @property
    def holding(self) -> bool:
        """Whether the model's thread stands at the gate."""
        return self._waiting

    @property
    def idle_seconds(self) -> float:
        """How long it has been paused without a button being pressed; 0 while it plays."""
        with self._changed:
            return time.monotonic() - self._paused_since if self._paused else 0.0

    # ------------------------------------------------------------------ the model's side
    def would_hold(self) -> bool:
        """Whether `gate` would wait now."""
        with self._changed:
            return self._paused and self._steps == 0 and not self._stopped

    def gate(self) -> None:
        """Wait while paused; a step lets one call through.

        Raises:
            Stopped: if the run was asked to stop.
        """
        with self._changed:
            self._waiting = True
            try:
                self._changed.wait_for(lambda: self._stopped or not self._paused or self._steps > 0)
            finally:
                self._waiting = False
            if self._stopped:
                raise Stopped
            if self._paused:
                self._steps -= 1


class Turns:
    """Lets the threads of several sequences move one at a time, in order, a pass each.

    Args:
        sequences: number of sequences; 0 moves first.
    """

    def __init__(self, sequences: int) -> None:
        self._changed = threading.Condition()
        self._alive = list(range(sequences))
        self._turn = 0

    def first(self, sequence: int) -> bool:
        """Whether this sequence begins a round."""
        with self._changed:
            return bool(self._alive) and self._alive[0] == sequence

    def take(self, sequence: int) -> None:
        """Wait for the turn of this sequence."""
        with self._changed:
            self._changed.wait_for(lambda: self._turn == sequence)

    def give(self, sequence: int) -> None:
        """Pass the turn on to the next sequence that has not ended."""
        with self._changed:
            later = [other for other in self._alive if other > sequence]
            if self._alive:
                self._turn = later[0] if later else self._alive[0]
            self._changed.notify_all()

    def leave(self, sequence: int) -> None:
        """This sequence has ended: it takes no further turn."""
        with self._changed:
            self._alive.remove(sequence)
            if self._turn == sequence and self._alive:
                later = [other for other in self._alive if other > sequence]
                self._turn = later[0] if later else self._alive[0]
            self._changed.notify_all()
