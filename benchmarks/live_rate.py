"""How fast a model writes on the Live page, against plain `generate` of the same model.

    python -m benchmarks.live_rate [--rounds 15] [--new 128] [--seed 0] [--json]

Two models: the embedded omni-mini (if it is there) and a Qwen3-MoE with random weights (8 layers, 64 experts, top 8, 54 M
parameters; that of `benchmarks.overhead`). Prompt of 24 tokens, `--new` tokens written, float32, one thread, one sequence.
Plain generation and the live run choose tokens in the same way: greedy, or temperature 0.8 and top-p 0.95.

What a live run adds to a token: the probe's hooks, the choice of the token with a generator of its own and its probability,
and handing it out. Two ideas keep that small, and each is measured by a variant without it:
- tensors are set aside and copied to the host four times a second, ranked and turned into probabilities many tokens at a time,
  not at every token ("handed out at every token");
- the gate, where a run is paused, stands in one hook in front of the model, not in a streamer that copies each token
  ("plain generate with a streamer" is what other live views do, without any routing).
"watched" is a live run with a second thread that does what the page does at every look: it takes the trace, counts it, and
draws both figures, at the page's own pace (half a second, longer where drawing would take more than a twentieth of the time), by the
CPU clock of the process. Its work is part of the ratio. It runs in the same process as the model, so on a machine with
one core free this is what a user sees; the browser's own work is not in it.

Method. All variants stand ready in one process. Every round runs each once, in an order drawn anew, and a rate ratio is taken
within the round: slow drifts of the machine hit both sides. The figure is the median of these paired ratios with a 95 %
bootstrap interval over the rounds. Time is the CPU time of the whole process, which a neighbour on the machine disturbs less
than the clock on the wall and which includes the watching thread; ratios by the wall clock are shown beside it. "plain again"
is the control: it runs the same code as "plain generate". Reading the prompt and leaving the probe, which counts, are inside
the measured time. What is done once a run (tokenising, finding the sites, making the capture) is shown apart.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from transformers.generation.streamers import BaseStreamer

from benchmarks.overhead import device, model_of_the_benchmark, one_thread, ratio
from pages.parts.live_player import TICKS, tick_of
from workbench.capture import ModelInfo
from workbench.live import Control, LiveRun, Prompt, Sampling
from workbench.live import run as live_module
from workbench.models import LoadOptions, embedded_models, load_model
from workbench.models.load import LoadedModel

PROMPT_TOKENS = 24
AIM = 0.9  # of the rate of plain generation
WAYS = {"greedy": Sampling(temperature=0.0), "sampled": Sampling(temperature=0.8, top_p=0.95)}


@dataclass
class Taken:
    """One run: CPU seconds of the process, wall seconds, and what was done once, in wall seconds."""

    cpu: float
    wall: float
    once: float = 0.0


Variant = Callable[[], Taken]


class Numbers:
    """A tokenizer of the random model: a word is its own number."""

    all_special_ids: tuple[int, ...] = ()

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        return {"input_ids": [int(word) for word in text.split() if word.isdecimal()] or [5]}

    def convert_ids_to_tokens(self, token: int) -> str:
        return f" {token}"


class HostStreamer(BaseStreamer):
    """Copies every token to the host, as streamers do; draws nothing."""

    def put(self, value: torch.Tensor) -> None:
        value.tolist()

    def end(self) -> None:
        return


def random_model() -> LoadedModel:
    return LoadedModel(
        model_of_the_benchmark(),
        None,
        Numbers(),
        ModelInfo(id="qwen3-moe, random weights"),
        "",
        None,  # type: ignore[arg-type]
    )


def models() -> dict[str, tuple[LoadedModel, str]]:
    """Name -> model and a prompt of PROMPT_TOKENS tokens for it."""
    found = {}
    for listed in embedded_models()[:1]:
        loaded = load_model(listed.name, LoadOptions(device="cpu", dtype="float32"))
        ids = loaded.tokenizer("The river was low that summer, and the mill stood still. " * 8)["input_ids"]
        found[listed.name] = (loaded, loaded.tokenizer.decode(ids[1:PROMPT_TOKENS]))
    numbers = torch.randint(5, 4096, (PROMPT_TOKENS,), generator=torch.Generator().manual_seed(1)).tolist()
    found["random"] = (random_model(), " ".join(map(str, numbers)))
    for loaded, _ in found.values():
        loaded.model.generation_config.eos_token_id = None  # every run has the same length
        loaded.model.generation_config.pad_token_id = 0
    return found


# ---------------------------------------------------------------------- the variants
def variants(loaded: LoadedModel, prompt: str, how: Sampling, new: int) -> dict[str, Variant]:
    """Name -> one run in that way."""
    how = Sampling(new, how.temperature, how.top_p, how.seed)
    ids = LiveRun(loaded, [Prompt(prompt)], how).prepared[0].inputs["input_ids"]
    options: dict[str, Any] = {"do_sample": False}
    if how.temperature:
        options = {"do_sample": True, "temperature": how.temperature, "top_p": how.top_p, "top_k": 0}

    def plain(**more: Any) -> Taken:
        torch.manual_seed(how.seed)
        with torch.inference_mode():
            cpu, wall = time.process_time(), time.perf_counter()
            loaded.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new,
                **options,
                **more,  # type: ignore[misc]
            )
        return Taken(time.process_time() - cpu, time.perf_counter() - wall)

    def live(flush: float | None = None, watched: bool = False) -> Taken:
        once = time.perf_counter()
        run = LiveRun(loaded, [Prompt(prompt)], how)
        once = time.perf_counter() - once
        over = threading.Event()
        watcher = threading.Thread(target=_watch, args=(run, over))
        with patch.object(live_module, "FLUSH_SECONDS", live_module.FLUSH_SECONDS if flush is None else flush):
            cpu, wall = time.process_time(), time.perf_counter()
            if watched:
                watcher.start()
            run.go(Control())
            taken = Taken(time.process_time() - cpu, time.perf_counter() - wall)
        over.set()
        if watched:
            watcher.join()
        if run.written != new:
            raise RuntimeError(f"{run.written} tokens were written instead of {new}")
        start = time.perf_counter()
        run.capture()
        taken.once = once + time.perf_counter() - start
        return taken

    return {
        "plain generate": plain,
        "plain again": plain,
        "live": live,
        "live, watched": lambda: live(watched=True),
        "live, handed out at every token": lambda: live(flush=-1.0),
        "plain generate with a streamer": lambda: plain(streamer=HostStreamer()),
    }


def _watch(run: LiveRun, over: threading.Event) -> None:
    """What the page does at every look."""
    from workbench.figures import interactive
    from workbench.figures.live import route, strip_data
    from workbench.figures.live_html import LIMIT

    looked, pause = time.process_time(), TICKS[0]
    while not over.wait(0.01):
        if time.process_time() - looked < pause:
            continue
        begun = time.thread_time()
        (trace,) = run.traces()
        if len(trace) > 1:
            json.dumps(strip_data(trace, trace.sites[0].id))
            interactive.heatmap(trace.heatmap(), limit=LIMIT).to_json()
            route(trace, int(np.flatnonzero(trace.routed)[-1])).to_json()
        pause = max(pause, tick_of(time.thread_time() - begun))
        looked = time.process_time()


# ---------------------------------------------------------------------- measuring
def measure(runs: dict[str, Variant], rounds: int, seed: int) -> dict[str, list[Taken]]:
    """Every variant once a round, in an order drawn anew, after one round to warm up."""
    order, shuffler = list(runs), random.Random(seed)
    taken: dict[str, list[Taken]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        shuffler.shuffle(order)
        for name in order:
            found = runs[name]()
            if number:
                taken[name].append(found)
    return taken


def summary(model: str, way: str, loaded: LoadedModel, prompt: str, new: int, rounds: int, seed: int) -> dict[str, Any]:
    """One model and one way of choosing tokens, in plain numbers."""
    taken = measure(variants(loaded, prompt, WAYS[way], new), rounds, seed)
    cpu = {name: np.array([one.cpu for one in found]) for name, found in taken.items()}
    wall = {name: np.array([one.wall for one in found]) for name, found in taken.items()}
    rates = {}
    for name in taken:
        if name == "plain generate":
            continue
        # A ratio of rates is the inverse ratio of times.
        by_cpu = ratio(cpu["plain generate"], cpu[name], seed)
        by_wall = ratio(wall["plain generate"], wall[name], seed)
        rates[name] = {
            **dict(zip(("median", "low", "high"), by_cpu, strict=True)),
            "wall": dict(zip(("median", "low", "high"), by_wall, strict=True)),
        }
    return {
        "model": model,
        "way": way,
        "new_tokens": new,
        "plain_cpu_ms_a_token": float(np.median(cpu["plain generate"])) / new * 1e3,
        "plain_tokens_per_second_by_wall": new / float(np.median(wall["plain generate"])),
        "rates": rates,
        "once_ms": float(np.median([one.once for one in taken["live"]])) * 1e3,
        "aim": AIM,
        "verdict": verdict(rates["live, watched"]),
    }


def verdict(rate: dict[str, Any]) -> str:
    """Whether the watched run keeps the aim: the whole interval has to."""
    if rate["low"] >= AIM:
        return "met"
    return "missed" if rate["high"] < AIM else "undecided: the interval holds the aim"


def table(result: dict[str, Any]) -> str:
    """One result for people."""
    lines = [
        f"{result['model']}, {result['way']}, {result['new_tokens']} tokens: plain generate takes "
        f"{result['plain_cpu_ms_a_token']:.2f} ms of CPU time a token ({result['plain_tokens_per_second_by_wall']:.0f} tokens/s by the wall)",
        f"  {'rate over that of plain generate':<36}{'CPU':>7}   {'95 % interval':<18}{'wall':>7}   95 % interval",
    ]
    for name, rate in result["rates"].items():
        wall = rate["wall"]
        lines.append(
            f"  {name:<36}{rate['median']:>7.3f}   {rate['low']:.3f} to {rate['high']:.3f}    {wall['median']:>7.3f}   "
            f"{wall['low']:.3f} to {wall['high']:.3f}"
        )
    lines.append(
        f"  aim, at least {result['aim']:.1f} while watched: {result['verdict']}; once a run {result['once_ms']:.0f} ms"
    )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Rate of a live run beside plain generation, side by side.")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of every variant (default 15)")
    parser.add_argument("--new", type=int, default=128, help="tokens written in a run (default 128)")
    parser.add_argument("--seed", type=int, default=0, help="order of the variants and resampling")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    options = parser.parse_args(arguments)
    if options.rounds < 2 or not 2 <= options.new <= 400:
        print(
            "At least 2 rounds and 2 to 400 new tokens are needed: pass --rounds 2 or more, --new in between.",
            file=sys.stderr,
        )
        return 2
    packages = {name: version(name) for name in ("torch", "transformers")}
    if not options.json:
        print(f"{device()}, one thread, {options.rounds} rounds, " + ", ".join(f"{k} {v}" for k, v in packages.items()))
    results = []
    with one_thread():
        for model, (loaded, prompt) in models().items():
            for way in WAYS:
                results.append(summary(model, way, loaded, prompt, options.new, options.rounds, options.seed))
                if not options.json:
                    print(table(results[-1]), flush=True)
    print(
        json.dumps(
            {"benchmark": "live_rate", "device": device(), "rounds": options.rounds, **packages, "results": results}
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
