"""Sets never seen: USM read on whole sets that it learnt nothing from, under names that other sets may share.

    python -m workbench.extract.usm.unseen_sets --encoder HUB_ID_OR_FOLDER --data-root data --out runs/unseen_sets --steps 4000

This is how the papers measure zero-shot reading: the set is new, a name such as "person" is not. (`unseen` keeps the names out too.) One set a
domain was chosen before any run: tweets, news, science, biology, requests, law, security and recipes. How results are read off is chosen twice: on the development
parts of what is learnt, as for any model of ours, and on four further sets that nothing is learnt from either. Beside each set's F1 stands that of its
types whose name another set teaches, and of those with a new name. The same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.extract.evaluate.facts import Count
from workbench.extract.evaluate.scores import evaluate
from workbench.extract.formats.sets import load_data
from workbench.extract.loop import Length
from workbench.extract.records import Document
from workbench.extract.usm.engine import UsmEngine
from workbench.extract.usm.experiments import figure, percent, table, trained_and_measured
from workbench.extract.usm.reading import Reading
from workbench.extract.usm.train.names import normal
from workbench.extract.usm.train.recipe import Recipe
from workbench.extract.usm.train.sources import PLANS, Source, load_sources
from workbench.extract.usm.tune import Part, fit, measured_schema, read_every_way
from workbench.extract.usm.unseen import PATTERN_SHARE, names_taught
from workbench.models.device import use_threads
from workbench.module_command import count, positive, report, seed, share

UNSEEN = ("wnut17", "conll04", "scierc", "bionlp13cg", "snips", "inlegalner_dev", "cyner", "tasteset2")
PROXIES = ("phee", "sofc_exp", "wiesp2022_astro", "re3d")
"""Sets on whose development parts the second reading is chosen."""
SEEN, NEW = "sets that are learnt from", "sets never seen"
"""What a reading was chosen on."""
WORDS: dict[str, dict[str, str]] = {
    "conll04": {"Peop": "person", "Loc": "location", "Org": "organization", "Other": "other named entity"},
    "inlegalner_dev": {"GPE": "geopolitical entity", "ORG": "organization"},
    "re3d": {"Temporal": "time"},
}
"""What codes are asked by; every other type is asked by its own name, written out."""
RELATIONS = {"conll04": 0.2595}
"""Sets whose relations are measured too, with the F1 that USM's paper states for reading them unseen (USM-large, 356 M)."""


def recipe_of(base: Recipe, most_weight: float | None = None) -> Recipe:
    """Every source but the sets that are measured or chosen by.

    Args:
        most_weight: of a set; the mixture of `sources.PLANS` favours the sets that usm-mini is measured on.
    """
    sets = tuple(name for name in base.sets if name not in {*UNSEEN, *PROXIES})
    cap = float("inf") if most_weight is None else most_weight
    weights = tuple((name, cap) for name in sets if PLANS[name].weight > cap)
    return replace(base, sets=sets, patterns=PATTERN_SHARE, weights=weights)


def asked(name: str, documents: Sequence[Document]) -> list[Document]:
    """Texts with the types under the names that they are asked by."""
    words = WORDS.get(name, {})

    def renamed(span: Any) -> Any:
        return span.model_copy(update={"type": words.get(span.type, span.type)})

    return [
        document.model_copy(
            update={
                "entities": tuple(map(renamed, document.entities or ())),
                "relations": None
                if document.relations is None
                else tuple(
                    r.model_copy(update={"head": renamed(r.head), "tail": renamed(r.tail)}) for r in document.relations
                ),
            }
        )
        for document in documents
    ]


def proxy_reading(engine: UsmEngine, root: Path, most: int) -> Reading:
    """The reading that does best on sets never seen.

    Args:
        most: texts of a set.
    """
    parts = []
    for name in PROXIES:
        documents = asked(name, load_data(name, root, "dev")[:most])
        schema = measured_schema(name, documents)
        parts.append(Part(name, documents, schema, read_every_way(engine, documents, schema)))
    return fit(parts, calibrated=False)


def measure(
    engine: UsmEngine, root: Path, taught: Iterable[str], limit: int | None, names: Sequence[str] = UNSEEN
) -> dict[str, Any]:
    """Strict micro F1 by offset of each set's test part.

    Args:
        taught: names that the model was asked by while it learnt, in the form of `normal`.
        limit: first texts only.

    Returns:
        `reading`, `mean` of the sets, and of each set `entity` and, where measured, `relation` (as `experiments.figures`), with F1 and gold mentions of the types
        that are `known` and `new` by name.
    """
    known = set(taught)
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        documents = asked(name, load_data(name, root, "test")[:limit])
        made = evaluate(engine, documents, measured_schema(name, documents))
        kept: dict[str, Any] = {"entity": figure(made.scores[("entity",), "offset"].to_json(), len(documents))}
        if name in RELATIONS:
            kept["relation"] = figure(made.scores[("relation", "strict"), "offset"].to_json(), len(documents))
        by_type = made.scores[("entity",), "offset"].by_type
        for group, wanted in (("known", True), ("new", False)):
            counts = [each for type_, each in by_type.items() if (normal(type_) in known) == wanted]
            whole = sum(counts, Count())
            kept[group] = {"f1": whole.f1 if whole.gold else None, "gold": whole.gold}
        kept["types"] = {
            type_: {"known": normal(type_) in known, "f1": each.f1, "gold": each.gold}
            for type_, each in by_type.items()
        }
        found[name] = kept
    return {
        "reading": engine.reading.to_json(),
        "mean": sum(each["entity"]["f1"] or 0.0 for each in found.values()) / len(found),
        "sets": found,
    }


def as_table(result: Mapping[str, Any]) -> str:
    """Markdown: a set a row."""
    seen, new = result["readings"][SEEN], result["readings"][NEW]
    rows = []
    for name, each in seen["sets"].items():
        rows.append(
            [
                f"{name}, {each['entity']['texts']:,} texts",
                percent(each["entity"]),
                *(f"{percent(each[group])} of {each[group]['gold']:,}" for group in ("known", "new")),
                percent(new["sets"][name]["entity"]),
                f"{percent(each['relation'])}; {100 * RELATIONS[name]:.4g}" if name in RELATIONS else "-",
            ]
        )
    rows.append(["mean", f"{100 * seen['mean']:.1f}", "", "", f"{100 * new['mean']:.1f}", ""])
    head = ["test part", "entities", "types known by name, F1 of gold", "types with new names, F1 of gold", f"entities, read as chosen on {NEW}", "relations; USM-large, paper"]  # fmt: skip
    size = result["parameters"] / 1e6
    return f"{result['steps']:,} steps, {size:.1f} M parameters; F1 by offset, 95 % interval; read as chosen on {SEEN}.\n\n{table(head, rows)}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workbench.extract.usm.unseen_sets",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    usual = Recipe()
    parser.add_argument("--encoder", required=True, help="hub id or folder of a transformers encoder")
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run and of the table")
    parser.add_argument("--steps", type=count, default=4000, help="of training (default %(default)s)")
    parser.add_argument("--batch", type=count, default=usual.batch, help="samples a step (default %(default)s)")
    parser.add_argument("--most-weight", type=positive, help="weight of a set in the mixture at most (default: as usm-mini was trained)")  # fmt: skip
    parser.add_argument("--beside", type=share, default=usual.beside, help="chance of another set's labels in a prompt (default %(default)s)")  # fmt: skip
    parser.add_argument("--dropout", type=share, default=0.1, help="in the encoder while it trains (default %(default)s)")  # fmt: skip
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--limit", type=count, help="first texts of a test part only")
    parser.add_argument(
        "--development", type=count, default=100, help="texts of each development part that choose how results are read"
    )
    parser.add_argument("--threads", type=count, help="CPU threads")
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args(arguments)
    use_threads(chosen.threads)
    base = replace(usual, batch=chosen.batch, beside=chosen.beside, dropout=chosen.dropout, seed=chosen.seed)
    recipe = recipe_of(base, chosen.most_weight)
    shelf: dict[Any, Any] = {}

    def say(what: str) -> None:
        print(what, file=sys.stderr, flush=True)  # noqa: T201 - a command

    def measured(engine: UsmEngine) -> dict[str, Any]:
        sources: list[Source] = load_sources(
            recipe.sets, chosen.data_root, engine.tokenizer, recipe.window, recipe.documents, recipe.seed,
            patterns=recipe.patterns, shelf=shelf,
        )  # fmt: skip
        taught = names_taught(sources)
        found = {SEEN: measure(engine, chosen.data_root, taught, chosen.limit)}
        engine.reading = proxy_reading(engine, chosen.data_root, chosen.development)
        found[NEW] = measure(engine, chosen.data_root, taught, chosen.limit)
        return {"readings": found}

    with report() as status:
        result = trained_and_measured(
            chosen.out, chosen.encoder, chosen.data_root, recipe, Length(chosen.steps), measured, limit=chosen.limit,
            device=chosen.device, development=chosen.development, shelf=shelf, say=say,
        )  # fmt: skip
        made = as_table(result)
        (chosen.out / "table.md").write_text(made + "\n", encoding="utf-8")
        print(made)  # noqa: T201 - a command
    return status.code


if __name__ == "__main__":
    sys.exit(main())
