"""One evaluation: every direction, with its ceiling, its chance and its number of items."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.making import GUIDANCE, TEMPERATURE
from workbench.unified.data.clips import FRAMES
from workbench.unified.evaluate.bench import JUDGES, Judges, default_folder, provide_judges, test_data
from workbench.unified.evaluate.judges import JudgePlan
from workbench.unified.evaluate.listening import listening
from workbench.unified.evaluate.making import MADE, make_clips, make_pictures, make_speech, moved
from workbench.unified.evaluate.probe import linear_probe
from workbench.unified.evaluate.reading import read_clips, read_pictures, read_sounds, text_bits


def evaluate(
    checkpoint: Path,
    data_root: Path,
    limit: int | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    judges: Path | None = None,
    judge_plan: JudgePlan | None = None,
    temperature: float = TEMPERATURE,
    guidance: float = GUIDANCE,
) -> dict[str, Any]:
    """Measure a checkpoint on held-out data.

    Args:
        checkpoint: folder of a trained model with its tokenizers.
        data_root: folder with one folder a data set.
        limit: at most so many items of every test; all that there are, and 500 made, without it.
        seed: of sampling.
        progress: told what is measured.
        judges: folder of trained judges; without it the checkpoint's own, else ``$WORKBENCH_HOME/judges``, where missing ones
            are trained first.
        judge_plan: how missing judges are trained.
        temperature, guidance: of what is made.

    Returns:
        ``image_to_word``, ``speech_to_word``, ``clip_to_caption``, ``word_to_image``, ``word_to_speech``, ``caption_to_clip`` (each with
        ``accuracy``, ``ceiling``, ``chance``, ``n``), ``listening``, ``text_bits_per_byte``, ``linear_probe`` and how it was measured.

    Raises:
        UnifiedError: no checkpoint, or data is missing.
    """
    from workbench.unified.checkpoint import load_checkpoint
    from workbench.unified.generate import Generator
    from workbench.unified.sampling import Sampling

    say = progress or (lambda words: None)
    generator = Generator(*load_checkpoint(checkpoint))
    data = test_data(data_root, limit, FRAMES)
    bench = _judges(checkpoint, data_root, judges, say, judge_plan)
    settings = Sampling(temperature=temperature, guidance=guidance, seed=seed)
    count = min(limit or MADE, MADE)
    say("Reading pictures")
    image_to_word = {name: read_pictures(generator, bench, data, name) for name in ("fashion", "digits")}
    say("Reading sounds")
    speech_to_word = {
        part: read_sounds(generator, bench, data, part) for part in ("known_speakers", "held_out_speaker")
    }
    say("Reading clips")
    clip_to_caption = read_clips(generator, bench, data)
    say("Drawing pictures")
    word_to_image = {
        name: make_pictures(generator, bench, data, name, count, moved(settings, number))
        for number, name in enumerate(("fashion", "digits"))
    }
    say("Speaking")
    word_to_speech = make_speech(generator, bench, data, count, moved(settings, 2))
    say("Drawing clips")
    caption_to_clip = make_clips(generator, bench, data, count, moved(settings, 3))
    say("Scoring real things under every prompt")
    heard = listening(generator, data)
    say("Reading stories")
    bits, pieces = text_bits(generator, data_root, limit)
    say("Fitting the linear probe")
    return {
        "image_to_word": image_to_word,
        "speech_to_word": speech_to_word,
        "clip_to_caption": clip_to_caption,
        "word_to_image": word_to_image,
        "word_to_speech": word_to_speech,
        "caption_to_clip": caption_to_clip,
        "listening": heard,
        "text_bits_per_byte": bits,
        "text_pieces": pieces,
        "linear_probe": linear_probe(generator.tokenizers, data_root, data),
        "sampling": {"temperature": temperature, "guidance": guidance, "seed": seed},
        "judges": bench.fingerprint(),
        "limit": limit,
    }


def _judges(
    checkpoint: Path, data_root: Path, folder: Path | None, say: Callable[[str], None], plan: JudgePlan | None
) -> Judges:
    if folder is None:
        own = Judges.load(checkpoint / JUDGES, FRAMES)
        if own is not None:
            return own
    return provide_judges(data_root, folder or default_folder(), FRAMES, say, plan)
