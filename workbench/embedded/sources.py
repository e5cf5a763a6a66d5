"""Readers that cut the sources a user names into documents of about 2 kB, at natural seams.

A seam is the end of a paragraph (prose, another language), of a speech (dialogue), of a function or class (code), of a row
(tables, each document with its header line).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path

from workbench.embedded.corpus import EmbeddedError

TARGET = 2000
"""Characters after which a document is closed at the next seam."""
SMALLEST = 600
"""A shorter rest is dropped: it would be a document of a few dozen tokens."""
SKIPPED_CODE = frozenset(
    {"test", "tests", "idlelib", "lib2to3", "encodings", "site-packages", "dist-packages", "__pycache__", "turtledemo"}
)
"""Parts of a standard library that are no typical code: tests, generated character tables, installed packages."""

# Words that are frequent in German and are no English words, and the reverse: enough to tell a translated paragraph from
# one that its translators left in English.
GERMAN_WORDS = frozenset(
    [
        "der",
        "die",
        "das",
        "und",
        "ist",
        "nicht",
        "ein",
        "eine",
        "einen",
        "mit",
        "für",
        "von",
        "auf",
        "dem",
        "den",
        "des",
        "zu",
        "im",
        "sich",
        "wird",
        "werden",
        "sie",
        "kann",
        "oder",
        "auch",
        "als",
    ]
)
ENGLISH_WORDS = frozenset(
    [
        "the",
        "and",
        "is",
        "not",
        "of",
        "to",
        "that",
        "with",
        "for",
        "on",
        "it",
        "this",
        "be",
        "can",
        "or",
        "are",
        "you",
        "as",
        "which",
        "by",
        "from",
    ]
)


def merge(pieces: Iterable[str], joiner: str, target: int = TARGET) -> Iterator[str]:
    """Join consecutive pieces until a document has ``target`` characters; a short rest is dropped."""
    document = ""
    for piece in pieces:
        document = f"{document}{joiner}{piece}" if document else piece
        if len(document) >= target:
            yield document
            document = ""
    if len(document) >= SMALLEST:
        yield document


def prose(text: str) -> Iterator[str]:
    """Documents of a book: paragraphs with their hard line breaks undone."""
    return merge(_paragraphs(text), "\n\n")


def dialogue(text: str) -> Iterator[str]:
    """Documents of a play: speeches (``NAME:`` and lines) parted by empty lines, line breaks kept."""
    return merge((p.strip() for p in re.split(r"\n\s*\n", text) if p.strip()), "\n\n")


def code(text: str) -> Iterator[str]:
    """Documents of a source file, cut before a function, a method, a class or a decorator."""
    pieces = re.split(r"\n(?=(?:    )?(?:class |def |async def |@))", text.expandtabs(4))
    return merge(pieces, "\n")


def table(text: str, most: int) -> Iterator[str]:
    """Documents of a CSV table: blocks of consecutive rows under the header line, spread evenly over the table.

    Args:
        text: the whole file, first line the header.
        most: at most about this many characters in all, so that one long table doesn't drown the others.
    """
    rows = list(csv.reader(io.StringIO(text)))
    if len(rows) < 2:
        return
    header, body = rows[0], rows[1:]
    lines = [_csv_line(row) for row in body]
    size = max(1, TARGET // max(1, sum(map(len, lines)) // len(lines) + 1))
    blocks = [lines[i : i + size] for i in range(0, len(lines), size)]
    stride = max(1, -(-sum(map(len, lines)) // most))
    for block in blocks[::stride]:
        document = "\n".join([_csv_line(header), *block]) + "\n"
        if len(document) >= SMALLEST:
            yield document


def german(text: str) -> Iterator[str]:
    """Documents of German text: only paragraphs with more German than English function words are kept."""
    return merge((p for p in _paragraphs(text) if is_german(p)), "\n\n")


def is_german(paragraph: str) -> bool:
    """Whether German function words outnumber English ones, with at least two of them."""
    words = re.findall(r"[a-zäöüß]+", paragraph.lower())
    own = sum(w in GERMAN_WORDS for w in words)
    return own >= 2 and own > sum(w in ENGLISH_WORDS for w in words)


def html_text(markup: str) -> str:
    """The text of the paragraphs of an HTML page, parted by empty lines; code listings, tables and headings are left out."""
    parser = _Paragraphs()
    parser.feed(markup)
    parser.close()
    return "\n\n".join(parser.found)


def files(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files to read at ``path``: itself, or those below it with one of the suffixes, sorted.

    Raises:
        EmbeddedError: the path does not exist or holds no such file.
    """
    if path.is_file():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix in suffixes) if path.is_dir() else []
    found = [p for p in found if not SKIPPED_CODE & set(p.relative_to(path).parts) and p.name not in LICENCE_FILES]
    if not found:
        raise EmbeddedError(
            f"Expected a file, or a folder with {' or '.join(suffixes)} files, but {path} is none: name another source."
        )
    return found


LICENCE_FILES = ("LICENCE.txt",)


def licence_of(path: Path, default: str) -> str:
    """First line of the ``LICENCE.txt`` in the folder of a source, or above it up to two levels; else the default."""
    for folder in list(path.parents)[:3]:
        for name in LICENCE_FILES:
            if (folder / name).is_file():
                return (folder / name).read_text(encoding="utf-8").strip().splitlines()[0]
    return default


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text):
        joined = " ".join(paragraph.split())
        if joined:
            yield joined


def _csv_line(row: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(row)
    return buffer.getvalue()


class _Paragraphs(HTMLParser):
    """Collects the text of ``<p>`` elements and of DocBook's ``<div class="para">``."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._open = False
        self._parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "p" or (tag == "div" and ("class", "para") in attrs):
            self._finish()
            self._open = True
        elif tag in ("pre", "table", "div", "ul", "ol", "dl", "h1", "h2", "h3", "h4"):
            self._finish()

    def handle_endtag(self, tag: str) -> None:
        if tag in ("p", "div"):
            self._finish()

    def handle_data(self, data: str) -> None:
        if self._open:
            self._parts.append(data)

    def _finish(self) -> None:
        text = " ".join("".join(self._parts).split())
        if text:
            self.found.append(text)
        self._open, self._parts = False, []
