"""``python -m workbench.embedded.card``: the model card of a finished run, its numbers taken from files and not typed."""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from workbench.embedded.checkpoint import Progress, read_progress
from workbench.embedded.cli import report
from workbench.embedded.corpus import EmbeddedError
from workbench.embedded.evaluate import tables, texts
from workbench.embedded.train import METRICS

HEAD = """---
license: cc-by-sa-4.0
language: [en, de]
library_name: transformers
pipeline_tag: text-generation
---

# kinds-moe

A mixture-of-experts language model small enough to ship: the model that the Unified Workbench shows at its first start.
It is trained on text of five kinds (prose, dialogue, code, tables, German), so that its routing has something to show. It is
no assistant: it writes text that looks like its kinds, and knows nothing.
"""


def card(result: dict[str, Any], run: Path, data_root: Path) -> str:
    """The model card in Markdown.

    Args:
        result: what ``workbench.embedded.evaluate --out`` wrote.
        run: folder of the run (state and metrics).
        data_root: made by ``workbench.embedded.collect`` (SOURCES.jsonl).

    Raises:
        EmbeddedError: the run or the listing of the sources is missing.
    """
    progress = read_progress(run)
    listing = data_root / "SOURCES.jsonl"
    if progress is None or not (run / METRICS).is_file():
        raise EmbeddedError(
            f"Expected a finished run, but {run} has no state and metrics: name the --out of the training."
        )
    if not listing.is_file():
        raise EmbeddedError(
            f"Expected {listing}, but it is missing: make the data root with 'python -m workbench.embedded.collect'."
        )
    lines = [
        HEAD,
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in _facts(progress, result["parameters"])),
        "",
    ]
    lines += ["## Data", "", _data(listing), ""]
    lines += ["## Recipe", "", _recipe(progress), ""]
    lines += ["## Measured on held-out documents", "", tables(result)]
    lines += [
        "## What it writes",
        "",
        "Sampled at temperature 0.8, top-p 0.95, after the first tokens of a held-out document.",
        "",
        texts(result),
    ]
    return "\n".join(lines) + TAIL


def _facts(progress: Progress, parameters: int) -> list[tuple[str, str]]:
    recipe = progress.recipe
    tokens = progress.step * recipe.rows * len(recipe.kinds) * recipe.context
    return [
        (
            "architecture",
            "Qwen3-MoE (`qwen3_moe`): softmax over the experts, then top-k; the gate weights of the chosen sum to 1",
        ),
        ("parameters", f"{parameters:,} (tied embeddings), stored in bf16"),
        ("layers L, width D", f"{recipe.layers}, {recipe.width}"),
        (
            "experts E, chosen K",
            f"{recipe.experts} of hidden width {recipe.expert_width} in every layer, {recipe.top_k} a token",
        ),
        (
            "attention",
            f"{recipe.heads} heads of {recipe.head_width}, {recipe.key_value_heads} key-value heads, context {recipe.context}",
        ),
        (
            "tokenizer",
            f"byte-level BPE, {recipe.vocabulary} tokens, digits one by one, `<|endoftext|>` before every text",
        ),
        (
            "training",
            f"{progress.step:,} steps of {recipe.rows} row(s) of {recipe.context} tokens a kind, {tokens / 1e6:.1f} million "
            f"tokens, {progress.seconds / 60:.0f} minutes on one CPU thread, seed {recipe.seed}",
        ),
        (
            "optimiser",
            f"AdamW, rate {recipe.learning_rate:g}, {recipe.warm_up} steps of warm-up, constant, linear decay to 0 over the last "
            f"{recipe.decay_share:.0%}; weight decay {recipe.weight_decay:g} on matrices, clipping at {recipe.clip:g}, fp32",
        ),
        (
            "balance",
            f"the family's auxiliary loss, each layer by itself, weight {recipe.balance:g}, over the batch of all kinds",
        ),
        (
            "packing",
            "documents of one kind one after the other, parted by `<|endoftext|>`; positions not reset, attention across them",
        ),
    ]


def _recipe(progress: Progress) -> str:
    return (
        f"~~~\npython -m workbench.embedded --data-root data --out run --steps {progress.steps} --seed {progress.recipe.seed}\n~~~\n\n"
        "The options left out are the defaults of that command; docs/embedded_model.md says how `data` is laid out. Measured by\n"
        "`python -m workbench.embedded.evaluate --model run/model --data-root data`."
    )


def _data(listing: Path) -> str:
    sizes: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for line in listing.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        row = sizes[record["kind"], record["licence"]]
        row[0] += record["characters"]
        row[1] += 1
        row[2] += record["held_out"]
    lines = [
        "| kind | licence and source | million characters | documents | of them held out |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {kind} | {licence} | {size / 1e6:.2f} | {n} | {held} |"
        for (kind, licence), (size, n, held) in sizes.items()
    ]
    return "\n".join(lines)


TAIL = """
## Limits

- It demonstrates routing and is no language model to rely on: what it states is made up, in the manner of 19th-century
  novels, Shakespeare, the Python standard library, open data tables and German manuals of Debian.
- Held-out documents are other passages of the same books, plays, modules, tables and manuals (the split goes by a hash of
  each document), so the losses say nothing about text from elsewhere.
- "German" is technical German alone, "dialogue" is Shakespeare alone: what differs between the kinds is language, register
  and subject together.
- Inputs longer than the context were never seen in training. Chats run through the chat template, which writes them like a
  play; the model was not trained to answer.
- One seed. The untrained columns show how much of an overlap comes from the text alone.

## Licence

CC BY-SA 4.0 (see LICENSE). The German text is from two books under CC BY-SA (4.0; and 3.0, which allows a later version).
Whether weights are an adaptation of the text that they were trained on is not settled, so they carry the licence that fits
either answer. Attribution: Axel Beckert and Frank Hofmann, "Debian-Paketmanagement"; Raphaël Hertzog and Roland Mas, "Das
Debian-Administrationshandbuch". The other sources are public domain, CC0, MIT (airportsdata, © 2020- Mike Borsetti) and
PSF-2.0 (© 2001-2023 Python Software Foundation). The code that made the model is under the licence of the repository.
"""


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    made = argparse.ArgumentParser(prog="python -m workbench.embedded.card", description=__doc__)
    made.add_argument(
        "--results", type=Path, required=True, help="JSON file that 'python -m workbench.embedded.evaluate --out' wrote"
    )
    made.add_argument("--run", type=Path, required=True, help="folder of the run")
    made.add_argument("--data-root", type=Path, required=True, help="made by 'python -m workbench.embedded.collect'")
    made.add_argument("--out", type=Path, required=True, help="the README.md to write")
    chosen = made.parse_args(arguments)
    with report() as status:
        result = json.loads(chosen.results.read_text(encoding="utf-8"))
        chosen.out.write_text(card(result, chosen.run, chosen.data_root), encoding="utf-8")
    return status.code


if __name__ == "__main__":
    sys.exit(main())
