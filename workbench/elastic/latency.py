"""How long a sub-model takes to read and to write, and how much memory: measured on gathered weights, in rounds.

Every round visits all sub-models in an order drawn anew, so that a slow drift of the machine hits all of them alike; each
visit warms up, waits for the device, then times one prefill and a number of decode steps. An interval comes from drawing
rounds anew: samples of one round share the state that the machine was in.

Milliseconds hold for the machine as it was during the rounds: nothing measured within a run tells how busy it will be in the
next one, and no way of drawing rounds mends that (blocks of rounds were tried, `python -m benchmarks.clock`). What carries over
is a sub-model's time as a share of the whole model's in the same round, so that is given too.

Letters: B rows, T tokens of the prompt, R rounds, N decode steps of a round.
"""

from __future__ import annotations

import gc
import inspect
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workbench.analysis.intervals import resample_weights
from workbench.capture.errors import WorkbenchError
from workbench.elastic.errors import SweepError
from workbench.elastic.gather import carve_in_memory

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from probes import Plan

WARM_STEPS = 2
KEPT_SHARE = 0.25  # of the free memory, for gathered models that stay between rounds
RESAMPLES = 1000
LONGEST_BLOCK = 3  # rounds that are drawn together


@dataclass(frozen=True)
class LatencyOptions:
    """What is timed.

    Attributes:
        batch: rows B. length: tokens of the prompt T. steps: decode steps timed in a round.
        rounds: visits of each sub-model. seed: of the order.
    """

    batch: int = 1
    length: int = 128
    steps: int = 16
    rounds: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, least in (
            ("--latency-batch", self.batch, 1),
            ("--latency-length", self.length, 1),
            ("--decode-steps", self.steps, 1),
            ("--rounds", self.rounds, 0),
        ):
            if value < least:
                raise SweepError(f"{name} must be at least {least}, but is {value}.")


@dataclass(frozen=True)
class Timing:
    """One visit: milliseconds of the prefill, and of each decode step."""

    prefill: float
    decode: tuple[float, ...]


@dataclass(frozen=True)
class Quantiles:
    """p50 and p90 of milliseconds, with the 95 % interval of p50 over rounds; n samples."""

    p50: float
    p90: float
    low: float
    high: float
    n: int


def time_visit(model: PreTrainedModel, ids: torch.Tensor, steps: int) -> Timing:
    """Warm up, then time one prefill of ids [B, T] and `steps` steps of one token after it."""
    import torch

    runner: Any = model
    parameters = inspect.signature(type(model).forward).parameters
    last = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}
    token = ids[:, :1]

    def wait() -> None:
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        elif model.device.type == "mps":
            torch.mps.synchronize()

    def once(count: int) -> Timing:
        wait()
        start = time.perf_counter()
        cache = runner(input_ids=ids, use_cache=True, **last).past_key_values
        wait()
        prefill = (time.perf_counter() - start) * 1e3
        decode = []
        for _ in range(count):
            start = time.perf_counter()
            cache = runner(input_ids=token, past_key_values=cache, use_cache=True).past_key_values
            wait()
            decode.append((time.perf_counter() - start) * 1e3)
        return Timing(prefill, tuple(decode))

    with torch.inference_mode():
        once(WARM_STEPS)
        return once(steps)


class Gathered:
    """Gathered models of plans: kept between rounds while they fit into a share of the free memory, else built anew.

    Args:
        model: the full model.
        plans: key -> plan.
    """

    def __init__(self, model: PreTrainedModel, plans: Mapping[str, Plan]) -> None:
        import psutil
        import torch

        self.model, self.plans = model, plans
        self.kept: dict[str, PreTrainedModel] = {}
        device = model.device
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
        self.room = int(free * KEPT_SHARE)

    @contextmanager
    def of(self, key: str) -> Iterator[PreTrainedModel]:
        """The gathered model of a plan.

        Raises:
            CarveError: if this family's weights cannot be gathered.
        """
        if key in self.kept:
            yield self.kept[key]
            return
        small = carve_in_memory(self.model, self.plans[key])
        # The full model's tensors that are shared are counted too: on the safe side.
        size = sum(parameter.numel() * parameter.element_size() for parameter in small.parameters())
        if size <= self.room:
            self.room -= size
            self.kept[key] = small
        yield small


def visits(keys: Sequence[str], options: LatencyOptions) -> Iterator[tuple[int, str]]:
    """(round, key) of every visit, each round in an order of its own."""
    for number in range(options.rounds):
        order = sorted(keys)
        random.Random(f"{options.seed} {number}").shuffle(order)
        for key in order:
            yield number, key


def gatherable(model: PreTrainedModel, plans: Mapping[str, Plan]) -> dict[str, str]:
    """Key -> why its weights cannot be gathered, for the plans for which that is so."""
    from workbench.elastic.cut import make_cut, new_config

    found: dict[str, str] = {}
    for key, plan in plans.items():
        try:
            cut = make_cut(model, plan)
            new_config(model.config.to_dict(), model.config, cut)
        except WorkbenchError as fault:
            found[key] = str(fault)
    return found


def measure(
    gathered: Gathered,
    ids: torch.Tensor,
    options: LatencyOptions,
    wanted: Sequence[tuple[int, str]],
    keep: Callable[[int, str, Timing], None],
    failed: Callable[[str, str], None],
    cancelled: Callable[[], bool],
) -> bool:
    """Make the visits that are still wanted.

    Args:
        gathered: the models. ids: int64 [B, T].
        wanted: from `visits`, those not made yet.
        keep: given each visit's result. failed: given a key and why it could not be measured; it is left out from then on.
        cancelled: asked before every visit.

    Returns:
        False if it was cancelled.
    """
    broken: set[str] = set()
    for number, key in wanted:
        if cancelled():
            return False
        if key in broken:
            continue
        try:
            with gathered.of(key) as small, uncollected():
                timing = time_visit(small, ids, options.steps)
        except WorkbenchError as fault:
            broken.add(key)
            failed(key, str(fault))
        else:
            keep(number, key, timing)
    return True


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep Python's garbage collection out of the times, as `timeit` does.

    Frozen besides: the dashboard's server asks for a full collection after each redraw, which with torch loaded holds every
    thread for a quarter of a second; of frozen objects it has nothing to look through.
    """
    was = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        if was:
            gc.enable()


def block_length(rounds: int) -> int:
    """How many neighbouring rounds are drawn together: up to three, and never more than a third of all."""
    return max(1, min(LONGEST_BLOCK, rounds // 3))


def block_weights(count: int, block: int, seed: int) -> npt.NDArray[np.float64]:
    """How often each of `count` rounds is drawn, [RESAMPLES, count], when `block` neighbours are drawn together, the last next to the first.

    Neighbouring rounds share the machine's load, so drawing them one by one makes intervals too narrow for a later run to fall
    into (circular block bootstrap: Politis and Romano 1992; `benchmarks.clock` measures it).
    """
    if block == 1:
        return np.asarray(resample_weights(count, RESAMPLES, seed), dtype=np.float64)
    starts = np.random.default_rng(seed).integers(0, count, (RESAMPLES, -(-count // block)))
    drawn = ((starts[:, :, None] + np.arange(block)) % count).reshape(RESAMPLES, -1)[:, :count]
    return (drawn[:, :, None] == np.arange(count)).sum(1).astype(np.float64)


def quantiles(rounds: Sequence[Sequence[float]], seed: int = 0, block: int | None = None) -> Quantiles | None:
    """p50, p90 and the interval of p50 of samples in rounds, [R][N]; None without samples.

    Rounds are drawn with replacement, neighbours together (a cluster bootstrap: Davison and Hinkley 1997, section 3.8), percentile interval.

    Args:
        rounds: in the order in which they were run.
        seed: of the resampling.
        block: rounds that are drawn together; None: `block_length`.
    """
    full = [np.asarray(samples, dtype=np.float64) for samples in rounds if len(samples)]
    if not full:
        return None
    every = np.concatenate(full)
    low = high = float("nan")  # one round says nothing of its like
    if len(full) > 1:
        owner = np.repeat(np.arange(len(full)), [len(samples) for samples in full])
        weights = block_weights(len(full), block or block_length(len(full)), seed)
        order = np.argsort(every, kind="stable")
        drawn = np.cumsum(weights[:, owner[order]], axis=1)
        half = drawn[:, -1:] / 2
        lower, upper = (drawn >= half).argmax(axis=1), (drawn > half).argmax(axis=1)
        middle = (every[order][lower] + every[order][upper]) / 2  # the median, as numpy takes it
        low, high = (float(end) for end in np.quantile(middle, (0.025, 0.975)))
    return Quantiles(float(np.median(every)), float(np.quantile(every, 0.9)), low, high, len(every))


def shares(own: Mapping[int, Sequence[float]], whole: Mapping[int, Sequence[float]], seed: int = 0) -> Quantiles | None:
    """A sub-model's time as a share of the whole model's: of each round that has both, median over median; None without such a round.

    Args:
        own, whole: round -> milliseconds.
        seed: of the resampling.

    Returns:
        p50, p90 over rounds, and the 95 % interval of p50 over rounds.
    """
    both = [number for number in own if len(own[number]) and len(whole.get(number, ()))]
    return quantiles([[float(np.median(own[number]) / np.median(whole[number]))] for number in sorted(both)], seed)
