"""Who has a model: one thread at a time, in it at most one probe and one sub-model.

A second thread waits for the first, and says so when it has waited too long. A probe and a sub-model of the same thread go
together; two probes, or two sub-models, do not.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from torch import nn

from probes.errors import BusyError

_GUARD = threading.Condition()


@dataclass
class _Holder:
    thread: int
    kinds: set[str] = field(default_factory=set)


_HOLDERS: WeakKeyDictionary[nn.Module, _Holder] = WeakKeyDictionary()

_TWICE = {
    "probe": "This model is already watched by a probe of the same thread: leave that probe's block before you enter another.",
    "forced": "Experts of this model are forced already in the same thread: leave that block before you force others.",
    "sub-model": "This model already runs as a sub-model in the same thread: leave that block before you apply another sub-model.",
}


def acquire(model: nn.Module, timeout: float, kind: str = "probe") -> None:
    """Take a model for this thread; raises BusyError at once if the thread has it for the same kind of use, and after `timeout`
    seconds if another thread has it.

    Args:
        kind: "probe" or "sub-model".
    """
    me, end = threading.get_ident(), time.monotonic() + timeout
    with _GUARD:
        while (holder := _HOLDERS.get(model)) is not None and holder.thread != me:
            left = end - time.monotonic()
            if left <= 0:
                raise BusyError(
                    f"Another thread has watched this model for more than {timeout:g} seconds: wait until it has finished and try again, "
                    "or raise lock_timeout."
                )
            _GUARD.wait(left)
        holder = _HOLDERS.setdefault(model, _Holder(me))
        if kind in holder.kinds:
            raise BusyError(_TWICE[kind])
        holder.kinds.add(kind)


def release(model: nn.Module, kind: str = "probe") -> None:
    """Give the model back."""
    with _GUARD:
        holder = _HOLDERS[model]
        holder.kinds.discard(kind)
        if not holder.kinds:
            del _HOLDERS[model]
            _GUARD.notify_all()
