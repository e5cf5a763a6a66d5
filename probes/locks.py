"""One probe a model at a time: a second thread waits for the first, and says so when it has waited too long."""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary

from torch import nn

from probes.errors import BusyError

_GUARD = threading.Lock()
_LOCKS: WeakKeyDictionary[nn.Module, threading.Lock] = WeakKeyDictionary()
_HOLDERS: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()  # thread that holds the lock of a model


def acquire(model: nn.Module, timeout: float) -> None:
    """Take the lock of a model; raises BusyError at once if this thread has it, and after `timeout` seconds if another does."""
    with _GUARD:
        lock = _LOCKS.setdefault(model, threading.Lock())
        if lock.locked() and _HOLDERS.get(model) == threading.get_ident():
            raise BusyError(
                "This model is already watched by a probe of the same thread: leave that probe's block before you enter another."
            )
    if not lock.acquire(timeout=timeout):
        raise BusyError(
            f"Another thread has watched this model for more than {timeout:g} seconds: wait until it has finished and try again, "
            "or raise lock_timeout."
        )
    _HOLDERS[model] = threading.get_ident()


def release(model: nn.Module) -> None:
    """Give the lock back."""
    _HOLDERS.pop(model, None)
    _LOCKS[model].release()
