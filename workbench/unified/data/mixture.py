"""What a unified model is trained on: samples of seven tasks, each a pure function of seed, task and number.

There is no state to save: a run that was cut and resumed draws what an uninterrupted one would have drawn. Part of the
training data is kept back to watch a run by (``held_out``); test data is touched by the evaluation alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from workbench.unified.data import encoded
from workbench.unified.data.clips import ClipMaker
from workbench.unified.data.folders import Captioned, read_captioned
from workbench.unified.data.pictures import Pictures, digits, emoji, fashion, mnist_grey
from workbench.unified.data.pools import ClipPool, PairPool, PicturePool, Pool, SpeechPool, StoryPool
from workbench.unified.data.speech import Utterances, at_speed, speaker_names, spoken_digits
from workbench.unified.data.stories import stories
from workbench.unified.data.voices import digest, further_voices
from workbench.unified.data.words import SOMEONE
from workbench.unified.segments import TASKS, Clip, DrawnClip, DrawnPicture, Picture, Sample, Segment, Sound, Speech
from workbench.unified.tokenizers.bundle import Tokenizers

CLIPS = 60_000
"""Different training clips."""
SPEEDS = (0.85, 0.92, 1.08, 1.18)
"""Copies of every spoken digit, by a speaker called "someone": further voices."""
KEPT = 0.04
"""Share of the training data of every set that is kept back to watch a run by."""
OWN_EVERY = 4
"""With folders of the user's own, every so many samples of a task come from them."""
_READ = {"image": "image_to_word", "audio": "speech_to_word", "video": "clip_to_caption"}
_SEGMENTS: dict[str, tuple[Callable[[np.ndarray], Segment], Callable[[np.ndarray], Segment]]] = {
    "image": (Picture, DrawnPicture),
    "audio": (Sound, Speech),
    "video": (Clip, DrawnClip),
}
_MADE = {"image": "word_to_image", "audio": "word_to_speech", "video": "caption_to_clip"}


@dataclass(frozen=True)
class _Turns:
    """Pools of a task and whose turn it is: ``turns[number % len(turns)]`` is the place of a pool."""

    pools: tuple[Pool, ...]
    turns: tuple[int, ...]


@dataclass(frozen=True)
class _Material:
    """The training parts of every set, read once: both the trained part and the kept one are cut from it."""

    pictures: tuple[Pictures, ...]
    digits: tuple[np.ndarray, np.ndarray]
    spoken: Utterances
    codes: list[np.ndarray]
    made: Utterances  # further voices, trained on and never kept back
    made_codes: list[np.ndarray]
    stories: list[str]


class Mixture:
    """Samples for training.

    Args:
        tokenizers: texts and sounds are encoded by them, once.
        data_root: folder with one folder a data set.
        seed: of order and wordings.
        cache: folder for encoded sounds and further voices; made anew there when data or tokenizer change. None makes them each time.
        folders: the user's own captioned pictures, sounds and clips, added to the tasks.
        voices: number of further voices that the program espeak-ng says the digits in; they are only ever trained on.
        clip_frames: frames that clips to be made have in training, drawn evenly; None for all of them.

    Raises:
        UnifiedError: a data set is missing or broken, or the voices cannot be made.
    """

    tasks: tuple[str, ...] = TASKS

    def __init__(
        self,
        tokenizers: Tokenizers,
        data_root: Path,
        seed: int = 0,
        cache: Path | None = None,
        folders: Sequence[Path] = (),
        voices: int = 0,
        clip_frames: Sequence[int] | None = None,
    ) -> None:
        self.seed, self._clip_frames = seed, clip_frames
        self._tokenizers = tokenizers.fingerprint()
        own = [item for folder in folders for item in read_captioned(folder, tokenizers)]
        spoken = _voices(spoken_digits(data_root, "train"))
        codes = encoded.sound_codes(tokenizers.audio, spoken.sounds, cache)
        made = further_voices(voices, seed, speaker_names(data_root), cache)
        self._voices = digest(made)
        material = _Material(
            tuple(read(data_root, "train") for read in (fashion, digits, emoji)),
            mnist_grey(data_root, "train"),
            spoken,
            codes,
            made,
            encoded.sound_codes(tokenizers.audio, made.sounds, cache) if len(made) else [],
            stories(data_root, "train"),
        )
        self._train = self._pools(tokenizers, material, own, kept=False)
        self._held = self._pools(tokenizers, material, [], kept=True)
        self._orders: dict[tuple[str, int, int, bool], np.ndarray] = {}

    def draw(self, task: str, number: int) -> Sample:
        """The ``number``-th training sample of a task."""
        return self._make(self._train, task, number, False)

    def held_out(self, task: str, number: int) -> Sample:
        """The ``number``-th sample of the part that is kept back to watch a run by; never test data."""
        return self._make(self._held, task, number, True)

    def words(self) -> dict[str, frozenset[str]]:
        """Words of the captions that each thing is made of: ``picture``, ``clip`` and ``speech``."""
        makes = {"picture": "word_to_image", "clip": "caption_to_clip", "speech": "word_to_speech"}
        return {
            make: frozenset().union(*(pool.words for pool in self._train[task].pools)) for make, task in makes.items()
        }

    def fingerprint(self) -> str:
        """Changes when the data or the tokenizers change."""
        sizes = {task: [len(pool) for pool in turns.pools] for task, turns in sorted(self._train.items())}
        return hashlib.sha256(f"{self._tokenizers}{sizes}{self._voices}".encode()).hexdigest()[:16]

    def _make(self, tasks: dict[str, _Turns], task: str, number: int, kept: bool) -> Sample:
        turns = tasks[task]
        place = number % len(turns.turns)
        which = turns.turns[place]
        often = turns.turns.count(which)
        count = number // len(turns.turns) * often + turns.turns[:place].count(which)
        pool = turns.pools[which]
        epoch, position = divmod(count, len(pool))
        item = int(self._order(task, which, epoch, len(pool), kept)[position])
        return pool.make(item, _scatter(self.seed, number, epoch))

    def _order(self, task: str, which: int, epoch: int, size: int, kept: bool) -> np.ndarray:
        key = (task, which, epoch, kept)
        found = self._orders.get(key)
        if found is None:
            self._orders.pop((task, which, epoch - 2, kept), None)  # of an epoch that nobody draws from any more
            found = np.random.default_rng((self.seed, TASKS.index(task), which, epoch)).permutation(size)
            self._orders[key] = found
        return found

    def _pools(
        self, tokenizers: Tokenizers, material: _Material, own: list[Captioned], kept: bool
    ) -> dict[str, _Turns]:
        text = tokenizers.text
        pictures = [_part(one, kept) for one in material.pictures]
        grey, labels = material.digits
        cut = _cut(len(labels), kept)
        clips = ClipMaker(grey[cut], labels[cut], CLIPS // 50 if kept else CLIPS, (self.seed, 2, int(kept)))
        spoken, codes, tales = material.spoken, material.codes, material.stories
        chosen = np.arange(len(codes))[_spoken_part(spoken, kept)]
        said = ([codes[i] for i in chosen], spoken.digits[chosen], [spoken.speakers[i] for i in chosen])
        if not kept:
            further = material.made
            said = (said[0] + material.made_codes, np.append(said[1], further.digits), [*said[2], *further.speakers])
        made: dict[str, _Turns] = {"text": _Turns((StoryPool(tales[_cut(len(tales), kept)], text),), (0,))}
        # Garments are hardest to read, digits to draw; emoji are there for colour and open captions. Their captions are long and cannot be
        # known for sure: where they are read, one in twenty leaves more of the gradient to the one word that names a garment.
        drawing, reading = (0, 1, 0, 1, 2, 1, 0, 1, 0, 1), (0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 2, 0, 1, 0)
        for task, turns in (("image_to_word", reading), ("word_to_image", drawing)):
            pools = tuple(PicturePool(one, text, turns is drawing) for one in pictures)
            made[task] = _Turns(pools, turns)
        for task, drawn in (("speech_to_word", False), ("word_to_speech", True)):
            made[task] = _Turns((SpeechPool(*said, text, drawn),), (0,))
        for task, drawn in (("clip_to_caption", False), ("caption_to_clip", True)):
            made[task] = _Turns((ClipPool(clips, text, drawn, None if kept else self._clip_frames),), (0,))
        return _with_own(made, own, tokenizers) if own else made


def _with_own(tasks: dict[str, _Turns], own: list[Captioned], tokenizers: Tokenizers) -> dict[str, _Turns]:
    """Every ``OWN_EVERY``-th sample of a task from the user's own files of its modality."""
    added = dict(tasks)
    for kind in ("image", "audio", "video"):
        items = [item for item in own if item.kind == kind]
        if not items:
            continue
        captions = [item.caption for item in items]
        reading, making = _SEGMENTS[kind]
        for task, segment in ((_READ[kind], reading), (_MADE[kind], making)):
            pool = PairPool([segment(item.values) for item in items], captions, tokenizers.text, task)
            turns = tasks[task]
            longer = turns.turns * (OWN_EVERY - 1)
            mixed: list[int] = []
            for place, which in enumerate(longer, start=1):
                mixed.append(which)
                if place % (OWN_EVERY - 1) == 0:
                    mixed.append(len(turns.pools))
            added[task] = replace(turns, pools=(*turns.pools, pool), turns=tuple(mixed))
    return added


def _voices(spoken: Utterances) -> Utterances:
    """The recordings, and every one faster and slower by someone else."""
    sounds = [*spoken.sounds, *(at_speed(sound, speed) for speed in SPEEDS for sound in spoken.sounds)]
    speakers = (*spoken.speakers, *(SOMEONE,) * (len(sounds) - len(spoken.sounds)))
    return Utterances(tuple(sounds), np.tile(spoken.digits, 1 + len(SPEEDS)), speakers)


def _spoken_part(spoken: Utterances, kept: bool) -> np.ndarray:
    """bool [N]; a recording and its copies stand on the same side."""
    originals = len(spoken) // (1 + len(SPEEDS))
    inside = np.random.default_rng(7).permutation(originals) < round(originals * KEPT)
    return np.tile(inside == kept, 1 + len(SPEEDS))


def _cut(size: int, kept: bool) -> slice:
    """The last items of a training set are kept back."""
    border = size - max(1, round(size * KEPT))
    return slice(border, None) if kept else slice(None, border)


def _part(pictures: Pictures, kept: bool) -> Pictures:
    cut = _cut(len(pictures), kept)
    return replace(pictures, pixels=pictures.pixels[cut], labels=pictures.labels[cut])


def _scatter(seed: int, number: int, epoch: int) -> int:
    """A number that looks drawn (the finaliser of splitmix64, Steele, Lea and Flood 2014)."""
    value = (number * 0x9E3779B97F4A7C15 + seed * 0xD1B54A32D192ED03 + epoch + 1) & (2**64 - 1)
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return (value ^ (value >> 31)) >> 16
