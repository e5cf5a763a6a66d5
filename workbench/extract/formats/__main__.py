"""Annotated texts from one form into another.

python -m workbench.extract.formats --input gold.conll --out gold.spacy --to spacy
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from workbench.extract.errors import RecordError
from workbench.extract.formats import FORMATS, Counts, read_annotated, schema_of, write_annotated, write_uie
from workbench.extract.formats.tokens import leave_out
from workbench.extract.records import Document, Record
from workbench.module_command import report


def rewrite(
    source: Path, target: Path, to: str, form: str | None = None, split: str | None = None
) -> tuple[int, Counts]:
    """Read annotated texts and write them in another form, whole or not at all.

    Args:
        to, form: of what is written and what is read (`FORMATS`; None: by the file). split: part of a UIE folder, which is read
            (None: all) and written (None: train).

    Returns:
        How many texts; what had no place, by reason.

    Raises:
        RecordError: the target is there already, nothing was read, or a form is unknown or wrong.
    """
    if target.exists():
        raise RecordError(f"'{target}' exists already: choose another --out, or remove it first.")
    counts = Counts()
    documents = list(read_annotated(source, form, counts, split))
    if not documents:
        raise RecordError(f"'{source}' holds no annotated text: give a file with at least one.")
    target.parent.mkdir(parents=True, exist_ok=True)
    for document in documents:
        _count_fields(document, to, counts)
    folder = Path(tempfile.mkdtemp(prefix=".formats-", dir=target.parent))
    try:
        made = folder / target.name
        if to == "uie":
            write_uie(made, {split or "train": documents}, schema_of(documents), counts)
        else:
            write_annotated(made, documents, to, counts)
        made.replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return len(documents), +counts


def _count_fields(document: Document, to: str, counts: Counts) -> None:
    """Count scores and unknown fields that a form has no place for; JSON lines have one, a DocBin for all but those of entities."""
    if to == "jsonl":
        return
    parts: list[Record] = list(document.entities or ())
    if to != "spacy":
        for relation in document.relations or ():
            parts += [relation, relation.head, relation.tail]
        for event in document.events or ():
            parts += [event, event.trigger, *event.arguments]
        leave_out(
            counts,
            f"texts with further fields, which {to} has no place for",
            bool({*(document.model_extra or ())} - {"tokens"}),
        )
    leave_out(
        counts, f"scores, which {to} has no place for", sum(getattr(part, "score", None) is not None for part in parts)
    )
    leave_out(
        counts, f"items with further fields, which {to} has no place for", sum(bool(part.model_extra) for part in parts)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workbench.extract.formats", description="Annotated texts from one form into another."
    )
    parser.add_argument("--input", required=True, type=Path, help="file or folder of annotated texts")
    parser.add_argument("--out", required=True, type=Path, help="new file; for brat and uie a new folder")
    parser.add_argument("--to", required=True, choices=FORMATS, help="form of --out")
    parser.add_argument("--from", dest="form", choices=FORMATS, help="form of --input; left out: by the file")
    parser.add_argument(
        "--split",
        choices=("train", "dev", "test"),
        help="part of a UIE folder; left out: all are read, train is written",
    )
    chosen = parser.parse_args(arguments)
    with report() as status:
        number, counts = rewrite(chosen.input, chosen.out, chosen.to, chosen.form, chosen.split)
        for reason, count in counts.items():
            print(f"Left out or changed, {reason}: {count:,}.", file=sys.stderr)  # noqa: T201 - a command
        print(f"{chosen.out}: {number:,} text{'s' * (number != 1)}")  # noqa: T201
    return status.code


if __name__ == "__main__":
    sys.exit(main())
