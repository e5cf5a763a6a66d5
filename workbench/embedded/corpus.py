"""Documents on disk and their split into training and held-out ones.

Layout: ``DATA_ROOT/<kind>/<any name>``, one plain UTF-8 text file a document. The split is a property of the text itself (a hash of
its content), so that it is the same on every machine, does not depend on names or order, and identical documents never
stand on both sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.capture.errors import WorkbenchError

HELD_OUT_PERCENT = 5


class EmbeddedError(WorkbenchError):
    """The recipe of the embedded model can't go on with what it was given."""


@dataclass(frozen=True)
class Document:
    """One text of one kind.

    Args:
        kind: name of the folder it came from.
        name: file name inside that folder.
        text: the text, never empty.
    """

    kind: str
    name: str
    text: str

    @property
    def digest(self) -> str:
        """Hash of the text, in hexadecimal: the identity of the document for the split and for fingerprints."""
        return hashlib.blake2b(self.text.encode("utf-8"), digest_size=16).hexdigest()

    @property
    def held_out(self) -> bool:
        """Whether the document is kept away from training and from the tokenizer."""
        return int(self.digest[:8], 16) % 100 < HELD_OUT_PERCENT


@dataclass(frozen=True)
class Corpus:
    """All documents, by kind, in the order of their names."""

    kinds: tuple[str, ...]
    documents: dict[str, tuple[Document, ...]]

    def train(self, kind: str) -> list[Document]:
        """The documents of one kind that a model may learn from."""
        return [d for d in self.documents[kind] if not d.held_out]

    def held_out(self, kind: str) -> list[Document]:
        """The documents of one kind that are only measured on."""
        return [d for d in self.documents[kind] if d.held_out]

    def fingerprint(self) -> str:
        """A hash over every document, to notice that a resumed run got other data."""
        digest = hashlib.blake2b(digest_size=16)
        for kind in self.kinds:
            for document in self.documents[kind]:
                digest.update(f"{kind}/{document.digest}\n".encode())
        return digest.hexdigest()


def read_corpus(root: Path, kinds: Sequence[str]) -> Corpus:
    """Read ``root/<kind>/*`` for every kind.

    Args:
        root: the data root.
        kinds: folder names, in the order that the batches use.

    Returns:
        The corpus; a kind has at least one training document.

    Raises:
        EmbeddedError: a folder is missing or empty, a file is empty or is not UTF-8 text, or no document is left to train on.
    """
    if not root.is_dir():
        raise EmbeddedError(
            f"Expected a data root with one folder a kind, but {root} is not a folder: make it with 'python -m workbench.embedded.collect'."
        )
    return Corpus(tuple(kinds), {kind: _read_kind(root, kind) for kind in kinds})


def _read_kind(root: Path, kind: str) -> tuple[Document, ...]:
    folder = root / kind
    if not folder.is_dir():
        raise EmbeddedError(
            f"Expected a folder of texts for the kind '{kind}', but {folder} does not exist: add it, or leave the kind out with --kinds."
        )
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    if not files:
        raise EmbeddedError(
            f"Expected at least one text of the kind '{kind}', but {folder} is empty: put a text file into it."
        )
    documents = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise EmbeddedError(
                f"Expected plain UTF-8 text, but {path} can't be decoded at byte {error.start}: convert it or take it out."
            ) from None
        if not text.strip():
            raise EmbeddedError(f"Expected text, but {path} is empty: fill it or take it out.")
        documents.append(Document(kind, path.name, text))
    if all(d.held_out for d in documents):
        raise EmbeddedError(
            f"Expected a training document of the kind '{kind}', but the split by hash keeps all {len(documents)} of {folder} "
            "back for the evaluation: add more documents."
        )
    return tuple(documents)
