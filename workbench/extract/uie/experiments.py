"""UIE fine-tuned on much or little of a set, with parts of it switched off: shots, ratios, seeds and arms from one command.

    python -m workbench.extract.uie.experiments --model runs/base/model --data conll04 --data-root data --out runs/low --protocol shot:1 shot:5 shot:10 --arm all-labels --epochs 200 --seeds 10
    python -m workbench.extract.uie.experiments --model runs/base/model --data 14res --data-root data --out runs/arms --arm all no-rejection all-labels

Protocols are UIE's (`sample_data_shot.py`): so many sentences a type, or so many in a hundred of the train part; the schema, development and test
stay whole. UIE's own recipe for them is the arm all-labels with 200 epochs. Ours differs in two things: the last weights are measured, not the
best of the epochs, and the decoder has a rate of its own. Every run is measured under the grammar and by free decoding. The same command goes on
where it was stopped; `table.md` and `table.json` hold what is done.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

from workbench.extract.errors import ExtractError
from workbench.extract.evaluate import evaluate
from workbench.extract.formats.sets import load_data
from workbench.extract.loop import MODEL, Length
from workbench.extract.records import Document
from workbench.extract.seq2seq.loop import Recipe
from workbench.extract.state import STATE, read_state
from workbench.extract.uie.engine import UieEngine
from workbench.extract.uie.train.run import WINDOW, start_training, train_on
from workbench.extract.uie.tune import development_parts, fit
from workbench.extract.usm.experiments import METRICS, RESULT, table
from workbench.extract.usm.train.sources import PLANS, Source, make_source
from workbench.extract.usm.tune import measured_schema, with_development
from workbench.models.device import use_threads
from workbench.module_command import count, count_or_none, report

ARMS: dict[str, dict[str, Any]] = {
    "all": {"reject": 0.1},
    "no-rejection": {"reject": 0.0},
    "all-labels": {"reject": 0.1, "whole": True},
}
WARMUP = 0.06  # share of a run's steps, as in UIE


@dataclass(frozen=True)
class Amount:
    """How long each run is, and on how many texts it is measured.

    Attributes:
        steps: optimiser steps. epochs: times that a run sees its sentences, in place of `steps`; a batch is then never larger than a pass.
        batch: samples a step at most. limit: first texts of a test part; None: all. development: texts that choose the reading; None: all.
        keep: whether weights stay on disk once a run is measured.
    """

    steps: int = 600
    epochs: int | None = None
    batch: int = 16
    limit: int | None = None
    development: int | None = None
    keep: bool = False

    def of(self, sentences: int) -> tuple[int, int]:
        """Steps and samples a step of a run over so many sentences."""
        if self.epochs is None:
            return self.steps, self.batch
        batch = min(self.batch, sentences)
        return self.epochs * -(-sentences // batch), batch


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


def sample_source(name: str, documents: Sequence[Document], sample: Sequence[Document], tokenizer: Any) -> Source:
    """The sentences of a sample under the schema of the whole set: a type that the sample lacks is asked all the same."""
    whole = make_source(name, PLANS[name], documents, tokenizer, WINDOW)
    return replace(whole, chunks=make_source(name, PLANS[name], sample, tokenizer, WINDOW).chunks)


def one(
    folder: Path,
    start: str,
    name: str,
    root: Path,
    protocol: str,
    recipe: Recipe,
    amount: Amount,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """One training, or what it left; then the test part, under the grammar and free.

    Args:
        folder: of the run. start: see `seq2seq.start.start_model`.
        recipe: with its seed; batch and warm-up follow from `amount`.

    Raises:
        ExtractError: the folder holds a result of other options.
    """
    documents = load_data(name, root, "train")
    sample = part_of(documents, protocol, recipe.seed)
    steps, batch = amount.of(len(sample))
    what = {**recipe.what, "set": name, "protocol": protocol}
    recipe = replace(recipe, what=what, batch=batch, warmup=max(1, round(WARMUP * steps)))
    measure = {"limit": amount.limit, "development": amount.development}
    settings = json.loads(
        json.dumps({"start": Path(start).name, "recipe": asdict(recipe), "steps": steps, "measured": measure})
    )
    path = folder / RESULT
    if path.is_file():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if kept["settings"] != settings:
            raise ExtractError(
                f"'{folder}' holds a result of other options: give the same ones, or name another --out."
            )
        return kept
    resume = read_state(folder) is not None
    say(f"{folder.name}: {'going on' if resume else 'training'}, {steps} steps on {len(sample)} sentences")
    started = start_training(start, folder, resume=resume, seed=recipe.seed)
    source = sample_source(name, documents, sample, started.tokenizer)
    train_on(started, [source], folder, recipe, Length(steps), resume=resume)
    engine = UieEngine(started.model.eval(), started.tokenizer)
    most = 10**9 if amount.development is None else amount.development
    if most and with_development([name]):
        engine.reading = fit(development_parts(engine, [name], root, most, recipe.seed))
    test = load_data(name, root, "test")[: amount.limit]
    result = {
        "settings": settings,
        "sentences": len(sample),
        "texts": len(test),
        "grammar": measured(engine, name, test),
    }
    engine.choices = replace(engine.choices, constrained=False)
    result["free"] = measured(engine, name, test)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
    if not amount.keep:  # a table of a hundred runs would fill the disk
        for weights in (STATE, MODEL):
            shutil.rmtree(folder / weights, ignore_errors=True)
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
    parser.add_argument("--seeds", type=count, default=1, help="seeds 1 to this one (default %(default)s)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=count, default=600, help="of each run (default %(default)s)")
    length.add_argument(
        "--epochs", type=count, help="times that each run sees its sentences, in place of --steps; UIE: 200"
    )
    parser.add_argument("--batch", type=count, default=16, help="samples a step (default %(default)s)")
    parser.add_argument("--limit", type=count, help="first texts of a test part only")
    parser.add_argument(
        "--development", type=count_or_none, help="so many development texts choose the reading; 0: none (default: all)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the weights of each run, some 0.4 GB each")
    parser.add_argument("--threads", type=count, help="CPU threads")
    chosen = parser.parse_args(arguments)
    use_threads(chosen.threads)

    def say(what: str) -> None:
        print(what, file=sys.stderr, flush=True)  # noqa: T201 - a command

    amount = Amount(chosen.steps, chosen.epochs, chosen.batch, chosen.limit, chosen.development, chosen.keep)
    results: dict[str, list[dict[str, Any]]] = {}
    with report() as status:
        for name in chosen.data:
            for seed in range(1, chosen.seeds + 1):  # so that a run that is stopped has every row
                for protocol in chosen.protocol:
                    for arm in chosen.arm:
                        sampling = {"far": 0.0, "own_name": 1.0, "ordered": 0.5, **ARMS[arm]}
                        what = {"objectives": {"pair": 1.0}, "sampling": sampling}
                        folder = chosen.out / f"{name}-{protocol.replace(':', '')}-{arm}-{seed}"
                        recipe = Recipe(what=what, seed=seed, dropout=0.1)
                        made = one(folder, chosen.model, name, chosen.data_root, protocol, recipe, amount, say)
                        results.setdefault(f"{name}, {protocol}, {arm}", []).append(made)
                        (chosen.out / "table.md").write_text(as_table(results) + "\n", encoding="utf-8")
                        (chosen.out / "table.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(as_table(results))  # noqa: T201 - a command
    return status.code


if __name__ == "__main__":
    sys.exit(main())
