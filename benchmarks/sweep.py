"""What sharing saves: a sweep of depths x expert shares x top-k beside the plain loop over the same sub-models.

    python -m benchmarks.sweep [--model omni-mini] [--documents 10] [--max-length 128] [--rounds 3] [--json]

The model by name, folder, hub id or GGUF file. Up to 8 depths (1 to 8 layers from the front, fewer where the model has fewer; of the unified
model the layers with audio heads, its uppermost, stay in each), 4 shares of experts, 4 values of top-k. Both
sides score the same texts with the same code; the plain loop applies each sub-model and runs the whole of it. The sums of
losses and the right predictions of both must be equal to the last bit, or the benchmark fails.

Method. In every round both sides run once, in an order drawn anew, and the ratio is taken within the round, of the CPU time of
the process (wall time is given beside it), so that neighbours on the machine disturb it less. The figure is the median ratio.
Where layers run on a GPU, only the wall time means anything. The one-time check of the sharing (a few plain passes over one
batch) counts as the shared side's.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from probes import Plan, SubModel, SubModelError
from workbench.elastic.samples import OWN_FAMILY, read_any
from workbench.elastic.shared import SharedRunner
from workbench.elastic.texts import Scores, Texts
from workbench.inputs import InputOptions, read_documents
from workbench.models import LoadOptions, load_model

INPUTS = Path(__file__).resolve().parents[1] / "sample_data" / "inputs" / "unified"
DEPTHS, SHARES, AIM = 8, (1.0, 0.75, 0.5, 0.25), 0.5


def depths(model: Any, layers: int) -> list[list[int]]:
    """Layers kept, deepest first: from the front; of the unified model its uppermost layers, which have audio heads, stay in each."""
    fixed = (
        int(getattr(model.config, "audio_levels", 0)) if getattr(model.config, "model_type", "") == OWN_FAMILY else 0
    )
    free = layers - fixed
    return [[*range(depth), *range(free, layers)] for depth in range(min(DEPTHS, free), 0, -1)]


def grid(model: Any, layers: int, top_k: int) -> list[Plan]:
    """Plans of the grid; those that cannot run (top-k above the experts left) are left out."""
    plans = []
    for share in SHARES:
        for chosen in sorted({max(round(top_k * part), 1) for part in (1, 0.75, 0.5, 0.25)}, reverse=True):
            for kept in depths(model, layers):
                sub = SubModel(kept, None if share == 1 else f"share:{share}:random", chosen)
                try:
                    plans.append(sub.plan(model))
                except SubModelError:
                    continue
    return plans


def losses(model: Any, plans: list[Plan], texts: Texts, share: bool) -> tuple[list[Scores], SharedRunner, float, float]:
    """Scores of every plan; (scores, runner, CPU seconds, wall seconds)."""
    begun, wall = time.process_time(), time.perf_counter()
    runner = SharedRunner(model, plans, share=share)
    runner.check(texts.batches[-1])
    scores = [Scores(len(texts.cells)) for _ in plans]

    def consume(point: int, number: int, answer: torch.Tensor) -> None:
        scores[point].add(texts.batches[number], answer)

    for first, end in runner.chunks(texts.batches):
        runner.run(texts.batches[first:end], first, consume, lambda: False)
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return scores, runner, time.process_time() - begun, time.perf_counter() - wall


def compare(model: Any, plans: list[Plan], texts: Texts, rounds: int, seed: int) -> dict[str, Any]:
    """Both sides in interleaved rounds; raises if their numbers differ."""
    cpu: list[float] = []
    wall: list[float] = []
    order = random.Random(seed)
    work = None
    for _ in range(rounds):
        found: dict[bool, tuple[list[Scores], SharedRunner, float, float]] = {}
        for share in order.sample([True, False], 2):
            found[share] = losses(model, plans, texts, share)
        if not found[True][1].shared:
            raise SystemExit(f"This model's work cannot be shared ({found[True][1].reason}).")
        for one, two in zip(found[True][0], found[False][0], strict=True):
            if not (np.array_equal(one.loss, two.loss) and np.array_equal(one.right, two.right)):
                raise SystemExit("The shared and the plain run differ: this is a defect.")
        work = found[True][1].work
        cpu.append(found[True][2] / found[False][2])
        wall.append(found[True][3] / found[False][3])
    assert work is not None
    return {
        "equal": True, "ratio_cpu": float(np.median(cpu)), "ratio_wall": float(np.median(wall)), "rounds": rounds,
        "ratios_cpu": [round(one, 3) for one in cpu], "layer_runs": work.layers, "layer_runs_plain": work.layers_plain,
        "head_passes": work.heads, "aim": AIM, "aim_met": float(np.median(cpu)) <= AIM,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="omni-mini")
    parser.add_argument("--documents", type=int, default=10)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="only the last line")
    given = parser.parse_args()
    torch.set_num_threads(1)
    loaded = load_model(given.model, LoadOptions(device=given.device, dtype="float32"))
    documents = list(read_documents([INPUTS], InputOptions(group_by="folder")))
    documents = documents[:: max(len(documents) // given.documents, 1)][: given.documents]
    texts = read_any(loaded, documents, group_by="folder", batch_size=8, max_length=given.max_length)
    model: Any = loaded.model
    site = next(iter(SubModel().plan(model).top_k.values()))
    plans = grid(model, int(model.config.get_text_config().num_hidden_layers), site)
    result: dict[str, Any] = {
        "model": loaded.info.id, "device": str(model.device), "processor": platform.machine(), "torch": torch.__version__, "threads": 1,
        "sub_models": len(plans), "documents": texts.documents, "tokens": int(texts.tokens.sum()),
        **compare(model, plans, texts, given.rounds, given.seed),
    }  # fmt: skip
    if not given.json:
        print(
            f"{result['sub_models']} sub-models of {result['model']} on {result['tokens']:,} predicted tokens, {result['device']}, 1 thread"
        )
        print(
            f"  layers run over a batch   {result['layer_runs']} shared, {result['layer_runs_plain']} plain; head passes {result['head_passes']} each"
        )
        print(
            f"  time, shared / plain      {result['ratio_cpu']:.2f} of CPU time, {result['ratio_wall']:.2f} of wall time (median of {given.rounds} rounds)"
        )
        print(
            f"  numbers                   equal to the last bit; aim of {AIM:.2f} {'met' if result['aim_met'] else 'NOT met'}"
        )
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
