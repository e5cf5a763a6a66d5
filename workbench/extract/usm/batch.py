"""Batches: labels and text of each sample as one sequence, with the attention mask that keeps labels apart.

A sequence is `[CLS] label … [CLS] label [CLS] text [SEP]`. Each label, and the text, counts its positions from 0, so the order of
labels cannot matter. A label sees itself and, if the model wants that, the text; the text sees everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workbench.extract.usm.links import Targets
from workbench.extract.usm.pieces import Pieces

TEXT, MENTION, PAIR = 0, 1, 2  # kinds of segments


@dataclass(frozen=True)
class Sample:
    """One pass: pieces of a text and the labels asked of it.

    Attributes:
        pieces: at most the model's window.
        labels: vocabulary numbers of each label, mention labels first.
        mentions: how many of them are mention labels.
    """

    pieces: Pieces
    labels: tuple[tuple[int, ...], ...]
    mentions: int

    @property
    def length(self) -> int:
        """Positions of the whole sequence."""
        return len(self.pieces) + 2 + sum(len(label) + 1 for label in self.labels)


@dataclass
class Batch:
    """Padded samples.

    Attributes:
        ids, positions, kinds, shapes: int64 [B, S].
        segments: int64 [B, S]: 0 the text, 1 … the labels, -1 padding.
        anchors: where the labels' [CLS] stand, int64 [B, L]; label_there: bool [B, L]; pair_label: bool [B, L].
        text: where the text's pieces stand, int64 [B, T]; text_there: bool [B, T].
    """

    ids: Tensor
    positions: Tensor
    kinds: Tensor
    shapes: Tensor
    segments: Tensor
    anchors: Tensor
    label_there: Tensor
    pair_label: Tensor
    text: Tensor
    text_there: Tensor

    def to(self, device: str | torch.device) -> Batch:
        return Batch(**{name: value.to(device) for name, value in vars(self).items()})

    def allowed(self, labels_see_text: bool) -> Tensor:
        """Which position may look at which, bool [B, S, S]; padding sees only itself, so that no row is empty."""
        seg = self.segments
        there = seg >= 0
        same = seg[:, :, None] == seg[:, None, :]
        seen = same | ((seg == 0)[:, :, None] & there[:, None, :])
        if labels_see_text:
            seen = seen | (there[:, :, None] & (seg == 0)[:, None, :])
        return seen


def make_batch(samples: Sequence[Sample], cls: int, sep: int, pad: int) -> Batch:
    """Pad samples into a batch.

    Args:
        cls, sep, pad: vocabulary numbers of the tokenizer's special tokens.
    """
    size = max(sample.length for sample in samples)
    labels = max(1, max(len(sample.labels) for sample in samples))
    width = max(1, max(len(sample.pieces) for sample in samples))
    count = len(samples)
    ids = np.full((count, size), pad, np.int64)
    positions, kinds, shapes = (np.zeros((count, size), np.int64) for _ in range(3))
    segments = np.full((count, size), -1, np.int64)
    anchors, text = np.zeros((count, labels), np.int64), np.zeros((count, width), np.int64)
    label_there, pair_label = np.zeros((count, labels), bool), np.zeros((count, labels), bool)
    text_there = np.zeros((count, width), bool)
    for n, sample in enumerate(samples):
        at = 0
        for number, label in enumerate(sample.labels):
            stop = at + 1 + len(label)
            ids[n, at], ids[n, at + 1 : stop] = cls, label
            positions[n, at:stop] = np.arange(stop - at)
            kinds[n, at:stop] = MENTION if number < sample.mentions else PAIR
            segments[n, at:stop] = number + 1
            anchors[n, number], label_there[n, number], pair_label[n, number] = at, True, number >= sample.mentions
            at = stop
        length = len(sample.pieces)
        stop = at + length + 2
        ids[n, at], ids[n, at + 1 : stop - 1], ids[n, stop - 1] = cls, sample.pieces.ids, sep
        positions[n, at:stop] = np.arange(stop - at)
        shapes[n, at + 1 : stop - 1] = sample.pieces.shapes
        segments[n, at:stop] = 0
        text[n, :length] = np.arange(at + 1, at + 1 + length)
        text_there[n, :length] = True
    arrays = (ids, positions, kinds, shapes, segments, anchors, label_there, pair_label, text, text_there)
    return Batch(*(torch.from_numpy(array) for array in arrays))


def stack_targets(found: Sequence[Targets]) -> tuple[Tensor, Tensor, Tensor]:
    """Targets padded with -1: tokens int8 [B, 3, T, T], from_label [B, 2, L, T], to_label [B, 2, T, L]."""
    width = max(1, max(each.tokens.shape[1] for each in found))
    labels = max(1, max(each.from_label.shape[1] for each in found))
    tokens = np.full((len(found), 3, width, width), -1, np.int8)
    from_label = np.full((len(found), 2, labels, width), -1, np.int8)
    to_label = np.full((len(found), 2, width, labels), -1, np.int8)
    for n, each in enumerate(found):
        count, length = each.from_label.shape[1:]
        tokens[n, :, :length, :length] = each.tokens
        from_label[n, :, :count, :length] = each.from_label
        to_label[n, :, :length, :count] = each.to_label
    return torch.from_numpy(tokens), torch.from_numpy(from_label), torch.from_numpy(to_label)


def special_tokens(tokenizer: Any) -> tuple[int, int, int]:
    """Vocabulary numbers of what opens a segment, what ends the text, and padding; those of BERT, or what stands for them."""

    def first(*names: str) -> int:
        for name in names:
            number = getattr(tokenizer, name, None)
            if number is not None:
                return int(number)
        return 0

    return (
        first("cls_token_id", "bos_token_id", "eos_token_id"),
        first("sep_token_id", "eos_token_id", "bos_token_id"),
        first("pad_token_id", "eos_token_id"),
    )
