"""One forward pass of one stack of layers: what its sites chose, and all that is needed to label its tokens later.

Hooks only collect references into a `Call`; labels are worked out when the collector flushes, for many calls at once.
Letters: B rows, T tokens of a row, N = B x T.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from probes.adapter_base import Routing
from probes.labels import Rows, as_array, segments_by_index, segments_by_lengths, segments_by_position


class Record(NamedTuple):
    """One call of one site.

    Attributes:
        site: number of the site.
        routing: ids, weights and perhaps logits of n tokens.
        seen: bool [N], which tokens of the call these are, None for all.
    """

    site: int
    routing: Routing
    seen: Tensor | None = None


@dataclass(eq=False)
class Tail:
    """The last real token of each row of a call in a cached sequence, and the loss of the token that was fed after it.

    Attributes:
        column: int64 [B], its place in the row.
        value: float32 [B] once the next call of the sequence has come, else None.
    """

    column: Tensor
    value: Tensor | None = None


@dataclass(eq=False)
class Call:
    """One forward pass of a stack.

    Attributes:
        stack: number of the stack.
        shape: (B, T) of its token grid.
        decode: whether it continues a cached sequence.
        rows: labels of its rows.
        records: what the sites chose.
        input_ids: int [B, T] or None.
        padding: bool [B, T], True for padding, or None.
        kinds: modality codes [B, T] that came with the call, or None.
        roles: role codes [B, T] that came with the call, or None.
        position_ids, sequence_index, lengths: what tells packed sequences apart, as the caller gave it.
        siblings: the calls of the same forward pass of the whole model.
        pooled: whether a row is no row of the batch (the patches of all images of a batch).
        past: tokens in the cache before the call.
        predicted, loss: int32 and float32 [N], likeliest next id and loss of the next token of the row (probes/predictions.py).
        tail: the loss of the last tokens, which the next call tells.
    """

    stack: int
    shape: tuple[int, int]
    decode: bool
    rows: Rows
    records: list[Record]
    input_ids: Tensor | None = None
    padding: Tensor | None = None
    kinds: Tensor | None = None
    roles: Tensor | None = None
    position_ids: Tensor | None = None
    sequence_index: Tensor | None = None
    lengths: Tensor | None = None
    siblings: list[Call] = field(default_factory=list, repr=False)
    pooled: bool = False
    past: int = 0
    predicted: Tensor | None = None
    loss: Tensor | None = None
    tail: Tail | None = None

    @property
    def tokens(self) -> int:
        return self.shape[0] * self.shape[1]

    def segments(self) -> np.ndarray | None:
        """Number of the packed sequence of each token in its row, int [B, T]; None for a document a row."""
        if self.decode or self.shape[1] < 2:
            return None
        if self.sequence_index is not None:
            return segments_by_index(as_array(self.sequence_index))
        if self.lengths is not None and self.shape[0] == 1:
            return segments_by_lengths(as_array(self.lengths), self.shape[1])
        if self.position_ids is None:
            return None
        positions = np.broadcast_to(as_array(self.position_ids), self.shape)
        return segments_by_position(positions, None if self.padding is None else ~as_array(self.padding))


class Given:
    """The arguments of a forward call by name.

    Args:
        names: parameter names of the forward in order.
        args, kwargs: the call.
    """

    __slots__ = ("args", "kwargs", "names")

    def __init__(self, names: tuple[str, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.names = names
        self.args = args
        self.kwargs = kwargs

    def get(self, *names: str) -> Any:
        """The first of the named arguments that was given and is not None."""
        for name in names:
            value = self.kwargs.get(name)
            if value is None and self.args and name in self.names:
                place = self.names.index(name)
                value = self.args[place] if place < len(self.args) else None
            if value is not None:
                return value
        return None

    def tensor(self, *names: str) -> Tensor | None:
        value = self.get(*names)
        return value if isinstance(value, Tensor) else None


def grid_of(given: Given, ids: tuple[str, ...], embeds: tuple[str, ...]) -> tuple[int, int] | None:
    """(B, T) of a call from its token ids [B, T] or embeddings [B, T, D], by name or as its first tensor."""
    found = given.tensor(*ids)
    if found is None:
        found = given.tensor(*embeds)
    if found is None and given.args and isinstance(given.args[0], Tensor):
        found = given.args[0]
    if found is None:
        return None
    if found.is_floating_point():
        return (found.shape[0], found.shape[1]) if found.dim() == 3 else None
    return (found.shape[0], found.shape[1]) if found.dim() == 2 else (1, found.shape[0]) if found.dim() == 1 else None


def padding_of(mask: Any, shape: tuple[int, int], past: int) -> Tensor | None:
    """Padding of a call's tokens from any form of attention mask.

    Args:
        mask: [B, K] (1 real, 0 padding), [B, 1, T, K] (True or 0 where a query may look, False or a large negative number
            where not), a dictionary of masks, or None.
        shape: (B, T) of the call.
        past: tokens already in the cache.

    Returns:
        bool [B, T], True for padding; None where the mask names none. In a 4-D mask a token is padding if it may not look
        at itself: causal and sliding-window masks always let a real token do that.
    """
    rows, tokens = shape
    if isinstance(mask, Mapping):
        parts = [part for part in mask.values() if isinstance(part, Tensor)]
        parts.sort(key=lambda part: part.dim())
        return padding_of(parts[0], shape, past) if parts else None
    if not isinstance(mask, Tensor):
        return None
    if mask.dim() == 2:
        if mask.shape[0] != rows or mask.shape[1] < tokens:
            return None
        end = past + tokens if mask.shape[1] >= past + tokens else mask.shape[1]
        return mask[:, end - tokens : end] == 0
    if mask.dim() == 4 and mask.shape[2] == tokens and mask.shape[0] in (1, rows):
        place = torch.arange(tokens, device=mask.device)
        column = place + past if mask.shape[3] >= past + tokens else place + mask.shape[3] - tokens
        own = mask[:, 0, place, column]
        hidden = ~own if own.dtype == torch.bool else own < 0
        return hidden.expand(rows, tokens)
    return None


def trailing_padding(input_ids: Tensor, pad: int) -> Tensor:
    """bool [B, T]: the run of pad ids at the end of each row, its first token never among them.

    A decoder that is trained on labels gets its input padded and no mask; its first token often is the pad id itself.
    """
    run = (input_ids == pad).flip(1).long().cumprod(dim=1).flip(1).bool()
    run[:, :1] = False
    return run


def prefix_mask(input_ids: Tensor, padding: Tensor | None, prefix: tuple[int, ...]) -> Tensor:
    """bool [B, T]: tokens of the prompt `prefix` at the start of the rows that begin with it."""
    real = torch.ones_like(input_ids, dtype=torch.bool) if padding is None else ~padding
    place = real.cumsum(dim=1) - 1
    wanted = torch.tensor(prefix, device=input_ids.device, dtype=input_ids.dtype)
    inside = real & (place >= 0) & (place < len(prefix))
    matches = input_ids == wanted[place.clamp(0, len(prefix) - 1)]
    whole = (matches | ~inside).all(dim=1, keepdim=True) & (inside.sum(dim=1, keepdim=True) == len(prefix))
    return inside & whole
