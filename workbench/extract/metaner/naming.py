"""Under which names types stand in a prompt with demonstrations: their own or `<type1>` …, chosen by F1 on development parts that no episode comes from.

    python -m workbench.extract.metaner.naming --model runs/mine/model --data-root data --write

The paper's prompts are anonymous. A small model that learnt types by name in the plain task too may do better when it is told them; `--write` puts what did better
into the model's configuration, where the engine finds it. Support sets are drawn from texts of the same part that are not asked about.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.capture.errors import reason
from workbench.extract.engines import shipped_or
from workbench.extract.errors import EngineError
from workbench.extract.evaluate.facts import Count
from workbench.extract.fewshot.scoring import episode_count
from workbench.extract.formats.sets import load_data
from workbench.extract.metaner.engine import MetaNerEngine
from workbench.extract.metaner.tokens import LEARNT
from workbench.extract.records import Document
from workbench.extract.schema import Schema
from workbench.models.device import use_threads
from workbench.module_command import count, report

# Two with types that training names too (people, places …), three with types that it hardly does; never a test part.
DEVELOPMENT = ("conll04", "wnut17", "ncbi_disease", "bc5cdr", "biored")
LENGTHS = (20, 400)  # characters of a text: longer ones would be read in windows
WAYS = {"anonymous": True, "own": False}


@dataclass(frozen=True)
class Trial:
    """What is measured.

    Attributes:
        texts: of a set that are asked about. supports: support sets of one sentence a type, each its own draw. seed: of texts and support sets.
    """

    texts: int = 60
    supports: int = 3
    seed: int = 0

    def draw(self, documents: Sequence[Document]) -> tuple[list[str], list[Document], list[list[Document]]]:
        """Types, texts asked about, support sets; no text stands in both."""
        least, most = LENGTHS
        fit = [d for d in documents if d.entities is not None and least < len(d.text) < most]
        random.Random(self.seed).shuffle(fit)
        asked, rest = fit[: self.texts], fit[self.texts :]
        types = sorted({span.type for d in rest for span in d.entities or ()})
        supports = []
        for number in range(self.supports):
            chance = random.Random(f"{self.seed}/{number}")
            holding = [[d for d in rest if any(s.type == type_ for s in d.entities or ())] for type_ in types]
            supports.append([chance.choice(each) for each in holding])
        return types, asked, supports


def measure(
    engine: MetaNerEngine,
    root: Path,
    sets: Sequence[str] = DEVELOPMENT,
    trial: Trial | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, dict[str, list[float]]]:
    """Set -> way of naming -> F1 in [0, 1] of each support set.

    Raises:
        ExtractError: a set is not at hand.
    """
    trial = trial or Trial()
    found: dict[str, dict[str, list[float]]] = {}
    for name in sets:
        types, asked, supports = trial.draw(load_data(name, root, "dev"))
        if not types:
            raise EngineError(
                f"The development part of '{name}' has no annotated text of {LENGTHS[0]} to {LENGTHS[1]} characters beyond the first {trial.texts}: leave it out of --data."
            )
        found[name], schema = {}, Schema.read({"entities": types})
        for way, anonymous in WAYS.items():
            named = engine.named(anonymous)
            found[name][way] = [_f1(named, asked, schema, shown) for shown in supports]
        say(f"{name}: " + ", ".join(f"{way} {100 * _mean(values):.1f}" for way, values in found[name].items()))
    return found


def _f1(engine: MetaNerEngine, asked: Sequence[Document], schema: Schema, shown: Sequence[Document]) -> float:
    said = engine.extract([d.text for d in asked], schema, shown, batch_size=16)
    predicted = [e.select(nested=False, document_id=d.id) for e, d in zip(said, asked, strict=True)]
    return sum(episode_count(asked, predicted).values(), Count()).f1


def best_way(found: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """The way with the higher F1, every set counting the same; the paper's on a tie."""
    return max(WAYS, key=lambda way: sum(_mean(each[way]) for each in found.values()))


def configuration(folder: Path) -> Path:
    """The file that holds what a model's engine has learnt.

    Raises:
        EngineError: there is none.
    """
    for name in (LEARNT, "config.json"):
        if (folder / name).is_file():
            return folder / name
    raise EngineError(
        f"'{folder}' holds no configuration of a MetaNER model: give the folder that `workbench train` wrote."
    )


def write_way(folder: Path, way: str, found: Mapping[str, Any]) -> None:
    """Put the choice, and what it rests on, into the configuration of a model.

    Raises:
        EngineError: there is none, or it cannot be written.
    """
    file = configuration(folder)
    try:
        whole = json.loads(file.read_text(encoding="utf-8"))
        learnt = whole if file.name == LEARNT else whole["engine"]
        learnt.update({"anonymous": WAYS[way], "naming": found})
        part = file.with_suffix(".part")
        part.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        part.replace(file)  # a kill leaves the old one
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise EngineError(
            f"'{file}' cannot be changed ({reason(fault)}): give the folder of a MetaNER model that `workbench train` or `metaner.ship` wrote."
        ) from None


def naming_table(found: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    """Markdown: a set a row, F1 in percent, the mean over support sets with each of them behind it."""
    lines = ["| development part | types as `<type1>` … | types under their own names |", "|---|---|---|"]
    for name, each in found.items():
        cells = [
            f"{100 * _mean(each[way]):.1f} ({', '.join(f'{100 * value:.1f}' for value in each[way])})" for way in WAYS
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    means = [f"{100 * _mean([_mean(each[way]) for each in found.values()]):.1f}" for way in WAYS]
    return [*lines, f"| mean | {' | '.join(means)} |"]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workbench.extract.metaner.naming",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", required=True, help="shipped model, or folder of a trained one")
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--data", nargs="*", default=DEVELOPMENT, help="sets whose development parts decide")
    parser.add_argument("--texts", type=count, default=Trial.texts, help="of each part (default %(default)s)")
    parser.add_argument("--supports", type=count, default=Trial.supports, help="support sets (default %(default)s)")
    parser.add_argument("--write", action="store_true", help="put the choice into the model's configuration")
    parser.add_argument("--threads", type=count, help="CPU threads")
    chosen = parser.parse_args(arguments)
    use_threads(chosen.threads)
    folder = shipped_or(chosen.model)

    def say(what: str) -> None:
        print(what, file=sys.stderr, flush=True)  # noqa: T201 - a command

    with report() as status:
        if chosen.write:
            configuration(Path(folder))  # before minutes of work
        trial = Trial(chosen.texts, chosen.supports)
        found = measure(MetaNerEngine.load(folder, "cpu"), chosen.data_root, chosen.data, trial, say)
        way = best_way(found)
        if chosen.write:
            write_way(Path(folder), way, found)
        print("\n".join([*naming_table(found), "", f"Better: {way}."]))  # noqa: T201 - a command
    return status.code


if __name__ == "__main__":
    sys.exit(main())
