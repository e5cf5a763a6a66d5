"""Types never seen: how well USM reads them, and what each source of labels does for it.

    python -m workbench.extract.usm.unseen --encoder HUB_ID_OR_FOLDER --data-root data --out runs/unseen --steps 1500

Every arm is a training of its own without bionlp13cg, anatem, scierc and the roles of casie, and without every name and synonym of their
types and roles; it is then measured on their test parts, under the sets' own names and with a description behind each (`unseen_types`).
"all" has every source of labels, with the weights of the shipped model; each other arm leaves one out; two more change something else.

How results are read off is learnt on types that no arm was taught either: those of `PROXIES`, sets that no arm learns from, whose names
no other set has. The same command goes on where it was stopped; `table.md` and `table.json` in the folder hold what is done.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.capture.errors import WorkbenchError
from workbench.extract.formats import schema_of
from workbench.extract.formats.sets import load_data
from workbench.extract.loop import Length
from workbench.extract.usm.engine import UsmEngine
from workbench.extract.usm.experiments import figures, percent, table, trained_and_measured
from workbench.extract.usm.reading import Reading
from workbench.extract.usm.train.loop import inventory, types_of_held_out
from workbench.extract.usm.train.names import allowed_names, banned_names, names_of, normal
from workbench.extract.usm.train.recipe import Recipe
from workbench.extract.usm.train.sources import PLANS, load_sources
from workbench.extract.usm.tune import Part, fit, read_every_way
from workbench.extract.usm.unseen_types import DESCRIBED

HELD_OUT: dict[str, tuple[str, ...]] = {
    "bionlp13cg": ("entity",),
    "anatem": ("entity",),
    "scierc": ("entity", "relation"),
    "casie": ("trigger", "argument"),
}
KEPT_OUT = ("bionlp13cg", "anatem", "scierc", "casie:roles")
MEAN_OF = (("bionlp13cg", "entity"), ("anatem", "entity"), ("scierc", "entity"), ("casie", "argument"))
PROXIES = ("tasteset2", "phee", "sofc_exp", "cyner")
PATTERN_SHARE = 4.0  # in the unit of PLANS: about four in a hundred samples
WEIGHTS = {
    # few types, or few that are left once the names above are kept out
    "wnut17": 2.0, "ncbi_disease": 2.0, "bc5cdr": 1.0, "conll04": 2.0, "14res": 1.0, "14lap": 1.0, "casie": 2.0, "wikigold": 1.0,
    "btc_twitter": 1.0, "sec_filings": 0.3, "uner_en_ewt": 1.0, "ade": 1.0, "biored": 1.5, "bio_mtl": 0.5, "mams_absa": 0.7, "skillspan": 0.7,
    # many types
    "semcor_wordnet": 5.0, "masc_wordnet": 2.0, "ufet_crowd": 4.0, "re_docred": 4.0, "fewrel": 3.0, "geneva": 4.0, "rams": 2.0, "wikievents": 1.5,
    "re3d": 1.5, "wtq_silver": 2.0, "product_attributes": 1.5, "dart": 1.5, "culotta_wikipedia": 2.0, "sgd": 1.5, "maccrobat2020": 4.0,
    "wiesp2022_astro": 4.0, "stackoverflow_ner": 3.0, "somesci": 3.0, "matsyn": 2.0, "wlp": 2.0, "aptner": 2.0, "inlegalner_dev": 1.5, "litbank": 1.5,
}  # fmt: skip
FEW_TYPES = frozenset(
    [
        "wnut17", "ncbi_disease", "bc5cdr", "conll04", "14res", "14lap", "bc2gm", "wikigold", "btc_twitter", "sec_filings", "uner_en_ewt",
        "litbank", "fewrel", "re_docred", "re3d", "ade", "wikievents", "rams", "casie",
    ]
)  # fmt: skip


def recipes(base: Recipe) -> dict[str, Recipe]:
    """The arms by name: everything, then everything but one source of labels."""
    whole = replace(
        base,
        sets=tuple(name for name in base.sets if name not in PROXIES),
        held_out=KEPT_OUT,
        patterns=PATTERN_SHARE,
        describe=0.3,
        from_relations=0.4,
    )

    def without(drop: Sequence[str]) -> Recipe:
        return replace(whole, sets=tuple(name for name in whole.sets if name not in drop))

    words = [name for name in whole.sets if PLANS[name].domain == "words"]
    various = [name for name in whole.sets if name not in FEW_TYPES and name not in KEPT_OUT and name not in words]
    return {
        "all": whole,
        "no types stated by texts": replace(whole, patterns=0.0),
        "no types from relations": replace(whole, from_relations=0.0),
        "no WordNet and free-form types": without(words),
        "no sets of many types": without(various),
        "no synonyms": replace(whole, own_name=1.0),
        "no definitions": replace(whole, describe=0.0),
        "no absent labels of other domains": replace(whole, far_labels=False),
        "more weight for sets of many types": replace(whole, weights=tuple(WEIGHTS.items())),
        "links that begin alike": replace(whole, alike=True),
    }


def types_never_taught(
    base: Recipe, root: Path, tokenizer: Any, shelf: dict[Any, Any] | None = None
) -> dict[str, set[str]]:
    """Of each proxy the entity types of whose names no arm is taught one."""
    whole = recipes(base)["all"]
    banned = banned_names(types_of_held_out(whole, root, tokenizer, shelf))
    kept = [name for name in whole.sets if name not in whole.held_out]
    sources = load_sources(
        kept, root, tokenizer, whole.window, whole.documents, whole.seed, patterns=whole.patterns, shelf=shelf
    )
    taught = {
        normal(name)
        for source in sources
        for type_ in inventory(source)
        for name in allowed_names(source.name, type_, banned)
    }
    proxies = load_sources(PROXIES, root, tokenizer, whole.window, whole.documents, whole.seed, shelf=shelf)
    return {
        source.name: {
            type_
            for type_ in source.entities
            if not any(normal(name) in taught for name in names_of(source.name, type_))
        }
        for source in proxies
    }


def proxy_parts(engine: UsmEngine, root: Path, types: Mapping[str, set[str]], most: int) -> list[Part]:
    """Texts of the proxies with the types that were never taught, and what the model finds in them.

    Args:
        types: by set, as `types_never_taught` gives them. most: texts of a set.
    """
    parts = []
    for name, wanted in types.items():
        documents = [
            document.model_copy(update={"entities": tuple(s for s in document.entities or () if s.type in wanted)})
            for document in load_data(name, root, "dev")[:most]
        ]
        if any(document.entities for document in documents):
            schema = schema_of(documents)
            parts.append(Part(name, documents, schema, read_every_way(engine, documents, schema)))
    return parts


def measure(engine: UsmEngine, root: Path, limit: int | None) -> dict[str, Any]:
    """F1 of each set that was kept out, and their mean; once more with a description behind each entity type."""
    found = {name: figures(engine, name, root, metrics, limit) for name, metrics in HELD_OUT.items()}
    described = {
        name: figures(engine, name, root, HELD_OUT[name], limit, described=words) for name, words in DESCRIBED.items()
    }
    values = [found[name][metric]["f1"] or 0.0 for name, metric in MEAN_OF]
    better = [described.get(name, found[name])[metric]["f1"] or 0.0 for name, metric in MEAN_OF]
    return {
        "f1": found,
        "mean": sum(values) / len(values),
        "described": described,
        "mean_described": sum(better) / len(better),
    }


def as_table(results: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> str:
    """Markdown: an arm a row, seeds side by side in a cell, the effect against "all" of the same seeds."""
    columns = [(name, metric) for name, metrics in HELD_OUT.items() for metric in metrics]
    head = [
        "sources of labels",
        "steps",
        *(f"{name} {metric}" for name, metric in columns),
        "mean of four",
        "with descriptions",
        "effect",
    ]
    rows = []
    for arm, seeds in results.items():
        cells = [
            "; ".join(percent(result["f1"][name].get(metric)) for result in seeds.values()) for name, metric in columns
        ]
        means = "; ".join(f"{100 * result['mean']:.1f}" for result in seeds.values())
        described = "; ".join(f"{100 * result['mean_described']:.1f}" for result in seeds.values())
        both = [seed for seed in seeds if seed in results.get("all", {})]
        effect = "-"
        if arm != "all" and both:
            differences = [100 * (results["all"][seed]["mean"] - seeds[seed]["mean"]) for seed in both]
            effect = f"{sum(differences) / len(differences):+.1f}"
        steps = "; ".join(str(result["steps"]) for result in seeds.values())
        rows.append([arm, steps, *cells, means, described, effect])
    return table(head, rows)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workbench.extract.usm.unseen",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arms = list(recipes(Recipe()))
    parser.add_argument("--encoder", required=True, help="hub id or folder of a transformers encoder")
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder of the arms' runs and of the table")
    parser.add_argument("--minutes", type=float, help="training time of an arm")
    parser.add_argument("--steps", type=int, default=100_000, help="steps of an arm, if that ends before --minutes")
    parser.add_argument("--arm", nargs="*", choices=arms, default=arms, metavar="ARM", help=f"of: {'; '.join(arms)}")
    parser.add_argument("--data", nargs="*", help="sets to learn from, if not all that may be learnt from")
    parser.add_argument("--batch", type=int, default=8, help="samples a step (default %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0], help="a training of each arm for each")
    parser.add_argument("--documents", type=int, default=3000, help="documents of a set at most")
    parser.add_argument("--limit", type=int, help="first texts of a test part only")
    parser.add_argument("--development", type=int, default=150, help="texts of each proxy that choose the reading")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args(arguments)
    if chosen.threads:
        import torch

        torch.set_num_threads(chosen.threads)
    base = Recipe(documents=chosen.documents, batch=chosen.batch)
    if chosen.data is not None:
        base = replace(base, sets=tuple(chosen.data))

    def say(what: str) -> None:
        print(what, file=sys.stderr, flush=True)  # noqa: T201 - a command

    shelf: dict[Any, Any] = {}
    types: dict[str, set[str]] = {}

    def learn(engine: UsmEngine) -> Reading:
        if not types:
            types.update(types_never_taught(base, chosen.data_root, engine.tokenizer, shelf))
        return fit(proxy_parts(engine, chosen.data_root, types, chosen.development))

    results: dict[str, dict[int, Any]] = {}
    try:
        for arm, recipe in recipes(base).items():
            for seed in chosen.seeds if arm in chosen.arm else []:
                folder = chosen.out / f"{arm.replace(' ', '-')}-{seed}"
                results.setdefault(arm, {})[seed] = trained_and_measured(
                    folder, chosen.encoder, chosen.data_root, replace(recipe, seed=seed), Length(chosen.steps, chosen.minutes),
                    lambda engine: measure(engine, chosen.data_root, chosen.limit), limit=chosen.limit, device=chosen.device, learn=learn, shelf=shelf, say=say,
                )  # fmt: skip
                made = as_table(results)
                (chosen.out / "table.md").write_text(made + "\n", encoding="utf-8")
                (chosen.out / "table.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    except WorkbenchError as fault:
        say(str(fault))
        return 1
    print(as_table(results))  # noqa: T201 - a command
    return 0


if __name__ == "__main__":
    sys.exit(main())
