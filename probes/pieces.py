"""Text pieces of tokens, so that joining the pieces of a document gives its text as well as the tokenizer allows."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

_BYTE_TOKEN = re.compile(r"^<0x([0-9A-Fa-f]{2})>$")


@lru_cache(maxsize=1)
def _byte_of_character() -> dict[str, int]:
    """The printable stand-ins of byte-level BPE (GPT-2): character -> byte."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(byte): byte for byte in plain}
    extra = [byte for byte in range(256) if byte not in set(plain)]
    table.update({chr(256 + place): byte for place, byte in enumerate(extra)})
    return table


def is_byte_level(tokenizer: Any) -> bool:
    """Whether a tokenizer writes bytes as the printable stand-ins of GPT-2 (a space then is "Ġ")."""
    backend = getattr(tokenizer, "backend_tokenizer", None) or getattr(tokenizer, "_tokenizer", None)
    if backend is not None:
        return "ByteLevel" in f"{backend.decoder!r} {backend.pre_tokenizer!r}"
    return hasattr(tokenizer, "byte_decoder")


class Pieces:
    """Pieces by token id, looked up once for each id.

    Args:
        processor: a tokenizer, or a processor that holds one.
    """

    def __init__(self, processor: Any) -> None:
        self._tokenizer = getattr(processor, "tokenizer", None) or processor
        self._byte_level = is_byte_level(self._tokenizer)
        self._known: dict[int, str | bytes | None] = {}

    def _look_up(self, token: int) -> str | bytes | None:
        """A finished text, or the bytes of a part of a character that joins its neighbours."""
        if token not in self._known:
            self._known[token] = self._read(token)
        return self._known[token]

    def _read(self, token: int) -> str | bytes | None:
        if token < 0:
            return None
        try:
            raw = self._tokenizer.convert_ids_to_tokens(token)
        except (IndexError, KeyError, OverflowError, ValueError):
            return None
        if raw is None:
            return None
        if isinstance(raw, bytes):
            return _text_or_bytes(raw)
        if self._byte_level:
            table = _byte_of_character()
            if all(character in table for character in raw):
                return _text_or_bytes(bytes(table[character] for character in raw))
            return str(raw)
        byte = _BYTE_TOKEN.match(raw)
        if byte:
            return _text_or_bytes(bytes([int(byte.group(1), 16)]))
        if raw.startswith("##"):
            return str(raw[2:])
        return str(raw.replace("▁", " ").replace("</w>", " "))

    def __call__(self, ids: np.ndarray, documents: np.ndarray) -> list[str | None]:
        """Pieces of rows in document order; a character split over several tokens stands at the first of them."""
        pieces: list[str | None] = []
        run: list[int] = []
        collected = b""

        def close() -> None:
            nonlocal collected
            if run:
                pieces[run[0]] = collected.decode("utf-8", "replace")
                run.clear()
                collected = b""

        previous = None
        for row, (token, document) in enumerate(zip(ids.tolist(), documents.tolist(), strict=True)):
            found = self._look_up(token)
            if document != previous or not isinstance(found, bytes):
                close()
            previous = document
            if isinstance(found, bytes):
                run.append(row)
                collected += found
                pieces.append("")
                if isinstance(_text_or_bytes(collected), str):
                    close()
            else:
                pieces.append(found)
        close()
        return pieces


def _text_or_bytes(raw: bytes) -> str | bytes:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw


def pieces_of(processor: Any) -> Callable[[np.ndarray, np.ndarray], list[str | None]] | None:
    """A reader of pieces for a tokenizer or processor; None if it cannot name its tokens."""
    if processor is None:
        return None
    tokenizer = getattr(processor, "tokenizer", None) or processor
    return Pieces(processor) if hasattr(tokenizer, "convert_ids_to_tokens") else None
