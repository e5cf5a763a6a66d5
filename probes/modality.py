"""Modality and role of every token: what the caller says, else the placeholder ids of the configuration.

Codes are those of `mm_token_type_ids` in transformers: 0 text, 1 image, 2 video, 3 audio; 4 means that it cannot be told.
A model of one's own may say it itself with a method `routing_labels(call) -> (modality, role)`, two integer tensors [B, T]
with these codes and 0 understanding, 1 generation (docs/probe.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from workbench.capture import DEFAULT_GROUPS

MODALITIES = ("text", "image", "video", "audio", "unknown")
ROLES = ("understanding", "generation")
TEXT, IMAGE, VIDEO, AUDIO, UNKNOWN = range(5)
_TOWERS = ("vision_config", "audio_config", "vision_encoder_config", "image_config", "encoder_config", "sam_config")


def default_group(modality: int, role: int) -> int:
    """Index in DEFAULT_GROUPS of a token of this modality and role; len(DEFAULT_GROUPS) for an unknown modality."""
    for index, group in enumerate(DEFAULT_GROUPS):
        if group.modality == MODALITIES[modality] and group.role in (None, ROLES[role]):
            return index
    return len(DEFAULT_GROUPS)


@dataclass(frozen=True)
class Placeholders:
    """Token ids of a model's vocabulary that stand for something else than text.

    Attributes:
        ids: modality code -> token ids.
        text_only: the model takes text alone, so a token without an id is text too.
    """

    ids: dict[int, tuple[int, ...]]
    text_only: bool

    def modality(self, input_ids: Tensor) -> Tensor | None:
        """uint8 codes of the shape of `input_ids`, None where every token is text."""
        if not self.ids:
            return None
        codes = torch.zeros_like(input_ids, dtype=torch.uint8)
        for code, ids in self.ids.items():
            for token in ids:
                codes.masked_fill_(input_ids == token, code)
        return codes


def placeholders_of(model: nn.Module) -> Placeholders:
    """The placeholder ids in a model's configuration, nested configurations included."""
    ids: dict[int, set[int]] = {}
    towers = False
    for config in configurations(getattr(model, "config", None)):
        towers = towers or any(getattr(config, name, None) is not None for name in _TOWERS)
        for code in (IMAGE, VIDEO, AUDIO):
            for ending in ("token_id", "token_index"):
                value = getattr(config, f"{MODALITIES[code]}_{ending}", None)
                if isinstance(value, int) and value >= 0:
                    ids.setdefault(code, set()).add(value)
    return Placeholders({code: tuple(sorted(values)) for code, values in ids.items()}, not ids and not towers)


def configurations(config: Any, depth: int = 4) -> Iterator[Any]:
    """A configuration and those inside it."""
    if config is None or depth == 0:
        return
    yield config
    from transformers import PreTrainedConfig

    for value in vars(config).values():
        if isinstance(value, PreTrainedConfig):
            yield from configurations(value, depth - 1)


def special_ids(processor: Any) -> tuple[int, ...]:
    """Ids of the special tokens of a tokenizer, or of the tokenizer of a processor."""
    tokenizer = getattr(processor, "tokenizer", None) or processor
    return tuple(sorted(int(token) for token in getattr(tokenizer, "all_special_ids", None) or ()))


@dataclass(frozen=True)
class Endings:
    """Ids that generation feeds after the end of a row.

    Attributes:
        pad: what a finished row is fed, None if not known.
        eos: ids that end a row.
    """

    pad: int | None = None
    eos: tuple[int, ...] = ()


def endings_of(model: nn.Module) -> Endings:
    """Pad and end ids as generation uses them: generation_config first, then the configuration; pad falls back to the end."""

    def stated(name: str) -> Any:
        for holder in (getattr(model, "generation_config", None), *configurations(getattr(model, "config", None))):
            value = getattr(holder, name, None)
            if value is not None:
                return value
        return None

    eos = stated("eos_token_id")
    ends = () if eos is None else (int(eos),) if isinstance(eos, int) else tuple(int(token) for token in eos)
    pad = stated("pad_token_id")
    return Endings(int(pad) if isinstance(pad, int) else (ends[0] if ends else None), ends)
