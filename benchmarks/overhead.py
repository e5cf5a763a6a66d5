"""What counting costs: a forward pass under the probe against the same pass without any hook.

    python -m benchmarks.overhead [--rounds 15] [--seed 0] [--json]

The model is a Qwen3-MoE with random weights: hidden size 256, 8 layers, 64 experts, top 8, 54 M parameters, float32, one
thread. Two workloads: prefill (8 sequences of 256 tokens at once) and decode (one sequence, 64 steps of one token with a
cache). The probe counts experts, gate weights, groups and co-activation, as it does by default; token rows are a variant of
their own.

Method. All variants stand ready in one process. Every round runs each of them once, in an order drawn anew, and a ratio is
taken within the round: slow drifts of the machine hit both sides of a ratio. The figure is the median of these paired ratios
with a 95 % bootstrap interval over the rounds. Time is the CPU time of the computing thread, which a neighbour on the machine
disturbs less than the clock on the wall. "unhooked again" is the control: it runs the same code as "unhooked", so its
interval shows what this run cannot tell apart.

The probe's hooks only set calls aside; they are counted many at a time, at the latest when the probe is left. So a probed run
includes leaving the probe: every choice is counted within the measured time.

A ratio of two noisy runs cannot show 1 %. So the probe's own work is measured directly as well: every hook that the probe
has installed is wrapped, its CPU time added up, the time to leave the probe added to it, and the sum divided by the CPU time
of the same passes without the probe. What entering the probe (finding the sites) and making the capture (copying, checking)
cost once, for a recording of any length, is shown apart.

`output_router_logits=True` is the model's own way to hand out router scores (it includes the balance loss, as users get it);
nnsight is given the ids and weights of every layer to keep. Neither of them counts anything.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from probes import RoutingProbe

ROWS, LENGTH = 8, 256
PROMPT, STEPS = 16, 64
PREFILL_AIM, DECODE_AIM = 0.03, 0.05  # shares of the unhooked pass that the probe may add
NO_NNSIGHT = "nnsight is not installed, so its column is missing: pip install 'nnsight>=0.8' to measure it too."

Run = Callable[[], float]  # does the work once and returns its CPU seconds


@dataclass
class Hooks:
    """CPU time spent inside the probe's hooks, in leaving it, and once a recording (entering it, making the capture)."""

    seconds: float = 0.0
    calls: int = 0
    leaving: float = 0.0
    once: list[float] = field(default_factory=list)


def model_of_the_benchmark() -> Qwen3MoeForCausalLM:
    config = Qwen3MoeConfig(
        vocab_size=4096,
        hidden_size=256,
        intermediate_size=512,
        moe_intermediate_size=128,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        num_experts=64,
        num_experts_per_tok=8,
        norm_topk_prob=True,
    )
    torch.manual_seed(0)
    return Qwen3MoeForCausalLM(config).eval()


# ---------------------------------------------------------------------- the two workloads
def prefill(forward: Callable[..., Any], ids: torch.Tensor, **options: Any) -> float:
    """CPU seconds of one pass over [ROWS, LENGTH] tokens."""
    start = time.thread_time()
    forward(input_ids=ids, use_cache=False, **options)
    return time.thread_time() - start


def decode(forward: Callable[..., Any], ids: torch.Tensor, **options: Any) -> float:
    """CPU seconds of STEPS passes over one token each, after a prompt that is not timed."""
    cache = forward(input_ids=ids[:1, :PROMPT], use_cache=True, **options).past_key_values
    start = time.thread_time()
    for step in range(STEPS):
        position = PROMPT + step
        token = ids[:1, position : position + 1]
        cache = forward(input_ids=token, past_key_values=cache, use_cache=True, **options).past_key_values
    return time.thread_time() - start


Workload = Callable[..., float]


# ---------------------------------------------------------------------- the variants
def variants(model: Qwen3MoeForCausalLM, ids: torch.Tensor, work: Workload, hooks: Hooks) -> dict[str, Run]:
    """Name -> a run of the workload in that way."""
    made: dict[str, Run] = {
        "unhooked": lambda: work(model, ids),
        "unhooked again": lambda: work(model, ids),
        "probe": lambda: _probed(model, ids, work),
        "probe, without co-activation": lambda: _probed(model, ids, work, coactivation=False),
        "probe, token rows too": lambda: _probed(model, ids, work, tokens=True),
        "probe, hooks timed": lambda: _timed(model, ids, work, hooks),
        "output_router_logits=True": lambda: work(model, ids, output_router_logits=True),
    }
    traced = _nnsight(model)
    if traced is not None:
        made["nnsight, ids and weights"] = lambda: work(traced, ids)
    return made


def _probed(model: Qwen3MoeForCausalLM, ids: torch.Tensor, work: Workload, **options: Any) -> float:
    probe = RoutingProbe(model, **options)
    with probe:
        seconds = work(model, ids)
        start = time.thread_time()
    return seconds + time.thread_time() - start


def _timed(model: Qwen3MoeForCausalLM, ids: torch.Tensor, work: Workload, hooks: Hooks) -> float:
    before = _installed(model)
    start = time.thread_time()
    probe = RoutingProbe(model)
    with probe:
        entered = time.thread_time() - start
        for place, key in _installed(model) - before:
            _wrap(model, place, key, hooks)
        if work is decode:  # only the steps are timed, so only their hooks count
            seconds = _decode_without_prompt_hooks(model, ids, hooks)
        else:
            seconds = work(model, ids)
        start = time.thread_time()
    left = time.thread_time() - start
    hooks.leaving += left
    start = time.thread_time()
    probe.capture()
    hooks.once.append(entered + time.thread_time() - start)
    return seconds + left


def _decode_without_prompt_hooks(model: Qwen3MoeForCausalLM, ids: torch.Tensor, hooks: Hooks) -> float:
    seen = {"first": True}

    def forward(**inputs: Any) -> Any:
        kept = (hooks.seconds, hooks.calls)
        output = model(**inputs)
        if seen.pop("first", False):
            hooks.seconds, hooks.calls = kept
        return output

    return decode(forward, ids)


_KINDS = ("_forward_hooks", "_forward_pre_hooks")


def _installed(model: torch.nn.Module) -> set[tuple[tuple[str, str], int]]:
    """(module path, kind of hook), key of every hook in the model."""
    return {
        ((path, kind), key)
        for path, module in model.named_modules()
        for kind in _KINDS
        for key in getattr(module, kind)
    }


def _wrap(model: torch.nn.Module, place: tuple[str, str], key: int, hooks: Hooks) -> None:
    path, kind = place
    table = getattr(model.get_submodule(path), kind)
    inner = table[key]

    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.thread_time()
        try:
            return inner(*args, **kwargs)
        finally:
            hooks.seconds += time.thread_time() - start
            hooks.calls += 1

    table[key] = timed


def _nnsight(model: Qwen3MoeForCausalLM) -> Callable[..., Any] | None:
    """A forward function that keeps every layer's ids and weights with nnsight, on a copy of the model."""
    try:
        from nnsight import NNsight
    except ImportError:
        return None
    traced = NNsight(copy.deepcopy(model))

    def forward(**inputs: Any) -> Any:
        with traced.trace(**inputs):
            kept = cast(Any, []).save()
            for layer in traced.model.layers:
                kept.append(layer.mlp.gate.output)
            output = traced.output.save()
        if len(kept) != len(traced.model.layers):
            raise RuntimeError(f"nnsight kept {len(kept)} layers instead of {len(traced.model.layers)}")
        return output

    return forward


# ---------------------------------------------------------------------- measuring
@contextmanager
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(threads)


def measure(runs: dict[str, Run], rounds: int, seed: int) -> dict[str, np.ndarray]:
    """CPU seconds [rounds] of every variant, after one round to warm up."""
    order = list(runs)
    shuffler = random.Random(seed)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        shuffler.shuffle(order)
        for name in order:
            taken = runs[name]()
            if number:
                seconds[name].append(taken)
    return {name: np.array(values) for name, values in seconds.items()}


def ratio(of: np.ndarray, to: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Median of the paired ratios and the 2.5 % and 97.5 % quantiles of that median over resampled rounds."""
    ratios = of / to
    picks = np.random.default_rng(seed).integers(0, len(ratios), (10_000, len(ratios)))
    low, high = np.quantile(np.median(ratios[picks], axis=1), [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)


def verdict(own: float, whole: tuple[float, float, float], aim: float) -> str:
    """Whether the aim is met: by the probe's own work and by the interval of the ratio of whole passes, which holds more.

    The ratio includes what torch itself spends on calling hooks, and the noise of the machine.
    """
    _, low, high = whole
    if own <= aim and high <= 1 + aim:
        return "met"
    if own > aim or low > 1 + aim:
        return "missed"
    return "met by the probe's own work, undecided by the ratio, whose interval holds the aim"


def summary(name: str, work: Workload, aim: float, rounds: int, seed: int) -> dict[str, Any]:
    """Measure one workload and describe it in plain numbers."""
    model = model_of_the_benchmark()
    ids = torch.randint(5, 4096, (ROWS, LENGTH), generator=torch.Generator().manual_seed(1))
    hooks = Hooks()
    with one_thread():
        runs = variants(model, ids, work, hooks)
        for run in runs.values():  # warm up before the hooks' time is counted
            run()
        hooks.seconds, hooks.calls, hooks.leaving, hooks.once = 0.0, 0, 0.0, []
        seconds = measure(runs, rounds, seed)
    passes = STEPS if work is decode else 1
    unhooked = float(np.median(seconds["unhooked"])) / passes
    measured_passes = (rounds + 1) * passes  # the hooks' time includes the round that warms up
    own = (hooks.seconds + hooks.leaving) / measured_passes
    return {
        "workload": name,
        "unhooked_ms_per_pass": unhooked * 1e3,
        "ratios": {
            variant: dict(zip(("median", "low", "high"), ratio(values, seconds["unhooked"], seed), strict=True))
            for variant, values in seconds.items()
            if variant != "unhooked"
        },
        "hook_ms_per_pass": hooks.seconds / measured_passes * 1e3,
        "hook_calls_per_pass": hooks.calls / measured_passes,
        "leaving_ms_per_pass": hooks.leaving / measured_passes * 1e3,
        "own_share": own / unhooked,
        "once_ms": float(np.median(hooks.once)) * 1e3,
        "aim": aim,
        "verdict": verdict(own / unhooked, ratio(seconds["probe"], seconds["unhooked"], seed), aim),
    }


def device() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def table(result: dict[str, Any]) -> str:
    """One workload for people."""
    lines = [
        f"{result['workload']}: one pass without a probe takes {result['unhooked_ms_per_pass']:.2f} ms of CPU time",
        f"  {'variant':<32}{'ratio':>8}   95 % interval",
    ]
    for name, value in result["ratios"].items():
        lines.append(f"  {name:<32}{value['median']:>8.3f}   {value['low']:.3f} to {value['high']:.3f}")
    lines += [
        f"  the probe's own work: {result['hook_ms_per_pass']:.3f} ms a pass in {result['hook_calls_per_pass']:.0f} hook calls "
        f"and {result['leaving_ms_per_pass']:.3f} ms a pass in counting on leaving, together {result['own_share']:.2%} of the pass "
        "without a probe",
        f"  aim, at most {result['aim']:.0%} more: {result['verdict']}",
        f"  to enter the probe and to make the capture, once a recording: {result['once_ms']:.1f} ms",
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Cost of counting routing, side by side with other ways.")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of every variant (default 15)")
    parser.add_argument("--seed", type=int, default=0, help="order of the variants and resampling")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    options = parser.parse_args(arguments)
    if options.rounds < 2:
        print("At least 2 rounds are needed for an interval: pass --rounds 2 or more.", file=sys.stderr)
        return 2
    results = [
        summary("prefill, 8 x 256 tokens", prefill, PREFILL_AIM, options.rounds, options.seed),
        summary(f"decode, {STEPS} steps of 1 token", decode, DECODE_AIM, options.rounds, options.seed),
    ]
    packages = {name: version(name) for name in ("torch", "transformers")}
    if "nnsight, ids and weights" in results[0]["ratios"]:
        packages["nnsight"] = version("nnsight")
    else:
        print(NO_NNSIGHT, file=sys.stderr)
    if not options.json:
        print(f"{device()}, one thread, {options.rounds} rounds, " + ", ".join(f"{k} {v}" for k, v in packages.items()))
        for result in results:
            print(table(result))
    print(
        json.dumps(
            {"benchmark": "overhead", "device": device(), "rounds": options.rounds, **packages, "results": results}
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
