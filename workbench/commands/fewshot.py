"""`workbench fewshot`: engines on few-shot episodes."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.commands.extract import BatchOption, DeviceOption, ModelOption, ThresholdOption
from workbench.commands.output import JsonOption, Output, quiet_libraries, stop_on_interrupt


class Names(StrEnum):
    """How types stand in a prompt."""

    OWN = "own"
    ANONYMOUS = "anonymous"


def fewshot(
    data: Annotated[
        Path, typer.Option(help="Folder of the few-shot sets, or one above it (docs/data.md).", show_default=False)
    ],
    engine: Annotated[
        str, typer.Option(help="Name of the engine; one that does not learn in context is fine-tuned on the shots.")
    ] = "metaner",
    model: ModelOption = None,
    shots: Annotated[int, typer.Option(min=1, help="Sentences a type: 1 or 5 in the sets of the paper.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, help="Support sets of each set, from seed1 on; the paper has ten.")] = 10,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Test sentences of each set, drawn by --sample-seed: the same for all engines and support sets. Default: all.",
            show_default=False,
        ),
    ] = None,
    sample_seed: Annotated[int, typer.Option(help="Of the sentences that --limit draws.")] = 0,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            help="A set by the name of its folder; may be repeated, or several with commas. Default: conll03, wnut17, NCBI-disease, SEC-filings.",
            show_default=False,
        ),
    ] = None,
    orders: Annotated[
        int,
        typer.Option(min=1, help="Orders of the demonstrations, tried on the first support set of each set."),
    ] = 1,
    naming: Annotated[
        Names | None,
        typer.Option(
            "--names",
            help="How types stand in a prompt with demonstrations: own, or anonymous as in the paper. Default: whichever the weights say did better.",
            show_default=False,
        ),
    ] = None,
    tuned: Annotated[
        str | None,
        typer.Option(
            help="Also: weights of the same engine, for instance trained on plain NER alone, fine-tuned on the shots and asked without demonstrations.",
            show_default=False,
        ),
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            help="Also: ENGINE or ENGINE=WEIGHTS on the same episodes; may be repeated. usm and uie are fine-tuned on the shots, "
            "an engine that learns in context is shown them.",
            show_default=False,
        ),
    ] = None,
    zero_shot: Annotated[
        bool,
        typer.Option("--zero-shot", help="Ask the engines of --beside without shots too, by the names of the types."),
    ] = False,
    beside_seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Support sets for --tuned and --beside. Default: as --seeds.", show_default=False),
    ] = None,
    epochs: Annotated[
        int,
        typer.Option(min=1, help="Of fine-tuning on the shots; the paper's are 200, the default is for a quick look."),
    ] = 50,
    tune_rate: Annotated[float, typer.Option(min=0.0, help="Peak rate of fine-tuning; the paper's is 1e-4.")] = 1e-4,
    tune_batch: Annotated[int, typer.Option(min=1, help="Sentences a step of fine-tuning; the paper's are 4.")] = 4,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps every finished episode: the same command goes on there.", show_default=False
        ),
    ] = None,
    threshold: ThresholdOption = None,
    batch_size: BatchOption = 16,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure how well an engine extracts entities after a few examples: the MetaNER paper's protocol.

    F1 is micro over sentences on exact (type, offset, text), each counted once a sentence; mean and standard deviation over support
    sets. Ctrl-C stops; with --out, finished episodes are kept and not done again.

    Examples:

    workbench fewshot --engine metaner --data data --shots 1 --seeds 10 --limit 500 --out runs/fewshot --json

    workbench fewshot --engine metaner --data data --shots 1 --seeds 10 --limit 500 --tuned runs/plain/model --beside usm --beside uie
    --beside llm=FOLDER --beside-seeds 3 --epochs 200 --out runs/fewshot
    """
    quiet_libraries()
    from workbench.extract.errors import ExtractError
    from workbench.extract.fewshot.episodes import open_sets
    from workbench.extract.fewshot.evaluation import Method, Protocol, against, how_by_default, run
    from workbench.extract.fewshot.published import stated
    from workbench.extract.fewshot.store import Store
    from workbench.extract.fewshot.table import result_table
    from workbench.extract.fewshot.tuning import Tuning

    output = Output(as_json)
    found = open_sets(data, [name for each in sets or () for name in each.split(",")])
    others = beside_seeds or seeds
    anonymous = None if naming is None else naming == Names.ANONYMOUS
    methods = [Method(engine, model, how_by_default(engine), seeds, orders, anonymous)]
    if tuned is not None:
        methods.append(Method(engine, tuned, "fine-tuned", others))
    if zero_shot and not beside:
        raise ExtractError("--zero-shot asks the engines of --beside: name at least one, for instance --beside usm.")
    for each in beside or ():
        methods += _beside(each, others, zero_shot)
    if len({method.name for method in methods}) < len(methods):
        raise ExtractError("The same engine with the same weights was named twice: name each comparison once.")
    protocol = Protocol(
        shots, limit, sample_seed, threshold, batch_size, Tuning(epochs=epochs, batch=tune_batch, rate=tune_rate)
    )
    with _watched(output) as watch:
        results = run(methods, found, protocol, Store(out), watch, device)
    main = results[methods[0].name]
    names = [each.name for each in found]
    for line in result_table(results, names, shots):
        output.say(line)
    left = sum(result["episodes"] - result["episodes_done"] for result in results.values())
    if left:
        kept = f"the same command goes on from {out}" if out else "name a folder by --out to keep what is done"
        output.note(f"Stopped with {left:,} episodes not done; {kept}.")
    output.result(
        {
            **main["sets"], "engine": engine, "model": model, "names": None if naming is None else naming.value, "shots": shots, "seeds": seeds, "limit": limit, "sample_seed": sample_seed,
            "stopped_early": bool(left), "std": "of the population, over support sets", "out": None if out is None else str(out),
            "comparisons": {name: {**result, "main_above": against(main, result)} for name, result in results.items() if result is not main}, "tuning": protocol.tuning.to_json(),
            "published": [
                {"model": row.model, "parameters_in_millions": row.parameters, "how": row.how,
                 "f1": {name: value for (name, at), value in row.f1.items() if at == shots}}
                for row in stated(shots)
            ],
        }
    )  # fmt: skip


def _beside(given: str, seeds: int, zero_shot: bool) -> list[Any]:
    """The methods that one --beside asks for."""
    from workbench.extract.fewshot.evaluation import ZERO_SHOT, Method, how_by_default

    name, _, weights = given.partition("=")
    methods = [Method(name, weights or None, how_by_default(name), seeds)]
    return [*methods, Method(name, weights or None, ZERO_SHOT, 1)] if zero_shot else methods


def _watched(output: Output) -> Any:
    """A bar for the episode at work, a line for every one done, Ctrl-C."""
    from collections.abc import Iterator
    from contextlib import contextmanager

    from tqdm import tqdm

    from workbench.extract.fewshot.evaluation import Watch

    @contextmanager
    def watched() -> Iterator[Watch]:
        said = "Stopping after this batch; finished episodes are kept with --out. Ctrl-C again stops at once."
        with tqdm(unit="", leave=False, disable=None) as bar, stop_on_interrupt(lambda: output.note(said)) as stopped:
            shown = ""

            def progress(done: int, total: int, what: str) -> None:
                nonlocal shown
                if shown != what:
                    shown = what
                    bar.reset(total)
                    bar.set_description(what)
                bar.update(done - bar.n)

            yield Watch(output.note, progress, stopped)

    return watched()
