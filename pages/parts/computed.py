"""Tables that take a while: kept once made, made at once where that is quick, else by a job that every tab sees."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from pages.parts.frame import follow
from workbench import session
from workbench.analysis.block_counts import Cancelled, Progress
from workbench.capture import CaptureError
from workbench.jobs import Task

KEPT = 64  # tables; the one not looked at for longest goes first
AT_ONCE = 40_000_000  # numbers a page may draw while it is being made: about a second's work on one core

Work = Callable[[Progress | None, Cancelled | None], Any]


@dataclass
class Store:
    """What was computed, and the jobs that are at it, by key; shared by all tabs of this server."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    made: OrderedDict[Hashable, Any] = field(default_factory=OrderedDict)
    jobs: dict[Hashable, int] = field(default_factory=dict)

    def get(self, key: Hashable) -> Any:
        with self.lock:
            if key in self.made:
                self.made.move_to_end(key)
            return self.made.get(key)

    def put(self, key: Hashable, value: Any) -> Any:
        with self.lock:
            self.made[key] = value
            while len(self.made) > KEPT:
                self.made.popitem(last=False)
        return value


@st.cache_resource(max_entries=1, show_spinner=False)
def store() -> Store:
    """The store of this server."""
    return Store()


def computed(key: Hashable, title: str, numbers: float, work: Work) -> Any:
    """The result of `work`, or None while a job is at it.

    Args:
        key: everything that the result depends on, the captures' ids and stamps among it.
        title: of the job, in words.
        numbers: how much work it is (numbers drawn); up to `AT_ONCE` it is done here and now.
        work: called with progress and cancelled, either of which may be None.

    Raises:
        CaptureError: what `work` raised, or that the job was cancelled.
    """
    kept = store().get(key)
    if kept is not None:
        return kept
    if numbers <= AT_ONCE:
        return store().put(key, work(None, None))
    known = session.jobs().get(store().jobs.get(key, 0))
    snapshot = known.snapshot() if known is not None else None
    if snapshot is not None and snapshot.state in ("failed", "cancelled"):
        if st.button("Try again", key=f"computed.again.{snapshot.id}", icon=":material/refresh:"):
            store().jobs.pop(key, None)
            st.rerun()
        raise CaptureError(snapshot.error or f"“{title}” was cancelled before it was done: start it again.")
    if snapshot is None or snapshot.finished:
        held = store()

        def run(task: Task) -> None:
            def tell(done: int, total: int) -> None:
                task.check()
                task.progress(done, total, title)

            held.put(key, work(tell, None))  # `tell` raises when it was cancelled

        job = session.jobs().start(title, run)
        held.jobs[key] = job.id
        follow(job.id)
        st.rerun()
    return None
