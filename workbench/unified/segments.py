"""What a sample consists of, before it becomes positions: text, pictures, clips and sounds, read or to be made.

Special tokens are the first ids of every text vocabulary, so that layout and masks need no tokenizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

import numpy as np

from workbench.capture.errors import WorkbenchError

SPECIALS = (
    "<pad>", "<bos>", "<eos>", "<sep>", "<blank>", "<boi>", "<eoi>", "<bov>", "<eov>", "<boa>", "<eoa>",
    "<image>", "<video>", "<audio>", "<spare0>", "<spare1>",
)  # fmt: skip
PAD, BOS, EOS, SEP, BLANK, BOI, EOI, BOV, EOV, BOA, EOA, IMAGE, VIDEO, AUDIO = range(14)

TASKS = (
    "text",
    "image_to_word",
    "speech_to_word",
    "clip_to_caption",
    "word_to_image",
    "word_to_speech",
    "caption_to_clip",
)


class UnifiedError(WorkbenchError):
    """A sample, prompt, checkpoint or run that the unified model can't serve."""


@dataclass(frozen=True)
class Text:
    """Token ids; learned ones are predicted, others are a prompt."""

    ids: tuple[int, ...]
    learn: bool = False


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture to read: uint8 [C, H, W]."""

    pixels: np.ndarray


@dataclass(frozen=True, eq=False)
class Clip:
    """A clip to read, each frame with tokens of its own: uint8 [F, C, H, W]."""

    pixels: np.ndarray


@dataclass(frozen=True, eq=False)
class Sound:
    """A sound to read: codes, integer [T, levels]."""

    codes: np.ndarray


@dataclass(frozen=True, eq=False)
class DrawnPicture:
    """A picture to make: uint8 [C, H, W]."""

    pixels: np.ndarray


@dataclass(frozen=True, eq=False)
class DrawnClip:
    """A clip to make: uint8 [F, C, H, W]."""

    pixels: np.ndarray


@dataclass(frozen=True, eq=False)
class Speech:
    """A sound to make: codes, integer [T, levels]."""

    codes: np.ndarray


Segment = Union[Text, Picture, Clip, Sound, DrawnPicture, DrawnClip, Speech]  # noqa: UP007 - a runtime alias


@dataclass(frozen=True)
class Sample:
    """Segments in order, the task they belong to, and whether the text ends with them."""

    segments: tuple[Segment, ...]
    task: str
    end: bool = True
