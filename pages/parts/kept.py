"""Results of jobs under an id that may stand in the address bar: they outlive a reload, and clearing the list of jobs.

The id is drawn at random and says nothing of what was typed. Results lie in the memory of this server until it ends; the one
not looked at for longest makes room.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st

from workbench.jobs import Job, JobList, Task

KEPT = 32  # results; one of the What if page is some 100 kB


@dataclass
class Entry:
    """One piece of work.

    Attributes:
        job: number in the list of jobs.
        result: what the work returned, None before it has.
    """

    job: int
    result: Any = None


class Kept:
    """Entries by id; asked by pages and filled by jobs."""

    def __init__(self, most: int = KEPT) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, Entry] = OrderedDict()

    def start(
        self, jobs: JobList, title: str, work: Callable[[Task], Any], cleanup: Callable[[], None] | None = None
    ) -> tuple[str, Job]:
        """Start a job whose result stays here; returns its id for the address, and the job."""
        name = secrets.token_hex(4)

        def run(task: Task) -> Any:
            result = work(task)
            with self._lock:
                if name in self._entries:
                    self._entries[name].result = result
            return result

        with self._lock:  # the job may end before it is noted here: it waits for the lock
            job = jobs.start(title, run, cleanup)
            self._entries[name] = Entry(job.id)
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)
        return name, job

    def get(self, name: str | None) -> Entry | None:
        """What is known under an id, or None if nothing is (any more)."""
        with self._lock:
            entry = self._entries.get(name or "")
            if entry is None:
                return None
            self._entries.move_to_end(name or "")
            return Entry(entry.job, entry.result)


@st.cache_resource(max_entries=1, show_spinner=False)
def kept() -> Kept:
    """The results of this server."""
    return Kept()
