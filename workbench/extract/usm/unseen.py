"""Types never seen: how well USM reads them, and what each source of labels does for it.

    python -m workbench.extract.usm.unseen --encoder HUB_ID_OR_FOLDER --data-root data --out runs/unseen --minutes 10

Every arm is a training of its own without bionlp13cg, anatem, scierc and casie, and without every name and synonym of their types and
roles; it is then measured on their test parts. "all" has every source of labels, each other arm leaves one out. The same command goes on
where it was stopped; `table.md` and `table.json` in the folder hold what is done.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.capture.errors import WorkbenchError
from workbench.extract.usm.engine import UsmEngine
from workbench.extract.usm.experiments import figures, percent, table, trained_and_measured
from workbench.extract.usm.train.loop import Length
from workbench.extract.usm.train.recipe import Recipe
from workbench.extract.usm.train.sources import PLANS

HELD_OUT: dict[str, tuple[str, ...]] = {
    "bionlp13cg": ("entity",),
    "anatem": ("entity",),
    "scierc": ("entity", "relation"),
    "casie": ("argument",),
}
MEAN_OF = (("bionlp13cg", "entity"), ("anatem", "entity"), ("scierc", "entity"), ("casie", "argument"))
PATTERN_SHARE = 3.0  # in the unit of PLANS: about three in a hundred samples
FEW_TYPES = frozenset(
    [
        "wnut17", "ncbi_disease", "bc5cdr", "conll04", "14res", "14lap", "bc2gm", "wikigold", "btc_twitter", "sec_filings", "uner_en_ewt",
        "litbank", "fewrel", "re_docred", "re3d", "ade", "wikievents", "rams",
    ]
)  # fmt: skip


def recipes(base: Recipe) -> dict[str, Recipe]:
    """The arms by name: everything, then everything but one source of labels."""
    whole = replace(base, held_out=tuple(HELD_OUT), patterns=PATTERN_SHARE)

    def without(drop: Sequence[str]) -> Recipe:
        return replace(whole, sets=tuple(name for name in whole.sets if name not in drop))

    words = [name for name in whole.sets if PLANS[name].domain == "words"]
    various = [name for name in whole.sets if name not in FEW_TYPES and name not in HELD_OUT]
    return {
        "all": whole,
        "no types stated by texts": replace(whole, patterns=0.0),
        "no types from relations": replace(whole, from_relations=0.0),
        "no WordNet and free-form types": without(words),
        "no sets of many types": without(various),
        "no synonyms": replace(whole, own_name=1.0),
        "no definitions": replace(whole, describe=0.0),
        "no absent labels of other domains": replace(whole, far_labels=False),
    }


def measure(engine: UsmEngine, root: Path, limit: int | None) -> dict[str, Any]:
    """F1 of each set that was kept out, and their mean."""
    found = {name: figures(engine, name, root, metrics, limit) for name, metrics in HELD_OUT.items()}
    values = [found[name][metric]["f1"] or 0.0 for name, metric in MEAN_OF]
    return {"f1": found, "mean": sum(values) / len(values)}


def as_table(results: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> str:
    """Markdown: an arm a row, seeds side by side in a cell, the effect against "all" of the same seeds."""
    columns = [(name, metric) for name, metrics in HELD_OUT.items() for metric in metrics]
    head = ["sources of labels", "steps", *(f"{name} {metric}" for name, metric in columns), "mean of four", "effect"]
    rows = []
    for arm, seeds in results.items():
        cells = [
            "; ".join(percent(result["f1"][name].get(metric)) for result in seeds.values()) for name, metric in columns
        ]
        means = "; ".join(f"{100 * result['mean']:.1f}" for result in seeds.values())
        both = [seed for seed in seeds if seed in results.get("all", {})]
        effect = "-"
        if arm != "all" and both:
            differences = [100 * (results["all"][seed]["mean"] - seeds[seed]["mean"]) for seed in both]
            effect = f"{sum(differences) / len(differences):+.1f}"
        steps = "; ".join(str(result["steps"]) for result in seeds.values())
        rows.append([arm, steps, *cells, means, effect])
    return table(head, rows)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workbench.extract.usm.unseen",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arms = list(recipes(Recipe()))
    parser.add_argument("--encoder", required=True, help="hub id or folder of a transformers encoder")
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder of the arms' runs and of the table")
    parser.add_argument("--minutes", type=float, help="training time of an arm")
    parser.add_argument("--steps", type=int, default=100_000, help="steps of an arm, if that ends before --minutes")
    parser.add_argument("--arm", nargs="*", choices=arms, default=arms, metavar="ARM", help=f"of: {'; '.join(arms)}")
    parser.add_argument("--data", nargs="*", help="sets to learn from, if not all that may be learnt from")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0], help="a training of each arm for each")
    parser.add_argument("--documents", type=int, default=6000, help="documents of a set at most")
    parser.add_argument("--limit", type=int, help="first texts of a test part only")
    parser.add_argument(
        "--development", type=int, default=60, help="texts of a development part that choose the reading"
    )
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args(arguments)
    if chosen.threads:
        import torch

        torch.set_num_threads(chosen.threads)
    base = Recipe(documents=chosen.documents)
    if chosen.data is not None:
        base = replace(base, sets=tuple(chosen.data))

    def say(what: str) -> None:
        print(what, file=sys.stderr, flush=True)  # noqa: T201 - a command

    results: dict[str, dict[int, Any]] = {}
    try:
        for arm, recipe in recipes(base).items():
            for seed in chosen.seeds if arm in chosen.arm else []:
                folder = chosen.out / f"{arm.replace(' ', '-')}-{seed}"
                results.setdefault(arm, {})[seed] = trained_and_measured(
                    folder, chosen.encoder, chosen.data_root, replace(recipe, seed=seed), Length(chosen.steps, chosen.minutes),
                    lambda engine: measure(engine, chosen.data_root, chosen.limit), device=chosen.device, development=chosen.development, say=say,
                )  # fmt: skip
                made = as_table(results)
                (chosen.out / "table.md").write_text(made + "\n", encoding="utf-8")
                (chosen.out / "table.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    except WorkbenchError as fault:
        say(str(fault))
        return 1
    print(as_table(results))  # noqa: T201 - a command
    return 0


if __name__ == "__main__":
    sys.exit(main())
