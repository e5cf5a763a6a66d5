"""A USM model fine-tuned on each set that papers state figures for, beside these figures and the sizes of the models.

    python -m workbench.extract.usm.finetune --model runs/usm-mini/model --data-root data --out runs/tuned --steps 800

Each set is a training of its own on its train part with the whole schema in nine prompts of ten; the development part chooses how results are
read; the test part is measured once. The same command goes on where it was stopped; `table.md` and `table.json` hold what is done.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.extract.engines import shipped_or
from workbench.extract.errors import ExtractError
from workbench.extract.evaluate.published import PUBLISHED, published
from workbench.extract.loop import Length
from workbench.extract.usm.engine import UsmEngine
from workbench.extract.usm.experiments import figures, percent, table, trained_and_measured
from workbench.extract.usm.train.recipe import Recipe
from workbench.extract.usm.train.start import is_usm_model
from workbench.models.device import use_threads
from workbench.module_command import count, count_or_none, positive, report, seed, share

MEASURED = ("entity", "relation")


CHOICES = ("seed", "batch", "encoder_rate", "head_rate", "pair_weight", "swaps", "silver", "dropout")
"""Options that are fields of the recipe."""


def recipe_of(name: str, **choices: Any) -> Recipe:
    """Supervised training on one set: its own names, its whole schema in nine prompts of ten, nothing from elsewhere.

    Args:
        choices: of `CHOICES`.
    """
    usual: dict[str, Any] = {"encoder_rate": 1e-4, "head_rate": 5e-4, "dropout": 0.1}
    return Recipe(
        sets=(name,), warmup=50, drop=0.05, describe=0.0, own_name=1.0, from_relations=0.0, far_labels=False, whole=0.9, beside=0.0,
        **(usual | choices),
    )  # fmt: skip


def as_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a set a row, strict relation F1 (for reviews: triplets) beside what papers state."""
    models = {(each.model, each.parameters): None for name in results for each in published(name, "test")}
    head = [
        "part",
        "before",
        "fine-tuned",
        "entities, fine-tuned",
        *(f"{model}, {parameters} M" for model, parameters in models),
    ]
    rows = []
    for name, result in results.items():
        stated = {(each.model, each.parameters): each.f1 for each in published(name, result["settings"]["part"])}
        rows.append(
            [
                f"{name} {result['settings']['part']}, {result['f1']['relation']['texts']} texts",
                percent(result["before"]["relation"]) if result.get("before") else "-",
                percent(result["f1"]["relation"]),
                percent(result["f1"]["entity"]),
                *(f"{100 * stated[model]:.1f}" if model in stated else "-" for model in models),
            ]
        )
    size = next(iter(results.values()))["parameters"] / 1e6 if results else 0
    return f"Strict relation F1 (14res, 14lap: triplets) by offset, 95 % interval; our model {size:.1f} M.\n\n{table(head, rows)}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workbench.extract.usm.finetune",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="usm-mini", help="shipped or trained USM model to start from, or an encoder (default %(default)s)")  # fmt: skip
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder of the sets' runs and of the table")
    parser.add_argument("--data", nargs="*", choices=list(PUBLISHED), default=list(PUBLISHED), metavar="SET", help="(default: all that papers state)")  # fmt: skip
    parser.add_argument("--minutes", type=positive, help="training time of a set")
    parser.add_argument("--steps", type=count, default=800, help="steps of a set, if that ends before --minutes")
    parser.add_argument("--encoder-rate", type=positive, default=1e-4)
    parser.add_argument("--head-rate", type=positive, default=5e-4)
    parser.add_argument("--pair-weight", type=positive, default=1.0, help="weight of the links that only pairs have (default %(default)s)")  # fmt: skip
    parser.add_argument("--swaps", type=count_or_none, default=0, help="copies of each text with mentions swapped for others of their type (default %(default)s)")  # fmt: skip
    parser.add_argument("--silver", default="", metavar="FILE", help="texts that a larger model annotated for the only set of --data (see silver.py): half of the samples")  # fmt: skip
    parser.add_argument("--dropout", type=share, default=0.1, help="in the encoder while it trains (default %(default)s)")  # fmt: skip
    parser.add_argument("--batch", type=count, default=16, help="samples a step (default %(default)s)")
    parser.add_argument("--split", choices=("dev", "test"), default="test", help="part that is measured: dev to choose by, test to report (default %(default)s)")  # fmt: skip
    parser.add_argument("--limit", type=count, help="first texts of the measured part only")
    parser.add_argument(
        "--development", type=count_or_none, default=300, help="texts of the development part that choose the reading"
    )
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--threads", type=count, help="CPU threads")
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args(arguments)
    use_threads(chosen.threads)
    start = shipped_or(chosen.model)

    def say(what: str) -> None:
        print(what, file=sys.stderr, flush=True)  # noqa: T201 - a command

    results: dict[str, dict[str, Any]] = {}
    with report() as status:
        if chosen.silver and len(chosen.data) != 1:
            raise ExtractError(
                f"Silver texts bear the names of one set, not of {len(chosen.data)}: give that one by --data."
            )
        untuned = UsmEngine.load(start, chosen.device) if is_usm_model(Path(start)) else None
        for name in chosen.data:

            def measure(engine: UsmEngine, name: str = name) -> dict[str, Any]:
                def of(model: UsmEngine) -> dict[str, dict[str, Any]]:
                    return figures(model, name, chosen.data_root, MEASURED, chosen.limit, chosen.split)

                return {"before": None if untuned is None else of(untuned), "f1": of(engine)}

            results[name] = trained_and_measured(
                chosen.out / name, start, chosen.data_root, recipe_of(name, **{each: getattr(chosen, each) for each in CHOICES}),
                Length(chosen.steps, chosen.minutes), measure, part=chosen.split, limit=chosen.limit, device=chosen.device, development=chosen.development, say=say,
            )  # fmt: skip
            (chosen.out / "table.md").write_text(as_table(results) + "\n", encoding="utf-8")
            (chosen.out / "table.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(as_table(results))  # noqa: T201 - a command
    return status.code


if __name__ == "__main__":
    sys.exit(main())
