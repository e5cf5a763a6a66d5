"""``python -m workbench.embedded.collect``: lay out the text of five kinds from sources that the user names.

Writes ``OUT/<kind>/<document>`` and ``OUT/SOURCES.jsonl`` (a line a document: kind, name, source, licence, characters, side of
the split). Nothing is fetched: every source is a file or folder on this machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from workbench.embedded import KINDS, sources
from workbench.embedded.cli import report
from workbench.embedded.corpus import Document, EmbeddedError

SUFFIXES = {
    "prose": (".txt",),
    "dialogue": (".txt",),
    "code": (".py",),
    "tables": (".csv",),
    "german": (".txt", ".html", ".htm"),
}
EXTENSION = {"code": "py", "tables": "csv"}
PER_TABLE = 500_000
"""Characters taken from one table at most."""


def documents_of(kind: str, path: Path) -> Iterator[str]:
    """The documents that one source file gives for a kind; nothing if it is not text.

    Args:
        kind: one of KINDS.
        path: a text, source, CSV or HTML file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        return
    if path.suffix in (".html", ".htm"):
        text = sources.html_text(text)
    if kind == "prose":
        yield from sources.prose(text)
    elif kind == "dialogue":
        yield from sources.dialogue(text)
    elif kind == "code":
        yield from sources.code(text)
    elif kind == "tables":
        yield from sources.table(text, PER_TABLE)
    else:
        yield from sources.german(text)


def collect(named: dict[str, list[Path]], out: Path, most: int, progress: bool = False) -> dict[str, int]:
    """Write the layout.

    Args:
        named: sources of each kind.
        out: the data root to make; must not hold a layout yet.
        most: characters of one kind at most; beyond that, documents are dropped by their hash, evenly over the sources.
        progress: draw a bar.

    Returns:
        Characters written, by kind.

    Raises:
        EmbeddedError: a source is missing, a kind came out empty, or ``out`` is in use.
    """
    if out.exists() and any(out.iterdir()):
        raise EmbeddedError(f"Expected a new or empty folder, but {out} is not empty: name another --out or remove it.")
    written: dict[str, int] = {}
    records = []
    for kind, paths in named.items():
        found: dict[str, tuple[Document, str, str]] = {}
        names: set[str] = set()
        for root in paths:
            for path in tqdm(sources.files(root, SUFFIXES[kind]), desc=kind, disable=not progress):
                licence = sources.licence_of(
                    path, "PSF-2.0 (CPython standard library)" if kind == "code" else "not stated"
                )
                base = path.name if path == root else str(path.relative_to(root))
                stem = "-".join(Path(base).with_suffix("").parts)
                for number, text in enumerate(documents_of(kind, path)):
                    document = Document(kind, f"{stem}-{number:04d}.{EXTENSION.get(kind, 'txt')}", text)
                    if document.name in names:  # two folders with a file of the same name
                        document = replace(document, name=f"{document.digest[:8]}-{document.name}")
                    if document.digest not in found:
                        names.add(document.name)
                        found[document.digest] = (document, base, licence)
        kept, size = [], 0
        for digest in sorted(found):
            if size >= most:
                break
            kept.append(found[digest])
            size += len(found[digest][0].text)
        if not kept:
            raise EmbeddedError(
                f"Expected text of the kind '{kind}', but its sources gave no document of {sources.SMALLEST} characters or more."
            )
        (out / kind).mkdir(parents=True)
        for document, source, licence in sorted(kept, key=lambda item: item[0].name):
            (out / kind / document.name).write_text(document.text, encoding="utf-8")
            records.append(
                {
                    "kind": kind,
                    "name": document.name,
                    "source": source,
                    "licence": licence,
                    "characters": len(document.text),
                    "held_out": document.held_out,
                }
            )
        written[kind] = size
    with (out / "SOURCES.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    return written


def parser() -> argparse.ArgumentParser:
    """The command line of this module."""
    made = argparse.ArgumentParser(prog="python -m workbench.embedded.collect", description=__doc__)
    for kind in KINDS:
        default = [Path(sysconfig.get_paths()["stdlib"])] if kind == "code" else None
        says = "default: the standard library of this Python" if kind == "code" else "required"
        made.add_argument(
            f"--{kind}", type=Path, nargs="+", metavar="PATH", default=default, required=default is None,
            help=f"files or folders ({', '.join(SUFFIXES[kind])}) with {kind}; {says}",
        )  # fmt: skip
    made.add_argument("--out", type=Path, required=True, help="the data root to make")
    made.add_argument(
        "--most", type=float, default=6.0, metavar="MB", help="millions of characters of one kind at most (default 6)"
    )
    return made


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    chosen = parser().parse_args(arguments)
    with report() as status:
        written = collect(
            {kind: getattr(chosen, kind) for kind in KINDS}, chosen.out, int(chosen.most * 1e6), progress=True
        )
        for kind, size in written.items():
            print(
                f"{kind:10} {size / 1e6:6.2f} million characters in {len(list((chosen.out / kind).iterdir()))} documents"
            )
    return status.code


if __name__ == "__main__":
    sys.exit(main())
