"""The special tokens of a structured output, by number (UIE, `uie/extraction/constants.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workbench.extract.errors import EngineError
from workbench.extract.usm.pieces import Pieces, encode_texts

SPOT, ASOC = "<spot>", "<asoc>"
SENTINELS = 20  # <extra_id_0> … that a tokenizer of ours gets; T5 has 100


def sentinel(number: int) -> str:
    """The spelling of T5's sentinel tokens."""
    return f"<extra_id_{number}>"


ROLES = {
    "spot": SPOT, "asoc": ASOC, "open": sentinel(0), "close": sentinel(1), "text": sentinel(2), "colon": sentinel(5), "null": sentinel(6),
}  # fmt: skip


@dataclass(frozen=True)
class SelTokens:
    """Vocabulary numbers of the tokens that have a role.

    Attributes:
        spot, asoc: before a label in the prompt. open, close: any bracket. text: start of the text. colon: between label and span.
        null: the span of a label that is rejected. eos, pad: end and padding; start: what decoding starts from.
        unk: the unknown token, or None.
        special: every number that no text may bring in.
    """

    spot: int
    asoc: int
    open: int
    close: int
    text: int
    colon: int
    null: int
    eos: int
    pad: int
    start: int
    unk: int | None
    special: frozenset[int]

    @classmethod
    def of(cls, tokenizer: Any, start: int | None = None) -> SelTokens:
        """The tokens of a tokenizer.

        Args:
            start: what decoding starts from; None: the padding token, as in T5.

        Raises:
            EngineError: it lacks one of them.
        """
        vocabulary = tokenizer.get_vocab()
        lacking = [text for text in ROLES.values() if text not in vocabulary]
        if lacking:
            raise EngineError(
                f"The tokenizer lacks {', '.join(lacking)}, which structured output is written with: choose a UIE checkpoint, or start from "
                "this model with `workbench train --engine uie --encoder`, which adds them."
            )
        eos = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
        pad = tokenizer.pad_token_id
        if eos is None or pad is None:
            raise EngineError(
                "The tokenizer has no end or no padding token, which generation needs: choose that of an encoder-decoder model."
            )
        special = {vocabulary[text] for text in ROLES.values()} | set(tokenizer.all_special_ids)
        special |= {n for text, n in vocabulary.items() if text.startswith("<extra_id_") and text.endswith(">")}
        unk = tokenizer.unk_token_id
        return cls(
            **{role: vocabulary[text] for role, text in ROLES.items()},
            eos=eos,
            pad=pad,
            start=pad if start is None else start,
            unk=unk,
            special=frozenset(special - {unk}),
        )


def add_tokens(tokenizer: Any) -> int:
    """Give a tokenizer the tokens it lacks; returns how many are new."""
    wanted = [SPOT, ASOC, *(sentinel(n) for n in range(SENTINELS))]
    known = tokenizer.get_vocab()
    new = [text for text in wanted if text not in known]
    return (
        int(tokenizer.add_special_tokens({"additional_special_tokens": new}, replace_extra_special_tokens=False))
        if new
        else 0
    )


def encode_plain(tokenizer: Any, tokens: SelTokens, texts: Sequence[str]) -> list[Pieces]:
    """Pieces of each text, in which a special token spelt out in the text is text, or at most the unknown token."""
    return [_harmless(pieces, tokens) for pieces in encode_texts(tokenizer, texts)]


def _harmless(pieces: Pieces, tokens: SelTokens) -> Pieces:
    bad = np.isin(pieces.ids, list(tokens.special))
    if not bad.any():
        return pieces
    ids = pieces.ids.copy()
    ids[bad] = tokens.unk if tokens.unk is not None else tokens.pad
    return replace(pieces, ids=ids)
