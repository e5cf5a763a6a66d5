"""``python -m workbench.training.sample``: make the sample runs under sample_data/runs by really training a tiny model.

Two runs of the same model on the same batches, one with the balance loss and one without, so that there is something to
compare. Trained on nine of the ten sample documents of each kind, with the tokenizer of the embedded model; the fixed batch
is the start of the tenth. The weights are thrown away.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.embedded.cli import report
from workbench.embedded.recipe import Recipe
from workbench.training.format import TrainingLogError

ROOT = Path(__file__).resolve().parents[2] / "sample_data"
RECIPE = Recipe(
    context=128, width=48, layers=3, heads=2, key_value_heads=1, head_width=24, experts=8, top_k=2, expert_width=24,
    learning_rate=3e-3, warm_up=20, spread=0.05,
)  # fmt: skip
RUNS = {"with-balance-loss": 0.02, "without-balance-loss": 0.0}
CAPTURED = 96  # tokens of each held-out document: enough for a share of tokens with one digit, few enough to ship


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m workbench.training.sample",
        description="Train a tiny mixture-of-experts model twice, with and without a balance loss, and write a training log of each.",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "runs", help="folder for the two runs (default %(default)s)")
    parser.add_argument("--steps", type=int, default=300, help="optimiser steps (default %(default)s)")
    parser.add_argument("--every", type=int, default=50, help="steps between captures (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default %(default)s)")
    chosen = parser.parse_args(arguments)
    with report("Stopped: remove the half-made run before the next start.") as status:
        import torch

        torch.set_num_threads(chosen.threads)
        for name, balance in RUNS.items():
            loss = train(chosen.out / name, replace(RECIPE, balance=balance), chosen.steps, chosen.every)
            print(f"{name}: loss {loss:.3f} after {chosen.steps} steps, in {chosen.out / name}")  # noqa: T201 - a command
    return status.code


def train(folder: Path, recipe: Recipe, steps: int, every: int) -> float:
    """One run; returns the last training loss in nats a token.

    Raises:
        TrainingLogError: if the folder holds a run, or the sample inputs are not there.
    """
    import torch

    from workbench.embedded.packing import Stream, batch
    from workbench.embedded.recipe import build_model, learning_rate
    from workbench.embedded.train import encode_all, train_step
    from workbench.training.log import RoutingLog

    tokenizer = _tokenizer()
    boundary = tokenizer.bos_token_id
    texts = {kind: _texts(kind) for kind in recipe.kinds}
    streams = [
        Stream(encode_all(tokenizer, texts[kind][1:]), boundary, recipe.context, (recipe.seed, number))
        for number, kind in enumerate(recipe.kinds)
    ]
    held_out = [encode_all(tokenizer, texts[kind][:1])[0][:CAPTURED] for kind in recipe.kinds]
    ids = torch.stack([torch.from_numpy(document).long() for document in held_out])
    model = build_model(recipe, boundary, tokenizer.pad_token_id)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.1)
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
        processor=tokenizer,
        total_steps=steps,
        training=facts,
        notes="A sample, made by `python -m workbench.training.sample`; its weights were not kept.",
    ) as log:
        for step in range(steps):
            rows = torch.from_numpy(batch(streams, step, recipe.rows)).long()
            rate = learning_rate(recipe, step, steps)
            record = train_step(model, optimizer, recipe, rows, rate)
            loss = float(record["loss"])
            log.step(_named(record, recipe) | {"lr": rate, "tokens": (step + 1) * rows.numel()})
    return loss


def _named(record: dict[str, Any], recipe: Recipe) -> dict[str, float]:
    """The metrics of a step under the names of the training log."""
    by_kind = {f"loss/{kind}": round(record[f"loss_{kind}"], 4) for kind in recipe.kinds}
    return {
        "loss": round(record["loss"], 4),
        **by_kind,
        "loss/balance": round(record["balance"], 4),
        "grad_norm": round(record["gradient_norm"], 4),
    }


def _texts(kind: str) -> list[str]:
    files = sorted((ROOT / "inputs" / "kinds" / kind).glob("*"))
    if len(files) < 2:
        raise TrainingLogError(
            f"Expected the sample documents of '{kind}' under sample_data/inputs/kinds, but they are not there: use a full checkout."
        )
    return [file.read_text(encoding="utf-8") for file in files]


def _tokenizer() -> Any:
    from transformers import PreTrainedTokenizerFast

    folder = ROOT / "checkpoints" / "kinds-moe"
    if not folder.is_dir():
        raise TrainingLogError(
            "Expected the embedded model under sample_data/checkpoints, but it is not there: use a full checkout."
        )
    return PreTrainedTokenizerFast.from_pretrained(folder)


if __name__ == "__main__":
    sys.exit(main())
