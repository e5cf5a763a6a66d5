"""`workbench extract` and `workbench evaluate`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.commands.output import JsonOption, Output, quiet_libraries, stop_on_interrupt

EngineOption = Annotated[str, typer.Option(help="Name of the engine; an unknown one lists those there are.")]
ModelOption = Annotated[
    str | None,
    typer.Option(help="Shipped weights, a folder or a hub id. Default: the engine's own.", show_default=False),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        min=0.0, max=1.0, help="Least score. Default: the engine's, chosen on development data.", show_default=False
    ),
]
NestedOption = Annotated[
    bool,
    typer.Option(
        "--nested/--flat",
        help="Keep overlapping results, or the best scored of them only: entities, triggers, and the arguments of an event.",
    ),
]
BatchOption = Annotated[int, typer.Option(min=1, help="Texts in one pass.")]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format", help="jsonl, conll, spert, uie, aste, brat or spacy. Default: by the file.", show_default=False
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
DemonstrationsOption = Annotated[
    Path | None,
    typer.Option(
        help="Annotated texts to learn from in context, in any form that is read, for engines that can.",
        show_default=False,
    ),
]


def extract(
    schema: Annotated[Path, typer.Option(help="JSON file of what to look for.", show_default=False)],
    input_: Annotated[
        Path,
        typer.Option(
            "--input",
            help="Texts: txt, jsonl, csv, parquet, a folder of them, or an annotated form.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="JSONL file of annotated texts with scores.", show_default=False)],
    engine: EngineOption = "usm",
    model: ModelOption = None,
    threshold: ThresholdOption = None,
    nested: NestedOption = True,
    demonstrations: DemonstrationsOption = None,
    text_column: Annotated[
        str | None, typer.Option(help="Column or key of the text. Default: text.", show_default=False)
    ] = None,
    lines: Annotated[bool, typer.Option("--lines", help="A txt file holds a text a line.")] = False,
    form: FormatOption = None,
    batch_size: BatchOption = 8,
    device: DeviceOption = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Find entities, relations, events and sentiment in texts, by a schema.

    Annotations that the input has are replaced; its other fields pass through. Ctrl-C stops at the next batch and keeps what was
    found.

    Example:   workbench extract --schema sample_data/schemas/news.json --input texts.jsonl --out found.jsonl
    """
    from workbench.extract import ExtractError, Schema
    from workbench.extract.batch import Tally, annotated, extract_all
    from workbench.extract.texts import read_texts

    output = Output(as_json)
    if out.exists() and not overwrite:
        raise ExtractError(f"'{out}' exists already: choose another --out, or add --overwrite to replace it.")
    wanted = Schema.load(schema)
    documents = read_texts(input_, text_column, lines, form)
    first = next(documents, None)
    if first is None:
        raise ExtractError(f"'{input_}' holds no text: give a file with at least one.")
    shots = _demonstrations(demonstrations, output)
    loaded = _load(engine, model, device, output)
    found_in_all = Tally()
    notes: dict[str, None] = {}
    done, start = 0, time.perf_counter()

    def all_of() -> Iterator[Any]:
        yield first
        yield from documents

    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _watched(output, None) as (bar, stopped), part.open("w", encoding="utf-8", newline="\n") as file:
            try:
                for document, found in extract_all(
                    loaded, all_of(), wanted, shots, batch_size=batch_size, progress=bar, stopped=stopped
                ):
                    result = annotated(document, found, threshold, nested)
                    file.write(result.dumps() + "\n")
                    done += 1
                    found_in_all.add(result)
                    notes.update(dict.fromkeys(found.notes))
            except ExtractError:
                if done:
                    output.note(f"What was done before, {_texts(done)}, is kept in {out}.")
                raise
            early = stopped()
    finally:
        if done:
            part.replace(out)
        part.unlink(missing_ok=True)
    seconds = time.perf_counter() - start
    for note in notes:
        output.note(note)
    if early:
        output.note(f"Stopped early: {out} holds what was done, {_texts(done)}.")
    output.say(f"{out}: {_texts(done)}, {found_in_all}, in {seconds:.1f} s on {loaded.device}")
    output.result(
        {
            "out": str(out), "engine": loaded.name, "model": str(loaded.model), "device": str(loaded.device), "texts": done, **found_in_all.counts,
            "stopped_early": early, "seconds": round(seconds, 3), "notes": list(notes),
        }
    )  # fmt: skip


def evaluate(
    data: Annotated[
        str,
        typer.Option(
            help="Annotated texts: a file or folder, or the name of a set. With --data-root a set's name is the set, "
            "whatever lies in the working folder; ./NAME is the path.",
            show_default=False,
        ),
    ],
    schema: Annotated[
        Path | None,
        typer.Option(help="JSON file of the types to look for. Default: those of the data.", show_default=False),
    ] = None,
    engine: EngineOption = "usm",
    model: ModelOption = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of the data sets (docs/data.md).", show_default=False)
    ] = None,
    split: Annotated[str, typer.Option(help="Split of a named set or of a UIE folder: train, dev or test.")] = "test",
    form: FormatOption = None,
    threshold: ThresholdOption = None,
    nested: NestedOption = True,
    match_mode: Annotated[str, typer.Option(help="normal, set or multimatch, as in UIE's scorer.")] = "normal",
    demonstrations: DemonstrationsOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="First texts only.", show_default=False)] = None,
    resamples: Annotated[
        int, typer.Option(min=0, help="Resamples of the texts for the 95 % intervals; 0: none.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the resamples.")] = 0,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="JSONL file for the predictions.", show_default=False)
    ] = None,
    batch_size: BatchOption = 8,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Score an engine on annotated texts: precision, recall and F1 of entities, relations and events, by offset and by string.

    The metrics are those of UIE's scorer. A part that a text leaves unannotated is left out of every count; gold that the schema does
    not ask for (other types, roles or relation ends) is left out, and counted. Ctrl-C scores the texts that were done.

    Example:   workbench evaluate --data conll04 --data-root data --split test --json
    """
    from workbench.extract import Schema, write_documents
    from workbench.extract.evaluate import evaluate as run
    from workbench.extract.evaluate import published
    from workbench.extract.evaluate.scores import check_options
    from workbench.extract.formats import Counts, schema_of

    output = Output(as_json)
    check_options(match_mode, seed)
    counts = Counts()
    named = _is_named(data, data_root)
    documents = _data(data, named, data_root, split, form, counts)[:limit]
    wanted = schema_of(documents) if schema is None else Schema.load(schema)
    shots = _demonstrations(demonstrations, output)
    loaded = _load(engine, model, device, output)
    for reason, count in counts.items():
        output.note(f"On reading, {reason}: {count:,}.")
    with _watched(output, len(documents)) as (bar, stopped):
        result = run(
            loaded, documents, wanted, threshold=threshold, nested=nested, mode=match_mode, batch_size=batch_size, resamples=resamples,
            seed=seed, demonstrations=shots, progress=bar, stopped=stopped,
        )  # fmt: skip
    if out is not None:
        write_documents(out, result.predicted)
    if result.outside:
        output.note(
            f"{result.outside:,} gold items are of types, roles or relation ends that the schema does not ask for: they are left out of every count."
        )
    for note in result.notes:
        output.note(note)
    stated = published(data, split) if named and limit is None else ()
    form_ = result.to_json()
    _table(output, form_)
    for each in stated:
        output.say(f"published: {each.model} ({each.parameters} M) {' '.join(each.metric)} F1 {each.f1:.3f}")
    output.say(f"{_texts(result.texts)} in {result.seconds:.1f} s on {loaded.device}")
    output.result(
        {
            **form_,
            "engine": loaded.name,
            "model": str(loaded.model),
            "device": str(loaded.device),
            "data": data,
            "split": split if named else None,
            "threshold": threshold,
            "nested": nested,
            "left_out_on_reading": dict(counts),
            "published": [each._asdict() for each in stated],
        }
    )


def _texts(number: int) -> str:
    return f"{number:,} text{'' if number == 1 else 's'}"


def _is_named(data: str, root: Path | None) -> bool:
    """Whether annotated texts are named, not given by path. Who says where the sets lie means the set, not a folder of its name."""
    from workbench.extract.formats.sets import EPISODE, SETS, TYPE_SETS

    known = data in SETS or data in TYPE_SETS or EPISODE.fullmatch(data) is not None
    return (known and root is not None) or not Path(data).exists()


def _data(data: str, named: bool, root: Path | None, split: str, form: str | None, counts: Any) -> list[Any]:
    """Annotated texts by path, or by name below a root."""
    from workbench.extract import ExtractError
    from workbench.extract.formats import read_annotated
    from workbench.extract.formats.sets import load_data

    if not named:
        return list(read_annotated(data, form, counts, split))
    if root is None:
        raise ExtractError(
            f"'{data}' is no file; if it is the name of a data set, say where the sets lie by --data-root."
        )
    return load_data(data, root, split, counts)


def _demonstrations(path: Path | None, output: Output) -> list[Any]:
    """Annotated texts in any form that is read; those without annotated entities show nothing and are left out."""
    from workbench.extract import ExtractError
    from workbench.extract.formats import read_annotated
    from workbench.extract.formats.tokens import Counts

    if path is None:
        return []
    counts = Counts()
    empty = path.is_file() and not path.stat().st_size  # of no form at all
    found = [] if empty else list(read_annotated(path, counts=counts))
    shown = [document for document in found if document.entities is not None]
    for reason, count in counts.items():
        output.note(f"On reading the demonstrations, {reason}: {count:,}.")
    if not shown:
        what = f"{len(found):,} texts, none with annotated entities" if found else "no text"
        raise ExtractError(
            f"The demonstrations '{path}' hold {what}: give texts with marked entities (docs/data.md), or leave --demonstrations out."
        )
    if len(shown) < len(found):
        output.note(f"{len(found) - len(shown):,} demonstrations without annotated entities left out.")
    return shown


def _load(engine: str, model: str | None, device: str, output: Output) -> Any:
    """The engine, its libraries kept quiet; an engine that does not know a device takes no option."""
    from workbench.extract import load_engine

    quiet_libraries()
    loaded = load_engine(engine, model, **({} if device == "auto" else {"device": device}))
    output.note(f"{loaded.name} with {loaded.model or 'its rules'} on {loaded.device}")
    return loaded


@contextmanager
def _watched(output: Output, total: int | None) -> Iterator[tuple[Any, Any]]:
    """A progress bar over texts, as a function of how many are done, and whether Ctrl-C was pressed."""
    from tqdm import tqdm

    said = "Stopping after this batch; what was done is kept. Ctrl-C again stops at once."
    with (
        tqdm(total=total, desc="texts", unit="", leave=False, disable=None) as bar,
        stop_on_interrupt(lambda: output.note(said)) as stopped,
    ):

        def progress(done: int) -> None:
            bar.update(done - bar.n)

        yield progress, stopped


def _table(output: Output, form: Mapping[str, Any]) -> None:
    """Scores of the parts that are annotated, a line each."""
    rows = [("entity", form["entity"])]
    rows += [(f"relation {name}", form["relation"][name]) for name in ("strict", "boundary")]
    rows += [(f"event {name}", form["event"][name]) for name in ("trigger", "argument")]
    output.say(f"{'':20}{'':8}{'precision':>10}{'recall':>8}{'F1':>8}   95 % interval   gold")
    for name, both in rows:
        for spans in ("offset", "string"):
            leaf = both[spans]
            if leaf["f1"] is None or not (leaf["gold"] or leaf["predicted"]):
                continue
            interval = leaf["f1_interval"]
            between = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "-"
            output.say(
                f"{name:20}{spans:8}{leaf['precision']:10.3f}{leaf['recall']:8.3f}{leaf['f1']:8.3f}   {between:15} {leaf['gold']:>6,}"
            )
    for kind, counts in form["errors"].items():
        if any(counts.values()):
            output.say(f"{kind}: " + ", ".join(f"{count:,} {category}" for category, count in counts.items()))
