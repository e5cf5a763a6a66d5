"""UIE fine-tuned on much or little of a set, with parts of it switched off: shots, ratios, seeds and arms from one command.

    python -m workbench.extract.uie.experiments --model runs/uie/model --data conll04 --data-root data --out runs/low --protocol shot:1 shot:5 shot:10 --seeds 10
    python -m workbench.extract.uie.experiments --model runs/uie/model --data 14res --data-root data --out runs/arms --arm all no-rejection all-labels

Protocols are UIE's (`sample_data_shot.py`): so many sentences a type, or so many in a hundred of the train part; development and test stay whole.
Every run is measured under the grammar and by free decoding. The same command goes on where it was stopped; `table.md` and `table.json` hold what
is done.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

from workbench.capture.errors import WorkbenchError
from workbench.extract.errors import ExtractError
from workbench.extract.evaluate import evaluate
from workbench.extract.formats.sets import load_data
from workbench.extract.records import Document
from workbench.extract.seq2seq.loop import Recipe
from workbench.extract.state import read_state
from workbench.extract.uie.engine import UieEngine
from workbench.extract.uie.train.run import WINDOW, start_training, train_on
from workbench.extract.uie.tune import development_parts, fit
from workbench.extract.usm.experiments import METRICS, RESULT, table
from workbench.extract.usm.train.loop import Length
from workbench.extract.usm.train.sources import PLANS, make_source
from workbench.extract.usm.tune import measured_schema, with_development

ARMS: dict[str, dict[str, Any]] = {
    "all": {"reject": 0.1},
    "no-rejection": {"reject": 0.0},
    "all-labels": {"reject": 0.1, "labels": 10**6, "drop": 0.0},
}


def shots(documents: Sequence[Document], count: int, seed: int) -> list[Document]:
    """So many sentences a type: of relations where there are any, else of events, else of entities.

    As in the original, one sentence may be drawn for several types, stands in a type's pool as often as it holds the type, and a type with
    fewer sentences gives all of them.
    """
    pools: dict[str, list[int]] = {}
    every = list(documents)
    kind = "relations" if any(d.relations for d in every) else "events" if any(d.events for d in every) else "entities"
    for number, document in enumerate(every):
        for item in getattr(document, kind) or ():
            pools.setdefault(item.type, []).append(number)
    draw = random.Random(seed)
    chosen = [number for type_ in sorted(pools) for number in draw.sample(pools[type_], min(count, len(pools[type_])))]
    return [every[number] for number in chosen]


def ratio(documents: Sequence[Document], percent: float, seed: int) -> list[Document]:
    """So many sentences in a hundred, rounded up."""
    count = -(-len(documents) * percent // 100)
    return random.Random(seed).sample(list(documents), min(len(documents), int(count)))


def part_of(documents: Sequence[Document], protocol: str, seed: int) -> list[Document]:
    """The sentences of a protocol: "full", "shot:5" or "ratio:10".

    Raises:
        ExtractError: it is none.
    """
    kind, _, number = protocol.partition(":")
    try:
        value = float(number) if number else 0.0
    except ValueError:
        value = -1.0
    if protocol == "full":
        return list(documents)
    if kind == "shot" and value >= 1 and value == int(value):
        return shots(documents, int(value), seed)
    if kind == "ratio" and 0 < value <= 100:
        return ratio(documents, value, seed)
    raise ExtractError(
        f"A protocol is full, shot:NUMBER or ratio:PERCENT, not '{protocol}': write for instance shot:5."
    )


def measured(engine: UieEngine, name: str, documents: Sequence[Document]) -> dict[str, Any]:
    """F1 by offset of every metric that a set has, and how many outputs were well-formed."""
    engine.counts.clear()
    form: Any = evaluate(engine, list(documents), measured_schema(name, list(documents))).to_json()
    found: dict[str, Any] = {}
    for metric, path in METRICS.items():
        leaf = form
        for step in (*path, "offset"):
            leaf = leaf[step]
        if leaf["f1"] is not None and leaf["gold"]:
            found[metric] = leaf["f1"]
    return {"f1": found, "outputs": dict(engine.counts)}


def one(
    folder: Path,
    start: str,
    name: str,
    root: Path,
    protocol: str,
    seed: int,
    recipe: Recipe,
    length: Length,
    limit: int | None,
    development: int,
    say: Any,
) -> dict[str, Any]:
    """One training, or what it left; then the test part, under the grammar and free."""
    recipe = replace(recipe, seed=seed, what={**recipe.what, "set": name, "protocol": protocol})
    path = folder / RESULT
    settings = json.loads(
        json.dumps({"start": Path(start).name, "what": recipe.what, "seed": seed, "steps": length.steps})
    )
    if path.is_file():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if kept["settings"] != settings:
            raise ExtractError(
                f"'{folder}' holds a result of other options: give the same ones, or name another --out."
            )
        return kept
    resume = read_state(folder) is not None
    say(f"{folder.name}: {'going on' if resume else 'training'}")
    started = start_training(start, folder, resume=resume)
    documents = part_of(load_data(name, root, "train"), protocol, seed)
    plan = PLANS[name]
    source = make_source(name, plan, documents, started.tokenizer, WINDOW)
    train_on(started, [source], folder, recipe, length, resume=resume)
    engine = UieEngine(started.model.eval(), started.tokenizer)
    if development and with_development([name]):
        engine.reading = fit(development_parts(engine, [name], root, development, seed))
    test = load_data(name, root, "test")[:limit]
    result = {
        "settings": settings,
        "sentences": len(documents),
        "texts": len(test),
        "grammar": measured(engine, name, test),
    }
    engine.choices = replace(engine.choices, constrained=False)
    result["free"] = measured(engine, name, test)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
    return result


def as_table(results: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown: a row of runs that differ in their seed alone; mean and standard deviation of F1 over seeds."""
    rows = []
    for key, runs in results.items():
        for way in ("grammar", "free"):
            scores = {
                metric: [100 * run[way]["f1"][metric] for run in runs if metric in run[way]["f1"]] for metric in METRICS
            }
            outputs = [run[way]["outputs"] for run in runs]
            whole = sum(sum(each.values()) for each in outputs)
            well = sum(each.get("well-formed", 0) for each in outputs)
            rows.append(
                [key, way, str(len(runs)), f"{mean(run['sentences'] for run in runs):.0f}"]
                + [f"{mean(v):.1f} ± {pstdev(v):.1f}" if v else "-" for v in scores.values()]
                + [f"{100 * well / whole:.1f} %" if whole else "-"]
            )
    return table(["set, protocol, arm", "decoding", "seeds", "sentences", *METRICS, "well-formed"], rows)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workbench.extract.uie.experiments", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )  # fmt: skip
    parser.add_argument(
        "--model",
        required=True,
        help="what each run starts from: a UIE model, a base, an encoder or an encoder-decoder",
    )
    parser.add_argument("--data", nargs="+", required=True, choices=sorted(PLANS), metavar="SET")
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs and of the table")
    parser.add_argument(
        "--protocol", nargs="+", default=["full"], help="full, shot:N, ratio:PERCENT (default %(default)s)"
    )
    parser.add_argument("--arm", nargs="+", default=["all"], choices=list(ARMS), help="(default %(default)s)")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 1 to this one (default %(default)s)")
    parser.add_argument("--steps", type=int, default=600, help="of each run (default %(default)s)")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--limit", type=int, help="first texts of a test part only")
    parser.add_argument(
        "--development",
        type=int,
        default=150,
        help="development texts that choose the reading; 0: none (default %(default)s)",
    )
    parser.add_argument("--threads", type=int, help="CPU threads")
    chosen = parser.parse_args(arguments)
    if chosen.threads:
        import torch

        torch.set_num_threads(chosen.threads)

    def say(what: str) -> None:
        print(what, file=sys.stderr, flush=True)  # noqa: T201 - a command

    results: dict[str, list[dict[str, Any]]] = {}
    try:
        for name in chosen.data:
            for protocol in chosen.protocol:
                for arm in chosen.arm:
                    sampling = {"far": 0.0, "own_name": 1.0, "ordered": 0.5, **ARMS[arm]}
                    recipe = Recipe(
                        what={"objectives": {"pair": 1.0}, "sampling": sampling},
                        batch=chosen.batch,
                        warmup=50,
                        dropout=0.1,
                    )
                    for seed in range(1, chosen.seeds + 1):
                        folder = chosen.out / f"{name}-{protocol.replace(':', '')}-{arm}-{seed}"
                        made = one(
                            folder, chosen.model, name, chosen.data_root, protocol, seed, recipe, Length(chosen.steps), chosen.limit, chosen.development, say
                        )  # fmt: skip
                        results.setdefault(f"{name}, {protocol}, {arm}", []).append(made)
                        (chosen.out / "table.md").write_text(as_table(results) + "\n", encoding="utf-8")
                        (chosen.out / "table.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    except WorkbenchError as fault:
        say(str(fault))
        return 1
    print(as_table(results))  # noqa: T201 - a command
    return 0


if __name__ == "__main__":
    sys.exit(main())
