"""Whether the probe leaves anything behind: hooks and memory before and after many recordings.

    python -m benchmarks.leaks [--runs 200] [--threads 8] [--json]

Three ways to use it, each after some runs to warm up: recordings that end well, recordings whose forward pass raises, and
recordings from several threads that share one model (the probe lets one in at a time). For each the program counts, before
and after: hooks in the model and objects that Python tracks (after a collection), the bytes that Python has allocated
(tracemalloc), and the resident memory of the process. Hooks must be equal. Objects and allocated bytes may differ by what
caches keep, which does not grow with the number of runs: the growth a run is shown.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import psutil
import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from probes import RoutingProbe

MIB = 2**20
# Growth a run that counts as none: caches and the interpreter's own free lists move by a little.
OBJECTS_A_RUN, BYTES_A_RUN = 1.0, 512.0


class PlannedError(RuntimeError):
    """Raised in the middle of a forward pass to see what the probe leaves behind."""


@dataclass(frozen=True)
class State:
    """What is alive at one moment."""

    hooks: int
    objects: int
    allocated: int
    resident: int


def small_model() -> Qwen3MoeForCausalLM:
    config = Qwen3MoeConfig(
        vocab_size=256,
        hidden_size=64,
        intermediate_size=64,
        moe_intermediate_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_experts=16,
        num_experts_per_tok=4,
    )
    torch.manual_seed(0)
    return Qwen3MoeForCausalLM(config).eval()


def state(model: torch.nn.Module) -> State:
    for _ in range(3):
        gc.collect()
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())
    return State(hooks, len(gc.get_objects()), tracemalloc.get_traced_memory()[0], psutil.Process().memory_info().rss)


def record(model: Qwen3MoeForCausalLM, ids: torch.Tensor) -> None:
    with RoutingProbe(model, tokens=True) as probe, torch.no_grad():
        model(input_ids=ids)
    probe.capture()


def record_and_fail(model: Qwen3MoeForCausalLM, ids: torch.Tensor) -> None:
    def raise_here(*_: Any) -> None:
        raise PlannedError

    handle = model.model.layers[2].register_forward_pre_hook(raise_here)
    try:
        with RoutingProbe(model, tokens=True), torch.no_grad():
            model(input_ids=ids)
    except PlannedError:
        return
    finally:
        handle.remove()
    raise RuntimeError("the forward pass should have failed")


def record_in_threads(model: Qwen3MoeForCausalLM, ids: torch.Tensor, runs: int, threads: int) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(number, runs, threads):
                record(model, ids)
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]


def compare(
    name: str, model: torch.nn.Module, warm_up: Callable[[], None], run: Callable[[], None], runs: int
) -> dict[str, Any]:
    """State before and after `runs` recordings, and the growth of one."""
    warm_up()
    before = state(model)
    run()
    after = state(model)
    objects = (after.objects - before.objects) / runs
    allocated = (after.allocated - before.allocated) / runs
    clean = after.hooks == before.hooks and objects < OBJECTS_A_RUN and allocated < BYTES_A_RUN
    return {
        "way": name,
        "before": asdict(before),
        "after": asdict(after),
        "objects_a_run": objects,
        "bytes_a_run": allocated,
        "clean": clean,
    }


def measure(runs: int, threads: int) -> list[dict[str, Any]]:
    model = small_model()
    ids = torch.randint(5, 256, (2, 32), generator=torch.Generator().manual_seed(1))
    warm = max(20, runs // 10)

    def repeat(action: Callable[[Qwen3MoeForCausalLM, torch.Tensor], None], times: int) -> None:
        for _ in range(times):
            action(model, ids)

    tracemalloc.start()
    try:
        return [
            compare("ends well", model, lambda: repeat(record, warm), lambda: repeat(record, runs), runs),
            compare(
                "raises", model, lambda: repeat(record_and_fail, warm), lambda: repeat(record_and_fail, runs), runs
            ),
            compare(
                f"{threads} threads",
                model,
                lambda: record_in_threads(model, ids, warm, threads),
                lambda: record_in_threads(model, ids, runs, threads),
                runs,
            ),
        ]
    finally:
        tracemalloc.stop()


def table(results: list[dict[str, Any]], runs: int) -> str:
    lines = [
        f"{runs} recordings each",
        f"  {'way':<12}{'hooks':>12}{'objects':>20}{'a run':>9}{'allocated MiB':>20}{'bytes a run':>13}{'resident MiB':>20}",
    ]
    for result in results:
        before, after = result["before"], result["after"]
        lines.append(
            f"  {result['way']:<12}"
            f"{before['hooks']:>6} > {after['hooks']:<3}"
            f"{before['objects']:>10} > {after['objects']:<7}{result['objects_a_run']:>9.2f}"
            f"{before['allocated'] / MIB:>10.2f} > {after['allocated'] / MIB:<7.2f}{result['bytes_a_run']:>13.0f}"
            f"{before['resident'] / MIB:>10.0f} > {after['resident'] / MIB:<7.0f}"
            f" {'clean' if result['clean'] else 'LEAKS'}"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Hooks and memory before and after many recordings.")
    parser.add_argument("--runs", type=int, default=200, help="recordings of each kind (default 200)")
    parser.add_argument("--threads", type=int, default=8, help="threads that record at once (default 8)")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    options = parser.parse_args(arguments)
    if options.runs < 1 or options.threads < 1:
        print("At least one run and one thread are needed: pass --runs 1 --threads 1 or more.", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    results = measure(options.runs, options.threads)
    if not options.json:
        print(table(results, options.runs))
    print(json.dumps({"benchmark": "leaks", "runs": options.runs, "threads": options.threads, "results": results}))
    return 0 if all(result["clean"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
