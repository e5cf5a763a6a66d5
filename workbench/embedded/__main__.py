"""``python -m workbench.embedded``: train the embedded default model from a folder of texts."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from workbench.embedded import KINDS
from workbench.embedded.cli import report
from workbench.embedded.corpus import EmbeddedError, read_corpus
from workbench.embedded.recipe import Recipe


def parser() -> argparse.ArgumentParser:
    """The command line of this module."""
    made = argparse.ArgumentParser(
        prog="python -m workbench.embedded",
        description="Train a small mixture-of-experts language model on text of several kinds. The data root has one folder a kind, with "
        "one plain text file a document ('python -m workbench.embedded.collect' makes it); about 5 % of the documents, chosen by a hash of "
        "their text, are never trained on.",
    )
    usual = Recipe()
    made.add_argument("--data-root", type=Path, required=True, help="folder with one folder of texts a kind")
    made.add_argument("--out", type=Path, required=True, help="folder of the run: metrics.jsonl, state/, model/")
    made.add_argument("--kinds", default=",".join(KINDS), help="folders to use, comma-separated (default %(default)s)")
    made.add_argument("--steps", type=int, help="steps in all")
    made.add_argument(
        "--minutes", type=float, help="instead of --steps: as many as fit, by the speed of the first few (default 60)"
    )
    made.add_argument(
        "--seed", type=int, default=usual.seed, help="weights and order of the data (default %(default)s)"
    )
    made.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    made.add_argument(
        "--save-every", type=int, default=250, metavar="STEPS", help="between checkpoints (default %(default)s)"
    )
    made.add_argument("--threads", type=int, default=1, help="CPU threads (default %(default)s)")
    for name in ("vocabulary", "context", "rows", "width", "layers", "experts", "top_k", "expert_width"):
        made.add_argument(
            f"--{name.replace('_', '-')}", type=int, default=getattr(usual, name), help="(default %(default)s)"
        )
    made.add_argument("--learning-rate", type=float, default=usual.learning_rate, help="highest (default %(default)s)")
    made.add_argument(
        "--spread",
        type=float,
        default=usual.spread,
        help="standard deviation of the first weights (default %(default)s)",
    )
    made.add_argument(
        "--balance", type=float, default=usual.balance, help="weight of the balance loss (default %(default)s)"
    )
    return made


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    chosen = parser().parse_args(arguments)
    with report("Stopped: with --resume the run goes on from its last checkpoint.") as status:
        for name in ("steps", "minutes", "threads", "save_every", "rows", "width", "layers", "expert_width"):
            value = getattr(chosen, name)
            if value is not None and value <= 0:
                raise EmbeddedError(
                    f"Expected a number above 0 for --{name.replace('_', '-')}, but {value} came: give a larger one."
                )
        recipe = Recipe(
            kinds=tuple(kind.strip() for kind in chosen.kinds.split(",") if kind.strip()),
            seed=chosen.seed,
            vocabulary=chosen.vocabulary,
            context=chosen.context,
            rows=chosen.rows,
            width=chosen.width,
            layers=chosen.layers,
            experts=chosen.experts,
            top_k=chosen.top_k,
            expert_width=chosen.expert_width,
            learning_rate=chosen.learning_rate,
            balance=chosen.balance,
            spread=chosen.spread,
        )
        corpus = read_corpus(chosen.data_root, recipe.kinds)

        import torch

        from workbench.embedded.train import Plan, train

        torch.set_num_threads(chosen.threads)
        plan = Plan(steps=chosen.steps, minutes=chosen.minutes, resume=chosen.resume, save_every=chosen.save_every)
        print(f"The model is in {train(corpus, chosen.out, recipe, plan, progress=True)}")
    return status.code


if __name__ == "__main__":
    sys.exit(main())
