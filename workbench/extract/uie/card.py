"""The model card and licence of a checkpoint, filled with what was measured: nothing in it is typed by hand.

    python -m workbench.extract.uie.ship --model runs/uie/model --data-root data --out uie-mini > runs/uie/ship.json
    python -m workbench.extract.evaluate.stored --engine uie --model uie-mini --data-root data --out uie-mini.json
    python -m workbench.extract.uie.card --checkpoint uie-mini --run runs/uie --base runs/base --report runs/uie/ship.json --evaluation uie-mini.json

Of several evaluations a later one takes the place of an earlier one's figures of the same set.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.capture.errors import WorkbenchError, reason
from workbench.extract.errors import ExtractError
from workbench.extract.evaluate.published import published
from workbench.extract.evaluate.stored import Figure, read_stored
from workbench.extract.licences import RESEARCH, licence_and_part
from workbench.extract.state import read_state
from workbench.extract.usm.experiments import table
from workbench.extract.usm.train.sources import KEPT_BACK, LEAST_INSIDE, PLANS

MOST_BYTES = 30 * 10**6
SHIPPED = ("usm-mini",)  # models of ours that a base may start from
TITLES = {"relation strict": "relation strict", "event trigger": "trigger", "event argument": "argument"}


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object of a file.

    Raises:
        ExtractError: it is not there or holds none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise ExtractError(
            f"{what} '{path}' cannot be read ({reason(fault)}): name the file that was written."
        ) from None
    if not isinstance(found, dict):
        raise ExtractError(f"{what} '{path}' is no JSON object: name the file that was written.")
    return found


def metric_of(figure: Figure) -> str:
    """A metric in the words of its task; a polarity between aspect and opinion is a triplet."""
    if figure.what == "relation strict" and figure.data in ("14res", "14lap"):
        return "triplet"
    return TITLES.get(figure.what, figure.what)


def measured_rows(figures: Sequence[Figure], parameters: int) -> list[list[str]]:
    """A row a figure, with UIE's own figure and size where the whole part was measured."""
    rows = []
    for each in figures:
        theirs = [
            f"{100 * p.f1:.2f} ({p.parameters} M, {p.parameters * 10**6 / parameters:.0f} times as large)"
            for p in published(each.data, "test")
            if each.whole and " ".join(p.metric) == each.what and p.model.startswith("UIE")
        ]
        low, high = each.low, each.high
        between = "-" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"
        texts = f"{each.texts:,} (all)" if each.whole else f"{each.texts:,}"
        rows.append([each.data, texts, metric_of(each), f"{100 * each.f1:.1f}", between, ", ".join(theirs) or "-"])
    return rows


def data_rows(sets: Sequence[str]) -> list[list[str]]:
    """A row a set that was learnt from: its licence as stated, the part, its share of the samples."""
    whole = sum(PLANS[name].weight for name in sets)
    rows = []
    for name in sets:
        licence, part = licence_and_part(name)
        rows.append([name, licence, part, f"{100 * PLANS[name].weight / whole:.1f} %"])
    return rows


def said_run(folder: Path) -> tuple[dict[str, Any], str]:
    """The recipe of a run and what came of it, in words.

    Raises:
        ExtractError: there is no run in the folder.
    """
    state = read_state(folder)
    if state is None:
        raise ExtractError(f"There is no state of a run in '{folder}': name the folder that `workbench train` wrote.")
    recipe: dict[str, Any] = state["recipe"]
    return recipe, (
        f"{state['step']:,} steps of {recipe['batch']} samples, {state['tokens'] / 1e6:.2f} million tokens, padding included, "
        f"{state['seconds'] / 60:.0f} minutes, seed {recipe['seed']}"
    )


def recipe_lines(name: str, run: Path, base: Path | None, texts: int) -> list[str]:
    """The commands that made a model, with the choices of its runs.

    Args:
        texts: of each development part, that the reading was chosen on.

    Raises:
        ExtractError: a run has no log.
    """
    lines = []
    for folder, engine, start in ((base, "base", "--encoder {}"), (run, "uie", "--backbone runs/base/model")):
        if folder is None:
            continue
        log = read_json(folder / "run.json", "The run")
        recipe = log["training"]["recipe"]
        minutes = log["training"].get("minutes")
        given = start.format(log["model"]["config"].get("start", "HUB_ID_OR_FOLDER"))
        open_texts = "--texts texts " if engine == "base" else ""
        length = f"--minutes {minutes:g} --steps 40000" if minutes else f"--steps {log['total_steps']}"
        lines.append(
            f"workbench train --engine {engine} {given} {open_texts}--data-root data --out runs/{engine} {length} --batch {recipe['batch']} "
            f"--encoder-rate {recipe['encoder_rate']:g} --head-rate {recipe['decoder_rate']:g} --seed {recipe['seed']}"
        )
    lines.append(
        f"python -m workbench.extract.uie.ship --model runs/uie/model --data-root data --texts {texts} --out {name} > ship.json"
    )
    lines.append(
        f"python -m workbench.extract.evaluate.stored --engine uie --model {name} --data-root data --out {name}.json"
    )
    lines.append(
        f"python -m workbench.extract.uie.card --checkpoint {name} --run runs/uie --base runs/base --report ship.json --evaluation {name}.json"
    )
    return lines


def form_of(report: dict[str, Any]) -> str:
    """How well-formed the outputs on development parts were."""
    made = report.get("outputs") or {}
    whole = sum(made.values())
    return f"{made.get('well-formed', 0):,} of {whole:,} outputs on development texts were well-formed" if whole else ""


def card(
    name: str,
    config: dict[str, Any],
    parameters: int,
    size: int,
    run: Path,
    base: Path | None,
    report: dict[str, Any],
    figures: Sequence[Figure],
) -> str:
    """The text of README.md."""
    recipe, trained = said_run(run)
    what = recipe["what"]
    sets: list[str] = what["sets"]
    encoder = config["encoder"]
    training = read_json(run / "run.json", "The run")["training"]
    computed_in = training.get(
        "arithmetic", "bfloat16" if recipe["bf16"] else "float32"
    )  # runs before it was written down
    start = read_json(base / "run.json", "The run")["model"]["config"].get("start") if base is not None else None
    errors = report["calibration_error"]
    calibration = "; ".join(
        f"{kind} {e['token probabilities']:.3f}, {e['fitted on the other half']:.3f}" for kind, e in errors.items()
    )
    facts = [
        [
            "encoder",
            f"all-MiniLM-L6-v2 (Apache-2.0): {encoder['model_type'].upper()}, {encoder['num_hidden_layers']} layers, width {encoder['hidden_size']}, uncased; its word embeddings were kept as they are"
            + (f"; training began with the encoder of {start}" if start in SHIPPED else ""),
        ],
        *([["labels", "each reads itself alone, apart from the text and the others; it is chosen by looking ahead to the span that follows (docs/uie.md)"]] if config.get("ahead") else []),
        ["decoder", f"{config['decoder_layers']} layers with cross-attention; it points at words of its source and has no matrix over the vocabulary"],
        ["parameters", f"{parameters:,}, matrices stored as int8 with a scale a row, {size / 1e6:.1f} MB with the tokenizer"],
        *([["base", f"copying and span tasks on open text: {said_run(base)[1]}"]] if base is not None else []),
        ["training", trained],
        ["objectives", ", ".join(f"{k} {v:g}" for k, v in what["objectives"].items()) + f"; rejection {what['sampling'].get('reject', 0):g} a spot; labels of each prompt sampled"],
        ["optimiser", f"AdamW, rates {recipe['encoder_rate']:g} (encoder) and {recipe['decoder_rate']:g} (decoder), {recipe['warmup']} steps of warm-up, linear decay to 0, {computed_in}"],
        ["reading", f"mode \"{report['mode']}\", threshold {report['threshold']:g}, chosen on development parts; calibration error on the other half of these texts, before and after fitting: {calibration}"],
    ]  # fmt: skip
    chosen = report["f1"][report["mode"]]
    recipe_text = "\n".join(recipe_lines(name, run, base, report.get("texts", 150)))
    unstated = sum(licence_and_part(name)[0] == RESEARCH for name in sets)
    return f"""---
license: other
license_name: research-use
license_link: LICENSE
language: en
library_name: unified-workbench
---

# {name}

A small model that writes entities, relations, events and sentiment of an English text as one structure, by a schema that the user writes (UIE;
docs/uie.md). For research and evaluation; see LICENSE.

{table(["", ""], facts)}

## Recipe

~~~
{recipe_text}
~~~

The rate follows time, so a repeated run is like it, not equal to it.

## Measured

Strict micro F1 by offset on test parts (`python -m workbench.extract.evaluate.stored --engine uie`); a number of texts without "all" means the first ones, and then
no published figure of the whole part stands beside. UIE: Lu et al. 2022, T5-large with its own pre-training, fine-tuned on the set alone; ours is
one model for all sets, with {parameters / 1e6:.0f} M parameters.

{table(["test part", "texts", "metric", "F1", "95 % interval", "UIE, published"], measured_rows(figures, parameters))}

On development parts (on these the reading was chosen, so they flatter it a little):

{table(["development part and metric", "F1"], [[k, f"{100 * v:.1f}"] for k, v in chosen.items()])}

{form_of(report)}

## Data

Training parts only, or the part named; {len(sets)} sets, of which {unstated} state no licence ("research use").

{table(["set", "licence as stated", "part", "share of samples"], data_rows(sets))}

Texts that stand in a development or test part of {", ".join(k for k, v in KEPT_BACK.items() if "dev" in v)}, or in the test part of
{", ".join(k for k, v in KEPT_BACK.items() if "dev" not in v)}, were left out wherever they occurred, from {LEAST_INSIDE} letters on within longer texts too. CASIE is split by the hash of the document's id.

## Limits

- English only; written text. The vocabulary is uncased; the shape of words is all it knows of capitals.
- It writes its best structure and nothing else: what it did not write has no score, and a lower threshold shows no more.
- Types that it never saw by name are found worse than those that training had; descriptions of types are not read.
- No discontinuous mentions; no relation or argument across windows of the text.
- Training text is news, Wikipedia, tweets, novels, biomedical and scientific abstracts, security reports, reviews and dialogues, with what
  these hold of people and of bias. Do not decide about people by it.
"""


LICENCE = """{name}: licence of these weights

1. The weights, configuration and tokenizer in this folder may be used, copied and shared for research and evaluation only.
   Some of the data they were trained on states no licence (README.md names each set); whoever wants to use the weights for
   anything else has to settle that with the holders of those sets.
2. The encoder that training started from, all-MiniLM-L6-v2, is under the Apache License 2.0
   (https://www.apache.org/licenses/LICENSE-2.0); its word embeddings are contained here, stored with 8 bits, and its other
   weights were changed by training.
3. Who shares the folder shares this file and README.md with it.
4. The weights come as they are, without warranty of any kind.

The code of the Unified Workbench has a licence of its own (Apache License 2.0) and is not touched by this file.
"""


def write_card(
    checkpoint: Path, run: Path, base: Path | None, report: Path, evaluations: Sequence[Path], name: str | None = None
) -> int:
    """Write README.md and LICENSE into a checkpoint's folder; returns the bytes of the whole folder.

    Raises:
        ExtractError: a file is missing, or the folder is larger than a shipped checkpoint may be.
    """
    from workbench.extract.seq2seq.weights import load_copy_model

    model, _ = load_copy_model(checkpoint)
    figures: dict[tuple[str, str], Figure] = {}
    for path in evaluations:
        figures.update({(f.data, f.what): f for f in read_stored(path).figures})
    name = name or checkpoint.name
    parameters = sum(p.numel() for p in model.parameters())
    stored = sum(f.stat().st_size for f in checkpoint.iterdir() if f.suffix != ".md" and f.name != "LICENSE")
    text = card(
        name, read_json(checkpoint / "config.json", "The configuration"), parameters, stored, run, base, read_json(report, "The report of ship"),
        list(figures.values()),
    )  # fmt: skip
    (checkpoint / "README.md").write_text(text, encoding="utf-8")
    (checkpoint / "LICENSE").write_text(LICENCE.format(name=name), encoding="utf-8")
    size = sum(f.stat().st_size for f in checkpoint.iterdir())
    if size > MOST_BYTES:
        raise ExtractError(
            f"'{checkpoint}' takes {size / 1e6:.1f} MB and may take {MOST_BYTES / 1e6:.0f}: store it with --storage int8."
        )
    return size


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workbench.extract.uie.card", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )  # fmt: skip
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder that ship wrote; the card goes there")
    parser.add_argument("--run", type=Path, required=True, help="folder of the run that trained it")
    parser.add_argument("--base", type=Path, help="folder of the run that made its base")
    parser.add_argument("--report", type=Path, required=True, help="what ship printed")
    parser.add_argument("--evaluation", type=Path, nargs="+", required=True, help="files of evaluate.stored")
    parser.add_argument("--name", help="in the card; the folder's if not given")
    chosen = parser.parse_args(arguments)
    try:
        size = write_card(chosen.checkpoint, chosen.run, chosen.base, chosen.report, chosen.evaluation, chosen.name)
    except WorkbenchError as fault:
        print(fault, file=sys.stderr)  # noqa: T201 - a command
        return 1
    print(json.dumps({"bytes": size}))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
