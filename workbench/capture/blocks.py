"""Documents are hashed into blocks, so that bootstrap, split-half and nulls need no token rows and survive merging."""

from __future__ import annotations

from hashlib import blake2b

from workbench.capture.schema import BLOCKS


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def block_of(document_id: str, blocks: int = BLOCKS) -> int:
    """The block of a document, the same on every machine and in every run."""
    return _hash(document_id) % blocks


def priority_of(document_id: str, seed: int) -> int:
    """Rank of a document in the seeded sample of token rows: the documents with the smallest values are kept.

    Bottom-k sampling by a hash: each set of documents is equally likely, and samples of parts can be merged.
    """
    return _hash(f"{seed}:{document_id}")
