"""`workbench sweep`, `carve` and `budget`: how small a model can get, at what price, and the chosen one as a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.commands.options import (
    BatchSize,
    Device,
    Dtype,
    Force,
    Lines,
    MaxLength,
    MoreInputs,
    Revision,
    TextColumn,
    read_files,
    working,
)
from workbench.commands.output import JsonOption, Output, quiet_libraries

ModelOption = Annotated[
    str, typer.Option(help="Embedded model (`workbench models`), folder or hub id.", show_default=False)
]
SPEC = "layers=first:4 | even:4 | important:4 | 0-3,6; experts=share:0.5:count|mass|norm|random[:SEED] | 0-3,7; top_k=2"
_COLUMNS = {"decode": "decode_ms_p50", "prefill": "prefill_ms_p50"}


def sweep(
    model: ModelOption,
    inputs: Annotated[
        list[Path],
        typer.Option("--input", help="File or folder of texts; may be given several times.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the curve and the findings.", show_default=False)],
    more: MoreInputs = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            help="Layers kept: all, first:4, even:4, important:4 or a list 0-3,6; several values make a grid."
        ),
    ] = None,
    experts: Annotated[
        list[str] | None,
        typer.Option(
            help="Experts kept: all, share:0.5:mass (or count, norm, random:SEED), or a list 0-3,7; several make a grid."
        ),
    ] = None,
    top_k: Annotated[list[str] | None, typer.Option(help="Experts a token: a number; several make a grid.")] = None,
    sub_model: Annotated[
        list[str] | None, typer.Option(help=f"One sub-model by itself, for example 'layers=first:4 top_k=2'. {SPEC}")
    ] = None,
    calibrate: Annotated[
        list[Path] | None,
        typer.Option(
            help="Texts to rank experts and layers on; other ones than --input, or the choice looks too good."
        ),
    ] = None,
    calibrate_every: Annotated[
        int | None,
        typer.Option(
            help="Rank on every N-th document of --input, and measure on the others (at least 2), instead of --calibrate."
        ),
    ] = None,
    ranking: Annotated[
        Path | None,
        typer.Option(help="A capture of this model to rank experts by (count, mass), instead of --calibrate."),
    ] = None,
    group_by: Annotated[
        str, typer.Option(help="Quality is given for each: modality, file, folder, group, role, prompt, column:NAME.")
    ] = "modality",
    text_column: TextColumn = None,
    lines: Lines = False,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="A task beside the loss: of lm-evaluation-harness (pip install 'unified-workbench[harness]'), or of the unified model its own, "
            "such as image_to_word."
        ),
    ] = None,
    task_folder: Annotated[Path | None, typer.Option(help="Folder of further task files (YAML).")] = None,
    task_limit: Annotated[int | None, typer.Option(help="Documents of each task. Default: all.")] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of the data sets that the unified model's tasks read (docs/data.md).")
    ] = None,
    judges: Annotated[
        Path | None,
        typer.Option(
            help="Folder of trained judges for them; else the checkpoint's own, else ones trained once and kept."
        ),
    ] = None,
    captures: Annotated[
        bool,
        typer.Option(
            "--captures",
            help="Record the routing of every sub-model on the same inputs too, into OUT/captures (holds the texts).",
        ),
    ] = False,
    capture_tokens: Annotated[int, typer.Option(help="Token rows kept in each capture.")] = 20_000,
    rounds: Annotated[int, typer.Option(help="Visits of the clock to each sub-model; 0 measures no latency.")] = 10,
    decode_steps: Annotated[int, typer.Option(help="Written tokens timed in each visit.")] = 16,
    latency_batch: Annotated[int, typer.Option(help="Rows while timing.")] = 1,
    latency_length: Annotated[int, typer.Option(help="Tokens of the prompt while timing.")] = 128,
    max_length: MaxLength = None,
    batch_size: BatchSize = 8,
    dtype: Dtype = "auto",
    device: Device = "auto",
    device_map: Annotated[
        str | None, typer.Option(help="Spread the model over devices; latency is then left out.")
    ] = None,
    revision: Revision = None,
    seed: Annotated[int, typer.Option(help="Of the order of visits and of resampling.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the sweep that --out holds.")] = False,
    force: Force = False,
    as_json: JsonOption = False,
) -> None:
    """Measure the quality and the cost of sub-models: fewer layers, fewer experts, a smaller top-k; writes OUT/curve.parquet.

    Layers that sub-models share run once; latency and memory are measured with the other weights really absent. Ctrl-C stops at the
    next batch, and --resume goes on.

    Examples:

    workbench sweep --model omni-mini --layers even:5 --layers all --top-k 2 --top-k 4 --input sample_data/inputs/unified --out my.sweep

    workbench sweep --model owner/model --sub-model "experts=share:0.5:mass" --calibrate calibration.txt --input reviews.csv --out my.sweep
    """
    from probes import SubModel
    from workbench.capture import Capture
    from workbench.elastic.errors import SweepError
    from workbench.elastic.latency import LatencyOptions
    from workbench.elastic.points import grid
    from workbench.elastic.sweep import SweepOptions
    from workbench.elastic.sweep import sweep as run
    from workbench.elastic.unified_tasks import TaskData
    from workbench.models import LoadOptions, load_model

    output = Output(as_json)
    options = SweepOptions(
        group_by=group_by, batch_size=batch_size, max_length=max_length, tasks=tuple(task or ()), task_folder=task_folder,
        task_limit=task_limit, task_data=TaskData(data_root, judges), seed=seed,
        captures=_capture_rows(captures, capture_tokens),
        latency=LatencyOptions(latency_batch, latency_length, decode_steps, rounds, seed),
    )  # fmt: skip
    listed = [SubModel.parse(words) for words in sub_model or ()]
    axes = (_values(layers), _values(experts), _values(top_k))
    wanted = grid(*axes) if any(axes) else []
    documents = list(read_files(output, [*inputs, *(more or [])], group_by, text_column, lines).documents)
    calibration = read_files(output, calibrate, "modality", text_column, lines).documents if calibrate else []
    if calibrate_every is not None:
        if calibrate or calibrate_every < 2:
            raise SweepError("--calibrate-every takes a number of at least 2, and stands instead of --calibrate.")
        calibration = documents[::calibrate_every]
        documents = [document for number, document in enumerate(documents) if number % calibrate_every]
    quiet_libraries()
    loaded = load_model(
        model, LoadOptions(dtype, device, device_map, revision, None, None, force), progress=output.note
    )
    output.note(f"Chosen: {loaded.reason}")
    stopping = "Stopping after this batch; what was found is kept. Ctrl-C again stops at once."
    try:
        with working(output, "sweep", stopping) as (progress, stopped):
            done = run(
                loaded, documents, wanted, options, out, listed=listed, calibration=calibration,
                ranking=None if ranking is None else Capture.load(ranking), resume=resume, progress=progress, cancelled=stopped,
            )  # fmt: skip
    except KeyboardInterrupt:
        output.note(f"Stopped at once. What was found is kept in '{out}': go on with --resume.")
        raise typer.Exit(130) from None
    for words, why in done.left_out.items():
        output.note(f"Left out: {words}: {why}")
    if done.stopped:
        output.note(f"Stopped early; go on with --resume. {done.rows} of {done.points} sub-models are in the curve.")
    output.say(
        f"{done.curve or out}: {done.rows} sub-models on {done.documents:,} documents, {done.tokens:,} predicted tokens"
    )
    shared = f"{done.layers} layer runs instead of {done.layers_plain}" if done.shared else f"not shared: {done.reason}"
    output.say(f"Work a batch: {shared}")
    if done.stopped or done.curve is None:
        output.say("Next: the same command with --resume")
    else:
        output.say(f"Next: workbench budget {out} --bytes 2GB, or the page Elastic of `workbench app`")
    output.result(
        {
            "out": str(out), "curve": None if done.curve is None else str(done.curve), "points": done.points, "rows": done.rows,
            "left_out": done.left_out, "stopped_early": done.stopped, "shared": done.shared, "not_shared_because": done.reason,
            "layer_runs": done.layers, "layer_runs_plain": done.layers_plain, "documents": done.documents, "tokens": done.tokens,
        }
    )  # fmt: skip


def carve(
    model: ModelOption,
    sub_model: Annotated[
        str, typer.Option(help=f"What is left, for example 'layers=first:4 top_k=2'. {SPEC}", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="New folder; appears whole or not at all.", show_default=False)],
    calibrate: Annotated[
        list[Path] | None, typer.Option(help="Texts to rank experts and layers on (loads the model).")
    ] = None,
    ranking: Annotated[
        Path | None,
        typer.Option(
            help="A capture of this model to rank experts by (count, mass), instead of --calibrate: the model is not loaded."
        ),
    ] = None,
    recover: Annotated[
        int, typer.Option(help="Fine-tune the carved model for so many steps on --input (loads it).")
    ] = 0,
    recover_rate: Annotated[float, typer.Option(help="Largest learning rate of the fine-tune.")] = 3e-4,
    inputs: Annotated[list[Path] | None, typer.Option("--input", help="Texts for --recover.")] = None,
    text_column: TextColumn = None,
    lines: Lines = False,
    max_length: Annotated[int | None, typer.Option(help="Tokens of a row of --calibrate and --recover.")] = None,
    batch_size: BatchSize = 8,
    dtype: Annotated[str, typer.Option(help="Of the model while ranking; the carved weights keep their own.")] = "auto",
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="Of the order of the rows in --recover.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Write a sub-model as a checkpoint of its own, which transformers loads without the workbench.

    The files are cut shard by shard with a small buffer, so a model larger than memory can be carved.

    Examples:

    workbench carve --model omni-mini --sub-model "layers=even:5 top_k=2" --out small

    workbench carve --model owner/model --sub-model "experts=share:0.5:mass" --ranking my.capture --out half
    """
    from probes import SubModel
    from workbench.elastic.carve import carve as run
    from workbench.elastic.errors import CarveError
    from workbench.elastic.recover import RecoverOptions, Recovery
    from workbench.elastic.recover import recover as fine_tune

    output = Output(as_json)
    if not sub_model.strip():  # a shell's empty variable, which would otherwise be the whole model
        raise CarveError("--sub-model is empty: say what is left, for example 'layers=first:4 top_k=2'.")
    wanted = SubModel.parse(sub_model)
    if recover and not inputs:
        raise CarveError("--recover fine-tunes on texts, and there are none: name them with --input.")
    texts = read_files(output, inputs, "modality", text_column, lines).documents if recover and inputs else []
    options = RecoverOptions(recover, recover_rate, batch_size, max_length, seed, device) if recover else None
    quiet_libraries()
    chosen = _ranking(
        output, model, wanted, ranking, calibrate, (text_column, lines), (dtype, device, batch_size, max_length)
    )
    recovered: list[Recovery] = []
    with working(output, "carve", "Stopping; nothing will be left behind.", unit="B") as (progress, stopped):

        def finish(folder: Path) -> str:
            if options is None:
                return ""
            recovered.append(fine_tune(folder, texts, options, progress=progress, cancelled=stopped))
            return recovered[0].words()

        made = run(model, wanted, out, ranking=chosen, progress=progress, cancelled=stopped, finish=finish)
    cut = made.cut
    output.say(
        f"{made.out}: {len(cut.layers)} of {cut.layers_before} layers, {cut.experts_left} of {cut.experts_before} experts, {cut.top_k} a token; "
        f"{made.bytes / 1e6:,.1f} of {made.bytes_before / 1e6:,.1f} MB"
    )
    found: dict[str, Any] = made.to_json()
    if recovered:
        one = recovered[0]
        output.say(
            f"Recovered: loss on {one.held_out} held-out documents {one.before:.3f} -> {one.after:.3f} nats a {one.unit}"
        )
        found["recovery"] = {
            "steps": one.steps, "documents": one.trained, "held_out": one.held_out, "loss_before": one.before, "loss_after": one.after,
        }  # fmt: skip
    output.say(f"Next: workbench capture --model {made.out} --input texts --out my.capture")
    output.result(found)


def budget(
    curve: Annotated[Path, typer.Argument(help="Folder of a sweep, or its curve.parquet.", show_default=False)],
    size: Annotated[
        str | None,
        typer.Option("--bytes", help="Bytes of weights, for example 3.5GB; with --peak of all memory measured."),
    ] = None,
    active: Annotated[str | None, typer.Option(help="Parameters active for a token, for example 1.3B.")] = None,
    ms: Annotated[float | None, typer.Option(help="Milliseconds (median) of what --time says.")] = None,
    time: Annotated[str, typer.Option(help="decode (a written token) or prefill (the prompt).")] = "decode",
    peak: Annotated[
        bool, typer.Option("--peak", help="--bytes means measured peak memory, not weights alone.")
    ] = False,
    group: Annotated[str, typer.Option(help="Whose quality: a group of the curve.")] = "all inputs",
    measure: Annotated[str, typer.Option(help="loss, accuracy, or a task's measure.")] = "loss",
    as_json: JsonOption = False,
) -> None:
    """Name the best measured sub-model within a budget, and how sure that is. Reads no model.

    Example:   workbench budget my.sweep --bytes 4MB
    """
    from workbench.analysis.curve import load_curve
    from workbench.elastic.budget import best_within, parse_count, parse_size, sentence
    from workbench.elastic.errors import BudgetError

    output = Output(as_json)
    if sum(value is not None for value in (size, active, ms)) != 1:
        raise BudgetError("A budget is one of --bytes, --active and --ms: give exactly one of them.")
    if time not in _COLUMNS:
        raise BudgetError(f"--time is decode or prefill, not '{time}'.")
    if size is not None:
        column, limit = "memory_bytes" if peak else "bytes_stored", parse_size(size)
    elif active is not None:
        column, limit = "parameters_active", parse_count(active)
    else:
        column, limit = _COLUMNS[time], float(ms or 0)
    choice = best_within(load_curve(curve), column, limit, group=group, measure=measure)
    output.say(sentence(choice))
    output.result(choice.to_json())


def _capture_rows(wanted: bool, rows: int) -> int:
    """Token rows of each capture; 0 for none."""
    from workbench.elastic.errors import SweepError

    if rows < 1:
        raise SweepError(f"--capture-tokens must be at least 1, but is {rows}: leave out --captures to record none.")
    return rows if wanted else 0


def _values(given: list[str] | None) -> list[str]:
    """Values of an axis; several may stand in one option, parted by blanks."""
    return [value for words in given or () for value in words.split()]


def _ranking(
    output: Output,
    model: str,
    wanted: Any,
    capture: Path | None,
    calibrate: list[Path] | None,
    reading: tuple[str | None, bool],
    loading: tuple[str, str, int, int | None],
) -> Any:
    """The ranking that a sub-model asks for; the model is loaded only where texts have to be run for it."""
    from workbench.capture import Capture
    from workbench.elastic.ranking import Rankings, needed
    from workbench.elastic.samples import read_any
    from workbench.models import LoadOptions, load_model

    if not needed(wanted) or not calibrate:
        return Rankings(capture=None if capture is None else Capture.load(capture)).of(wanted)
    dtype, device, batch_size, max_length = loading
    loaded = load_model(model, LoadOptions(dtype, device), progress=output.note)
    documents = read_files(output, calibrate, "modality", *reading).documents
    texts = read_any(loaded, documents, group_by="modality", batch_size=batch_size, max_length=max_length)
    return Rankings(loaded, texts, say=output.note).of(wanted)
