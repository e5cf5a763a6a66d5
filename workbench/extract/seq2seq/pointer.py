"""The pointer of a copying model: what the longest match with the source adds, and the scores of every slot.

Apart from the model, so that a pass over a whole target and one token at a time compute it alike.

Letters in shapes: B rows, T target tokens, S source tokens, D width, F fixed tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

NOWHERE = -1e9  # the score of what cannot be written


def longest_matches(runs: Tensor) -> Tensor:
    """Places where the longest match ends, bool like `runs`, [B, T, S]; none where nothing matches."""
    return (runs == runs.amax(-1, keepdim=True)) & (runs > 0)


def shares(longest: Tensor, dtype: torch.dtype) -> Tensor:
    """What part of the source's states each place gives to the next token's embedding, [B, T, S]: the places of the longest match alike."""
    share = longest.to(dtype)
    return share / share.sum(-1, keepdim=True).clamp_min(1)


def slot_scores(
    model: Any, hidden: Tensor, keys: Tensor, runs: Tensor, longest: Tensor, there: Tensor, named: Tensor | None = None
) -> Tensor:
    """Scores of every slot from the decoder's states.

    Args:
        model: a `CopySeq2Seq`. hidden: [B, T, D]. keys: of the source's places, [B, S, D]. runs, longest: [B, T, S].
        there: what may be copied, bool [B, 1, S]. named: what likeness adds (`naming`), [B, T, S].

    Returns:
        float32 [B, T, F + S].
    """
    pointed = (model.query(hidden) @ keys.transpose(1, 2)).float() * hidden.shape[-1] ** -0.5
    bonus = torch.where(longest, model.gain[runs], 0.0)
    pointed = pointed + nn.functional.pad(bonus[..., :-1], (1, 0))
    if named is not None:
        pointed = pointed + named
    pointed = pointed.masked_fill(~there, NOWHERE)
    return torch.cat((model.write(hidden).float(), pointed), -1)
