"""How long a sub-model takes to read and to write, and how much memory: measured on gathered weights, in rounds.

Every round visits all sub-models in an order drawn anew, so that a slow drift of the machine hits all of them alike; each
visit warms up, waits for the device, then times one prefill and a number of decode steps. An interval says where the median of
another run falls (`repeat_factor`): two runs are taken to differ as far as stretches of one run do.

So milliseconds hold for the machine as it was during the rounds: nothing measured within a run tells of a load that comes after
it. What carries over is a sub-model's time as a share of the whole model's in the same round, so that is given too.

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

from workbench.capture.errors import WorkbenchError
from workbench.elastic.errors import SweepError
from workbench.elastic.gather import carve_in_memory

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from probes import Plan

WARM_STEPS = 2
KEPT_SHARE = 0.25  # of the free memory, for gathered models that stay between rounds
STRETCHES = 8  # that the rounds are cut into, to see how far the machine drifts
LEVEL = 0.9875  # one end of the interval of a run, of two that must hold in 95 of 100 cases


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
    """p50 and p90 of milliseconds, of n samples; between low and high falls the p50 of another run."""

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


def quantiles(rounds: Sequence[Sequence[float]]) -> Quantiles | None:
    """p50, p90 and where the p50 of another run falls, of samples in rounds [R][N]; None without samples.

    Args:
        rounds: in the order in which they were run.
    """
    full = [np.asarray(samples, dtype=np.float64) for samples in rounds if len(samples)]
    if not full:
        return None
    every = np.concatenate(full)
    middle = float(np.median(every))
    factor = repeat_factor(full)
    return Quantiles(middle, float(np.quantile(every, 0.9)), middle / factor, middle * factor, len(every))


def repeat_factor(rounds: Sequence[npt.NDArray[np.float64]]) -> float:
    """By what factor the medians of two runs of as many rounds may differ; NaN of a single round.

    So wide that in 95 of 100 cases each of the two medians lies in the interval of the other. A run is cut into stretches of
    neighbouring rounds, and two runs are taken to differ as two of its stretches do: exp(t s sqrt 2), with s the standard
    deviation of the logarithms of the S stretches' medians, and t the 0.9875 quantile of Student's t of S - 1 degrees of freedom (a
    prediction interval: Hahn and Meeker 1991, section 4.7, for one further stretch beside one; 0.9875 and not 0.975 because two
    intervals must hold, by Bonferroni). A longer run is not taken to be more certain than a stretch of it: that would hold only if
    the machine did not drift from one run to the next. On a machine that does not drift at all the interval is therefore about
    three times as wide as it need be (our choice; what it does on machines that drift: tests/elastic/test_latency.py).
    """
    from scipy.special import stdtrit

    count = min(STRETCHES, len(rounds))
    if count < 2:
        return float("nan")  # one round says nothing of its like
    parts = np.array_split(np.arange(len(rounds)), count)
    medians = np.log([np.median(np.concatenate([rounds[number] for number in part])) for part in parts])
    return float(np.exp(stdtrit(count - 1, LEVEL) * np.std(medians, ddof=1) * np.sqrt(2)))


def shares(own: Mapping[int, Sequence[float]], whole: Mapping[int, Sequence[float]]) -> Quantiles | None:
    """A sub-model's time as a share of the whole model's: of each round that has both, median over median; None without such a round.

    Args:
        own, whole: round -> milliseconds.

    Returns:
        p50 and p90 over rounds, and where the p50 of another run falls.
    """
    both = [number for number in own if len(own[number]) and len(whole.get(number, ()))]
    return quantiles([[float(np.median(own[number]) / np.median(whole[number]))] for number in sorted(both)])
