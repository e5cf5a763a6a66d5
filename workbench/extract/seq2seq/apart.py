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
from torch import Tensor

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
        means = label_means(states, self.segments, max(1, int(self.segments.max())))
        own = (self.segments - 1).clamp_min(0)[..., None].expand_as(states)
        return torch.where((self.segments > 0)[..., None], means.gather(1, own), states)


def label_means(states: Tensor, segments: Tensor, count: int) -> Tensor:
    """Mean of each label's states, [B, L, D].

    Args:
        states: [B, S, D]. segments: number of the label a place belongs to, counted from 1, [B, S]. count: of labels, L.
    """
    numbers = torch.arange(1, count + 1, device=states.device)
    inside = (segments[:, None, :] == numbers[None, :, None]).to(states.dtype)
    return inside @ states / inside.sum(-1, keepdim=True).clamp_min(1)


def first_position(encoder: Any) -> int:
    """RoBERTa and its kin count positions from behind the padding index."""
    table = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


def cannot_read_apart(encoder: Any) -> str:
    """Why an encoder cannot read labels apart, as the end of "an encoder …"; "" if it can. It has to take embeddings, positions and a mask for every
    pair of places, and to keep to the mask; found by trying it."""
    name, takes = type(encoder).__name__, inspect.signature(encoder.forward).parameters
    if missing := [part for part in NAMES if part not in takes]:
        return f"that takes {', '.join(missing)}, but {name} does not"
    table = encoder.get_input_embeddings()
    ids = torch.tensor([[1, 2, 3], [1, 2, 4]], device=table.weight.device)
    mask = torch.zeros((2, 1, 3, 3), dtype=table.weight.dtype, device=ids.device)
    mask[..., :2, 2] = torch.finfo(mask.dtype).min
    was = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            positions = torch.tensor([[0, 1, 0]] * 2, device=ids.device) + first_position(encoder)
            states = encoder(inputs_embeds=table(ids), attention_mask=mask, position_ids=positions).last_hidden_state
    except (RuntimeError, TypeError, ValueError, IndexError) as fault:
        return f"that takes an attention mask for every pair of positions, but {name} stopped at it ({str(fault).splitlines()[0][:120]})"
    finally:
        encoder.train(was)
    if not torch.allclose(states[0, :2], states[1, :2], atol=1e-5):
        return f"that keeps to its attention mask, but in {name} a label sees another one"
    return ""
