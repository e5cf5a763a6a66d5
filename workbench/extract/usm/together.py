"""What it costs a set to be asked beside the labels of another one: its schema alone, with the other's in one pass, and in passes apart.

    python -m workbench.extract.usm.together --model usm-mini --data-root data

Users ask one text for entities, relations and events; hardly any set has all three. So a set's development part is read under its own schema and
under its own and another's, and only what the set has is counted: what a larger prompt takes away shows as F1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.extract.engines import shipped_or
from workbench.extract.errors import ExtractError
from workbench.extract.extraction import Extraction
from workbench.extract.schema import Schema
from workbench.extract.usm.engine import UsmEngine
from workbench.extract.usm.experiments import figures_of, percent, table
from workbench.extract.usm.tune import development_texts
from workbench.module_command import count, report

PAIRS = (("conll04", "casie"), ("scierc", "casie"), ("bc5cdr", "casie"), ("casie", "conll04"), ("casie", "bc5cdr"))
"""(set that is measured, set whose schema stands beside)."""


def joined(own: Schema, other: Schema) -> Schema:
    """Both schemas in one; a name that both have is the measured set's."""
    known = {label.name for label in own.entities}
    entities = (*own.entities, *(label for label in other.entities if label.name not in known))
    return Schema(
        entities=entities, relations={**other.relations, **own.relations}, events={**other.events, **own.events}
    )


class _Only:
    """An engine that is asked for more than it is measured on.

    Args:
        engine: asked. asked: the schema it is asked.
    """

    def __init__(self, engine: UsmEngine, asked: Schema) -> None:
        self._engine, self._asked = engine, asked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def extract(self, texts: Sequence[str], schema: Schema, *options: Any, **more: Any) -> list[Extraction]:
        return [_within(found, schema) for found in self._engine.extract(texts, self._asked, *options, **more)]


def _within(found: Extraction, schema: Schema) -> Extraction:
    """What a result says of a schema that is a part of the one that was asked."""
    whole = schema.expanded()
    names = {label.name for label in whole.entities}
    return found.model_copy(
        update={
            "wanted": whole,
            "entities": tuple(each for each in found.entities if each.type in names),
            "relations": tuple(each for each in found.relations if each.type in whole.relations),
            "events": tuple(each for each in found.events if each.type in whole.events),
        }
    )


def measure(engine: UsmEngine, root: Path, limit: int) -> list[dict[str, Any]]:
    """A row for each of `PAIRS`: figures alone, in one pass with the other schema, and in passes apart.

    Raises:
        ExtractError: a set is not at hand, or nothing is annotated in its texts.
    """
    names = dict.fromkeys(name for pair in PAIRS for name in pair)
    texts = {name: (documents, schema) for name, documents, schema in development_texts(names, root, limit, 0)}
    if missing := [name for name in names if name not in texts]:
        raise ExtractError(
            f"Nothing is annotated in the first {limit} development texts of {missing[0]}: raise --limit."
        )
    rows = []
    kept = engine.usm.config.events_apart
    for name, other in PAIRS:
        documents, schema = texts[name]
        asked = joined(schema, texts[other][1])
        row: dict[str, Any] = {"set": name, "beside": other, "texts": len(documents)}
        try:
            alone = figures_of(engine, documents, schema)
            row["alone"] = {metric: figure for metric, figure in alone.items() if figure["gold"]}
            for way, apart in (("one pass", False), ("apart", True)):
                engine.usm.config.events_apart = apart
                row[way] = figures_of(_Only(engine, asked), documents, schema, row["alone"])
        finally:
            engine.usm.config.events_apart = kept
        rows.append(row)
    return rows


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: a kind of a set a row."""
    lines = [
        [f"{row['set']}, {row['texts']} texts, {metric}", row["beside"], *(percent(row[way].get(metric)) for way in ("alone", "one pass", "apart"))]
        for row in rows
        for metric in row["alone"]
    ]  # fmt: skip
    return table(
        ["development part and metric", "beside the schema of", "own schema alone", "both in one pass", "events apart"],
        lines,
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workbench.extract.usm.together", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )  # fmt: skip
    parser.add_argument("--model", default="usm-mini", help="shipped or trained USM model (default %(default)s)")
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--limit", type=count, default=120, help="texts of a development part, casie a sixth (default %(default)s)")  # fmt: skip
    parser.add_argument("--out", type=Path, help="also write the rows to this JSON file")
    chosen = parser.parse_args(arguments)
    with report() as status:
        rows = measure(UsmEngine.load(shipped_or(chosen.model)), chosen.data_root, chosen.limit)
        print(as_table(rows))  # noqa: T201 - a command
        if chosen.out:
            chosen.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return status.code


if __name__ == "__main__":
    sys.exit(main())
