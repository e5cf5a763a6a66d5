"""Gold annotation as a structure and read again: what the language can say at all, whatever the model (upper bound of UIE).

python -m workbench.extract.uie.roundtrip --model MODEL --data conll04 14res --data-root data
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.extract.evaluate import score, within
from workbench.extract.extraction import Extraction
from workbench.extract.formats import schema_of
from workbench.extract.formats.sets import load_data
from workbench.extract.records import Document
from workbench.extract.schema import Schema
from workbench.extract.seq2seq.tokens import SelTokens, encode_plain
from workbench.extract.uie.gold import Cutter, structure
from workbench.extract.uie.places import Places
from workbench.extract.uie.records import MODES, OURS, PAPER, Reader, Switches
from workbench.extract.uie.results import extraction_of
from workbench.extract.uie.sel import read, write
from workbench.extract.uie.ssi import LabelIds, prompt_of
from workbench.extract.usm.plan import blocks


def round_trip(
    documents: Sequence[Document],
    schema: Schema,
    tokenizer: Any,
    tokens: SelTokens,
    mode: str = "closest",
    switches: Switches = OURS,
) -> tuple[list[Extraction], int]:
    """Gold -> token numbers -> results.

    Args:
        mode: of `records.MODES`; with "pointed" the reader knows the place that the writer wrote.

    Returns:
        What was read off each document; how many outputs were not grammatical.
    """
    whole = schema.expanded()
    block = blocks(whole, 10**9)[0]
    coder = LabelIds(tokenizer, tokens)
    prompt = prompt_of(coder, block)
    reader = Reader(whole, prompt, mode, switches)
    found, bad = [], 0
    for document, pieces in zip(documents, encode_plain(tokenizer, tokens, [d.text for d in documents]), strict=True):
        spots = structure(
            document, Cutter(document.text, pieces, tokenizer), coder, {*block.entities, *block.events}, {*block.relations, *block.roles}
        )  # fmt: skip
        sel = read(write(spots, tokens), tokens)
        bad += not sel.grammatical
        if mode == "pointed":
            for got, gave in zip(sel.spots, spots, strict=True):
                got.place = gave.place
                for inner, outer in zip(got.asocs, gave.asocs, strict=True):
                    inner.place = outer.place
        records = reader.records(sel.spots, Places(document.text, pieces, tokenizer, tokens))
        found.append(extraction_of(document.text, whole, records))
    return found, bad


def scores(documents: Sequence[Document], found: Sequence[Extraction], schema: Schema) -> dict[str, float]:
    """F1 by offset of what was read: entities, strict relations, triggers, arguments."""
    gold = [within(document, schema)[0] for document in documents]
    result = score(gold, [each.select(0.0) for each in found], resamples=0).to_json()
    made = {
        "entity": result["entity"]["offset"]["f1"],
        "relation": result["relation"]["strict"]["offset"]["f1"],
        "trigger": result["event"]["trigger"]["offset"]["f1"],
        "argument": result["event"]["argument"]["offset"]["f1"],
    }
    return {name: value for name, value in made.items() if value is not None}


def main(arguments: list[str] | None = None) -> int:
    from transformers import AutoTokenizer

    from workbench.extract.seq2seq.tokens import add_tokens

    parser = argparse.ArgumentParser(
        prog="python -m workbench.extract.uie.roundtrip", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--model", required=True, help="folder or hub id with the tokenizer; lacking tokens are added")
    parser.add_argument("--data", nargs="+", required=True, help="names of sets")
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--split", default="test", help="part of each set (default %(default)s)")
    parser.add_argument("--texts", type=int, default=10**9, help="texts of each set at most")
    chosen = parser.parse_args(arguments)
    tokenizer = AutoTokenizer.from_pretrained(chosen.model)
    add_tokens(tokenizer)
    tokens = SelTokens.of(tokenizer)
    table: dict[str, Any] = {}
    for name in chosen.data:
        documents = load_data(name, chosen.data_root, chosen.split)[: chosen.texts]
        schema = schema_of(documents)
        rows = {}
        for label, mode, switches in [(m, m, OURS) for m in MODES] + [
            (f"{m}, as the original", m, PAPER) for m in MODES[:3]
        ]:
            found, bad = round_trip(documents, schema, tokenizer, tokens, mode, switches)
            rows[label] = {k: round(100 * v, 2) for k, v in scores(documents, found, schema).items()} | {
                "not grammatical": bad
            }
        table[name] = {"sentences": len(documents), **rows}
        print(name, json.dumps(table[name], indent=1), file=sys.stderr)  # noqa: T201 - a command
    print(json.dumps(table))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
