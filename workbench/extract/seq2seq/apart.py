"""Labels that see neither the text nor each other, as in USM (docs/usm.md, "The pass"); ours, and not UIE's.

In a sentence encoder that reads labels and text as one string the states of all labels come out nearly the same, so a pointer cannot tell them apart. Here every label
and the text count positions from 0, a label sees itself alone, and the text sees everything; a label is pointed at by the mean of its states.

Letters in shapes: B rows, S source tokens, L labels, D width.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from workbench.extract.usm.batch import MENTION, PAIR, TEXT

NAMES = ("inputs_embeds", "attention_mask", "position_ids")  # what an encoder has to take


@dataclass(frozen=True)
class Layout:
    """Which place of a source is what.

    Attributes:
        segments: number of the label a place belongs to, counted from 1; 0: text. [B, S]
        positions: place within the label or the text. [B, S]
        kinds: `MENTION`, `PAIR` or `TEXT` of `workbench.extract.usm.batch`. [B, S]
    """

    segments: Tensor
    positions: Tensor
    kinds: Tensor

    @classmethod
    def of(cls, source: Tensor, marks: Sequence[int]) -> Layout:
        """Of a source.

        Args:
            source: token numbers, [B, S]. marks: numbers of the tokens before a label of spans, before one of pairs, and before the text.
        """
        spot, asoc, text = marks
        begun = (source == text).cumsum(1) > 0
        label = ((source == spot) | (source == asoc)) & ~begun
        segments = torch.where(begun, 0, label.cumsum(1))
        places = torch.arange(source.shape[1], device=source.device).expand_as(source)
        first = torch.where(label | ((source == text) & begun), places, 0)
        first = torch.where(
            begun, torch.where(begun, places, source.shape[1]).amin(1, keepdim=True), first.cummax(1)[0]
        )
        pair = (source == asoc) & ~begun
        pairs = torch.gather(pair, 1, torch.where(begun, 0, first)) & ~begun
        kinds = torch.where(segments == 0, TEXT, torch.where(pairs, PAIR, MENTION))
        return cls(segments, places - first, kinds)

    def seen(self, mask: Tensor) -> Tensor:
        """Which place sees which, bool [B, S, S].

        Args:
            mask: which places are a source, [B, S].
        """
        own = self.segments[:, :, None] == self.segments[:, None]
        return (own | (self.segments == 0)[:, :, None]) & mask.bool()[:, None]

    def pooled(self, states: Tensor) -> Tensor:
        """States with the mean of a label's in all of its places, [B, S, D]."""
        count = int(self.segments.max()) + 1
        inside = nn.functional.one_hot(self.segments, count).to(states.dtype)  # [B, S, L + 1]
        total = inside.transpose(1, 2) @ states
        means = total / inside.sum(1)[..., None].clamp_min(1)
        return torch.where((self.segments > 0)[..., None], inside @ means, states)


def first_position(encoder: Any) -> int:
    """RoBERTa and its kin count positions from behind the padding index."""
    table = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


def takes_layout(encoder: Any) -> bool:
    """Whether an encoder takes embeddings, positions and a mask for every pair of places, and keeps to the mask; found by trying it."""
    if any(name not in inspect.signature(encoder.forward).parameters for name in NAMES):
        return False
    table = encoder.get_input_embeddings()
    ids = torch.tensor([[1, 2, 3], [1, 2, 4]], device=table.weight.device) % table.weight.shape[0]
    mask = torch.zeros((2, 1, 3, 3), dtype=table.weight.dtype, device=ids.device)
    mask[..., :2, 2] = torch.finfo(mask.dtype).min
    was = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            positions = torch.tensor([[0, 1, 0]] * 2, device=ids.device) + first_position(encoder)
            states = encoder(inputs_embeds=table(ids), attention_mask=mask, position_ids=positions).last_hidden_state
    except (RuntimeError, TypeError, ValueError, IndexError):
        return False
    finally:
        encoder.train(was)
    return bool(torch.allclose(states[0, :2], states[1, :2], atol=1e-5))
