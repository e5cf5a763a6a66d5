"""``python -m workbench.unified.card``: the model card of a trained unified model, from what its run and its evaluation wrote.

Every number comes from a file that a command wrote: the run (``run.json``, ``metrics.jsonl``), the evaluation (``workbench unified evaluate
--out``) and the report of the tokenizers. With ``--ship`` the whole folder that is shipped is put together.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.module_command import report
from workbench.unified.card_training import CURVES, ELASTIC, FURTHER, curves, metrics, run_before, training
from workbench.unified.segments import UnifiedError

READING = (
    ("picture to word", "garments", ("image_to_word", "fashion"), 0.85, "fashion"),
    ("picture to word", "handwritten digits", ("image_to_word", "digits"), 0.95, "digits"),
    ("speech to word", "known speakers", ("speech_to_word", "known_speakers"), 0.95, "known_speakers"),
    ("speech to word", "held-out speaker", ("speech_to_word", "held_out_speaker"), 0.85, "held_out_speaker"),
    ("clip to caption", "digit and direction", ("clip_to_caption",), 0.95, "clips"),
)
MAKING = (
    ("word to picture", "garments", ("word_to_image", "fashion"), 0.85),
    ("word to picture", "handwritten digits", ("word_to_image", "digits"), 0.90),
    ("word to speech", "known speakers", ("word_to_speech",), 0.85),
    ("caption to clip", "digit and direction", ("caption_to_clip",), 0.85),
)
"""Task, data, place in the evaluation, what was aimed at (and the linear probe's name)."""


def card(
    result: Mapping[str, Any],
    run: Path,
    tokenizers: Mapping[str, Any],
    name: str,
    untrained: Mapping[str, Any] | None = None,
    twin: Path | None = None,
    earlier: str | None = None,
) -> str:
    """The card in Markdown.

    Args:
        result: what ``workbench unified evaluate --out`` wrote.
        run: folder of the run.
        tokenizers: the ``report.json`` of the tokenizers.
        name: of the model.
        untrained: the same evaluation of an untrained model, or None.
        twin: the run without elastic training, or None.
        earlier: of a run that went on from trained weights, the curves of the runs before it, as `curves` writes them.

    Raises:
        UnifiedError: the run or a result is not whole, or a run went on from another whose curves are missing.
    """
    described = _read(run / "run.json")
    try:
        parts = [
            HEAD.format(name=name),
            *_facts(described, run, earlier),
            "## What it does",
            "",
            _sampling(result),
            "",
            *_reading(result, untrained),
            "",
            *_making(result, untrained),
            "",
            *_text(result),
            "",
            "## Where it is wrong",
            "",
            *_mistakes(result),
            "",
            "## Tokenizers",
            "",
            *_tokenizers(tokenizers),
            "",
            "## Training",
            "",
            *training(described, run, twin, earlier),
            "",
            TAIL,
        ]
    except (KeyError, TypeError, ValueError) as fault:
        raise UnifiedError(
            f"Expected whole files of a run, an evaluation and tokenizers, but {fault} is missing or of another form: make them again."
        ) from fault
    return "\n".join(parts)


def ship(checkpoint: Path, judges: Path, text: str, table: str, licence: Path, out: Path) -> int:
    """Put together the folder that is shipped; returns its size in bytes.

    Args:
        checkpoint: the exported model with its tokenizers.
        judges: folder of the judges that measured it.
        text: the card.
        table: the curves.
        licence: file with the text of the licence.
        out: new folder.

    Raises:
        UnifiedError: the folder is in use.
    """
    if out.exists():
        raise UnifiedError(
            f"Expected a new folder for the shipped model, but '{out}' is there already: remove it first."
        )
    shutil.copytree(checkpoint, out)
    shutil.copytree(judges, out / "judges", dirs_exist_ok=True)
    (out / "README.md").write_text(text, encoding="utf-8")
    (out / CURVES).write_text(table, encoding="utf-8")
    shutil.copyfile(licence, out / "LICENSE")
    return sum(path.stat().st_size for path in out.rglob("*") if path.is_file())


def _facts(described: Mapping[str, Any], run: Path, earlier: str | None) -> list[str]:
    model, config = described["model"], described["model"]["config"]
    rows = metrics(run)
    before = run_before(described, earlier)
    behind = f"{int(before['step']):,} steps, {int(before['tokens']) / 1e6:.2f} million tokens; then " if before else ""
    heads = f"{config['num_attention_heads']} heads"
    facts = {
        "parameters": f"{model['parameters']:,}, stored in bf16 (routers in fp32)",
        "layers, width": f"{config['num_hidden_layers']}, {config['hidden_size']}, {heads}",
        "experts": f"{config['num_experts']} of {config['moe_intermediate_size']} in every layer, {config['num_experts_per_tok']} a token, and a shared one of "
        f"{config['shared_intermediate_size']}",
        "routing": "sigmoid gate on the token alone, no modality; balance by a bias in the choice (arXiv 2408.15664); no token dropped",
        "training": f"{behind}{rows[-1]['step']:,} steps, {int(rows[-1]['tokens']) / 1e6:.2f} million tokens, one seed, CPU",
        "texts, pictures, clips, sounds": f"{config['vocab_size']} text tokens; {config['image_size']} x {config['image_size']} in colour, scales "
        f"{', '.join(str(side) for side in config['image_scales'])} of {config['image_bits']} bits; four frames; 8 kHz, 25 steps a second of "
        f"{config['audio_levels']} codes",
    }
    return ["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in facts.items()), ""]


def _sampling(result: Mapping[str, Any]) -> str:
    how = result["sampling"]
    return (
        "Measured by `workbench unified evaluate` on test data that neither the model nor its tokenizers nor the judges were trained on. Reading is greedy; "
        f"what is made is sampled at temperature {how['temperature']:g} with guidance {how['guidance']:g}. Brackets: 95 % score interval. *Ceiling*: what a judge trained "
        "on real training data gets right on real test data, and on the same data through the tokenizer; for reading it is another network's reading and no "
        "bound. *Linear probe*: a linear reading of the tokenizer's features, or of the log-mel."
    )


def _reading(result: Mapping[str, Any], untrained: Mapping[str, Any] | None) -> list[str]:
    lines = [
        "| reads | on | right | aimed at | judge: real / reconstructed | linear probe | untrained | chance | n |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for task, data, place, aim, probe in READING:
        found = _at(result, place)
        lines.append(
            f"| {task} | {data} | {_right(found)} | {aim:.0%} | {_ceiling(found)} | {result['linear_probe'][probe]:.1%} | {_other(untrained, place)} | "
            f"{found['chance']:.1%} | {found['n']} |"
        )
    clip = result["clip_to_caption"]
    lines += ["", f"Of the clips alone: digit {clip['digit']:.1%}, direction {clip['direction']:.1%}."]
    return lines


def _making(result: Mapping[str, Any], untrained: Mapping[str, Any] | None) -> list[str]:
    lines = [
        "| makes | of | judged right | aimed at | judge: real / reconstructed | untrained | chance | n | distance: made / reconstructed / halves of real | variety: made / real |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for task, data, place, aim in MAKING:
        found = _at(result, place)
        far, wide = found["distance"], found["variety"]
        lines.append(
            f"| {task} | {data} | {_right(found)} | {aim:.0%} | {_ceiling(found)} | {_other(untrained, place)} | {found['chance']:.1%} | {found['n']} | "
            f"{_number(far['made'])} / {_number(far['reconstructed'])} / {_number(far['real_halves'])} | {_number(wide['made'])} / {_number(wide['real'])} |"
        )
    clip = result["caption_to_clip"]
    lines += [
        "",
        f"Of the clips alone: digit {clip['digit']:.1%}, direction {clip['direction']:.1%}. *Distance*: Fréchet distance in the judge's features, which compares with "
        "nothing published; two halves of the real test data stand beside it. *Variety*: mean distance of two things of one class there.",
        "",
        "Does what is made hang on its prompt? Real test data, scored under each of the ten prompts: the right one makes it likeliest for "
        f"{_heard(result)} (chance 10%).",
    ]
    return lines


def _heard(result: Mapping[str, Any]) -> str:
    names = {"fashion": "garments", "digits": "digits", "speech": "spoken digits", "clips": "digits of clips"}
    return ", ".join(f"{name} {_right(result['listening'][key])}" for key, name in names.items())


def _text(result: Mapping[str, Any]) -> list[str]:
    return [
        f"Held-out stories: **{result['text_bits_per_byte']:.2f} bits a byte** over {result['text_pieces']} pieces of at most 128 tokens, each read from a fresh start."
    ]


def _mistakes(result: Mapping[str, Any]) -> list[str]:
    lines = ["| task | commonest mistakes (true as said, how often) |", "|---|---|"]
    for task, data, place, *_ in (*READING, *MAKING):
        worst = _at(result, place)["confusions"][:4]
        said = "; ".join(f"{one['true']} as {one['said']} ({one['n']})" for one in worst) or "none"
        lines.append(f"| {task}, {data} | {said} |")
    return lines


def _tokenizers(found: Mapping[str, Any]) -> list[str]:
    lines = ["| pictures of | PSNR | entropy of a bit, by scale |", "|---|---|---|"]
    for name, one in found["image"].items():
        lines.append(f"| {name} | {one['psnr']:.1f} dB | {', '.join(f'{value:.2f}' for value in one['bit_entropy'])} |")
    lines += [
        "",
        "| sounds of | digit from the first code alone | codes used, by level | entropy of a code, by level (bits) |",
        "|---|---|---|---|",
    ]
    for name, one in found["audio"].items():
        used = ", ".join(str(value) for value in one["codes_used"])
        lines.append(
            f"| {name.replace('_', ' ')} | {one['digit_accuracy']:.1%} (n = {one['n']}) | {used} | {', '.join(f'{value:.1f}' for value in one['code_entropy'])} |"
        )
    lines += [
        "",
        f"Text: {found['text']['vocabulary']} tokens, {found['text']['characters_a_token']:.2f} characters a token on held-out stories. The first code of a sound is made semantic by "
        "the labels of the spoken digits, not by a speech encoder. Sound comes back by Griffin-Lim.",
    ]
    return lines


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as fault:
        raise UnifiedError(f"Expected the curves of a run in '{path}', but there are none: check the path.") from fault


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise UnifiedError(f"Expected a JSON file '{path}', but it is missing or broken: make it again.") from fault
    return found


def _at(result: Mapping[str, Any], place: Sequence[str]) -> Any:
    found: Any = result
    for name in place:
        found = found[name]
    return found


def _right(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"**{found['accuracy']:.1%}** [{low:.0%}, {high:.0%}]"


def _ceiling(found: Mapping[str, Any]) -> str:
    return f"{found['ceiling']['real']:.1%} / {found['ceiling']['reconstructed']:.1%}"


def _other(untrained: Mapping[str, Any] | None, place: Sequence[str]) -> str:
    return "-" if untrained is None else f"{_at(untrained, place)['accuracy']:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}" if abs(value) < 1 else f"{value:.1f}"


HEAD = """---
license: cc-by-sa-4.0
language: [en]
library_name: unified-workbench
---

# {name}

One small ultra-sparse mixture-of-experts transformer that reads and makes text, pictures, clips and sounds: the model that the Unified Workbench
shows routing by modality and role on. It knows ten garments, ten digits, emoji, five speakers and simple stories, and nothing else. How it is built:
docs/unified.md.
"""
TAIL = """## Data

Fashion-MNIST (MIT), 8,000 of the 10,000 MNIST test digits (usually given as CC BY-SA 3.0; the others are the test data, in clips too), Noto emoji (Apache-2.0),
Free Spoken Digit Dataset (CC BY-SA 4.0; the speaker theo and recordings 0 to 4 are in no training), a part of TinyStories (CDLA-Sharing-1.0), moving digits made from the training digits. Where
each is to be had and how it is split: docs/data.md.

## Limits

- A demonstration of routing and generation, no assistant: what it writes is made up, what it draws is 32 x 32, what it says is a digit at 8 kHz.
- One seed. Four percent of the training data watched the run; the test data was used for this table alone.
- Judges are networks and can be fooled by what is generated; distance and variety stand beside them for that reason.
- Test digits and garments are from the same sets as the training data, and say little about pictures from elsewhere.

## Licence

CC BY-SA 4.0 (see LICENSE), because it is trained in part on CC BY-SA recordings and digits. The code that made it is under the licence of the repository.
"""


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    made = argparse.ArgumentParser(prog="python -m workbench.unified.card", description=__doc__)
    made.add_argument("--results", type=Path, required=True, help="JSON that `workbench unified evaluate --out` wrote")
    made.add_argument("--run", type=Path, required=True, help="folder of the run")
    made.add_argument("--tokenizers", type=Path, required=True, help="folder of the tokenizers (its report.json)")
    made.add_argument("--untrained", type=Path, help="the same evaluation of an untrained model")
    made.add_argument("--twin", type=Path, help="folder of the run without elastic training")
    made.add_argument("--earlier", type=Path, help="curves.csv of the runs that this one went on from")
    made.add_argument("--name", default="omni-mini", help="of the model (default %(default)s)")
    made.add_argument("--judges", type=Path, help="with --ship: folder of the judges")
    made.add_argument("--licence", type=Path, help="with --ship: file with the text of the licence")
    made.add_argument(
        "--ship", type=Path, help="new folder to put together: model, tokenizers, judges, card, curves, licence"
    )
    made.add_argument("--out", type=Path, help="where to write the card alone")
    chosen = made.parse_args(arguments)
    with report() as status:
        untrained = _read(chosen.untrained) if chosen.untrained else None
        earlier = _text_of(chosen.earlier) if chosen.earlier else None
        text = card(
            _read(chosen.results),
            chosen.run,
            _read(chosen.tokenizers / "report.json"),
            chosen.name,
            untrained,
            chosen.twin,
            earlier,
        )
        table = curves(
            {ELASTIC if earlier is None else FURTHER: chosen.run, **({"plain": chosen.twin} if chosen.twin else {})},
            earlier,
        )
        if chosen.out is not None:
            chosen.out.write_text(text, encoding="utf-8")
        if chosen.ship is not None:
            if chosen.judges is None or chosen.licence is None:
                raise UnifiedError("Expected --judges and --licence with --ship, but one is missing: name both.")
            size = ship(chosen.run / "model", chosen.judges, text, table, chosen.licence, chosen.ship)
            print(f"{chosen.ship}: {size / 1e6:.1f} MB")  # noqa: T201 - what the command says
    return status.code


if __name__ == "__main__":
    sys.exit(main())
