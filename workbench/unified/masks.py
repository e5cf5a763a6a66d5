"""Which token may see which: one rule, as a dense mask on the CPU and as a FlexAttention mask on a GPU.

A key is seen if it is of the same document and its block is not later: a text or audio token is a block of its own (causal);
a scale of a picture being made, or a whole picture that is read, is one block (bidirectional inside). Between frames of a clip that
is being made, a key further back than the window is unseen, and a hidden frame is seen by itself alone (random frame mask,
ERNIE 5.0 report section 2.2.3, VideoAR).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Rows(NamedTuple):
    """What the mask needs to know of every token.

    Attributes:
        document: int [B, T], which document of the row; negative is padding.
        block: int [B, T], rising within a document.
        frame: int [B, T], frame of a clip that is being made, -1 for all other tokens.
        hidden: bool [B, T], tokens of a hidden frame.
    """

    document: Tensor
    block: Tensor
    frame: Tensor
    hidden: Tensor

    def joined(self, later: Rows) -> Rows:
        """These tokens with later ones behind them."""
        return Rows(*(torch.cat([mine, theirs], 1) for mine, theirs in zip(self, later, strict=True)))

    def where(self, index: Any) -> Rows:
        return Rows(*(part[index] for part in self))


def allowed(query: Rows, key: Rows, window: int) -> Tensor:
    """The rule, element by element; the two sides broadcast against each other."""
    same = (query.document == key.document) & (query.document >= 0)
    past = key.block <= query.block
    frames = (query.frame >= 0) & (key.frame >= 0) & (query.frame != key.frame)
    unseen = frames & ((query.frame - key.frame > window) | key.hidden)
    return same & past & ~unseen


def dense_mask(query: Rows, key: Rows, window: int) -> Tensor:
    """bool [B, 1, Tq, Tk], true where a key is seen; padding sees itself alone, so that no row is empty."""
    seen = allowed(query.where((..., slice(None), None)), key.where((..., None, slice(None))), window)
    empty = ~seen.any(-1, keepdim=True)
    return (seen | empty)[:, None]


def flex_mask(query: Rows, key: Rows, window: int) -> Any:
    """The same rule as a FlexAttention block mask (a GPU leaves out blocks that nothing sees).

    Args:
        query, key, window: as for :func:`dense_mask`; only real tokens' rows are promised to be equal.
    """
    from torch.nn.attention.flex_attention import create_block_mask

    def rule(batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return allowed(query.where((batch, q)), key.where((batch, k)), window)

    rows, queries = query.block.shape
    return create_block_mask(rule, rows, None, queries, key.block.shape[1], device=str(query.block.device))
