"""`workbench capture`: run inputs through a model and keep which experts took which tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.capture.errors import CaptureError
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

if TYPE_CHECKING:
    from workbench.inputs import Document
    from workbench.models import LoadOptions
    from workbench.recording import RecordOptions


def capture(
    model: Annotated[
        str, typer.Option(help="Embedded model (`workbench models`), folder, GGUF file or hub id.", show_default=False)
    ],
    inputs: Annotated[
        list[Path],
        typer.Option(
            "--input",
            help="File or folder; may be given several times. txt and other texts, jsonl, csv, parquet, pictures, sounds, clips, chats (jsonl).",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the capture, or one file ending in .zip.", show_default=False)],
    more: MoreInputs = None,
    group_by: Annotated[
        str,
        typer.Option(
            help="What is counted apart: modality, file, folder (first one below the folder named), group (that field of a jsonl), role "
            "(of a chat), prompt, phase (reading or writing), column:NAME."
        ),
    ] = "modality",
    text_column: TextColumn = None,
    lines: Lines = False,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            help="Words before every text (counted apart), or beside every picture, sound and clip (default: 'Describe this picture.', "
            "'... sound.', '... clip.'). Several: every document runs once with each."
        ),
    ] = None,
    generate: Annotated[
        int,
        typer.Option(
            help="New tokens to write at the end of each document; all but the last are recorded as decode steps."
        ),
    ] = 0,
    tokens: Annotated[bool, typer.Option(help="Keep a row a token, to see the tokens behind a cell.")] = True,
    text: Annotated[
        bool, typer.Option("--text/--no-text", help="Keep what the tokens say; --no-text makes a capture to pass on.")
    ] = True,
    streams: Annotated[
        str,
        typer.Option(
            help="Further columns of the token rows, separated by commas: scores (the router's score of every expert, large), predicted "
            "(the token that the model finds likeliest next), loss (nats of the token that follows)."
        ),
    ] = "",
    scores: Annotated[bool, typer.Option("--scores", help="Short for --streams scores.")] = False,
    coactivation: Annotated[bool, typer.Option(help="Count pairs of experts chosen together.")] = True,
    untrained: Annotated[
        bool,
        typer.Option(
            "--untrained",
            help="Run the same model with weights drawn anew (by --seed): what the pictures show before any training, the null to hold them against.",
        ),
    ] = False,
    max_tokens: Annotated[
        int, typer.Option(help="Most token rows to keep; everything is counted all the same.")
    ] = 200_000,
    max_length: MaxLength = None,
    batch_size: BatchSize = 8,
    dtype: Dtype = "auto",
    device: Device = "auto",
    device_map: Annotated[
        str | None, typer.Option(help="auto, balanced, ... or JSON: spread the model over several devices.")
    ] = None,
    revision: Revision = None,
    quantize: Annotated[str | None, typer.Option(help="8bit or 4bit, through bitsandbytes.")] = None,
    gguf_file: Annotated[
        str | None, typer.Option(help="Name of the GGUF file, where a folder or repository has several.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the sample of token rows, and of untrained weights.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a capture that is there.")] = False,
    force: Force = False,
    notes: Annotated[str, typer.Option(help="Your own words, kept in the capture.")] = "",
    licence: Annotated[str, typer.Option(help="Note on the terms of the inputs, kept in the capture.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Run inputs through a model and keep which experts took which tokens, as a capture.

    The memory is estimated before the model is loaded. Ctrl-C stops at the next batch and keeps what was recorded.

    Examples:

    workbench capture --model omni-mini --input sample_data/inputs/unified --out omni.capture

    workbench capture --model omni-mini --input sample_data/inputs/kinds --group-by folder --streams predicted,loss --out kinds.capture

    workbench capture --model owner/model --input reviews.csv --text-column body --group-by column:language --out reviews.capture

    workbench capture --model owner/model --input chats.jsonl --group-by role --generate 64 --out chats.capture
    """
    from workbench.models import LoadOptions
    from workbench.recording import RecordOptions, wanted_streams

    output = Output(as_json)
    check_target(out, overwrite)
    columns = wanted_streams(f"{streams},scores" if scores else streams)
    options = RecordOptions(
        group_by=group_by, batch_size=batch_size, max_length=max_length, generate=generate, tokens=tokens, **columns,
        coactivation=coactivation, untrained=untrained, max_tokens=max_tokens, seed=seed, notes=notes, licence=licence,
    )  # fmt: skip
    load = LoadOptions(dtype, device, device_map, revision, quantize, gguf_file, force)
    found = read_files(output, [*inputs, *(more or [])], group_by, text_column, lines, prompt or ())
    _run(output, model, load, found.documents, options, out, overwrite=overwrite, text=text)


def _run(
    output: Output,
    model: str,
    load: LoadOptions,
    documents: Sequence[Document],
    options: RecordOptions,
    out: Path,
    *,
    overwrite: bool,
    text: bool,
) -> None:
    """Load, record with progress, save, and say what was made."""
    from workbench.models import Workload, load_model
    from workbench.recording import DEFAULT_MAX_LENGTH, Progress, record

    quiet_libraries()
    workload = Workload(options.batch_size, options.max_length or DEFAULT_MAX_LENGTH, options.generate)
    loaded = load_model(model, load, progress=output.note, workload=workload)
    output.note(f"Chosen: {loaded.reason}")
    last = Progress(0, len(documents), 0, 0.0)
    stopping = "Stopping after this batch; what was recorded is kept. Ctrl-C again stops at once."
    with working(output, "documents", stopping, total=len(documents)) as (say, stopped):

        def progress(now: Progress) -> None:
            nonlocal last
            last = now
            say(now.documents, now.total, f"{now.tokens_per_second:,.0f} tokens/s")

        made = record(loaded, documents, options, on_progress=progress, cancelled=stopped)
        early = stopped() and last.documents < last.total
    path = made.save(out, overwrite=overwrite, text=text)
    output.note(last.sentence())
    if early:
        output.note(f"Stopped early: {path} holds what was recorded until then, and its notes say so.")
    if made.manifest.notes:
        output.say(made.manifest.notes)
    output.say(f"{path}: {len(made.sites)} sites, groups {', '.join(made.groups)}")
    output.say(f"Next: workbench figures {path} --out figures, or workbench app")
    manifest = made.manifest
    output.result(
        {
            "out": str(path),
            "model": manifest.model.model_dump(mode="json"),
            "sites": len(made.sites),
            "groups": list(made.groups),
            "documents": manifest.documents,
            "tokens": manifest.tokens,
            "excluded": manifest.excluded,
            "sampling": {stack: sampling.model_dump() for stack, sampling in manifest.sampling.items()},
            "checks_failed": sum(not check.passed for check in manifest.checks),
            "stopped_early": early,
            "notes": manifest.notes,
            "seconds": round(last.seconds, 3),
            "tokens_per_second": round(last.tokens_per_second, 1),
            "memory_estimate": loaded.estimate.to_json(),
        }
    )


def check_target(out: Path, overwrite: bool) -> None:
    """Refuse a target before any work is done for it; what `Capture.save` refuses afterwards, refused in time."""
    from workbench.capture.schema import MANIFEST_FILE

    if not out.exists():
        return
    is_capture = (out.is_file() and out.suffix == ".zip") or (out / MANIFEST_FILE).is_file()
    if not is_capture:
        raise CaptureError(f"'{out}' exists and is not a capture, so it is left alone: choose another --out.")
    if not overwrite:
        raise CaptureError(f"'{out}' exists already: choose another --out, or add --overwrite to replace it.")
