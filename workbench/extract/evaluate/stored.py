"""Evaluations that are kept with the project, so that the page Evaluate shows something at once.

    python -m workbench.extract.evaluate.stored --model usm-mini --data-root data --out sample_data/evaluations/usm-mini.json

A file holds figures of test parts (numbers alone, whatever a set's licence) and, for texts that may be passed on, gold beside predictions,
from which scores and errors follow.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.capture.errors import reason
from workbench.extract.engines import BUILT_IN, Engine, load_engine
from workbench.extract.errors import ExtractError
from workbench.extract.evaluate.published import published
from workbench.extract.evaluate.scores import Evaluation, evaluate, score
from workbench.extract.formats.sets import load_data
from workbench.extract.records import Document, read_documents
from workbench.extract.schema import Schema
from workbench.module_command import count, count_or_none, report

SAMPLES = Path(__file__).resolve().parents[3] / "sample_data"
FOLDER, READY = SAMPLES / "evaluations", SAMPLES / "schemas"
OURS = "texts of ours"
VERSION = 1
MAX_BYTES = 16 * 2**20
# Test parts that are measured, with what they are measured by. The texts of those in FREE may be passed on.
MEASURED: dict[str, tuple[str, ...]] = {
    "wnut17": ("entity",), "ncbi_disease": ("entity",), "bc5cdr": ("entity",), "conll04": ("entity", "relation strict"),
    "scierc": ("entity", "relation strict"), "casie": ("event trigger", "event argument"), "14res": ("entity", "relation strict"),
    "14lap": ("entity", "relation strict"),
}  # fmt: skip
FREE = {"ncbi_disease": "public domain"}


@dataclass(frozen=True)
class Figure:
    """One figure of a test part.

    Attributes:
        data: name of the set. what: path of the metric, in words. texts: how many; whole: whether those are all of the part.
        f1: by offset, in [0, 1]. low, high: of its 95 % interval.
    """

    data: str
    what: str
    texts: int
    whole: bool
    gold: int
    f1: float
    low: float | None
    high: float | None

    @property
    def published(self) -> dict[str, float]:
        """F1 that papers state for the same part, by model with its size; none for a piece of it."""
        found = published(self.data, "test") if self.whole else ()
        return {f"{each.model}, {each.parameters} M": each.f1 for each in found if " ".join(each.metric) == self.what}


@dataclass(frozen=True)
class Part:
    """Texts with gold and predictions, compared when they are shown."""

    name: str
    licence: str
    gold: tuple[Document, ...]
    predicted: tuple[Document, ...]

    def evaluation(self) -> Evaluation:
        """Scores and errors."""
        return score(self.gold, self.predicted)


@dataclass(frozen=True)
class Stored:
    """An evaluation on disk.

    Attributes:
        engine, model: what was measured. created: date. first: texts of each test part at most, the first ones; None: all.
    """

    engine: str
    model: str
    created: str
    first: int | None
    figures: tuple[Figure, ...] = ()
    parts: tuple[Part, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        parts = [
            {
                "name": part.name,
                "licence": part.licence,
                "gold": [document.to_json() for document in part.gold],
                "predicted": [document.to_json() for document in part.predicted],
            }
            for part in self.parts
        ]
        return {
            "version": VERSION, "engine": self.engine, "model": self.model, "created": self.created, "first": self.first,
            "figures": [asdict(figure) for figure in self.figures], "parts": parts,
        }  # fmt: skip


def read_stored(path: Path) -> Stored:
    """An evaluation from its file.

    Raises:
        ExtractError: it is none.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("it is too large")
        form = json.loads(path.read_text(encoding="utf-8"))
        if form["version"] != VERSION:
            raise ValueError(f"version {VERSION} was expected, {form['version']!r} came")
        parts = tuple(
            Part(
                part["name"],
                part["licence"],
                tuple(Document.model_validate(each) for each in part["gold"]),
                tuple(Document.model_validate(each) for each in part["predicted"]),
            )
            for part in form["parts"]
        )
        figures = tuple(Figure(**figure) for figure in form["figures"])
        return Stored(form["engine"], form["model"], form["created"], form["first"], figures, parts)
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise ExtractError(
            f"The stored evaluation '{path.name}' cannot be read ({reason(fault)}): make it anew with `python -m workbench.extract.evaluate.stored`."
        ) from None


def stored_evaluations(folder: Path | None = None) -> list[Path]:
    """Files of stored evaluations: that of the engine a user meets first, then the others by name."""
    first = BUILT_IN[0].default_model
    return sorted((folder or FOLDER).glob("*.json"), key=lambda path: (path.stem != first, path.stem))


# ---------------------------------------------------------------------- making one
def measure(
    engine: Engine, root: Path | None, first: int | None, texts: int, sets: Sequence[str] = tuple(MEASURED)
) -> Stored:
    """Measure an engine on our own texts and, where `root` is given, on test parts.

    Args:
        first: texts of a test part at most. texts: of each set in FREE that are kept with gold and predictions.
    """
    from workbench.extract.usm.tune import measured_schema  # brings torch, which a page does without

    figures: list[Figure] = []
    parts = [_ours(engine)]
    for name in sets if root is not None else ():
        assert root is not None
        every = load_data(name, root, "test")
        documents = every[:first]
        result = evaluate(engine, documents, measured_schema(name, documents))
        for what in MEASURED[name]:
            made = result.scores[tuple(what.split()), "offset"]
            low, high = made.interval or (None, None)
            figures.append(
                Figure(
                    name, what, result.texts, len(documents) == len(every), made.count.gold, made.count.f1, low, high
                )
            )
        if name in FREE:
            parts.append(
                Part(f"{name}, test part", FREE[name], tuple(result.gold[:texts]), tuple(result.predicted[:texts]))
            )
    today = datetime.now(UTC).date().isoformat()
    return Stored(engine.name, Path(str(engine.model)).name, today, first, tuple(figures), tuple(parts))


def _ours(engine: Engine) -> Part:
    """The ready texts, each under the schema that it was written for."""
    gold: list[Document] = []
    predicted: list[Document] = []
    for path in sorted(READY.glob("*.texts.jsonl")):
        schema = Schema.load(path.with_name(path.name.replace(".texts.jsonl", ".json")))
        documents = list(read_documents(path))
        result = evaluate(engine, documents, schema, resamples=0)
        gold += result.gold
        predicted += result.predicted
    return Part(OURS, "ours, Apache-2.0", tuple(gold), tuple(predicted))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workbench.extract.evaluate.stored",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--engine", default="usm")
    parser.add_argument("--model", help="weights; the engine's own if not given")
    parser.add_argument("--data-root", type=Path, help="folder of the data sets; without it our own texts alone")
    parser.add_argument("--data", nargs="*", choices=list(MEASURED), default=list(MEASURED), metavar="SET")
    parser.add_argument("--limit", type=count, help="first texts of a test part only")
    parser.add_argument(
        "--texts", type=count_or_none, default=100, help="texts that are kept of a set whose licence allows it"
    )
    parser.add_argument("--out", type=Path, required=True, help="the file")
    chosen = parser.parse_args(arguments)
    with report() as status:
        engine = load_engine(chosen.engine, chosen.model)
        made = measure(engine, chosen.data_root, chosen.limit, chosen.texts, chosen.data)
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        part = chosen.out.with_suffix(".part")
        part.write_text(json.dumps(made.to_json(), ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
        part.replace(chosen.out)
        for figure in made.figures:
            stated = ", ".join(f"{model} {f1:.1%}" for model, f1 in figure.published.items())
            print(f"{figure.data:14}{figure.what:18}{figure.texts:>6} texts  F1 {figure.f1:.3f}  {stated}")  # noqa: T201
    return status.code


if __name__ == "__main__":
    sys.exit(main())
