"""`workbench causal`: mute experts and see whom it hurts, against random experts of equal load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.commands.output import JsonOption, Output, quiet_libraries, stop_on_interrupt

if TYPE_CHECKING:
    from workbench.analysis.causal import CausalTable
    from workbench.capture import Capture
    from workbench.causal.interventions import Intervention
    from workbench.causal.stored import StoredCheck
    from workbench.causal.writing import Written


def causal(
    model: Annotated[
        str, typer.Option(help="Embedded model (`workbench models`), folder, GGUF file or hub id.", show_default=False)
    ],
    inputs: Annotated[
        list[Path],
        typer.Option("--input", help="File or folder of inputs; may be given several times.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for table, figure and report; made if it is not there.", show_default=False)
    ],
    more: Annotated[
        list[Path] | None, typer.Argument(help="Further inputs, so that --input *.txt works.", show_default=False)
    ] = None,
    group_by: Annotated[
        str,
        typer.Option(
            help="Whose loss is told apart: file, folder, group, role, column:NAME; modality for the unified model."
        ),
    ] = "folder",
    share: Annotated[float, typer.Option(help="Part of the experts of each layer that is muted for a group.")] = 0.25,
    by: Annotated[
        str, typer.Option(help="A group's experts are those it 'used' most, or 'preferred' most over the others.")
    ] = "used",
    draws: Annotated[int, typer.Option(help="Random sets of equal load that each is compared with.")] = 8,
    mute: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead of the table: mute these experts, SITE:IDS such as text_3_mlp:0,7,12-15; may be given several times."
        ),
    ] = None,
    force: Annotated[list[str] | None, typer.Option(help="Instead: give every token these experts, SITE:IDS.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Instead, or as well: fewer experts a token.")] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="With --mute, --force or --top-k: also write on from these words, with and without."),
    ] = None,
    new_tokens: Annotated[int, typer.Option(help="Tokens to write after each --prompt.")] = 60,
    documents: Annotated[
        int | None, typer.Option(help="Most documents of a group, a sample by --seed. Default: all.")
    ] = None,
    sites: Annotated[list[str] | None, typer.Option(help="Mute at this site only; may be given several times.")] = None,
    text_column: Annotated[str | None, typer.Option(help="Column (key) of the text in csv, parquet and jsonl.")] = None,
    lines: Annotated[bool, typer.Option(help="Text files hold a document a line.")] = False,
    batch_size: Annotated[int, typer.Option(help="Rows run at once.")] = 8,
    max_length: Annotated[int | None, typer.Option(help="Tokens of a row; longer texts are cut into windows.")] = None,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap over documents.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the sample, the random sets and the bootstrap.")] = 0,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    overwrite: Annotated[bool, typer.Option(help="Replace results that are there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Mute the experts that each group of texts uses most, and random experts of equal load: whom does it hurt?

    The check of a claim such as "these experts belong to German": a row for each group whose experts are muted, a column for
    each group whose loss is measured, the difference to the full model, and beside it random experts. Experts are chosen on
    one half of the documents and the loss is measured on the other, both ways round. Writes causal.png, pdf, svg, csv,
    parquet, experts.json and report.html. Ctrl-C stops and writes nothing.

    Examples:

    workbench causal --model omni-mini --input sample_data/inputs/unified --group-by modality --out causal

    workbench causal --model omni-mini --input sample_data/inputs/unified --group-by modality --mute text_3_mlp:0-7 --prompt "the old house" --out what-if
    """
    from tqdm import tqdm

    from workbench.causal.check import CausalOptions
    from workbench.causal.check import causal as run_check
    from workbench.causal.interventions import Intervention, parse_experts
    from workbench.causal.stored import StoredCheck
    from workbench.causal.what_if import what_if
    from workbench.causal.writing import write_both
    from workbench.export import check_folder
    from workbench.inputs import InputOptions, read_inputs
    from workbench.models import LoadOptions, Workload, load_model
    from workbench.recording import DEFAULT_MAX_LENGTH

    output = Output(as_json)
    options = CausalOptions(
        group_by=group_by, share=share, by=by, sites=tuple(sites) if sites else None, draws=draws, documents=documents,
        batch_size=batch_size, max_length=max_length, resamples=resamples, seed=seed,
    )  # fmt: skip
    change = Intervention(
        "your change", parse_experts(mute or [], "--mute"), parse_experts(force or [], "--force"), top_k
    )
    _check_prompts(change, prompt)
    check_folder(out, overwrite, NAMES, MORE)
    found = read_inputs([*inputs, *(more or [])], InputOptions(group_by=group_by, text_column=text_column, lines=lines))
    output.note(f"{len(found.documents):,} documents from {found.files:,} files")
    quiet_libraries()
    loaded = load_model(
        model,
        LoadOptions(dtype, device),
        progress=output.note,
        workload=Workload(batch_size, max_length or DEFAULT_MAX_LENGTH),
    )
    output.note(f"Chosen: {loaded.reason}")
    written: list[Written] = []
    with (
        tqdm(total=None, desc="texts", unit="", leave=False, disable=None) as bar,
        stop_on_interrupt(lambda: output.note("Stopping after this batch; nothing is written.")) as stopped,
    ):

        def progress(done: int, total: int, what: str) -> None:
            bar.total, bar.n = total or None, done
            bar.set_description(what)

        if change.empty:
            result = run_check(loaded, found.documents, options, on_progress=progress, cancelled=stopped)
            experts: Any = result.muted
            table, sentence, capture, used = result.table, result.sentence, result.capture, result.used
            losses = result.losses
        else:
            tried = what_if(loaded, found.documents, change, options, on_progress=progress, cancelled=stopped)
            experts = {"mute": change.mute, "force": change.force, "top_k": change.top_k}
            table, sentence, capture, used = tried.table, tried.sentence, tried.capture, tried.used
            losses = tried.losses
            written = write_both(
                loaded, prompt or [], change, tokens=new_tokens, seed=seed, cancelled=stopped,
                on_token=lambda count, most: progress(count, most, "Writing with and without"),
            )  # fmt: skip
    settings = {
        "model": loaded.info.id, "device": str(loaded.model.device), "group_by": group_by, "share": share, "by": by, "used": used,
        "known": len(found.documents), "seed": seed, "resamples": table.resamples, "level": table.level, "separate": table.separate,
    }  # fmt: skip
    stored = StoredCheck(losses, settings, experts)
    files = _write(capture, stored, table, sentence, written, out, overwrite)
    for text in written:
        output.say(f"{text.prompt!r}\n  full:    {text.full!r}\n  changed: {text.changed!r}")
    output.say(sentence)
    output.say(f"{len(files)} files in {out}; open {out / 'report.html'} in a browser.")
    output.result(
        {
            "out": str(out),
            "files": [file.name for file in files],
            "model": loaded.info.id,
            "device": str(loaded.model.device),
            "groups": list(table.groups),
            "sentence": sentence,
            "table": json.loads(table.frame().to_json(orient="records")),
            "hurts": {row: table.hurts(number) for number, row in enumerate(table.rows)},
            "experts": experts,
            "chosen_on_other_documents": table.separate if change.empty else None,
            "documents": used,
            "documents_given": len(found.documents),
            "draws": table.draws,
            "resamples": table.resamples,
            "level": table.level,
            "seed": seed,
            "written": [{"prompt": one.prompt, "full": one.full, "changed": one.changed} for one in written],
        }
    )


NAMES = ("causal",)
MORE = ("experts.json", "losses.json", "written.jsonl", "written.html")


def _check_prompts(change: Intervention, prompt: list[str] | None) -> None:
    from workbench.causal.errors import CausalError

    if prompt and change.empty:
        raise CausalError(
            "--prompt writes with and without a change, but none was asked for: add --mute, --force or --top-k."
        )


def _write(
    capture: Capture,
    stored: StoredCheck,
    table: CausalTable,
    sentence: str,
    written: list[Written],
    out: Path,
    overwrite: bool,
) -> list[Path]:
    from workbench.causal.stored import FILE
    from workbench.export import Part, write_parts
    from workbench.figures import paper_causal
    from workbench.figures.causal_style import causal_caption
    from workbench.figures.text_diff import document

    more = {"experts.json": (json.dumps(stored.experts, indent=1) + "\n").encode(), FILE: stored.to_bytes()}
    if written:
        lines = [
            json.dumps({"prompt": one.prompt, "full": one.full, "changed": one.changed}, ensure_ascii=False)
            for one in written
        ]
        more["written.jsonl"] = ("\n".join(lines) + "\n").encode()
        more["written.html"] = document(
            [(one.prompt, one.full, one.changed) for one in written], ("full model", "changed")
        ).encode()
    caption = f"{causal_caption(table)} {sentence}"
    part = Part("causal", "What muting costs whom", lambda: paper_causal.causal(table), table.frame(), caption)
    return write_parts(capture, out, lambda: [part], NAMES, overwrite, more=more, names_of_more=MORE)
