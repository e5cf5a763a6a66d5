"""Pools of training samples: each makes its n-th sample in one of several wordings, from arrays that are ready.

A pool encodes its texts and sounds once, when it is made, so that drawing a sample costs no tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from workbench.making import words_of
from workbench.unified.data.clips import ClipMaker
from workbench.unified.data.pictures import Pictures
from workbench.unified.data.words import CLIP_WORDINGS, DIGITS, DIRECTIONS, SPEECH_WORDINGS, Wordings
from workbench.unified.segments import Clip, DrawnClip, DrawnPicture, Picture, Sample, Segment, Sound, Speech, Text
from workbench.unified.tokenizers.text import TextTokenizer

PLAIN_SHARE = 6
"""Of ten answers so many are the plain name; the others are worded as a caption."""
CHUNK = 128
"""Tokens of a story in one sample."""


class Pool(Protocol):
    """Samples of one kind for one task."""

    def __len__(self) -> int:
        """Number of different items."""

    def make(self, item: int, variant: int) -> Sample:
        """Sample of an item; ``variant`` (any number from 0) chooses the wording."""

    @property
    def words(self) -> frozenset[str]:
        """Words of the captions that something is made of."""


class WordTable:
    """Token ids of the names of every class, plain and in each wording.

    Args:
        text: the text tokenizer.
        wordings: of the kind.
        first: names of the classes.
        second: names for a second slot (speakers, directions), or one empty name.
        plain: what the plain answer says of the two.

    Attributes:
        words: of all these texts.
    """

    def __init__(
        self,
        text: TextTokenizer,
        wordings: Wordings,
        first: Sequence[str],
        second: Sequence[str] = ("",),
        plain: str = "{x}",
    ) -> None:
        self._second = len(second)
        self._count = len(wordings.captions)
        texts = [c.format(x=x, y=y) for c in (plain, *wordings.captions) for x in first for y in second]
        self._stride = len(first) * len(second)
        self.words = frozenset(word for one in texts for word in words_of(one))
        self._ids = [tuple(ids) for ids in text.encode_all(texts)]

    def answer(self, variant: int, x: int, y: int = 0) -> Text:
        """A learned text: the plain name in six of ten variants, a caption otherwise."""
        wording = 0 if variant % 10 < PLAIN_SHARE else 1 + variant // 10 % self._count
        return Text(self._ids[wording * self._stride + x * self._second + y], learn=True)

    def prompt(self, variant: int, x: int, y: int = 0) -> Text:
        """A caption, or in one of its turns the plain name, that asks for something to be made."""
        wording = variant % (1 + self._count)
        return Text(self._ids[wording * self._stride + x * self._second + y])


class PicturePool:
    """Pictures to read (``image_to_word``) or to make (``word_to_image``)."""

    def __init__(self, pictures: Pictures, text: TextTokenizer, drawn: bool) -> None:
        self._pictures, self._drawn = pictures, drawn
        self._words = WordTable(text, pictures.wordings, pictures.names)

    def __len__(self) -> int:
        return len(self._pictures)

    @property
    def words(self) -> frozenset[str]:
        return self._words.words

    def make(self, item: int, variant: int) -> Sample:
        pixels, label = self._pictures.pixels[item], int(self._pictures.labels[item])
        if self._drawn:
            return Sample((self._words.prompt(variant, label), DrawnPicture(pixels)), "word_to_image")
        return Sample((Picture(pixels), self._words.answer(variant, label)), "image_to_word")


class ClipPool:
    """Moving digits to read (``clip_to_caption``) or to make (``caption_to_clip``).

    Args:
        clips: the clips.
        text: the text tokenizer.
        drawn: to be made.
        frames: first frames of a clip that is to be made, drawn evenly; None for all of them. One frame hangs on the word as a picture does,
            for a quarter of the tokens.
    """

    def __init__(self, clips: ClipMaker, text: TextTokenizer, drawn: bool, frames: Sequence[int] | None = None) -> None:
        self._clips, self._drawn = clips, drawn
        self._frames = tuple(frames or (clips.frames,))
        self._words = WordTable(text, CLIP_WORDINGS, DIGITS, DIRECTIONS, plain="{x} {y}")

    def __len__(self) -> int:
        return len(self._clips)

    @property
    def words(self) -> frozenset[str]:
        return self._words.words

    def make(self, item: int, variant: int) -> Sample:
        pixels = self._clips.clip(item)
        x, y = int(self._clips.digits[item]), int(self._clips.directions[item])
        if self._drawn:
            first = pixels[
                : self._frames[variant // 60 % len(self._frames)]
            ]  # apart from the wording, which hangs on `variant % 6`
            return Sample((self._words.prompt(variant, x, y), DrawnClip(first)), "caption_to_clip")
        return Sample((Clip(pixels), self._words.answer(variant, x, y)), "clip_to_caption")


class SpeechPool:
    """Spoken digits to read (``speech_to_word``) or to make (``word_to_speech``).

    Args:
        codes: int16 [T, A] each.
        digits: int64 [N].
        speakers: name of the speaker of each.
        text: the text tokenizer.
        spoken: to be made.
    """

    def __init__(
        self,
        codes: Sequence[np.ndarray],
        digits: np.ndarray,
        speakers: Sequence[str],
        text: TextTokenizer,
        spoken: bool,
    ) -> None:
        self._codes, self._digits, self._spoken = codes, digits, spoken
        names = sorted(set(speakers))
        self._speakers = [names.index(name) for name in speakers]
        self._words = WordTable(text, SPEECH_WORDINGS, DIGITS, names)

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def words(self) -> frozenset[str]:
        return self._words.words

    def make(self, item: int, variant: int) -> Sample:
        codes, x, y = self._codes[item], int(self._digits[item]), self._speakers[item]
        if self._spoken:
            # A plain name leaves the voice open, so that a prompt without a speaker works too.
            return Sample((self._words.prompt(variant, x, y), Speech(codes)), "word_to_speech")
        return Sample((Sound(codes), self._words.answer(variant, x, y)), "speech_to_word")


class StoryPool:
    """Chunks of stories, all learned.

    Args:
        stories: the texts.
        text: the text tokenizer.
    """

    def __init__(self, stories: Sequence[str], text: TextTokenizer) -> None:
        ids = text.encode_all(list(stories))
        self._flat = np.concatenate([np.array(one, np.int32) for one in ids]) if ids else np.zeros(0, np.int32)
        ends = np.cumsum([len(one) for one in ids]) if ids else np.zeros(0, np.int64)
        self._chunks = [
            (start, min(start + CHUNK, end), start + CHUNK >= end)
            for end, one in zip(ends.tolist(), ids, strict=True)
            for start in range(end - len(one), end, CHUNK)
            if min(start + CHUNK, end) - start > 8
        ]

    def __len__(self) -> int:
        return len(self._chunks)

    @property
    def words(self) -> frozenset[str]:
        return frozenset()  # stories are no prompts

    def make(self, item: int, variant: int) -> Sample:
        start, stop, last = self._chunks[item]
        return Sample((Text(tuple(self._flat[start:stop].tolist()), learn=True),), "text", end=last)


class PairPool:
    """A user's own captioned files: something to read or make, and its caption.

    Args:
        media: segments that are read or made, one each.
        captions: their texts.
        text: the text tokenizer.
        task: one of the tasks.
    """

    def __init__(
        self,
        media: Sequence[Segment],
        captions: Sequence[str],
        text: TextTokenizer,
        task: str,
    ) -> None:
        self._media, self._task = media, task
        self._ids = [tuple(ids) for ids in text.encode_all(list(captions))]
        self._words = frozenset(word for caption in captions for word in words_of(caption))

    def __len__(self) -> int:
        return len(self._media)

    @property
    def words(self) -> frozenset[str]:
        return self._words

    def make(self, item: int, variant: int) -> Sample:
        media, ids = self._media[item], self._ids[item]
        if isinstance(media, DrawnPicture | DrawnClip | Speech):
            return Sample((Text(ids), media), self._task)
        return Sample((media, Text(ids, learn=True)), self._task)
