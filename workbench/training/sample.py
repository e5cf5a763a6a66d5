"""``python -m workbench.training.sample``: make the sample runs under sample_data/runs by really training a tiny model.

Two runs of the same model on the same batches, one with the balance loss and one without, so that there is something to
compare. Trained on nine of the ten sample documents of each kind, with a tokenizer that learns from the same nine; the fixed
batch is the start of the tenth. The weights are thrown away.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from workbench.models.device import use_threads
from workbench.module_command import count, report
from workbench.training.format import TrainingLogError
from workbench.training.sample_recipe import Recipe

ROOT = Path(__file__).resolve().parents[2] / "sample_data"
RUNS = {"with-balance-loss": 0.02, "without-balance-loss": 0.0}
CAPTURED = 96  # tokens of each held-out document: enough for a share of tokens with one digit, few enough to ship


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m workbench.training.sample",
        description="Train a tiny mixture-of-experts model twice, with and without a balance loss, and write a training log of each.",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "runs", help="folder for the two runs (default %(default)s)")
    parser.add_argument("--steps", type=count, default=300, help="optimiser steps (default %(default)s)")
    parser.add_argument("--every", type=count, default=50, help="steps between captures (default %(default)s)")
    parser.add_argument("--threads", type=count, default=1, help="CPU threads (default %(default)s)")
    chosen = parser.parse_args(arguments)
    with report("Stopped: remove the half-made run before the next start.") as status:
        use_threads(chosen.threads)
        for name, balance in RUNS.items():
            loss = train(chosen.out / name, Recipe(balance=balance), chosen.steps, chosen.every)
            print(f"{name}: loss {loss:.3f} after {chosen.steps} steps, in {chosen.out / name}")  # noqa: T201 - a command
    return status.code


def train(folder: Path, recipe: Recipe, steps: int, every: int) -> float:
    """One run; returns the last training loss in nats a token.

    Raises:
        TrainingLogError: if the folder holds a run, or the sample inputs are not there.
    """
    import numpy as np
    import torch

    from workbench.training.log import RoutingLog
    from workbench.training.packing import Stream, batch
    from workbench.training.sample_recipe import build_model, learning_rate, train_step
    from workbench.unified.tokenizers.text import train_text

    texts = {kind: _texts(kind) for kind in recipe.kinds}
    tokenizer = train_text((text for kind in recipe.kinds for text in texts[kind][1:]), recipe.vocabulary)
    processor = tokenizer.for_transformers()
    boundary = int(processor.bos_token_id)
    streams = [
        Stream(
            [np.array(ids) for ids in tokenizer.encode_all(texts[kind][1:])],
            boundary,
            recipe.context,
            (recipe.seed, number),
        )
        for number, kind in enumerate(recipe.kinds)
    ]
    held_out = tokenizer.encode_all([texts[kind][0] for kind in recipe.kinds])
    ids = torch.tensor([document[:CAPTURED] for document in held_out])
    model = build_model(recipe, boundary, int(processor.pad_token_id))
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=recipe.weight_decay
    )
    facts = {"optimiser": "AdamW", "learning_rate": recipe.learning_rate, "balance_loss": recipe.balance, "seed": recipe.seed,
             "tokens_a_step": len(recipe.kinds) * recipe.context, "data": "sample_data/inputs/kinds, 9 documents a kind"}  # fmt: skip
    loss = float("nan")
    with RoutingLog(
        folder,
        model,
        evaluation={"input_ids": ids, "labels": ids, "use_cache": False},
        every=every,
        documents=list(recipe.kinds),
        groups=list(recipe.kinds),
        processor=processor,
        total_steps=steps,
        training=facts,
        notes="A sample, made by `python -m workbench.training.sample`; its weights were not kept.",
    ) as log:
        for step in range(steps):
            rows = torch.from_numpy(batch(streams, step, recipe.rows)).long()
            rate = learning_rate(recipe, step, steps)
            record = train_step(model, optimizer, recipe, rows, rate)
            loss = record["loss"]
            log.step(
                {name: round(value, 4) for name, value in record.items()}
                | {"lr": rate, "tokens": (step + 1) * rows.numel()}
            )
    return loss


def _texts(kind: str) -> list[str]:
    files = sorted((ROOT / "inputs" / "kinds" / kind).glob("*"))
    if len(files) < 2:
        raise TrainingLogError(
            f"Expected the sample documents of '{kind}' under sample_data/inputs/kinds, but they are not there: use a full checkout."
        )
    return [file.read_text(encoding="utf-8") for file in files]


if __name__ == "__main__":
    sys.exit(main())
