"""Training throughput of the unified model's experts beside the same shape built from a transformers class.

    python -m benchmarks.unified_experts [--rounds 9] [--tokens 2560] [--seed 0] [--device cpu] [--json]

The shape is the default one: width 192, 64 experts of 48, 4 a token, a shared expert of 192. "layer" is router, routed experts and
shared expert of one layer, forward and backward; "model" is seven such layers with attention, embedding and a loss over 1,024
tokens of vocabulary, forward and backward, both on rows of 160 text tokens. The other side is transformers' ERNIE 4.5 MoE with the
same sizes, under each of its `experts_implementation`s that runs on the device.

Method as in benchmarks.overhead: every round runs each variant once in an order drawn anew, a ratio is taken within the round, the figure
is the median with a 95 % bootstrap interval. CPU time of one thread on a CPU, time between synchronisations on a GPU. The
control "unified, auto, again" shows what this run cannot tell apart.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Ernie4_5_MoeConfig, Ernie4_5_MoeForCausalLM

from benchmarks.overhead import device as processor
from benchmarks.overhead import measure, one_thread, ratio
from workbench.unified import UnifiedConfig, UnifiedForCausalLM
from workbench.unified.experts import IMPLEMENTATIONS, Experts

ROW = 160
THEIRS = ("eager", "batched_mm", "grouped_mm")
AIM_EAGER, AIM_BEST = 1.5, 1.0  # times the throughput of transformers' eager experts and of its best way


def ours() -> UnifiedForCausalLM:
    return UnifiedForCausalLM(UnifiedConfig()).train()


def theirs() -> Ernie4_5_MoeForCausalLM:
    config = Ernie4_5_MoeConfig(
        vocab_size=1024,
        hidden_size=192,
        intermediate_size=192,
        num_hidden_layers=7,
        num_attention_heads=6,
        num_key_value_heads=6,
        moe_intermediate_size=48,
        moe_k=4,
        moe_num_experts=64,
        moe_num_shared_experts=4,
        moe_layer_start_index=0,
        moe_layer_end_index=6,
        use_cache=False,
    )
    model = Ernie4_5_MoeForCausalLM(config).train()
    for name, parameter in model.named_parameters():
        if "gate.weight" in name:
            nn.init.normal_(
                parameter, std=0.02
            )  # the class starts its router at zero, which sends all tokens to the same experts
    return model


def timed(work: Callable[[], Tensor], module: nn.Module, device: str) -> float:
    """Seconds of a forward and backward pass."""
    gpu = device != "cpu"
    clock = time.perf_counter if gpu else time.thread_time
    if gpu:
        torch.cuda.synchronize()
    start = clock()
    with torch.enable_grad():
        work().backward()
    if gpu:
        torch.cuda.synchronize()
    taken = clock() - start
    module.zero_grad(set_to_none=True)
    return taken


def layer_variants(tokens: int, device: str, seed: int) -> dict[str, Callable[[], float]]:
    torch.manual_seed(seed)
    hidden = torch.randn(1, tokens, 192, device=device)
    own = ours().layers[0].moe.to(device)
    found: dict[str, Callable[[], float]] = {}

    def add(name: str, module: nn.Module, before: Callable[[], None]) -> None:
        def run() -> float:
            before()
            return timed(lambda: module(hidden.requires_grad_()).square().mean(), module, device)

        found[name] = run

    for name in ("auto", *IMPLEMENTATIONS):
        add(f"unified, {name}", own, lambda name=name: setattr(own.experts, "implementation", name))  # type: ignore[misc]
    add("unified, auto, again", own, lambda: setattr(own.experts, "implementation", "auto"))
    whole = theirs().to(device)
    block = whole.model.layers[0].mlp
    for name in THEIRS:
        add(f"transformers, {name}", block, lambda name=name: whole.set_experts_implementation(name))  # type: ignore[misc]
    return found


def model_variants(tokens: int, device: str, seed: int) -> dict[str, Callable[[], float]]:
    torch.manual_seed(seed)
    ids = torch.randint(16, 1024, (max(1, tokens // ROW), ROW), device=device)
    labels = torch.cat([ids[:, 1:], torch.full_like(ids[:, :1], -100)], 1)
    own, other = ours().to(device), theirs().to(device)
    own.ahead = None  # the other model has no multi-token prediction
    found: dict[str, Callable[[], float]] = {}

    def own_run(name: str) -> Callable[[], float]:
        def run() -> float:
            for module in own.modules():
                if isinstance(module, Experts):
                    module.implementation = name
            return timed(lambda: own(ids, labels=labels).loss, own, device)

        return run

    def other_run(name: str) -> Callable[[], float]:
        def run() -> float:
            other.set_experts_implementation(name)
            return timed(lambda: other(input_ids=ids, labels=ids).loss, other, device)

        return run

    for name in ("auto", *IMPLEMENTATIONS):
        found[f"unified, {name}"] = own_run(name)
    found["unified, auto, again"] = own_run("auto")
    for name in THEIRS:
        found[f"transformers, {name}"] = other_run(name)
    return found


def runnable(variants: dict[str, Callable[[], float]]) -> tuple[dict[str, Callable[[], float]], list[str]]:
    """The variants that run on this device, and why others do not."""
    good, missing = {}, []
    for name, run in variants.items():
        try:
            run()
        except (RuntimeError, ValueError, NotImplementedError, ImportError) as fault:
            missing.append(f"{name}: {str(fault).splitlines()[0][:120]}")
        else:
            good[name] = run
    return good, missing


def summary(work: str, variants: dict[str, Callable[[], float]], tokens: int, rounds: int, seed: int) -> dict[str, Any]:
    """Throughput of every variant over that of transformers' eager experts."""
    variants, missing = runnable(variants)
    seconds = measure(variants, rounds, seed)
    eager, mine = seconds["transformers, eager"], seconds["unified, auto"]
    best = min(
        (name for name in seconds if name.startswith("transformers")), key=lambda name: float(seconds[name].mean())
    )
    ratios = {name: ratio(eager, taken, seed) for name, taken in seconds.items()}
    against_best = ratio(seconds[best], mine, seed)
    return {
        "work": work,
        "tokens_per_second_auto": round(tokens / float(sorted(mine)[len(mine) // 2])),
        "speed_over_eager": {
            name: dict(zip(("median", "low", "high"), value, strict=True)) for name, value in ratios.items()
        },
        "best_of_transformers": best,
        "speed_over_best": dict(zip(("median", "low", "high"), against_best, strict=True)),
        "aims": {
            f"at least {AIM_EAGER:g} x eager": ratios["unified, auto"][0] >= AIM_EAGER,
            "no slower than the best": against_best[2] >= AIM_BEST,
        },
        "missing": missing,
    }


def table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['work']}: unified trains {result['tokens_per_second_auto']:,} tokens a second of CPU or GPU time"
    ]
    lines.append(f"  {'variant':<28}{'speed over eager':>18}   95 % interval")
    for name, value in result["speed_over_eager"].items():
        lines.append(f"  {name:<28}{value['median']:>18.2f}   {value['low']:.2f} to {value['high']:.2f}")
    best = result["speed_over_best"]
    lines.append(
        f"  over the best of transformers ({result['best_of_transformers']}): {best['median']:.2f} ({best['low']:.2f} to {best['high']:.2f})"
    )
    lines += [f"  {aim}: {'met' if met else 'missed'}" for aim, met in result["aims"].items()]
    lines += [f"  did not run: {reason}" for reason in result["missing"]]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Training throughput of the unified model's experts, side by side.")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of every variant (default 9)")
    parser.add_argument("--tokens", type=int, default=2560, help="tokens of a pass (default 2560)")
    parser.add_argument("--seed", type=int, default=0, help="weights, order of the variants, resampling")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    options = parser.parse_args(arguments)
    if options.rounds < 2 or options.tokens < 1:
        print("At least 2 rounds and 1 token are needed: pass --rounds 2 or more.", file=sys.stderr)
        return 2
    with one_thread():
        results = [
            summary(
                work, make(options.tokens, options.device, options.seed), options.tokens, options.rounds, options.seed
            )
            for work, make in (("layer", layer_variants), ("model", model_variants))
        ]
    name = processor() if options.device == "cpu" else torch.cuda.get_device_name()
    packages = {package: version(package) for package in ("torch", "transformers")}
    if not options.json:
        print(
            f"{name}, {options.tokens} tokens, {options.rounds} rounds, "
            + ", ".join(f"{k} {v}" for k, v in packages.items())
        )
        for result in results:
            print(table(result))
    print(
        json.dumps({"device": name, "tokens": options.tokens, "rounds": options.rounds, **packages, "results": results})
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
