"""Tables of the experiment on elastic training: losses over seeds, by sub-model and task, of models trained in three ways.

Tasks have different units (nats a token, a bit, a code). So the overall number is relative: each task's loss over that of the
whole model trained plainly (mean over seeds), averaged over tasks; 1 is that model, less is better.

Letters: S seeds.
"""

from __future__ import annotations

import pandas as pd

OVERALL = "all tasks, relative"
SHAPE = ["layers", "experts", "top_k"]
KINDS = {
    "elastic": "cut from an elastic training",
    "plain": "cut from a plain training",
    "separate": "trained by itself",
}
# Task -> group of the report and unit of its loss.
TASKS = {
    "text": ("Text", "nats a token"),
    "image_to_word": ("Image und.", "nats a token"),
    "clip_to_caption": ("Video und.", "nats a token"),
    "word_to_image": ("Image gen.", "nats a bit"),
    "caption_to_clip": ("Video gen.", "nats a bit"),
    "speech_to_word": ("Audio", "nats a token"),
    "word_to_speech": ("Audio", "nats a code"),
}


def with_overall(losses: pd.DataFrame) -> pd.DataFrame:
    """The rows of `losses` and, for each run and sub-model, one with the relative loss over all tasks."""
    whole = losses[(losses["kind"] == "plain") & (losses["parameters_stored"] == losses["parameters_stored"].max())]
    whole = whole[whole["top_k"] == whole["top_k"].max()]
    reference = whole.groupby("task")["loss"].mean()
    relative = losses.assign(loss=losses["loss"] / losses["task"].map(reference))
    keys = ["run", "kind", "seed", *SHAPE, "parameters_stored", "parameters_active"]
    pooled = relative.groupby(keys, as_index=False).agg(
        loss=("loss", "mean"), accuracy=("accuracy", "mean"), samples=("samples", "sum")
    )
    return pd.concat([losses, pooled.assign(task=OVERALL)], ignore_index=True)


def summary(losses: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread over seeds.

    Args:
        losses: rows of `workbench.elastic.experiment.measure`, all runs.

    Returns:
        A row for each task, sub-model and kind: mean, sd (over S seeds, n - 1), low, high (smallest and largest seed), seeds, and the
        mean accuracy; larger sub-models first.
    """
    keys = ["task", *SHAPE, "parameters_stored", "parameters_active", "kind"]
    found = with_overall(losses).groupby(keys, as_index=False).agg(
        mean=("loss", "mean"), sd=("loss", "std"), low=("loss", "min"), high=("loss", "max"), seeds=("seed", "nunique"),
        accuracy=("accuracy", "mean"),
    )  # fmt: skip
    order = {task: place for place, task in enumerate((OVERALL, *TASKS))}
    found["group"] = [TASKS[task][0] if task in TASKS else "" for task in found["task"]]
    found["unit"] = [TASKS[task][1] if task in TASKS else "of the plain whole model's loss" for task in found["task"]]
    found["_task"] = found["task"].map(order)
    found = found.sort_values(["_task", *SHAPE, "kind"], ascending=[True, False, False, False, True])
    return found.drop(columns="_task").reset_index(drop=True)


def differences(losses: pd.DataFrame, task: str = OVERALL) -> pd.DataFrame:
    """Plain minus elastic of the same seed and sub-model: mean, sd and how many seeds favour elastic training; larger ones first."""
    own = with_overall(losses)
    own = own[own["task"] == task]
    wide = own.pivot_table(index=[*SHAPE, "seed"], columns="kind", values="loss")
    gap = (wide["plain"] - wide["elastic"]).dropna()
    grouped = gap.groupby(level=SHAPE)
    found = pd.DataFrame(
        {
            "mean": grouped.mean(),
            "sd": grouped.std(),
            "better": grouped.agg(lambda one: int((one > 0).sum())),
            "seeds": grouped.size(),
        }
    )
    return found.reset_index().sort_values(SHAPE, ascending=False).reset_index(drop=True)


def markdown(losses: pd.DataFrame) -> str:
    """The summary as tables for a page: the overall one, then one a task."""
    table = summary(losses)
    most = table[SHAPE].max()
    parts = []
    for task in dict.fromkeys(table["task"]):
        own = table[table["task"] == task]
        unit = own["unit"].iloc[0]
        title = (
            "All tasks: share of the plain whole model's loss"
            if task == OVERALL
            else f"{task} ({own['group'].iloc[0]}), {unit}"
        )
        lines = [
            f"### {title}",
            "",
            "| layers | experts | top-k | stored (M) | elastic | plain | trained by itself |",
            "|---|---|---|---|---|---|---|",
        ]
        for shape, rows in own.groupby(SHAPE, sort=False):
            cells = {row.kind: f"{row.mean:.3f} ± {row.sd:.3f}" for row in rows.itertuples()}
            size = f"{rows['parameters_stored'].max() / 1e6:.2f}"
            whole = " (whole)" if list(shape) == list(most) else ""
            lines.append(
                f"| {shape[0]}{whole} | {shape[1]} | {shape[2]} | {size} | {cells.get('elastic', '')} | {cells.get('plain', '')} | {cells.get('separate', '')} |"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"
