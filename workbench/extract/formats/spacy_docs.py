"""spaCy's DocBin, by the optional extra `spacy`: entities as the span group "entities", so that nested ones are kept.

Tokens are ours, cut at the borders of the spans, and carry the exact white space: offsets stand. Relations and events travel as
JSON in `doc.user_data`. spaCy's own `doc.ents` takes the outermost entities that do not overlap.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from workbench.extract.errors import EngineError, RecordError
from workbench.extract.formats.files import expected
from workbench.extract.formats.tokens import Counts, tokens_of
from workbench.extract.records import Document, Span

GROUP = "entities"
MAX_BYTES = 512 * 2**20


def _spacy() -> Any:
    try:
        import spacy
        import spacy.tokens
        import spacy.util
    except ImportError:
        raise EngineError("The spaCy format needs spaCy: pip install 'unified-workbench[spacy]'.") from None
    return spacy


def write_spacy(path: str | Path, documents: Iterable[Document], counts: Counts | None = None) -> None:
    """Write a DocBin. An entity that covers only part of a run of white space is left out and counted."""
    spacy = _spacy()
    counts = Counts() if counts is None else counts
    vocab = spacy.blank("xx").vocab
    store = spacy.tokens.DocBin(store_user_data=True)
    for document in documents:
        words, spaces = _words(document)
        doc = spacy.tokens.Doc(vocab, words=words, spaces=spaces)
        spans = []
        for span in document.entities or ():
            found = doc.char_span(span.start, span.end, label=span.type)
            if found is None:
                counts["entities that begin or end in white space"] += 1
            else:
                spans.append(found)
        if document.entities is not None:
            doc.spans[GROUP] = spans
            doc.ents = spacy.util.filter_spans(spans)
        rest = {name: value for name, value in document.to_json().items() if name not in ("text", "entities")}
        doc.user_data["document"] = json.dumps(rest, ensure_ascii=False)
        store.add(doc)
    store.to_disk(path)


def read_spacy(path: str | Path) -> Iterator[Document]:
    """Documents of a DocBin: the span group "entities", or `doc.ents` where there is none.

    Raises:
        EngineError: spaCy is not installed. RecordError: the file is missing, too large or no DocBin.
    """
    spacy = _spacy()
    path = Path(path)
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise RecordError(f"'{path.name}' is missing or has more than {MAX_BYTES // 2**20} MB: give a DocBin file.")
    try:
        docs = list(spacy.tokens.DocBin().from_disk(path).get_docs(spacy.blank("xx").vocab))
    except Exception as fault:
        raise RecordError(
            f"'{path.name}' is no DocBin of spaCy ({type(fault).__name__}): choose another format."
        ) from None
    for number, doc in enumerate(docs, start=1):
        kept = doc.user_data.get("document")
        with expected(path, "a DocBin as it is written here", f"Document {number} of '{path.name}'"):
            value = dict(json.loads(kept)) if isinstance(kept, str) else {"id": f"{path.stem}-{number}"}
        spans = doc.spans[GROUP] if GROUP in doc.spans else None if isinstance(kept, str) else doc.ents
        if spans is not None:
            value["entities"] = [Span(start=s.start_char, end=s.end_char, type=s.label_) for s in spans]
        yield Document.read({**value, "text": doc.text}, f"Document {number} of '{path.name}'")


def _words(document: Document) -> tuple[list[str], list[bool]]:
    """Tokens and white space of a text so that spaCy gives the text back: one space after a token is its own, more are tokens."""
    words: list[str] = []
    spaces: list[bool] = []
    at = 0
    text = document.text
    for start, end in tokens_of(document).offsets:
        _gap(text[at:start], words, spaces)
        words.append(text[start:end])
        spaces.append(False)
        at = end
    _gap(text[at:], words, spaces)
    return words, spaces


def _gap(white: str, words: list[str], spaces: list[bool]) -> None:
    if white.startswith(" ") and words and not spaces[-1]:
        spaces[-1], white = True, white[1:]
    if white:
        words.append(white)
        spaces.append(False)
