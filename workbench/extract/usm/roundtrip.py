"""Gold annotation as perfect links, and read off again: what the link scheme can say at all, whatever the model.

    python -m workbench.extract.usm.roundtrip --model usm-mini --data-root data

Each set is read twice: whole texts under the whole schema at once, and in windows and blocks of labels as a model reads them. What does not
come back has one of four reasons, which are counted: a border inside a piece of the tokenizer, a stretch across windows, links of several
spans that also make a span or pair that is not there (B4 of the paper's limits), and an annotation outside the schema.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.capture.errors import reason as why
from workbench.extract.engines import shipped_or
from workbench.extract.errors import EngineError, ExtractError
from workbench.extract.formats import schema_of
from workbench.extract.formats.sets import SETS, load_data
from workbench.extract.records import Document
from workbench.extract.schema import Schema
from workbench.extract.usm.config import UsmConfig
from workbench.extract.usm.decode import LinkScores
from workbench.extract.usm.links import Gold, Pair, targets
from workbench.extract.usm.passes import Found, Window, collect
from workbench.extract.usm.pieces import encode_texts
from workbench.extract.usm.plan import Block, blocks, windows
from workbench.extract.usm.reading import Reading
from workbench.extract.usm.weights import CONFIG
from workbench.module_command import count, count_or_none, report

INSIDE, OVER, ACROSS, COMBINED, OUTSIDE = (
    "border inside a piece",
    "over the end of a line or sentence",
    "across windows",
    "made by links of others",
    "not in the schema",
)
SURE = 20.0  # score of a perfect link


def gold_links(document: Document, window: Window, block: Block) -> Gold:
    """What is true of a window of a document under a block of labels; what is not whole in the window is left out."""
    gold = Gold()

    def place(start: int, end: int) -> Pair | None:
        return window.pieces.span(start, end)

    for span in document.entities or ():
        at = place(span.start, span.end)
        if at is not None and span.type in block.entities:
            gold.typed.add((block.entities[span.type], at))
    for relation in document.relations or ():
        head, tail = place(relation.head.start, relation.head.end), place(relation.tail.start, relation.tail.end)
        if head is not None and tail is not None and relation.type in block.relations:
            _pair(gold, block.relations[relation.type], head, tail)
    for event in document.events or ():
        trigger = place(event.trigger.start, event.trigger.end)
        if trigger is None or event.type not in block.events:
            continue
        gold.typed.add((block.events[event.type], trigger))
        for argument in event.arguments:
            at = place(argument.start, argument.end)
            if at is not None and argument.role in block.roles:
                _pair(gold, block.roles[argument.role], trigger, at)
    return gold


def _pair(gold: Gold, label: int, subject: Pair, object_: Pair) -> None:
    gold.linked.add((subject, object_))
    gold.typed.add((label, object_))
    gold.subjects.add((subject, label))


def perfect(gold: Gold, length: int, block: Block) -> LinkScores:
    """Link scores of a model that is right: +SURE for a link, -SURE for none."""
    made = targets(gold, length, len(block.prompt.mentions), len(block.prompt.pairs))

    def scores(part: Any) -> Any:
        return np.where(part == 1, SURE, -SURE).astype(np.float32)

    return LinkScores(*scores(made.tokens), *scores(made.from_label), *scores(made.to_label))


def found_in(document: Document) -> Found:
    """Gold annotation in the form of candidates."""
    found = Found()
    for span in document.entities or ():
        found.entities[span.type, span.start, span.end] = SURE
    for relation in document.relations or ():
        head, tail = (relation.head.start, relation.head.end), (relation.tail.start, relation.tail.end)
        found.relations[relation.type, head, tail] = SURE
    for event in document.events or ():
        trigger = (event.type, event.trigger.start, event.trigger.end)
        found.triggers[trigger] = SURE
        for argument in event.arguments:
            found.arguments[trigger, argument.role, (argument.start, argument.end)] = SURE
    return found


TABLES = ("entities", "triggers", "relations", "arguments")


def round_trip(
    documents: Sequence[Document],
    schema: Schema,
    tokenizer: Any,
    size: int = 10**9,
    overlap: int = 0,
    most_labels: int = 10**9,
) -> tuple[list[Found], Counter[tuple[str, str]], Counter[str]]:
    """Gold -> links -> results, by the strict rule.

    Args:
        size, overlap: of windows, in pieces; whole texts if not given. most_labels: in a block.

    Returns:
        What was read off each document; failures by (table of `Found`, reason); gold items by table.
    """
    whole = schema.expanded()
    plan = blocks(whole, most_labels)
    read: list[Found] = []
    failures: Counter[tuple[str, str]] = Counter()
    items: Counter[str] = Counter()
    for document, pieces in zip(documents, encode_texts(tokenizer, [d.text for d in documents]), strict=True):
        cut = [Window(0, pieces.cut(a, b), a > 0, b < len(pieces)) for a, b in windows(pieces, size, overlap)]
        passes = [
            (w, b, perfect(gold_links(document, window, block), len(window.pieces), block))
            for w, window in enumerate(cut)
            for b, block in enumerate(plan)
        ]
        found = collect(cut, plan, whole, Reading("strict"), passes).get(0, Found())
        gold = found_in(document)
        read.append(found)
        for table in TABLES:
            wanted, got = getattr(gold, table), getattr(found, table)
            items[table] += len(wanted)
            for key in wanted.keys() - got.keys():
                failures[table, _reason(key, table, pieces, plan)] += 1
            failures[table, COMBINED] += len(got.keys() - wanted.keys())
    return read, +failures, items


def _reason(key: Any, table: str, pieces: Any, plan: Sequence[Block]) -> str:
    """Why a gold item did not come back."""
    if table in ("entities", "triggers"):
        label, spans = key[0], [key[1:]]
        known = {"entities": "entities", "triggers": "events"}[table]
    elif table == "relations":
        label, spans, known = key[0], [key[1], key[2]], "relations"
    else:
        label, spans, known = key[1], [key[0][1:], key[2]], "roles"
    if not any(label in getattr(block, known) for block in plan):
        return OUTSIDE
    if any(pieces.span(*span) is None for span in spans):
        return INSIDE
    return ACROSS if all(pieces.unbroken(*span) for span in spans) else OVER


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workbench.extract.usm.roundtrip",
        description="Gold as perfect links and read off again: what comes back, set by set.",
    )
    usual = UsmConfig()
    parser.add_argument("--model", required=True, help="USM model, or any folder or hub id with a fast tokenizer")
    parser.add_argument(
        "--data", nargs="+", help="names of sets; left out: every measured set that is below --data-root"
    )
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--split", default="test", help="part of each set (default %(default)s)")
    parser.add_argument("--texts", type=count, help="texts of each set at most")
    parser.add_argument("--window", type=count, help=f"pieces of a window (default: the model's, else {usual.window})")
    parser.add_argument(
        "--overlap", type=count_or_none, help=f"pieces that windows share (default: the model's, else {usual.overlap})"
    )
    parser.add_argument(
        "--labels", type=count, help=f"labels of a block (default: the model's, else {usual.max_labels})"
    )
    chosen = parser.parse_args(arguments)
    table: dict[str, Any] = {}
    with report() as status:
        tokenizer = _tokenizer(chosen.model)
        sizes = _sizes(chosen)
        for name in chosen.data or SETS:
            try:
                documents = load_data(name, chosen.data_root, chosen.split)[: chosen.texts]
                schema = schema_of(documents)
            except ExtractError as fault:
                if chosen.data:
                    raise
                print(f"{name}: left out. {fault}", file=sys.stderr)  # noqa: T201 - a command
                continue
            _, failures, items = round_trip(documents, schema, tokenizer)
            _, cut, _ = round_trip(documents, schema, tokenizer, *sizes)
            table[name] = {
                "texts": len(documents),
                "items": {part: many for part, many in items.items() if many},
                "failures": _listed(failures),
                "in windows": {
                    **dict(zip(("window", "overlap", "labels"), sizes, strict=True)),
                    "failures": _listed(cut),
                },
            }
            there = ", ".join(f"{many:,} {part}" for part, many in items.items() if many)
            print(  # noqa: T201 - a command
                f"{name}, {len(documents):,} texts: {there}. {_said(failures)} In windows of {sizes[0]} pieces that share {sizes[1]}, {sizes[2]} labels at a "
                f"time: {_said(cut)}",
                file=sys.stderr,
            )
        print(json.dumps(table))  # noqa: T201
    return status.code


def _listed(failures: Counter[tuple[str, str]]) -> list[list[Any]]:
    return [[part, reason, many] for (part, reason), many in sorted(failures.items())]


def _said(failures: Counter[tuple[str, str]]) -> str:
    said = "; ".join(f"{part}, {reason}: {many:,}" for part, reason, many in _listed(failures))
    return f"{said or 'All came back'}."


def _sizes(chosen: argparse.Namespace) -> tuple[int, int, int]:
    """Window, overlap and labels of a block: as asked, else the model's, else those of a new model."""
    path = Path(shipped_or(chosen.model)) / CONFIG
    usual = UsmConfig()
    try:
        own = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        for name, asked in (("window", chosen.window), ("overlap", chosen.overlap), ("max_labels", chosen.labels)):
            setattr(usual, name, own.get(name, getattr(usual, name)) if asked is None else asked)
        usual.check()
    except (ValueError, AttributeError) as fault:
        raise EngineError(
            f"Texts cannot be cut into windows ({why(fault)}): give --window, --overlap and --labels."
        ) from None
    return usual.window, usual.overlap, usual.max_labels


def _tokenizer(model: str) -> Any:
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()  # it wonders about a model type that is ours
    try:
        return AutoTokenizer.from_pretrained(shipped_or(model))
    except Exception as fault:  # transformers raises many kinds
        raise EngineError(
            f"'{model}' holds no tokenizer ({why(fault)}): give a USM model, or a folder or hub id with one."
        ) from None


if __name__ == "__main__":
    sys.exit(main())
