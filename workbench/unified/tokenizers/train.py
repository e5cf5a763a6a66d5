"""All three tokenizers from one data root, in one command: ``workbench unified tokenizers --data-root DIR --out DIR``."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from workbench.unified.data import words
from workbench.unified.data.clips import moving_digits
from workbench.unified.data.pictures import digits, emoji, fashion
from workbench.unified.data.speech import Utterances, joined, speaker_names, spoken_digits
from workbench.unified.data.stories import stories
from workbench.unified.data.voices import further_voices
from workbench.unified.segments import UnifiedError
from workbench.unified.tokenizers.audio import AudioConfig
from workbench.unified.tokenizers.bundle import Tokenizers
from workbench.unified.tokenizers.image import ImageConfig
from workbench.unified.tokenizers.text import train_text
from workbench.unified.tokenizers.train_audio import AudioPlan, measure_audio, train_audio
from workbench.unified.tokenizers.train_image import ImagePlan, Report, Source, measure_image, train_image

METRICS, REPORT, CACHE = "metrics.jsonl", "report.json", "cache"
CLIPS = 4000
"""Moving-digit clips that the image tokenizer learns from."""
MEASURED = 500
"""Held-out pictures of each kind, and clips, that the report is measured on."""
CAPTION_ROUNDS = 40
"""Times that every caption of a class enters the text tokenizer's corpus, so that class names become single tokens."""


@dataclass(frozen=True)
class TokenizersPlan:
    """What is trained and for how long."""

    vocabulary: int = 1024  # text tokens
    image: ImagePlan = field(default_factory=ImagePlan)
    audio: AudioPlan = field(default_factory=AudioPlan)
    image_shape: ImageConfig = field(default_factory=ImageConfig)
    audio_shape: AudioConfig = field(default_factory=AudioConfig)

    def scaled(self, factor: float) -> TokenizersPlan:
        """The plan with every number of steps multiplied."""
        image = replace(
            self.image,
            steps=max(2, round(self.image.steps * factor)),
            clip_steps=max(2, round(self.image.clip_steps * factor)),
        )
        return replace(self, image=image, audio=replace(self.audio, steps=max(2, round(self.audio.steps * factor))))


def train_tokenizers(
    data_root: Path,
    out: Path,
    seed: int = 0,
    minutes: float | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    plan: TokenizersPlan | None = None,
    voices: int = 0,
) -> dict[str, Any]:
    """Train, measure and save the tokenizers.

    Args:
        data_root: folder with one folder a data set.
        out: the bundle; also ``metrics.jsonl`` and ``report.json``.
        seed: of weights and draws.
        minutes: about how long; the numbers of steps are scaled by the speed of the first ones. Without it the plan's steps, which
            makes a run repeatable.
        progress: told what is trained, steps done and steps in all.
        plan: shapes and lengths.
        voices: number of further voices, made by espeak-ng and kept in ``out/cache``, that the audio tokenizer learns from; what is
            measured is recorded speech alone.

    Returns:
        Measures on held-out data: ``text``, ``image``, ``audio``, and ``seconds`` of each.

    Raises:
        UnifiedError: data is missing, ``out`` already holds a bundle, or the voices cannot be made.
    """
    if (out / REPORT).exists():
        raise UnifiedError(f"Expected a new folder, but '{out}' already holds tokenizers: name another --out.")
    chosen = plan or TokenizersPlan()
    out.mkdir(parents=True, exist_ok=True)
    pictures, clips = _frames(data_root, seed)
    spoken = joined(
        spoken_digits(data_root, "train"), further_voices(voices, seed, speaker_names(data_root), out / CACHE)
    )
    if minutes is not None:
        chosen = chosen.scaled(_factor(pictures, clips, chosen, minutes))
    found: dict[str, Any] = {
        "seed": seed,
        "voices": voices,
        "image_steps": chosen.image.steps,
        "clip_steps": chosen.image.clip_steps,
    }
    with (out / METRICS).open("w", encoding="utf-8") as file:

        def report(name: str, done: int, steps: int, measures: dict[str, float]) -> None:
            file.write(json.dumps({"part": name, "step": done, **{k: round(v, 5) for k, v in measures.items()}}) + "\n")
            file.flush()
            if progress is not None:
                progress(name, done, steps)

        tokenizers, seconds = _train(data_root, chosen, seed, pictures, clips, spoken, report)
    tokenizers.save(out)
    tokenizers = Tokenizers.load(out)  # what is measured is what was written
    found |= {"seconds": seconds, **measure_tokenizers(tokenizers, data_root), "fingerprint": tokenizers.fingerprint()}
    (out / REPORT).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def measure_tokenizers(tokenizers: Tokenizers, data_root: Path) -> dict[str, Any]:
    """Measures of a bundle on held-out data.

    Returns:
        ``text`` (characters a token of held-out stories), ``image`` (of garments, digits, emoji and clips), ``audio`` (of known speakers
        and of the held-out one).
    """
    text = stories(data_root, "test")
    ids = tokenizers.text.encode_all(text)
    image = {
        name: measure_image(tokenizers.image, made(data_root, "test").take(MEASURED).pixels[:, None])
        for name, made in (("garments", fashion), ("digits", digits), ("emoji", emoji))
    }
    image["clips"] = measure_image(tokenizers.image, moving_digits(data_root, "test", MEASURED // 4).pixels)
    audio = {
        name: measure_audio(tokenizers.audio, spoken_digits(data_root, part))
        for name, part in (("known_speakers", "test"), ("held_out_speaker", "held_out_speaker"))
    }
    return {
        "text": {
            "vocabulary": tokenizers.text.vocabulary,
            "characters_a_token": sum(map(len, text)) / max(sum(map(len, ids)), 1),
            "documents": len(text),
        },
        "image": image,
        "audio": audio,
    }


def corpus(data_root: Path, speakers: Iterable[str]) -> Iterator[str]:
    """Training texts of the text tokenizer: the stories, and every caption of the closed sets in every wording.

    Args:
        data_root: folder with one folder a data set.
        speakers: names of those whose speech is trained on.
    """
    yield from stories(data_root, "train")
    for _ in range(CAPTION_ROUNDS):
        yield from (c.format(x=x) for c, x in itertools.product(words.GARMENT_WORDINGS.captions, words.GARMENTS))
        yield from (c.format(x=x) for c, x in itertools.product(words.DIGIT_WORDINGS.captions, words.DIGITS))
        for caption, x in itertools.product(words.SPEECH_WORDINGS.captions, words.DIGITS):
            yield from (caption.format(x=x, y=y) for y in (*sorted(set(speakers)), words.SOMEONE))
        for caption, x in itertools.product(words.CLIP_WORDINGS.captions, words.DIGITS):
            yield from (caption.format(x=x, y=y) for y in words.DIRECTIONS)
    yield from (words.EMOJI_WORDINGS.write(n, name) for n, name in enumerate(emoji(data_root, "train").names))


def _frames(data_root: Path, seed: int) -> tuple[list[Source], list[Source]]:
    garments, written, signs = (made(data_root, "train") for made in (fashion, digits, emoji))
    moving = moving_digits(data_root, "train", CLIPS, seed)
    none = np.full(len(moving), -1)
    single = moving.pixels[np.arange(len(moving)), np.arange(len(moving)) % moving.pixels.shape[1]][:, None]
    pictures = [
        Source(garments.pixels[:, None], garments.labels, 0.55),
        Source(written.pixels[:, None], written.labels + len(words.GARMENTS), 0.2),
        Source(signs.pixels[:, None], np.full(len(signs), -1), 0.1),
        Source(single, none, 0.15),
    ]
    return pictures, [Source(moving.pixels, none, 1.0)]


def _train(
    data_root: Path,
    plan: TokenizersPlan,
    seed: int,
    pictures: list[Source],
    clips: list[Source],
    spoken: Utterances,
    report: Report,
) -> tuple[Tokenizers, dict[str, float]]:
    marks = [time.perf_counter()]
    text = train_text(corpus(data_root, spoken.speakers), plan.vocabulary)
    marks.append(time.perf_counter())
    audio = train_audio(spoken, plan.audio_shape, plan.audio, seed, report)
    marks.append(time.perf_counter())
    image = train_image(pictures, clips, plan.image_shape, plan.image, seed, report)
    marks.append(time.perf_counter())
    spent = [round(later - earlier, 1) for earlier, later in itertools.pairwise(marks)]
    return Tokenizers(text, image, audio), dict(zip(("text", "audio", "image"), spent, strict=True))


def _factor(pictures: list[Source], clips: list[Source], plan: TokenizersPlan, minutes: float) -> float:
    """By how much to scale the steps so that the image tokenizer, which takes nearly all the time, fits into it."""
    trial = replace(plan.image, steps=6, clip_steps=6)
    start = time.perf_counter()
    train_image(pictures, clips, plan.image_shape, trial, 0)
    seconds = (time.perf_counter() - start) / 12
    return minutes * 60 / (seconds * (plan.image.steps + plan.image.clip_steps))
