"""README.md of a shipped model: what it is, what it learnt from, what that touches, what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.capture.errors import reason
from workbench.extract.errors import EngineError
from workbench.extract.fewshot.episodes import SETS as MEASURED
from workbench.extract.licences import licence_and_part
from workbench.extract.metaner.engine import MetaNerEngine
from workbench.extract.metaner.naming import WAYS

_TASKS = {
    "in context": "episodes in context", "plain": "plain extraction", "hidden in context": "hidden words, in context", "hidden plain": "hidden words",
}  # fmt: skip


def read_run(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Recipe and sums of a run: steps, tokens, seconds of training, examples a task, losses of the first and last tenth.

    Raises:
        EngineError: there is no log.
    """
    try:
        recipe = json.loads((folder / "run.json").read_text(encoding="utf-8"))["training"]["recipe"]
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [row for row in map(json.loads, lines) if "loss" in row]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise EngineError(
            f"The log of the run in '{folder}' cannot be read ({reason(fault)}): name its folder with --run, which holds run.json and metrics.jsonl."
        ) from None
    if not rows:
        raise EngineError(f"The run in '{folder}' has no step yet: train it first.")
    steps = {row["step"]: row for row in rows}  # a run that went on after a kill has some steps twice
    rows = [steps[n] for n in sorted(steps)]
    tasks = {task: int(sum(row.get(f"examples/{task}", 0) for row in rows)) for task in _TASKS}
    tenth = max(1, len(rows) // 10)

    def mean(part: Sequence[Mapping[str, float]], name: str) -> float | None:
        values = [row[name] for row in part if name in row]
        return sum(values) / len(values) if values else None

    def extraction(part: Sequence[Mapping[str, float]]) -> float:
        return sum(row.get("loss/extraction", row["loss"]) for row in part) / len(part)

    weight = float(recipe["what"].get("meta") or 0)
    first, last = mean(rows[: len(rows) // 2], "loss/meta"), mean(rows[-tenth:], "loss/meta")
    sums = {
        "steps": rows[-1]["step"], "tokens": int(rows[-1].get("tokens", 0)), "tasks": {k: v for k, v in tasks.items() if v},
        "loss_first": extraction(rows[:tenth]), "loss_last": extraction(rows[-tenth:]),
        "distance_first": first / weight if first and weight else None, "distance_last": last / weight if last and weight else None,
    }  # fmt: skip
    return recipe, sums


def read_results(files: Sequence[Path]) -> list[dict[str, Any]]:
    """What `workbench fewshot --json` printed, of each file the last line.

    Raises:
        EngineError: a file holds no such result.
    """
    found = []
    for file in files:
        try:
            value = json.loads(file.read_text(encoding="utf-8").strip().splitlines()[-1])
            found.append({"shots": int(value["shots"]), **value})
        except (OSError, ValueError, KeyError, IndexError, TypeError) as fault:
            raise EngineError(
                f"'{file}' holds no few-shot result ({reason(fault)}): give what `workbench fewshot --json` printed."
            ) from None
    return found


def write_card(
    folder: Path, engine: MetaNerEngine, run: Path, words_of: str | None, size: int, results: Sequence[Path] = ()
) -> dict[str, Any]:
    """Write the README of a checkpoint.

    Args:
        run: folder of its training. words_of: name of the model whose word embeddings it shares. size: bytes of the folder.
        results: files with few-shot results.

    Returns:
        What it says of the training.
    """
    recipe, sums = read_run(run)
    what, facts = recipe["what"], dict(engine.learnt.get("facts", {}))
    parameters = sum(p.numel() for p in engine.net.parameters())
    tasks = ", ".join(f"{count:,} {_TASKS[task]}" for task, count in sums["tasks"].items())
    shared = (
        f"; the word embeddings are those of `{words_of}`, whose folder has to lie beside this one" if words_of else ""
    )
    lines = [
        "---", "license: other", "license_name: research-use", "license_link: LICENSE", "language: en", "library_name: unified-workbench", "---",
        "", f"# {folder.name}", "",
        "A small model that finds entities of types that the user shows in a few sentences, with no training step (MetaNER; docs/metaner.md). For research and evaluation.",
        "", "| | |", "|---|---|",
        f"| model | {engine.net.config.encoder.get('num_hidden_layers')} encoder and {engine.net.config.decoder_layers} decoder layers, a pointer into the prompt and no matrix over the vocabulary |",
        f"| parameters | {parameters:,}, matrices stored as int8 with a scale a row, {size / 1e6:.1f} MB with the tokenizer{shared} |",
        f"| training | {sums['steps']:,} steps of {recipe['batch']}, {sums['tokens'] / 1e6:.2f} million tokens, padding included, seed {recipe['seed']}: {tasks} |",
        f"| optimiser | AdamW, rates {recipe['encoder_rate']:g} (encoder) and {recipe['decoder_rate']:g} (decoder), {recipe['warmup']} steps of warm-up, linear decay to 0 |",
        f"| loss of a token | {sums['loss_first']:.2f} in the first tenth of the steps, {sums['loss_last']:.2f} in the last |",
    ]  # fmt: skip
    if sums["distance_last"] is not None and sums["distance_first"] is not None:
        lines.append(
            f"| meta-function | weight {what['meta']:g}, every 10th step; mean distance {sums['distance_first']:.2f} in the first half of the steps, {sums['distance_last']:.2f} in the last tenth |"
        )
    lines += [
        f"| prompts | up to {what['demonstrations']} demonstrations of {what['shown']} pieces, queries of {what['asked']}; types stand under `<typeN>` with a chance of {what['anonymous']:g} |",
        *_names(engine),
        "", "## Recipe", "", "~~~", _command(recipe, minutes_of(run), folder.name),
        f"python -m workbench.extract.metaner.naming --model runs/{folder.name}/model --data-root data --write",
        f"python -m workbench.extract.metaner.ship --model runs/{folder.name}/model{f' --words-of {words_of}' if words_of else ''} --out {folder.name}", "~~~", "",
        "## What it has not seen", "",
        "No episode comes from wnut17, ncbi_disease, sec_filings, bc5cdr, biored, or the few-shot sets; nor from any text of another set that shares ten words in a row with a "
        f"text of theirs, in whatever part ({facts.get('left_out_as_measured', 0):,} windows of text were left out for that). A test keeps it so. The base was trained on open text, among it the bare texts, "
        "without annotations, of training parts of annotated sets that may be learnt from (docs/metaner.md, Training, has its command).", "",
        "These sets have types that the few-shot sets ask for, under these or like names; the scores on those types are read with that in mind:", "",
        "| type | sets |", "|---|---|",
    ]  # fmt: skip
    lines += [f"| {type_} | {', '.join(sets) or 'none'} |" for type_, sets in facts.get("touched", {}).items()]
    lines += _measured(read_results(results))
    lines += [
        "", "## Data", "", f"Training parts only; {len(what['sets'])} sets. \"Research use\": the source states no licence.", "",
        "| set | licence as stated | part | windows of text | types |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for name in what["sets"]:
        licence, part = licence_and_part(name)
        counts = f"{facts.get('texts', {}).get(name, 0):,} | {facts.get('types', {}).get(name, 0):,}"
        lines.append(f"| {name} | {licence} | {part} | {counts} |")
    lines += [
        "", "## Limits", "",
        "- English only; written text. The vocabulary is uncased; the shape of words is all it knows of capitals.",
        "- A type that no demonstration shows is not found: show at least one example of each.",
        "- It writes one flat list: no nested spans, one type a place.",
        f"- A prompt has room for {engine.longest} tokens; longer demonstrations are cut.",
        "- Scores are shares of votes times probabilities of what was written; they are not calibrated.", "",
    ]  # fmt: skip
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")
    return {"steps": sums["steps"], "tokens": sums["tokens"], "tasks": sums["tasks"], "loss": sums["loss_last"]}


def _names(engine: MetaNerEngine) -> list[str]:
    """How types are named in prompts, and what that rests on."""
    found = engine.learnt.get("naming")
    if not found:
        return []
    chosen = "as `<typeN>`" if engine.shape.anonymous else "under their own names"
    means = {way: 100 * sum(sum(each[way]) / len(each[way]) for each in found.values()) / len(found) for way in WAYS}
    return [
        f"| names in use | types stand {chosen} beside demonstrations: F1 {means['own']:.1f} by name, {means['anonymous']:.1f} anonymous, mean over development parts of {', '.join(found)} |"
    ]


def minutes_of(run: Path) -> float | None:
    """How long a run was told to train; None where steps ended it."""
    found = json.loads((run / "run.json").read_text(encoding="utf-8"))["training"].get("minutes")
    return None if found is None else float(found)


def _command(recipe: Mapping[str, Any], minutes: float | None, name: str) -> str:
    """The training command, as far as it decides the result."""
    what = recipe["what"]
    switches = "".join(
        f" {switch}"
        for switch, on in (
            ("--no-meta", not what.get("meta")), ("--no-anonymise", not what.get("anonymous")),
            ("--no-language-model", not what.get("language_model", True)), ("--plain", what.get("plain")),
        )
        if on
    )  # fmt: skip
    texts = " --texts texts" if what.get("texts") else ""
    length = f" --minutes {minutes:g} --steps 40000" if minutes else ""
    return (
        f"workbench train --engine metaner --backbone runs/base/model{texts} --data-root data --documents {what.get('documents')} --out runs/{name}{length} "
        f"--batch {recipe['batch']} --encoder-rate {recipe['encoder_rate']:g} --head-rate {recipe['decoder_rate']:g} --seed {recipe['seed']}{switches}"
    )


def _measured(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of few-shot F1, in percent."""
    if not results:
        return []
    lines = [
        "",
        "## Measured",
        "",
        "Micro F1 on exact (type, place, text), in percent: mean and standard deviation over support sets (`workbench fewshot`).",
        "",
    ]
    lines += [
        "| shots | support sets | test sentences a set | " + " | ".join(MEASURED) + " |",
        "|---" * (3 + len(MEASURED)) + "|",
    ]
    for each in results:
        cells = [
            f"{100 * each[name]['mean']:.1f} ± {100 * each[name]['std']:.1f}" if name in each else "-"
            for name in MEASURED
        ]
        lines.append(
            f"| {each['shots']} | {each.get('seeds', '')} | {each.get('limit') or 'all'} | " + " | ".join(cells) + " |"
        )
    return lines
