"""Do two measurements of one sub-model's latency agree within the interval that is printed?

    python -m benchmarks.clock [--model omni-mini] [--runs 12] [--rounds 10] [--others 10] [--json]
    python -m benchmarks.clock --curves ONE.sweep ANOTHER.sweep

One sub-model (top-k 1) stands twice in the same interleaved rounds, beside the whole model, all on gathered weights, and between
other entries, so that a round takes as long as in a small sweep. Runs of so many rounds follow each other at once. Then every pair is
asked whether the median of each lies within the interval of the other: the two entries of a run; a run and the next one in
milliseconds of reading and of writing; and a run and the next one as a share of the whole model's time in the same round.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from probes import SubModel
from workbench.elastic.latency import Gathered, LatencyOptions, Quantiles, Timing, measure, quantiles, shares, visits
from workbench.elastic.samples import read_any
from workbench.inputs import InputOptions, read_documents
from workbench.models import LoadOptions, load_model

INPUTS = Path(__file__).resolve().parents[1] / "sample_data" / "inputs" / "kinds"


def one_run(gathered: Gathered, ids: torch.Tensor, options: LatencyOptions) -> dict[str, dict[int, Timing]]:
    """Entry -> round -> timing."""
    found: dict[str, dict[int, Timing]] = {key: {} for key in gathered.plans}

    def keep(number: int, key: str, timing: Timing) -> None:
        found[key][number] = timing

    def failed(key: str, why: str) -> None:
        raise SystemExit(f"{key}: {why}")

    measure(gathered, ids, options, list(visits(list(gathered.plans), options)), keep, failed, lambda: False)
    return found


def agree(one: Quantiles, two: Quantiles) -> bool:
    """Whether each median lies within the other's interval."""
    return one.low <= two.p50 <= one.high and two.low <= one.p50 <= two.high


def judged(runs: Sequence[dict[str, dict[int, Timing]]]) -> dict[str, Any]:
    """How often pairs agree, and how wide the intervals are."""

    def decode(run: dict[str, dict[int, Timing]], key: str) -> dict[int, Sequence[float]]:
        return {number: timing.decode for number, timing in run[key].items()}

    def known(found: Quantiles | None) -> Quantiles:
        assert found is not None  # every run has rounds
        return found

    ms = [known(quantiles(list(decode(run, "first").values()))) for run in runs]
    reading = [known(quantiles([[timing.prefill] for timing in run["first"].values()])) for run in runs]
    second = [known(quantiles(list(decode(run, "second").values()))) for run in runs]
    share = [known(shares(decode(run, "first"), decode(run, "whole"))) for run in runs]

    def entry(pairs: Sequence[tuple[Quantiles, Quantiles]]) -> dict[str, Any]:
        width = np.median([(one.high - one.low) / one.p50 for one, _ in pairs])
        return {
            "pairs": len(pairs),
            "agree": sum(agree(*pair) for pair in pairs),
            "width_of_median": round(float(width), 3),
        }

    return {
        "p50_ms": [round(one.p50, 3) for one in ms],
        "share_of_whole": [round(one.p50, 3) for one in share],
        "two entries of one run, ms": entry(list(zip(ms, second, strict=True))),
        "two runs, ms": entry(list(pairwise(ms))),
        "two runs, ms of reading": entry(list(pairwise(reading))),
        "two runs, share of the whole model": entry(list(pairwise(share))),
    }


def curves_agree(first: Path, second: Path) -> dict[str, Any]:
    """The same question of two sweeps on disk: for how many sub-models each p50 lies within the other's interval.

    Args:
        first, second: folders of `workbench sweep` with the same sub-models.
    """
    both = pd.read_parquet(first / "curve.parquet").merge(pd.read_parquet(second / "curve.parquet"), on="sub_model")
    found: dict[str, Any] = {"sub_models": len(both)}
    for what, middle in (
        ("prefill_ms", "_p50"),
        ("decode_ms", "_p50"),
        ("prefill_of_full", ""),
        ("decode_of_full", ""),
    ):
        rows = both[both["sub_model"] != "full"] if not middle else both
        pairs = [
            tuple(Quantiles(row[f"{what}{middle}_{side}"], 0.0, row[f"{what}_low_{side}"], row[f"{what}_high_{side}"], 0) for side in "xy")
            for row in rows.to_dict("records")
        ]  # fmt: skip
        found[what] = {"pairs": len(pairs), "agree": sum(agree(one, two) for one, two in pairs)}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="omni-mini")
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument(
        "--others", type=int, default=10, help="entries between, as a sweep has them (default %(default)s)"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="only the last line")
    parser.add_argument("--curves", type=Path, nargs=2, metavar="DIR", help="compare two sweeps on disk instead")
    given = parser.parse_args()
    if given.curves:
        print(json.dumps(curves_agree(*given.curves)))
        return 0
    torch.set_num_threads(1)
    loaded = load_model(given.model, LoadOptions(device=given.device, dtype="float32"))
    documents = list(read_documents([INPUTS], InputOptions(group_by="folder")))[:5]
    texts = read_any(loaded, documents, group_by="folder", batch_size=8, max_length=128)
    options = LatencyOptions(length=64, steps=8, rounds=given.rounds)
    ids = torch.cat([batch.words() for batch in texts.batches])[: options.length].view(1, -1).to(loaded.model.device)
    small = SubModel(top_k=1).plan(loaded.model)
    whole = SubModel().plan(loaded.model)
    others = {f"other {number}": whole for number in range(given.others)}
    gathered = Gathered(loaded.model, {"first": small, "second": small, "whole": whole, **others})
    one_run(gathered, ids, LatencyOptions(length=64, steps=8, rounds=2))  # gathers the weights
    result: dict[str, Any] = {
        "model": loaded.info.id, "device": str(loaded.model.device), "processor": platform.machine(), "torch": torch.__version__, "threads": 1,
        "runs": given.runs, "rounds": given.rounds, "others": given.others, **judged([one_run(gathered, ids, options) for _ in range(given.runs)]),
    }  # fmt: skip
    if not given.json:
        print(
            f"{given.runs} runs of {given.rounds} rounds, {result['model']} with top-k 1, a written token, {result['device']}, 1 thread"
        )
        print(f"  medians of the runs     {min(result['p50_ms'])} to {max(result['p50_ms'])} ms, {min(result['share_of_whole'])} to {max(result['share_of_whole'])} of the whole model's")  # fmt: skip
        for name, one in result.items():
            if isinstance(one, dict):
                print(f"  {name:<36} {one['agree']} of {one['pairs']} pairs agree; width of an interval {one['width_of_median']:.0%} of the median")  # fmt: skip
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
