"""What elastic training buys: one small unified model trained with it and without, the same sub-models of both, and small
models that were trained by themselves, over several seeds (docs/elastic_experiment.md).

    run_experiment(tokenizers, data_root, out, Experiment())

Every run is a training log of its own with its state, so that an experiment that was stopped goes on where it was; a run that
is finished has `losses.json`. All runs see as many samples, and are measured on the same samples that training kept back.
"""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.capture.write import write_error
from workbench.elastic.errors import ElasticError
from workbench.elastic.experiment_plan import ELASTIC, SEPARATE, Experiment, Run, Shape, runs_of, sub_model
from workbench.elastic.journal import write_json

if TYPE_CHECKING:
    import pandas as pd

    from workbench.unified.model import UnifiedForCausalLM
    from workbench.unified.segments import Sample
    from workbench.unified.tokenizers.bundle import Tokenizers

PLAN_FILE, LOSSES_FILE, RUNS, CACHE = "experiment.json", "losses.json", "runs", "cache"
RANKED = 16  # training samples of each task that experts are ranked on
ROWS = 16  # samples run at once
Say = Callable[[str], None]


def run_experiment(
    tokenizers: Path, data_root: Path, out: Path, plan: Experiment, say: Say = lambda _: None
) -> pd.DataFrame:
    """Make every run that is not finished, several at once, and return the losses of all.

    Args:
        tokenizers: trained ones. data_root: folder with one folder a data set. out: new, or of the same experiment.
        say: told when a run begins to be waited for, and when one is finished.

    Returns:
        A row for each run, sub-model and task (see `measure`).

    Raises:
        ElasticError: if the folder holds another experiment, or a run takes longer than it may.
        UnifiedError: if tokenizers or data are missing.
    """
    from workbench.unified.data.mixture import Mixture
    from workbench.unified.tokenizers.bundle import Tokenizers

    bundle = Tokenizers.load(tokenizers)
    _begin(out, {**plan.identity(), "tokenizers": bundle.fingerprint()})
    left = [run for run in runs_of(plan) if not (out / RUNS / run.name / LOSSES_FILE).is_file()]
    if left:
        say(f"{len(left)} of {len(runs_of(plan))} runs to make, {plan.workers} at once")
        Mixture(bundle, data_root, 0, out / CACHE)  # sounds are encoded once, before several processes want them
        for number, name in enumerate(_perform_all(left, tokenizers, data_root, out, plan), start=1):
            say(f"{number} of {len(left)}: {name}")
    return read_losses(out, plan)


def _begin(out: Path, identity: dict[str, Any]) -> None:
    file = out / PLAN_FILE
    try:
        if file.is_file():
            if json.loads(file.read_text(encoding="utf-8")) != identity:
                raise ElasticError(
                    f"'{out}' holds an experiment with other numbers, tokenizers or shapes: give the same options, or choose another --out."
                )
            return
        if out.is_dir() and any(out.iterdir()):
            raise ElasticError(f"'{out}' holds other files, so nothing is written there: choose another --out.")
        out.mkdir(parents=True, exist_ok=True)
        write_json(file, identity)
    except ValueError as fault:
        raise ElasticError(f"'{file}' cannot be read, so the experiment cannot go on: choose another --out.") from fault
    except OSError as fault:
        raise write_error(fault, out) from fault


def _perform_all(left: list[Run], tokenizers: Path, data_root: Path, out: Path, plan: Experiment) -> Iterator[str]:
    """Make runs in processes of one thread each; yields the name of each finished one."""
    if plan.workers == 1:
        for run in left:
            yield perform(run, tokenizers, data_root, out, plan)
        return
    # Read by a process before it loads torch: OpenMP takes its number of threads once.
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    pool = concurrent.futures.ProcessPoolExecutor(plan.workers, multiprocessing.get_context("spawn"))
    try:
        waiting = [pool.submit(perform, run, tokenizers, data_root, out, plan) for run in left]
        for done in concurrent.futures.as_completed(waiting):
            yield done.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


# ------------------------------------------------------------------ one run
@dataclass
class _Bounded:
    """Training data that end when the time is over."""

    data: Any
    minutes: float
    run: str
    tasks: tuple[str, ...] = ()
    end: float = field(init=False)

    def __post_init__(self) -> None:
        self.tasks = self.data.tasks
        self.end = time.monotonic() + 60 * self.minutes

    def draw(self, task: str, number: int) -> Sample:
        if time.monotonic() > self.end:
            raise ElasticError(
                f"The run {self.run} was not finished after {self.minutes:g} minutes; its state is kept: give more --minutes, or fewer --steps and another --out."
            )
        found: Sample = self.data.draw(task, number)
        return found

    def fingerprint(self) -> str:
        found: str = self.data.fingerprint()
        return found


def perform(run: Run, tokenizers: Path, data_root: Path, out: Path, plan: Experiment) -> str:
    """Train one model (or go on), measure it and its sub-models, write `losses.json`; returns the run's name."""
    import torch

    from workbench.unified.checkpoint import load_checkpoint
    from workbench.unified.data.mixture import Mixture
    from workbench.unified.tokenizers.bundle import Tokenizers
    from workbench.unified.train.loop import Plan, train
    from workbench.unified.train.recipe import Elastic, Recipe
    from workbench.unified.train.state import read_progress

    torch.set_num_threads(1)
    bundle = Tokenizers.load(tokenizers)
    folder = out / RUNS / run.name
    recipe = Recipe(
        seed=run.seed,
        model=_sizes(run.shape, plan),
        elastic=Elastic() if run.kind == ELASTIC else None,
    ).with_batch(plan.batch)
    data = _Bounded(Mixture(bundle, data_root, run.seed, out / CACHE), plan.minutes, run.name)
    done = read_progress(folder)
    if done is None or done.step < plan.steps:
        checkpoint = train(
            data, bundle, folder, recipe, Plan(plan.steps, resume=done is not None, save_minutes=0.5, device="cpu")
        )
        done = read_progress(folder)
    else:
        checkpoint = folder / "model"
    model, _ = load_checkpoint(checkpoint)
    rows = measure(model, bundle, Mixture(bundle, data_root, 0, out / CACHE), run, plan)
    write_json(
        folder / LOSSES_FILE,
        {"rows": rows, "seconds": done.seconds if done else None, "tokens": done.tokens if done else None},
    )
    return run.name


def _sizes(shape: Shape, plan: Experiment) -> dict[str, Any]:
    return {
        "hidden_size": plan.width, "num_hidden_layers": shape.layers, "num_attention_heads": plan.heads,
        "num_experts": shape.experts, "num_experts_per_tok": shape.top_k,
        "moe_intermediate_size": plan.inner, "shared_intermediate_size": plan.width,
    }  # fmt: skip


def measure(
    model: UnifiedForCausalLM, tokenizers: Tokenizers, data: Any, run: Run, plan: Experiment
) -> list[dict[str, Any]]:
    """Losses of a trained model, and of its sub-models unless it is small itself.

    Args:
        model: in evaluation mode. data: a mixture; experts are ranked on its training samples, losses are of kept-back ones.

    Returns:
        Rows with run, kind, seed, layers, experts, top_k, parameters_stored, parameters_active, task, loss (nats a token, bit or
        code), accuracy, predictions, samples.
    """
    import numpy as np

    from probes import rank_experts
    from probes.cost import cost
    from workbench.elastic.samples import Item, pack_samples
    from workbench.elastic.shared import SharedRunner
    from workbench.elastic.texts import Scores

    def packed(draw: Callable[[str, int], Sample], count: int) -> Any:
        items = [Item(f"{task} {number}", draw(task, number), task) for task in data.tasks for number in range(count)]
        return pack_samples(items, model.config, tokenizers, ROWS)

    texts = packed(data.held_out, plan.each)
    shapes = [run.shape] if run.kind == SEPARATE else plan.shapes
    subs = [sub_model(shape, run.shape) for shape in shapes]
    ranking = None
    if any("mass" in str(sub) for sub in subs):
        calls = [{**batch.arguments(model.device), "use_cache": False} for batch in packed(data.draw, RANKED).batches]
        ranking = rank_experts(model, calls, "mass")
    plans = [sub.plan(model, ranking) for sub in subs]
    scores = [Scores(len(texts.cells)) for _ in plans]
    runner = SharedRunner(model, plans)
    runner.check(texts.batches[-1])
    runner.run(
        texts.batches, 0, lambda point, number, answer: scores[point].add(texts.batches[number], answer), lambda: False
    )
    rows = []
    for shape, chosen, found in zip(shapes, plans, scores, strict=True):
        counted = cost(model, chosen)
        for task in data.tasks:
            cells = np.array([own == task for _, own in texts.cells])
            tokens = int(texts.tokens[cells].sum())
            rows.append(
                {"run": run.name, "kind": run.kind, "seed": run.seed, **shape._asdict(),
                 "parameters_stored": counted.parameters_stored, "parameters_active": counted.parameters_active, "task": task,
                 "loss": float(found.loss[cells].sum() / tokens), "accuracy": float(found.right[cells].sum() / tokens),
                 "predictions": tokens, "samples": int(cells.sum())}
            )  # fmt: skip
    return rows


def read_losses(out: Path, plan: Experiment) -> pd.DataFrame:
    """The rows of all runs.

    Raises:
        ElasticError: if a run is missing or cannot be read.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for run in runs_of(plan):
        file = out / RUNS / run.name / LOSSES_FILE
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            rows += [{**row, "seconds": found["seconds"], "tokens": found["tokens"]} for row in found["rows"]]
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise ElasticError(
                f"The losses of the run {run.name} were expected in '{file}', but cannot be read: remove that run's folder and start the command again."
            ) from fault
    return pd.DataFrame(rows)
