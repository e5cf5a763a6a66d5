"""What the tables of docs/usm_measured.md have in common: a resumable training in a folder of its own, figures of a part, a table.

A training that ended leaves `result.json` beside its run; the same command goes on where it was stopped and trains nothing twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.capture.errors import reason
from workbench.extract.errors import ExtractError
from workbench.extract.evaluate import evaluate
from workbench.extract.formats.sets import load_data
from workbench.extract.loop import Length, as_json
from workbench.extract.records import Document
from workbench.extract.schema import Schema
from workbench.extract.state import read_state
from workbench.extract.usm.engine import UsmEngine
from workbench.extract.usm.reading import Reading
from workbench.extract.usm.train.recipe import Recipe
from workbench.extract.usm.train.run import run
from workbench.extract.usm.tune import measured_schema
from workbench.training.format import METRICS_FILE, RUN_FILE

RESULT = "result.json"
METRICS = {
    "entity": ("entity",),
    "relation": ("relation", "strict"),
    "trigger": ("event", "trigger"),
    "argument": ("event", "argument"),
}
Say = Callable[[str], None]


def figures(
    engine: UsmEngine,
    name: str,
    root: Path,
    metrics: Sequence[str],
    limit: int | None = None,
    split: str = "test",
    described: Mapping[str, str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Micro F1 by offset of a part, with its interval and the number of gold items, by metric.

    Args:
        metrics: of `METRICS`. limit: first texts only.
        described: what belongs to an entity type, by its name.
    """
    documents = load_data(name, root, split)[:limit]
    schema = measured_schema(name, documents)
    if described is not None:
        labels = (label.model_copy(update={"description": described.get(label.name, "")}) for label in schema.entities)
        schema = schema.model_copy(update={"entities": tuple(labels)})
    return figures_of(engine, documents, schema, metrics)


def figures_of(
    engine: Any, documents: Sequence[Document], schema: Schema, metrics: Iterable[str] = tuple(METRICS)
) -> dict[str, dict[str, Any]]:
    """`figures` of texts at hand."""
    form: Any = evaluate(engine, documents, schema).to_json()
    found = {}
    for metric in metrics:
        leaf = form
        for step in (*METRICS[metric], "offset"):
            leaf = leaf[step]
        found[metric] = figure(leaf, len(documents))
    return found


def figure(leaf: Mapping[str, Any], texts: int) -> dict[str, Any]:
    """What is kept of a score in its JSON form."""
    return {"f1": leaf["f1"], "interval": leaf["f1_interval"], "gold": leaf["gold"], "texts": texts}


def trained_and_measured(
    folder: Path,
    start: str,
    root: Path,
    recipe: Recipe,
    length: Length,
    measure: Callable[[UsmEngine], dict[str, Any]],
    *,
    part: str = "test",
    limit: int | None = None,
    device: str = "cpu",
    development: int = 100,
    learn: Callable[[UsmEngine], Reading] | None = None,
    shelf: dict[Any, Any] | None = None,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Train in a folder, or go on, or take what it holds; then measure.

    Args:
        folder: of the run. start: encoder or USM model.
        measure: what to keep of the trained engine. part, limit: what it reads.
        learn, shelf: see `train.run.run`.

    Raises:
        ExtractError: the folder holds a result of other options, or a damaged one.
    """
    settings = as_json(
        {
            "start": Path(start).name,
            "recipe": recipe.to_json(),
            "steps": length.steps,
            "minutes": length.minutes,
            "part": part,
            "limit": limit,
        }
    )
    path = folder / RESULT
    if path.is_file():
        kept = read_result(path)
        if kept["settings"] != settings:
            raise ExtractError(
                f"'{folder}' holds a result of other options: give the same ones, or name another --out."
            )
        say(f"{folder.name}: kept from before")
        return kept
    begun = read_state(folder)
    if begun is None:  # a run that ended before its first state left a log of nothing that could be gone on with
        for name in (RUN_FILE, METRICS_FILE):
            (folder / name).unlink(missing_ok=True)
    say(f"{folder.name}: training" if begun is None else f"{folder.name}: going on at step {begun.get('step')}")
    made = run(
        start, root, folder, recipe, length, device=device, resume=begun is not None, progress=False,
        development=development, learn=learn, shelf=shelf,
    )  # fmt: skip
    say(f"{folder.name}: measuring")
    engine = UsmEngine.load(str(made), device)
    ended = read_state(folder)
    assert ended is not None  # the run has just written it
    result = {
        "settings": settings,
        "steps": ended["step"],
        "seconds": round(ended["seconds"], 1),
        "parameters": sum(parameter.numel() for parameter in engine.usm.parameters()),
        "reading": {
            "mode": engine.reading.mode,
            "threshold": engine.reading.threshold,
            "thresholds": engine.reading.thresholds,
        },
        **measure(engine),
    }
    fresh = path.with_suffix(".part")
    fresh.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    fresh.replace(path)
    return result


def read_result(path: Path) -> dict[str, Any]:
    """What a training that ended left.

    Raises:
        ExtractError: the file is damaged.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(kept, dict) or "settings" not in kept:
            raise ValueError("it is no object with the key settings")
    except ValueError as fault:
        raise ExtractError(
            f"The result in '{path}' cannot be read ({reason(fault)}): remove that file and run again, which measures the trained model anew."
        ) from None
    return kept


def percent(leaf: dict[str, Any] | None) -> str:
    """A figure with its interval, ×100; "-" where there is none."""
    if leaf is None or leaf["f1"] is None:
        return "-"
    interval = leaf.get("interval")
    between = f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})" if interval else ""
    return f"{100 * leaf['f1']:.1f}{between}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
