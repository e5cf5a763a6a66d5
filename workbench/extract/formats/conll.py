"""Columns: a token a line, an empty line between sentences, tags in one column or several (nested entities: one column a layer).

    read_conll("train.conll")                      columns are found
    read_conll("eng.train", token=0, tags=[3])     or named

Tags may be IOB1, IOB2, BIOES or BILOU. A comment line `# text = …` gives the text that the tokens were made from, `# id = …` or
`# sent_id = …` the name; without a text the tokens are joined by spaces. A comment `# entities = not annotated` is ours: other
readers see such a sentence as one without entities. Relations and events have no columns: they are read as "not annotated".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from workbench.extract.errors import RecordError
from workbench.extract.formats.files import expected, lines
from workbench.extract.formats.tokens import Counts, align, join, leave_out, tokens_of
from workbench.extract.records import Document, Span

TAG = re.compile(r"O|[BIESLU]-\S.*")
COMMENT = re.compile(r"#\s*(text|id|sent_id|entities)\s*=\s?(.*)", re.DOTALL)
UNANNOTATED = "not annotated"
PROBED = 5000  # lines that are looked at to find the columns


def read_conll(path: str | Path, token: int | None = None, tags: Sequence[int] | None = None) -> Iterator[Document]:
    """Sentences of a column file, entities annotated where no comment says otherwise.

    Args:
        token: column of the token, from 0; None: 0, or 1 where column 0 counts the tokens.
        tags: columns of tags, outermost first; None: those beside the token if that one holds tags, else the last that does.

    Raises:
        RecordError: the file is empty, no column holds tags, or a line is shorter than the columns asked for.
    """
    path = Path(path)
    if token is None or tags is None:
        found_token, found_tags = columns_of(path)
        token = found_token if token is None else token
        tags = found_tags if tags is None else tags
    wanted = max(token, *tags)
    for number, (comments, rows) in enumerate(_sentences(path), start=1):
        for row in rows:
            if len(row) <= wanted:
                raise RecordError(
                    f"Sentence {number} of '{path.name}' has a line with {len(row)} columns ('{' '.join(row)[:60]}'), but column {wanted + 1} was expected: name the columns."
                )
        words = [row[token] for row in rows]
        tokens = align(words, comments["text"]) if "text" in comments else join(words)
        spans = [
            Span(start=start, end=end, type=type_)
            for column in tags
            for first, stop, type_ in spans_of([row[column] for row in rows])
            for start, end in (tokens.chars(first, stop),)
        ]
        with expected(path, "a column file", f"Sentence {number} of '{path.name}'"):
            part = comments.get("document")
            stem = path.stem if part is None else f"{path.stem}.{part}"
            name = comments.get("id") or comments.get("sent_id") or f"{stem}-{number}"
            yield Document.model_validate(
                {
                    "id": name,
                    "text": tokens.text,
                    "entities": None if comments.get("entities") == UNANNOTATED else tuple(dict.fromkeys(spans)),
                    "tokens": [list(o) for o in tokens.offsets],
                }
            )


def write_conll(path: str | Path, documents: Iterable[Document], counts: Counts | None = None) -> None:
    """Entities as IOB2 columns, as many as the deepest nesting needs, with `# id` and `# text`.

    A line break inside a text becomes a space in `# text`, so that offsets stand. An entity that begins or ends in white space
    cannot be said in tokens, and relations and events have no column: they are left out and counted. Tabs, line breaks and white
    space at the start of a type become "_", which is counted too. Stored tokens are cut at white space inside them. A text without a token is its comments alone.
    """
    counts = Counts() if counts is None else counts
    laid = []
    for document in documents:
        for part in ("relations", "events"):
            leave_out(counts, f"{part}, which columns have no place for", len(getattr(document, part) or ()))
        changed = sum(_tag(span.type) != span.type for span in document.entities or ())
        leave_out(counts, 'types whose tabs, line breaks or leading white space became "_"', changed)
        tokens = tokens_of(document, solid=True)
        layers: list[list[str]] = []
        for span in sorted(document.entities or (), key=lambda s: (s.start - s.end, s.start, s.type)):
            place = tokens.tokens(span.start, span.end)
            if place is None:
                counts["entities that begin or end in white space"] += 1
                continue
            first, stop = place
            layer = next((layer for layer in layers if all(tag == "O" for tag in layer[first:stop])), None)
            if layer is None:
                layer = ["O"] * len(tokens.offsets)
                layers.append(layer)
            type_ = _tag(span.type)
            layer[first:stop] = [f"B-{type_}", *[f"I-{type_}"] * (stop - first - 1)]
        laid.append((document, tokens, layers))
    width = max((len(layers) for _, _, layers in laid), default=0) or 1
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        for document, tokens, layers in laid:
            one_line = tokens.text.translate({10: " ", 13: " "})  # as many characters as before
            file.write(f"# id = {' '.join(document.id.split())}\n# text = {one_line}\n")
            if document.entities is None:
                file.write(f"# entities = {UNANNOTATED}\n")
            empty = ["O"] * len(tokens.offsets)
            for row in zip(tokens.words, *layers, *[empty] * (width - len(layers)), strict=True):
                file.write("\t".join(row) + "\n")
            file.write("\n")


def _tag(type_: str) -> str:
    """A type as a cell of a column can hold it."""
    return re.sub(r"[\t\n\r]+|^\s+", "_", type_) or "_"


def spans_of(tags: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """(first, stop, type) of the tags of one column, in IOB1, IOB2, BIOES or BILOU."""
    start, open_type = 0, ""
    for at, tag in enumerate([*tags, "O"]):
        mark, _, type_ = tag.partition("-") if TAG.fullmatch(tag) else ("O", "", "")
        if open_type and (mark in "OBSU" or type_ != open_type):
            yield start, at, open_type
            open_type = ""
        if mark != "O" and not open_type:
            start, open_type = at, type_
        if mark in "ESLU" and open_type:
            yield start, at + 1, open_type
            open_type = ""


def columns_of(path: str | Path) -> tuple[int, list[int]]:
    """The token's column and the columns of tags.

    Raises:
        RecordError: the file is empty, or no column holds tags.
    """
    path = Path(path)
    could: set[int] | None = None
    numbered, empty = True, True
    seen = 0
    for _, rows in _sentences(path):
        empty = False
        for row in rows:
            fits = {n for n, cell in enumerate(row) if n and TAG.fullmatch(cell)}
            could = fits if could is None else could & fits
            numbered &= len(row) > 2 and row[0].isdigit()
            seen += 1
        if seen > PROBED:
            break
    if empty:
        raise RecordError(f"'{path.name}' is empty: expected a token a line with its tag.")
    if could is None:  # texts without a token
        return 0, [1]
    if not could:
        raise RecordError(
            f"No column of '{path.name}' holds tags such as B-PER and O: expected a token a line with its tag."
        )
    token = 1 if numbered and 1 not in could else 0
    tags: list[int] = []
    while token + 1 + len(tags) in could:
        tags.append(token + 1 + len(tags))
    return token, tags or [max(could)]


def _sentences(path: Path) -> Iterator[tuple[dict[str, str], list[list[str]]]]:
    """(comments, rows of cells) of each sentence; after a line `-DOCSTART-` they hold the number of the "document"."""
    comments: dict[str, str] = {}
    documents = 0
    rows: list[list[str]] = []
    for line in lines(path):
        if not line.strip():
            if rows or _blank(comments):
                yield comments, rows
            comments, rows = {"document": str(documents)} if documents else {}, []
            continue
        said = COMMENT.match(line) if not rows else None
        if said:
            comments[said.group(1)] = said.group(2)
            continue
        cells = line.split("\t") if "\t" in line else line.split()
        if line.startswith("-DOCSTART-"):
            documents += 1
            comments["document"] = str(documents)
        elif rows or not line.startswith("# ") or TAG.fullmatch(cells[-1]):
            rows.append(cells)
    if rows or _blank(comments):
        yield comments, rows


def _blank(comments: dict[str, str]) -> bool:
    """Whether a sentence without rows is a text without a token."""
    return "text" in comments and not comments["text"].strip()
