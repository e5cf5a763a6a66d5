"""Models of live runs: a few in memory, each lent to one run at a time.

Models are kept by name for the next run, and the longest unused one makes room. A run that needs a model in use waits for it; a
paused run that nobody has touched for ten minutes gives way.
"""

from __future__ import annotations

import gc
import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.live.control import Stopped
from workbench.models import LoadedModel, LoadOptions, NotEnoughMemoryError, Workload, estimate_memory, load_model

if TYPE_CHECKING:
    from workbench.live_runs import Live

GIVE_WAY_SECONDS = 600.0  # how long a paused run may keep a model from one that waits


@dataclass
class _Slot:
    """A model in memory, or on its way there."""

    name: str
    loaded: LoadedModel | None = None
    user: Live | None = None
    used: int = 0  # running number of its last use


class Models:
    """A few models, each lent to one run at a time.

    Args:
        most: models held in memory at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._changed = threading.Condition()
        self._loading = threading.Lock()  # transformers sets global switches while it loads, so one loads at a time
        self._slots: dict[tuple[str, LoadOptions, float], _Slot] = {}
        self._clock = itertools.count(1)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models in memory."""
        with self._changed:
            return tuple(slot.name for slot in self._slots.values() if slot.loaded is not None)

    def lend(self, live: Live) -> _Loan:
        """A `with` block that holds the model which a run asks for; entering it may wait and load, and raises as `take` does."""
        return _Loan(self, live)

    def take(self, live: Live) -> _Slot:
        """Wait for a model, load it if it is not held; the caller gives it back.

        Raises:
            Stopped: if the run was stopped while it waited.
            WorkbenchError: if the model cannot be loaded.
        """
        order = live.order
        key = (order.model, order.options, _stamp(order.model))
        slot = self._claim(key, live)
        if slot.loaded is None:
            try:
                with self._loading:
                    slot.loaded = _load(live)
            except BaseException:
                with self._changed:
                    self._slots.pop(key, None)
                    self._changed.notify_all()
                raise
        return slot

    def give_back(self, slot: _Slot) -> None:
        with self._changed:
            slot.user = None
            slot.used = next(self._clock)
            self._changed.notify_all()

    def _claim(self, key: tuple[str, LoadOptions, float], live: Live) -> _Slot:
        with self._changed:
            while True:
                if live.control.stopped:
                    raise Stopped
                slot = self._slots.get(key)
                if slot is None and (len(self._slots) < self._most or self._make_room()):
                    slot = self._slots[key] = _Slot(live.order.model)
                if slot is not None and slot.user is None:
                    slot.user = live
                    return slot
                waited_for = [slot] if slot is not None else list(self._slots.values())
                live.say(
                    "Waiting: another run uses this model; it begins when that one has ended"
                    if slot is not None
                    else f"Waiting: {self._most} other models are in use; it begins when one of their runs has ended"
                )
                _hurry([other.user for other in waited_for if other.user is not None])
                self._changed.wait(0.5)  # a stop does not notify, so look again

    def _make_room(self) -> bool:
        """Drop the model that was unused for longest; False if all are in use."""
        idle = [(slot.used, key) for key, slot in self._slots.items() if slot.user is None]
        if not idle:
            return False
        del self._slots[min(idle)[1]]
        gc.collect()
        _empty_device_cache()
        return True


class _Loan:
    """A `with` block that holds a model."""

    def __init__(self, models: Models, live: Live) -> None:
        self._models, self._live = models, live

    def __enter__(self) -> LoadedModel:
        self._slot = self._models.take(self._live)
        assert self._slot.loaded is not None
        return self._slot.loaded

    def __exit__(self, *fault: object) -> None:
        self._models.give_back(self._slot)


def _load(live: Live) -> LoadedModel:
    order = live.order
    live.say(f"Estimating the memory of {order.model}", "loading")
    workload = Workload(len(order.prompts), 1024, order.sampling.max_new_tokens)
    estimate = estimate_memory(order.model, order.options, workload)
    live.estimated(estimate.sentence())
    if not estimate.fits and not order.options.force:
        raise NotEnoughMemoryError(
            f"'{order.model}' needs {estimate.sentence()}: choose a smaller model or number format, or close other programs."
        )
    if live.control.stopped:
        raise Stopped
    return load_model(order.model, order.options, live.say, workload=workload)


def _hurry(holders: Sequence[Live]) -> None:
    """Stop paused runs that were left alone while another waits."""
    for holder in holders:
        if holder.control.idle_seconds > GIVE_WAY_SECONDS:
            holder.control.stop()


def _stamp(model: str) -> float:
    """Changes when the files of a model folder do, so that a checkpoint written anew is loaded anew."""
    from workbench.models import find_model

    folder = find_model(model).folder
    if folder is None:
        return 0.0
    try:
        return max((file.stat().st_mtime for file in folder.iterdir() if file.is_file()), default=0.0)
    except OSError:
        return time.time()


def _empty_device_cache() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
