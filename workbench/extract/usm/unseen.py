"""Types never seen: how well USM reads them, and what each source of labels does for it.

    python -m workbench.extract.usm.unseen --encoder HUB_ID_OR_FOLDER --data-root data --out runs/unseen --base-steps 1200 --steps 300

Everything is trained without bionlp13cg, anatem, scierc and the roles of casie, and without every name and synonym of their types and roles. First
the base: the sets of few types under their own names. Every arm goes on from it with one source of labels more, for as many steps each; "nothing
more" says what the further steps alone do, "everything" has every source. With --base-steps 0 the arms begin at the encoder. All are measured on the test parts of what was kept out,
under the sets' own names and with a description behind each (`unseen_types`), and by whether types are told apart where spans are given.

How results are read off is learnt on types that no arm was taught either: those of `PROXIES`, sets that no arm learns from, whose names
no other set has. The same command goes on where it was stopped; `table.md` and `table.json` in the folder hold what is done.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.extract.formats import schema_of
from workbench.extract.formats.sets import load_data
from workbench.extract.loop import Length
from workbench.extract.usm.engine import UsmEngine
from workbench.extract.usm.experiments import figures, percent, table, trained_and_measured
from workbench.extract.usm.reading import Reading
from workbench.extract.usm.told_apart import told_apart
from workbench.extract.usm.train.loop import inventory, types_of_held_out
from workbench.extract.usm.train.names import allowed_names, banned_names, names_of, normal
from workbench.extract.usm.train.recipe import Recipe
from workbench.extract.usm.train.sources import PLANS, Source, check_planned, load_sources
from workbench.extract.usm.tune import Part, fit, measured_schema, read_every_way
from workbench.extract.usm.unseen_types import DESCRIBED
from workbench.models.device import use_threads
from workbench.module_command import count, count_or_none, report, seed, share

HELD_OUT: dict[str, tuple[str, ...]] = {
    "bionlp13cg": ("entity",),
    "anatem": ("entity",),
    "scierc": ("entity", "relation"),
    "casie": ("trigger", "argument"),
}
KEPT_OUT = ("bionlp13cg", "anatem", "scierc", "casie:roles")
MEAN_OF = (("bionlp13cg", "entity"), ("anatem", "entity"), ("scierc", "entity"), ("casie", "argument"))
APART = tuple(each for each in MEAN_OF if each[1] == "entity")
"""Sets whose entity types are to be told apart where the spans are given (`told_apart`)."""
PROXIES = ("tasteset2", "phee", "sofc_exp", "cyner")
PATTERN_SHARE = 4.0  # in the unit of PLANS: about four in a hundred samples
FEW_TYPES = frozenset(
    [
        "wnut17", "ncbi_disease", "bc5cdr", "conll04", "14res", "14lap", "bc2gm", "wikigold", "btc_twitter", "sec_filings", "uner_en_ewt",
        "litbank", "fewrel", "re_docred", "re3d", "ade", "wikievents", "rams", "casie",
    ]
)  # fmt: skip


BASE, CONTROL, EVERYTHING = "base", "nothing more", "everything"


def recipes(base: Recipe) -> dict[str, Recipe]:
    """The base, and the arms that go on from it, by name.

    Raises:
        ExtractError: there is no plan for one of the sets.
    """
    check_planned(base.sets)
    taught = tuple(name for name in base.sets if name not in PROXIES)
    plain = replace(
        base,
        sets=tuple(name for name in taught if name in FEW_TYPES),
        held_out=KEPT_OUT,
        patterns=0.0,
        describe=0.0,
        own_name=1.0,
        from_relations=0.0,
        far_labels=False,
    )
    words = [name for name in taught if PLANS[name].domain == "words"]
    various = [name for name in taught if name not in {*plain.sets, *words, *KEPT_OUT}]

    def with_sets(more: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in taught if name in {*plain.sets, *more})

    sources: dict[str, dict[str, Any]] = {
        "types stated by texts": {"patterns": PATTERN_SHARE},
        "types from relations": {"from_relations": 0.4},
        "WordNet and free-form types": {"sets": with_sets(words)},
        "sets of many types": {"sets": with_sets(various)},
        "synonyms": {"own_name": 0.5},
        "definitions": {"describe": 0.3},
        "absent labels of other domains": {"far_labels": True},
    }
    every: dict[str, Any] = {}
    for change in sources.values():
        every.update(change)
    return {
        BASE: plain,
        CONTROL: plain,
        **{f"+ {name}": replace(plain, **change) for name, change in sources.items()},
        EVERYTHING: replace(plain, **{**every, "sets": with_sets([*words, *various])}),
    }


def names_taught(sources: Iterable[Source], banned: frozenset[str] = frozenset()) -> set[str]:
    """Every name that a model is asked by while it learns from these sets, in the form of `normal`."""
    return {
        normal(name)
        for source in sources
        for type_ in inventory(source)
        for name in allowed_names(source.name, type_, banned)
    }


def types_never_taught(
    base: Recipe, root: Path, tokenizer: Any, shelf: dict[Any, Any] | None = None
) -> dict[str, set[str]]:
    """Of each proxy the entity types of whose names no arm is taught one."""
    whole = recipes(base)[EVERYTHING]
    banned = banned_names(types_of_held_out(whole, root, tokenizer, shelf))
    kept = [name for name in whole.sets if name not in whole.held_out]
    sources = load_sources(
        kept, root, tokenizer, whole.window, whole.documents, whole.seed, patterns=whole.patterns, shelf=shelf
    )
    taught = names_taught(sources, banned)
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
    """F1 of each set that was kept out, and their mean; once more with a description behind each entity type; and whether the entity types
    are told apart where the spans are given."""
    found = {name: figures(engine, name, root, metrics, limit) for name, metrics in HELD_OUT.items()}
    described = {
        name: figures(engine, name, root, HELD_OUT[name], limit, described=words) for name, words in DESCRIBED.items()
    }
    apart = {}
    for name, _ in APART:
        documents = load_data(name, root, "test")[:limit]
        apart[name] = told_apart(engine, documents, measured_schema(name, documents))
    values = [found[name][metric]["f1"] or 0.0 for name, metric in MEAN_OF]
    better = [described.get(name, found[name])[metric]["f1"] or 0.0 for name, metric in MEAN_OF]
    return {
        "f1": found,
        "mean": sum(values) / len(values),
        "described": described,
        "mean_described": sum(better) / len(better),
        "told_apart": apart,
    }


def as_table(results: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> str:
    """Markdown: an arm a row. Of one seed each F1 has its 95 % interval; of several the mean stands, with their least and most.

    The effect is the difference of the mean to "nothing more" of the same seeds.
    """
    columns = [(name, metric) for name, metrics in HELD_OUT.items() for metric in metrics]
    head = [
        "sources of labels",
        "seeds",
        "steps",
        *(f"{name} {metric}" for name, metric in columns),
        "mean of four",
        "with descriptions",
        "effect",
        *(f"{name} types told apart" for name, _ in APART),
    ]
    rows = []
    for arm, seeds in results.items():
        runs = list(seeds.values())
        cells = []
        for name, metric in columns:
            leaves = [run["f1"][name].get(metric) for run in runs]
            known = [leaf["f1"] for leaf in leaves if leaf is not None and leaf["f1"] is not None]
            cells.append(percent(leaves[0]) if len(runs) == 1 else over_seeds(known))
        control = results.get(CONTROL, {})
        effects = [run["mean"] - control[seed]["mean"] for seed, run in seeds.items() if seed in control]
        rows.append(
            [
                arm,
                str(len(runs)),
                "; ".join(str(steps) for steps in dict.fromkeys(run["steps"] for run in runs)),
                *cells,
                over_seeds([run["mean"] for run in runs]),
                over_seeds([run["mean_described"] for run in runs]),
                "-" if arm == CONTROL else over_seeds(effects, "+.1f"),
                *(over_seeds([run["told_apart"][name]["right"] for run in runs]) for name, _ in APART),
            ]
        )
    return table(head, rows)


def over_seeds(values: Sequence[float], form: str = ".1f") -> str:
    """Mean of several runs ×100, with the least and the most of them; "-" of none."""
    if not values:
        return "-"
    mean = f"{100 * sum(values) / len(values):{form}}"
    return mean if len(values) == 1 else f"{mean} ({100 * min(values):{form}} to {100 * max(values):{form}})"


def folder_of(out: Path, arm: str, seed: int) -> Path:
    """Where an arm is trained."""
    return out / f"{arm.removeprefix('+ ').replace(' ', '-')}-{seed}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workbench.extract.usm.unseen",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arms = [name for name in recipes(Recipe()) if name != BASE]
    parser.add_argument("--encoder", required=True, help="hub id or folder of a transformers encoder")
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder of the arms' runs and of the table")
    parser.add_argument(
        "--base-steps", type=count_or_none, default=1200, help="steps of the base (default %(default)s); 0: none"
    )
    parser.add_argument("--steps", type=count, default=300, help="steps of an arm behind it (default %(default)s)")
    parser.add_argument("--arm", nargs="*", choices=arms, default=arms, metavar="ARM", help=f"of: {'; '.join(arms)}")
    parser.add_argument("--data", nargs="*", help="sets to learn from, if not all that may be learnt from")
    parser.add_argument("--batch", type=count, default=16, help="samples a step (default %(default)s)")
    parser.add_argument("--seeds", type=seed, nargs="*", default=[0], help="a base, and arms behind it, for each")
    parser.add_argument("--documents", type=count, default=3000, help="documents of a set at most")
    parser.add_argument(
        "--dropout", type=share, default=0.0, help="in the encoder while it trains (default %(default)s)"
    )
    parser.add_argument("--beside", type=share, default=0.0, help="chance of another set's labels in a prompt (default %(default)s)")  # fmt: skip
    parser.add_argument("--limit", type=count, help="first texts of a test part only")
    parser.add_argument("--development", type=count, default=150, help="texts of each proxy that choose the reading")
    parser.add_argument("--threads", type=count, help="CPU threads")
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args(arguments)
    use_threads(chosen.threads)
    base = Recipe(documents=chosen.documents, batch=chosen.batch, dropout=chosen.dropout, beside=chosen.beside)
    if chosen.data is not None:
        base = replace(base, sets=tuple(chosen.data))

    def say(what: str) -> None:
        print(what, file=sys.stderr, flush=True)  # noqa: T201 - a command

    shelf: dict[Any, Any] = {}
    types: dict[str, set[str]] = {}

    def learn(engine: UsmEngine) -> Reading:
        if not types:
            types.update(types_never_taught(base, chosen.data_root, engine.tokenizer, shelf))
        return fit(proxy_parts(engine, chosen.data_root, types, chosen.development), calibrated=False)

    def trained(arm: str, seed: int, start: str, steps: int, found: Callable[[UsmEngine], dict[str, Any]]) -> Any:
        recipe = replace(recipes(base)[arm], seed=seed)
        return trained_and_measured(
            folder_of(chosen.out, arm, seed), start, chosen.data_root, recipe, Length(steps), found, limit=chosen.limit,
            device=chosen.device, learn=learn, shelf=shelf, say=say,
        )  # fmt: skip

    results: dict[str, dict[int, Any]] = {}
    with report() as status:
        for number in chosen.seeds:
            start = chosen.encoder
            if chosen.base_steps:
                trained(BASE, number, chosen.encoder, chosen.base_steps, lambda engine: {})
                start = str(folder_of(chosen.out, BASE, number) / "model")
            for arm in chosen.arm:
                results.setdefault(arm, {})[number] = trained(
                    arm, number, start, chosen.steps, lambda engine: measure(engine, chosen.data_root, chosen.limit)
                )
                made = as_table(results)
                (chosen.out / "table.md").write_text(made + "\n", encoding="utf-8")
                (chosen.out / "table.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(as_table(results))  # noqa: T201 - a command
    return status.code


if __name__ == "__main__":
    sys.exit(main())
