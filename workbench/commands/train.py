"""`workbench train`: train an extraction engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.commands.output import JsonOption, Output, quiet_libraries
from workbench.module_command import LAST_SEED

TRAINED = ("usm", "uie", "metaner", "base")


def train(
    context: typer.Context,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            help="What to train: usm, uie, metaner, or base, an encoder-decoder that copies, which uie and metaner start from.",
        ),
    ],
    data_root: Annotated[
        Path, typer.Option("--data-root", help="Folder of the data sets; docs/data.md says where each is to be had.")
    ],
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            "--backbone",
            help="What to start from: hub id or folder of a transformers encoder, the name of shipped weights, the folder of a trained model to go on from, or, for uie and metaner, any encoder-decoder. Default: the shipped weights of the engine; base has none.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder of the run: log, state to resume, model. Default: runs/ENGINE-SETS.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="A set by name; may be repeated. All that may be learnt from if not given."),
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            "--hold-out", help="A set to leave out, with every name and synonym of its types; may be repeated."
        ),
    ] = None,
    texts: Annotated[
        list[Path] | None,
        typer.Option("--texts", help="base, metaner: a .txt file of open text, or a folder of them; may be repeated."),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Optimiser steps of the whole run.")] = 5000,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0.01, help="End after so much training time, if that comes before --steps."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the state in the folder.")] = False,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Samples a step.")] = 16,
    documents: Annotated[int, typer.Option("--documents", min=1, help="Documents of a set at most.")] = 6000,
    encoder_rate: Annotated[
        float | None, typer.Option("--encoder-rate", min=0, help="Peak rate of the encoder; 2e-4 for usm, 1e-4 else.")
    ] = None,
    head_rate: Annotated[
        float | None,
        typer.Option("--head-rate", min=0, help="Peak rate of link heads or decoder; 1e-3 for usm, 5e-4 else."),
    ] = None,
    dropout: Annotated[
        float, typer.Option("--dropout", min=0, max=0.9, help="usm: dropout in the encoder while it trains.")
    ] = 0.0,
    weight: Annotated[
        list[str] | None,
        typer.Option("--weight", help="usm: SET=WEIGHT, share of the samples beside the other sets; may be repeated."),
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            "--objective",
            help="uie: NAME=SHARE of pair, record or text; may be repeated. pair=0.9, record=0.05, text=0.05 if not given.",
        ),
    ] = None,
    reject: Annotated[
        float, typer.Option("--reject", min=0, max=1, help="uie: chance of a rejected label a spot.")
    ] = 0.1,
    sample_labels: Annotated[
        bool,
        typer.Option(
            "--sample-labels/--all-labels", help="uie: sample the labels of each prompt, or ask all of the set."
        ),
    ] = True,
    lora: Annotated[
        int,
        typer.Option(
            "--lora",
            min=0,
            help="uie: rank of low-rank parts that are trained in place of a backbone's weights; 0: the weights.",
        ),
    ] = 0,
    meta: Annotated[bool, typer.Option("--meta/--no-meta", help="metaner: the meta-function loss.")] = True,
    anonymise: Annotated[
        bool, typer.Option("--anonymise/--no-anonymise", help="metaner: types stand under <type1> … in most episodes.")
    ] = True,
    language_model: Annotated[
        bool, typer.Option("--language-model/--no-language-model", help="metaner: hidden words of open text as types.")
    ] = True,
    plain: Annotated[
        bool, typer.Option("--plain", help="metaner: only extraction without demonstrations, to compare with.")
    ] = False,
    freeze_embeddings: Annotated[
        bool,
        typer.Option("--freeze-embeddings/--train-embeddings", help="Keep the encoder's word embeddings as they are."),
    ] = True,
    bf16: Annotated[
        bool, typer.Option("--bf16/--no-bf16", help="bf16 arithmetic, where the device has it; else float32.")
    ] = True,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads.")] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    save_minutes: Annotated[float, typer.Option("--save-minutes", min=0.01, help="Time between states on disk.")] = 4.0,
    development: Annotated[
        int,
        typer.Option(
            "--development", min=0, help="Texts of each development part that choose how results are read; 0 for none."
        ),
    ] = 100,
    seed: Annotated[int, typer.Option("--seed", min=0, max=LAST_SEED, help="Of everything that chance decides.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Train an extraction engine on annotated sets, or go on after a stop or kill with --resume and the same options.

    The Training page follows the run while it goes on.

    Examples:

    workbench train --engine usm --encoder sentence-transformers/all-MiniLM-L6-v2 --data-root data --out runs/mine --minutes 40

    workbench train --engine usm --data conll04 --data-root data --steps 600

    workbench train --engine base --encoder sentence-transformers/all-MiniLM-L6-v2 --texts texts --data-root data --out runs/base --minutes 15

    workbench train --engine uie --backbone runs/base/model --data-root data --out runs/uie --minutes 60

    workbench train --engine metaner --backbone runs/base/model --texts texts --data-root data --out runs/metaner --minutes 60
    """
    quiet_libraries()
    from workbench.extract.errors import EngineError

    if engine not in TRAINED:
        raise EngineError(f"There is no training for the engine '{engine}': choose usm, uie, metaner or base.")
    _check_options(context, engine)
    if data and set(data) <= set(hold_out or ()):
        raise EngineError(
            f"A run needs a set to learn from, but every one of --data is held out ({', '.join(data)}): name a further --data or leave a --hold-out out."
        )
    import torch

    from workbench.models.device import use_threads

    output = Output(as_json)
    use_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    from workbench.extract.engines import engine_spec, shipped_or
    from workbench.extract.loop import Length

    start = encoder or (None if engine == "base" else engine_spec(engine).default_model)
    if start is None:
        raise EngineError("A base is trained from an encoder: name one with --encoder, a hub id or a folder.")
    if out is None:
        out = Path("runs") / "-".join((engine, *(data or ())))[:100]
    output.note(f"{engine} from {start}, into {out}")
    encoder = shipped_or(start)
    length = Length(steps=steps, minutes=minutes, save_minutes=save_minutes)
    common: dict[str, Any] = {
        "device": device, "resume": resume, "progress": not as_json, "notice": lambda name: output.note(f"reading {name}"),
    }  # fmt: skip
    if engine == "usm":
        from workbench.extract.usm.train.recipe import Recipe, parse_weights
        from workbench.extract.usm.train.run import run

        sets = tuple(data) if data else Recipe().sets
        recipe = Recipe(
            sets=sets,
            held_out=tuple(hold_out or ()),
            seed=seed,
            batch=batch,
            documents=documents,
            encoder_rate=2e-4 if encoder_rate is None else encoder_rate,
            head_rate=1e-3 if head_rate is None else head_rate,
            freeze_embeddings=freeze_embeddings,
            bf16=bf16,
            dropout=dropout,
            weights=parse_weights(weight or (), [name for name in sets if name not in (hold_out or ())]),
        )
        model = run(encoder, data_root, out, recipe, length, development=development, **common)
    else:
        from workbench.extract.seq2seq.loop import Recipe as WritingRecipe

        writing = WritingRecipe(
            seed=seed,
            batch=batch,
            encoder_rate=1e-4 if encoder_rate is None else encoder_rate,
            decoder_rate=5e-4 if head_rate is None else head_rate,
            warmup=min(WritingRecipe.warmup, max(1, round(0.06 * steps))),  # a short run would never reach its rate
            freeze_embeddings=freeze_embeddings,
            bf16=bf16,
        )
        if engine == "base":
            from workbench.extract.seq2seq.run import run as run_base

            if not texts:
                raise EngineError("A base is trained on open text: name .txt files or a folder of them with --texts.")
            model = run_base(encoder, texts, data_root, out, writing, length, sets=tuple(data or ()), **common)
        elif engine == "metaner":
            from workbench.extract.metaner.train.run import Choices
            from workbench.extract.metaner.train.run import run as run_metaner

            if hold_out:
                raise EngineError("MetaNER is trained on the sets that --data names: leave --hold-out out.")
            given = Choices(language_model=language_model, plain=plain)
            given = given if meta else replace(given, meta=0.0)
            given = given if anonymise else replace(given, anonymous=0.0)
            model = run_metaner(
                encoder, data_root, out, writing, length, choices=given, sets=tuple(data or ()), texts=tuple(texts or ()),
                documents=documents, **common,
            )  # fmt: skip
        else:
            from workbench.extract.uie.train.objectives import parse_objectives
            from workbench.extract.uie.train.run import run as run_uie

            what: dict[str, Any] = {"objectives": parse_objectives(objective or ())}
            what["sampling"] = {
                "reject": reject,
                **({} if sample_labels else {"whole": True, "far": 0.0}),
            }
            model = run_uie(
                encoder, data_root, out, replace(writing, what=what), length, sets=tuple(data or ()), hold_out=tuple(hold_out or ()),
                documents=documents, development=development, lora=lora, **common,
            )  # fmt: skip
    output.say(f"{model}: the trained model")
    output.result({"out": str(out), "model": str(model)})


def _check_options(context: typer.Context, engine: str) -> None:
    """Refuse options of another engine, whose help begins with its name: they would be passed over in silence."""
    from workbench.extract.errors import EngineError

    for parameter in context.command.params:
        of = str(getattr(parameter, "help", None) or "").partition(":")[0]
        asked = context.get_parameter_source(str(parameter.name))
        if of in TRAINED and of != engine and asked is not None and asked.name == "COMMANDLINE":
            raise EngineError(
                f"{parameter.opts[0]} is an option of the engine {of}, and {engine} is to be trained: leave it out, or choose --engine {of}."
            )
