"""`workbench unified`: tokenizers, training, generation and evaluation of the unified model."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.commands.experiment import experiment
from workbench.commands.output import JsonOption, Output, quiet_libraries
from workbench.making import GUIDANCE, TEMPERATURE, said_of_unlearned, unlearned_words

if TYPE_CHECKING:
    from workbench.unified.generate import Generator
    from workbench.unified.sampling import Sampling

unified = typer.Typer(
    name="unified",
    help="Train, run and judge the unified model: text, pictures, clips and sounds, read and made.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
unified.command("experiment")(experiment)


SUFFIXES = {"picture": ".png", "clip": ".gif", "speech": ".wav"}
"""What a thing that was made is written as."""


class Make(StrEnum):
    """What is to be made."""

    text = "text"
    picture = "picture"
    clip = "clip"
    speech = "speech"


DataRoot = Annotated[
    Path,
    typer.Option(
        "--data-root",
        help="Folder with fashion_mnist, mnist_t10k, noto_emoji, fsdd and text; docs/data.md says where each is to be had.",
    ),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "--checkpoint",
        help="Folder of a trained model, or the name of a shipped one; omni-mini if not given.",
    ),
]
Voices = Annotated[
    int,
    typer.Option(
        "--voices",
        min=0,
        help="Further voices that the program espeak-ng (install it yourself) says the digits in, for training alone; 0 for none.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**53, help="Of everything that chance decides.")]


@unified.command("tokenizers")
def tokenizers(
    data_root: DataRoot,
    out: Annotated[Path, typer.Option("--out", help="Folder of the trained tokenizers.")],
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.1, help="About how long; a fixed number of steps if not given.")
    ] = None,
    voices: Voices = 0,
    seed: Seed = 0,
    as_json: JsonOption = False,
) -> None:
    """Train the tokenizers of text, pictures, clips and sound, which the model is then trained on.

    Examples:

    workbench unified tokenizers --data-root data --out my-tokenizers

    workbench unified tokenizers --data-root data --out my-tokenizers --voices 20
    """
    from tqdm import tqdm

    from workbench.unified.tokenizers.train import train_tokenizers

    output = Output(as_json)
    with tqdm(unit="step", leave=False, disable=None) as bar:

        def progress(what: str, step: int, steps: int) -> None:
            bar.set_description(what)
            bar.total, bar.n = steps, step
            bar.refresh()

        report = train_tokenizers(data_root, out, seed, minutes, progress, voices=voices)
    output.say(f"{out}: tokenizers of text, pictures and sound")
    output.say(f"Next: workbench unified train --tokenizers {out} --data-root {data_root} --out my-run")
    output.result({"out": str(out), **report})


@unified.command("train")
def train(
    tokenizers: Annotated[
        Path, typer.Option("--tokenizers", help="Trained tokenizers, as `workbench unified tokenizers` writes them.")
    ],
    data_root: DataRoot,
    out: Annotated[Path, typer.Option("--out", help="Folder of the run: log, captures, state to resume, model.")],
    folders: Annotated[
        list[Path] | None,
        typer.Option("--folder", help="A folder of your own captioned pictures, sounds or clips; may be repeated."),
    ] = None,
    voices: Voices = 0,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Optimiser steps of the whole run.")] = 2000,
    start: Annotated[
        Path | None,
        typer.Option(
            "--start",
            help="Checkpoint whose weights a new run begins with, in phases of its own; random ones if not given.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the state in the folder.")] = False,
    elastic: Annotated[
        bool,
        typer.Option(
            "--elastic/--no-elastic", help="Run a smaller model in some steps, so that smaller ones can be cut out."
        ),
    ] = True,
    batch: Annotated[float, typer.Option("--batch", min=0.05, help="Factor on the samples a step and process.")] = 1.0,
    learning_rate: Annotated[float, typer.Option("--learning-rate", min=1e-6, help="Peak rate of AdamW.")] = 2e-3,
    model_config: Annotated[
        str, typer.Option("--model-config", help="JSON object that overrides sizes, such as '{\"hidden_size\": 384}'.")
    ] = "{}",
    bf16: Annotated[bool, typer.Option("--bf16", help="bf16 arithmetic: helps on a GPU, not on most CPUs.")] = False,
    capture_every: Annotated[
        int, typer.Option("--capture-every", min=0, help="Steps between captures of held-out samples; 0 for none.")
    ] = 0,
    save_minutes: Annotated[float, typer.Option("--save-minutes", min=0.05, help="Time between states on disk.")] = 4.0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    seed: Seed = 0,
    as_json: JsonOption = False,
) -> None:
    """Train the unified model, or go on after a stop or kill with --resume and the same options.

    The Training page follows the run while it goes on. For several devices start it with torchrun; every process takes samples of its own.

    Examples:

    workbench unified train --tokenizers my-tokenizers --data-root data --out runs/mine --steps 2000

    workbench unified train --tokenizers my-tokenizers --data-root data --out runs/mine --voices 20

    torchrun --nproc-per-node 4 -m workbench.cli unified train --tokenizers my-tokenizers --data-root data --out runs/mine --bf16
    """
    quiet_libraries()
    from workbench.unified.data.mixture import Mixture
    from workbench.unified.tokenizers.bundle import Tokenizers
    from workbench.unified.train.loop import Plan, digest_of
    from workbench.unified.train.loop import train as run
    from workbench.unified.train.recipe import FURTHER, FURTHER_FRAMES, PHASES, Elastic, Recipe

    output = Output(as_json)
    bundle = Tokenizers.load(tokenizers)
    recipe = Recipe(
        seed=seed,
        start="" if start is None else digest_of(start),
        voices=voices,
        phases=PHASES if start is None else FURTHER,
        clip_frames=() if start is None else FURTHER_FRAMES,
        model=_object(model_config),
        learning_rate=learning_rate,
        bf16=bf16,
        elastic=Elastic() if elastic else None,
    ).with_batch(batch)
    plan = Plan(
        steps=steps, resume=resume, capture_every=capture_every, save_minutes=save_minutes, device=device, start=start
    )
    data = Mixture(
        bundle,
        data_root,
        seed,
        cache=out / "cache",
        folders=tuple(folders or ()),
        voices=voices,
        clip_frames=recipe.clip_frames,
    )
    model = run(data, bundle, out, recipe, plan, progress=not as_json)
    output.say(f"{model}: the trained model")
    output.say(f"Next: workbench unified evaluate --checkpoint {model} --data-root {data_root}")
    output.result({"out": str(out), "model": str(model), "steps": steps})


@unified.command("generate")
def generate(
    checkpoint: Checkpoint = None,
    make: Annotated[Make, typer.Option("--make", help="What to make.")] = Make.text,
    prompt: Annotated[
        str, typer.Option("--prompt", help="Words: what to draw or say, or the beginning of a text.")
    ] = "",
    files: Annotated[
        list[Path] | None,
        typer.Option("--file", help="A picture, clip or sound to read, for --make text; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write: png for a picture, gif for a clip, wav for speech.")
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, max=256, help="How many to make.")] = 1,
    frames: Annotated[int, typer.Option("--frames", min=1, max=64, help="Frames of a clip.")] = 4,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest text, or steps of speech.")] = 64,
    temperature: Annotated[
        float, typer.Option("--temperature", help="Below 1 surer, above 1 more varied.")
    ] = TEMPERATURE,
    top_p: Annotated[float, typer.Option("--top-p", help="Share of the likeliest choices that is kept.")] = 1.0,
    guidance: Annotated[float, typer.Option("--guidance", help="Pull toward the prompt; 1 is none.")] = GUIDANCE,
    greedy: Annotated[bool, typer.Option("--greedy", help="Always the likeliest choice.")] = False,
    seed: Seed = 0,
    as_json: JsonOption = False,
) -> None:
    """Let a trained model read or make something.

    Examples:

    workbench unified generate --make picture --prompt "a handwritten three" --out three.png

    workbench unified generate --checkpoint runs/mine/model --file three.png

    workbench unified generate --checkpoint runs/mine/model --make speech --prompt "george says seven" --out seven.wav
    """
    quiet_libraries()
    from workbench.unified.checkpoint import load_checkpoint
    from workbench.unified.generate import Generator
    from workbench.unified.sampling import Sampling
    from workbench.unified.segments import UnifiedError

    output = Output(as_json)
    settings = Sampling(temperature, top_p, guidance, greedy, seed)
    if make is not Make.text and (out is None or not prompt.strip()):
        raise UnifiedError(
            f"Expected --prompt with what to make and --out with a file for the {make.value}, got less: give both."
        )
    if make is not Make.text and files:
        raise UnifiedError(
            f"Expected --file with --make text alone, but a {make.value} is to be made: say in --prompt what it shows."
        )
    if out is not None and out.suffix.lower() != SUFFIXES.get(make.value, ""):
        raise UnifiedError(
            "Expected no --out for a text, which is printed: leave it out, or pass the output on."
            if make is Make.text
            else f"Expected an --out that ends in {SUFFIXES[make.value]} for a {make.value}, got '{out}': name it so."
        )
    folder = _shipped_or(checkpoint)
    generator = Generator(*load_checkpoint(folder))
    if make is not Make.text and (strange := unlearned_words(folder, make.value, prompt)):
        output.note(said_of_unlearned(strange))
    if make is Make.text:
        result = _answer(generator, prompt, files or [], count, max_tokens, settings)
        for text in result["texts"]:
            output.say(text)
    else:
        assert out is not None
        result = _made(generator, make, prompt, out, count, frames, max_tokens, settings)
        for path in result["files"]:
            output.say(path)
    output.result({"checkpoint": str(folder), "make": make.value, "prompt": prompt, **result})


@unified.command("evaluate")
def evaluate(
    data_root: DataRoot,
    checkpoint: Checkpoint = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most so many samples of every task; all if not given.")
    ] = None,
    judges: Annotated[
        Path | None,
        typer.Option(
            "--judges",
            help="Folder of trained judges; else those of the checkpoint, else ones trained once on the data and kept.",
        ),
    ] = None,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the result to this JSON file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure reading and making on held-out data: accuracies beside their ceiling and chance, and bits a byte of text.

    Judges are small networks that saw real training data only. Training them takes some minutes, once.

    Examples:

    workbench unified evaluate --data-root data --limit 200 --json

    workbench unified evaluate --model runs/mine/model --data-root data --out result.json
    """
    quiet_libraries()
    from workbench.unified.evaluate import evaluate as measure

    output = Output(as_json)
    found = measure(_shipped_or(checkpoint), data_root, limit, seed, output.note, judges)
    text = json.dumps(found, indent=1, default=str)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    output.say(text)
    output.result(found)


def _shipped_or(checkpoint: Path | None) -> Path:
    """The folder that is meant: given, or of a shipped model by its name."""
    from workbench.models import embedded_models
    from workbench.unified.segments import UnifiedError

    if checkpoint is not None and checkpoint.is_dir():
        return checkpoint
    wanted = "omni-mini" if checkpoint is None else str(checkpoint)
    for model in embedded_models():
        if model.name == wanted:
            return model.path
    raise UnifiedError(
        f"Expected the folder of a unified model, but '{wanted}' is neither a folder nor shipped: train one with `workbench unified "
        "train` and name its folder with --model."
    )


def _answer(
    generator: Generator, prompt: str, files: list[Path], count: int, max_tokens: int, settings: Sampling
) -> dict[str, Any]:
    from workbench.unified.files import prompt_of_file
    from workbench.unified.segments import Segment, Text

    segments: list[Segment] = [prompt_of_file(path, generator.tokenizers) for path in files]
    ids = tuple(generator.tokenizers.text.encode(prompt)) if prompt.strip() else ()
    if ids:
        segments.append(Text(ids))
    texts = generator.answer([tuple(segments)] * count, max_tokens=max_tokens, settings=settings)
    return {"texts": texts}


def _made(
    generator: Generator,
    make: Make,
    prompt: str,
    out: Path,
    count: int,
    frames: int,
    max_tokens: int,
    settings: Sampling,
) -> dict[str, Any]:
    from workbench.unified.files import numbered, write_clip, write_picture, write_sound
    from workbench.unified.segments import UnifiedError

    paths, prompts = numbered(out, count), [prompt] * count
    out.parent.mkdir(parents=True, exist_ok=True)
    if make is Make.picture:
        for path, pixels in zip(paths, generator.draw(prompts, settings=settings), strict=True):
            write_picture(pixels, path)
    elif make is Make.clip:
        for path, clip in zip(paths, generator.draw_clip(prompts, frames=frames, settings=settings), strict=True):
            write_clip(clip, path)
    else:
        audio = generator.tokenizers.audio
        for path, codes in zip(paths, generator.speak(prompts, max_steps=max_tokens, settings=settings), strict=True):
            if not len(codes):
                raise UnifiedError("Expected at least a step of sound, but the model said nothing: try another --seed.")
            write_sound(audio.decode(codes), audio.sample_rate, path)
    return {"files": [str(path) for path in paths]}


def _object(text: str) -> dict[str, Any]:
    """A JSON object given as an option."""
    from workbench.unified.segments import UnifiedError

    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UnifiedError(
            f"Expected --model-config as a JSON object, got '{text}': write it like '{{\"num_hidden_layers\": 9}}'."
        )
    return found
