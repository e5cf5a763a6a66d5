"""``python -m workbench.embedded.samples``: choose held-out documents as sample inputs, and write where each comes from.

Only documents of the held-out side of the split are taken, so that a figure made from them shows the model on text that it never saw.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from workbench.embedded import KINDS
from workbench.embedded.cli import report
from workbench.embedded.corpus import Document, EmbeddedError, read_corpus

SMALLEST, LARGEST = 1500, 4096
"""Bytes of a sample."""
NOT_SHIPPED = "not stated"


def choose(documents: Sequence[Document], sources: dict[str, str], most: int) -> list[Document]:
    """Up to ``most`` documents of a fit size, in the order of their hash, no source more often than needed.

    Args:
        documents: held-out documents of one kind.
        sources: source of a document name.
        most: how many to take.
    """
    fit = sorted((d for d in documents if SMALLEST <= len(d.text.encode()) <= LARGEST), key=lambda d: d.digest)
    chosen: list[Document] = []
    used: Counter[str] = Counter()
    for allowed in range(1, most + 1):
        for document in fit:
            if len(chosen) < most and document not in chosen and used[sources[document.name]] < allowed:
                chosen.append(document)
                used[sources[document.name]] += 1
    return sorted(chosen, key=lambda d: d.name)


def write_samples(data_root: Path, out: Path, kinds: Sequence[str], most: int) -> str:
    """Copy the chosen documents to ``out/<kind>/`` and return a Markdown table of file, source and licence.

    Args:
        data_root: made by ``workbench.embedded.collect`` (its SOURCES.jsonl is needed).
        out: folder of the samples; folders of the kinds are replaced.
        kinds: which to write.
        most: documents of a kind.

    Raises:
        EmbeddedError: SOURCES.jsonl is missing, or no held-out document of a kind is fit.
    """
    listing = data_root / "SOURCES.jsonl"
    if not listing.is_file():
        raise EmbeddedError(
            f"Expected {listing}, but it is missing: make the data root with 'python -m workbench.embedded.collect'."
        )
    records = [json.loads(line) for line in listing.read_text(encoding="utf-8").splitlines()]
    corpus = read_corpus(data_root, kinds)
    lines = ["| file | source | licence |", "|---|---|---|"]
    for kind in kinds:
        known = {r["name"]: r for r in records if r["kind"] == kind and r["licence"] != NOT_SHIPPED}
        usable = [d for d in corpus.held_out(kind) if d.name in known]
        chosen = choose(usable, {name: r["source"] for name, r in known.items()}, most)
        if not chosen:
            raise EmbeddedError(
                f"Expected a held-out document of the kind '{kind}' of {SMALLEST} to {LARGEST} bytes with a stated licence, "
                f"but {data_root / kind} has none: add sources."
            )
        shutil.rmtree(out / kind, ignore_errors=True)
        (out / kind).mkdir(parents=True)
        for document in chosen:
            (out / kind / document.name).write_text(document.text, encoding="utf-8", newline="")
            lines.append(
                f"| `{kind}/{document.name}` | {known[document.name]['source']} | {known[document.name]['licence']} |"
            )
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    made = argparse.ArgumentParser(prog="python -m workbench.embedded.samples", description=__doc__)
    made.add_argument("--data-root", type=Path, required=True, help="made by 'python -m workbench.embedded.collect'")
    made.add_argument(
        "--out", type=Path, required=True, help="folder of the samples; its folders of the kinds are replaced"
    )
    made.add_argument("--kinds", default=",".join(KINDS), help="folders to use (default %(default)s)")
    made.add_argument("--most", type=int, default=10, help="documents of a kind (default %(default)s)")
    chosen = made.parse_args(arguments)
    with report() as status:
        print(write_samples(chosen.data_root, chosen.out, chosen.kinds.split(","), chosen.most), end="")
    return status.code


if __name__ == "__main__":
    sys.exit(main())
