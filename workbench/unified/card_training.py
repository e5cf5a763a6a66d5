"""The training in a card: lengths, commands, recipe and curves, from what runs wrote (``run.json``, ``metrics.jsonl``)."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.unified.segments import UnifiedError

CURVES = "curves.csv"
ELASTIC, FURTHER = "elastic", "further"
"""Names of a run from random weights, and of one that went on from it, in the curves."""
ROWS = 240
"""Rows of the curves at most: each the mean of as many steps."""


def curves(runs: Mapping[str, Path], earlier: str | None = None) -> str:
    """Losses of several runs as CSV: ``run,step,tokens,loss,loss/TASK,...``, each row the mean of its steps since the last.

    Args:
        runs: folders of runs by name.
        earlier: curves of runs before these, which stand in front.

    Raises:
        UnifiedError: a run has no metrics.
    """
    lines: list[str] = [] if earlier is None else earlier.splitlines()
    columns: list[str] = lines[0].split(",")[2:] if lines else []
    for name, folder in runs.items():
        rows = metrics(folder)
        if not columns:
            columns = ["tokens", *(key for key in rows[-1] if key == "loss" or key.startswith("loss/"))]
            lines.append(",".join(["run", "step", *columns]))
        stride = max(1, -(-len(rows) // ROWS))
        for start in range(0, len(rows), stride):
            part = rows[start : start + stride]
            values = [str(part[-1].get("step")), str(int(part[-1].get("tokens", 0)))]
            for column in columns[1:]:
                known = [row[column] for row in part if column in row]
                values.append(f"{sum(known) / len(known):.4f}" if known else "")
            lines.append(",".join([name, *values]))
    return "\n".join(lines) + "\n"


def run_before(described: Mapping[str, Any], earlier: str | None) -> dict[str, str] | None:
    """Last row of the run that this one went on from, by column; None for a run from random weights."""
    if not described["training"]["recipe"].get("start"):
        return None
    rows = list(csv.DictReader([] if earlier is None else earlier.splitlines()))
    first = [row for row in rows if row["run"] == ELASTIC]
    if not first:
        raise UnifiedError(
            f"Expected the curves of the run that this one went on from, with a run '{ELASTIC}', got none: name them with --earlier."
        )
    return first[-1]


def _frames(recipe: Mapping[str, Any]) -> str:
    cut = recipe.get("clip_frames")
    return f" Clips to be made have {', '.join(map(str, cut))} frames, by turns of chance." if cut else ""


def _phase(phase: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{task} {count}" for task, count in phase["samples"].items())
    pulls = ", ".join(f"{task} {share:g}" for task, share in phase["shares"].items())
    return f"until {phase['until']:.0%} of the steps {counts}" + (f" (pulling harder: {pulls})" if pulls else "")


def _commands(described: Mapping[str, Any], before: Mapping[str, str] | None) -> list[str]:
    recipe = described["training"]["recipe"]
    train = "workbench unified train --tokenizers tokenizers --data-root data --out "
    lines = ["workbench unified tokenizers --data-root data --out tokenizers"]
    own = f" --model-config '{json.dumps(recipe['model'])}'" if recipe.get("model") else ""
    if before is not None:
        lines.append(f"{train}first --steps {before['step']} --seed 0")
    start = "" if before is None else " --start first/model"
    return [*lines, f"{train}run{start} --steps {described['total_steps']} --seed {recipe['seed']}{own}"]


def training(described: Mapping[str, Any], run: Path, twin: Path | None, earlier: str | None) -> list[str]:
    recipe, rows = described["training"]["recipe"], metrics(run)
    before = run_before(described, earlier)
    samples = "; ".join(_phase(phase) for phase in recipe["phases"])
    last = _tail(rows)
    lines = [
        "~~~",
        *_commands(described, before),
        "~~~",
        "",
        f"{'The last command: samples' if before else 'Samples'} a step and process: {samples}.{_frames(recipe)} AdamW at {recipe['learning_rate']:g}, {recipe['warmup']} steps of warm-up, linear decay over the last {recipe['decay']:.0%}; bias speed "
        f"{recipe['bias_speed']:g}; elastic training {'on' if recipe['elastic'] else 'off'}. Losses by step: [{CURVES}]({CURVES}); at the end (mean of the last 5 % of the "
        f"steps): {', '.join(f'{name} {value:.3f}' for name, value in last.items())}.",
    ]
    if twin is not None:
        beside = _tail(metrics(twin))
        lines.append(
            f"\nThe twin without elastic training, same data, seed and steps: {', '.join(f'{name} {value:.3f}' for name, value in beside.items())}; its curve is in the same file."
        )
    else:
        lines.append(
            "\nA twin without elastic training was not trained for this card, so it cannot say what elastic training costs or gives."
        )
    return lines


def _tail(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    part = rows[-max(1, len(rows) // 20) :]
    names = [name for name in part[-1] if name == "loss" or name.startswith("loss/")]
    return {
        name.removeprefix("loss/"): sum(row[name] for row in part if name in row)
        / max(sum(name in row for row in part), 1)
        for name in names
    }


def metrics(run: Path) -> list[dict[str, float]]:
    path = run / "metrics.jsonl"
    rows: list[dict[str, float]] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue  # the line that is being written
        if "loss" in row and "step" in row:
            rows.append(row)
    if not rows:
        raise UnifiedError(
            f"Expected the metrics of a run in '{path}', but there are none: name the --out of the training."
        )
    return rows
