"""The mixture: a pure function of seed, task and number; every item comes once an epoch; kept and trained parts never touch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from workbench.unified.data.encoded import sound_codes
from workbench.unified.data.mixture import Mixture
from workbench.unified.data.speech import spoken_digits
from workbench.unified.data.words import DIGITS, DIRECTIONS, GARMENTS, find_name
from workbench.unified.segments import TASKS, Clip, DrawnPicture, Picture, Sample, Sound, Speech, Text
from workbench.unified.tokenizers.bundle import Tokenizers


@pytest.fixture(scope="module")
def mixture(tokenizers: Tokenizers, data_root: Path) -> Mixture:
    return Mixture(tokenizers, data_root, 3)


def key(sample: Sample) -> tuple:
    return tuple(
        part.ids
        if isinstance(part, Text)
        else (part.codes if isinstance(part, Sound | Speech) else part.pixels).tobytes()
        for part in sample.segments
    )


def test_a_sample_depends_on_seed_task_and_number_alone(
    mixture: Mixture, tokenizers: Tokenizers, data_root: Path
) -> None:
    again, other = Mixture(tokenizers, data_root, 3), Mixture(tokenizers, data_root, 4)
    assert mixture.tasks == TASKS and again.fingerprint() == mixture.fingerprint()
    for task in TASKS:
        backwards = [key(again.draw(task, number)) for number in reversed(range(20))]  # no order of calls matters
        mine = [key(mixture.draw(task, number)) for number in range(20)]
        assert mine == backwards[::-1]
        assert mine != [key(other.draw(task, number)) for number in range(20)]
        assert all(mixture.draw(task, number).task == task for number in range(3))


def test_clips_to_be_made_are_cut_to_their_first_frames_where_a_run_asks_for_it(
    mixture: Mixture, tokenizers: Tokenizers, data_root: Path
) -> None:
    cut = Mixture(tokenizers, data_root, 3, clip_frames=(1, 1, 2, 4))
    found: Counter[int] = Counter()
    for number in range(200):
        whole, part = (one.draw("caption_to_clip", number).segments for one in (mixture, cut))
        assert whole[0] == part[0] and len(whole[1].pixels) == 4
        found[len(part[1].pixels)] += 1
        assert np.array_equal(part[1].pixels, whole[1].pixels[: len(part[1].pixels)])
    assert set(found) == {1, 2, 4} and 75 < found[1] < 125
    assert {len(cut.held_out("caption_to_clip", n).segments[1].pixels) for n in range(20)} == {4}
    assert {len(cut.draw("clip_to_caption", n).segments[0].pixels) for n in range(20)} == {4}


def test_every_item_comes_once_an_epoch(mixture: Mixture) -> None:
    size = len(mixture._train["speech_to_word"].pools[0])
    for epoch in range(2):
        seen = Counter(
            mixture.draw("speech_to_word", number).segments[0].codes.tobytes()
            for number in range(epoch * size, (epoch + 1) * size)
        )
        whole = Counter(codes.tobytes() for codes in mixture._train["speech_to_word"].pools[0]._codes)
        assert seen == whole


def test_what_is_kept_back_is_never_trained_on(mixture: Mixture) -> None:
    for task, part in (("image_to_word", 0), ("text", 0)):
        trained, kept = mixture._train[task].pools[part], mixture._held[task].pools[part]
        first = {key(trained.make(item, 0)) for item in range(len(trained))}
        second = {key(kept.make(item, 0)) for item in range(len(kept))}
        assert first and second and not first & second
    trained, kept = (one["speech_to_word"].pools[0]._codes for one in (mixture._train, mixture._held))
    assert len(trained) + len(kept) == 40 * 5


def test_samples_say_what_they_show(mixture: Mixture, tokenizers: Tokenizers) -> None:
    for number in range(40):
        sample = mixture.draw("image_to_word", number)
        picture, answer = sample.segments
        assert isinstance(picture, Picture) and isinstance(answer, Text) and answer.learn
        bar = int(picture.pixels[0].astype(int).sum(0).argmax() - 2)  # the test's pictures have a bar at their class
        name = find_name(tokenizers.text.decode(answer.ids), (*GARMENTS, *DIGITS))
        if name >= 0:  # emoji have none
            assert (bar - 4) // 2 == name % 10
        prompt, drawn = mixture.draw("word_to_image", number).segments
        assert isinstance(prompt, Text) and not prompt.learn and isinstance(drawn, DrawnPicture)
        clip, caption = mixture.draw("clip_to_caption", number).segments
        assert isinstance(clip, Clip) and clip.pixels.shape == (4, 3, 32, 32)
        text = tokenizers.text.decode(caption.ids)
        assert find_name(text, DIGITS) >= 0 and find_name(text, DIRECTIONS) >= 0


def test_wordings_vary(mixture: Mixture, tokenizers: Tokenizers) -> None:
    texts = [tokenizers.text.decode(mixture.draw("word_to_speech", n).segments[0].ids) for n in range(60)]
    assert len({text.replace(name, "X") for text in texts for name in DIGITS if name in text}) > 4
    answers = [tokenizers.text.decode(mixture.draw("speech_to_word", n).segments[1].ids) for n in range(200)]
    assert 0.5 < np.mean([answer in DIGITS for answer in answers]) < 0.7


def test_stories_end_where_they_end(mixture: Mixture) -> None:
    samples = [mixture.draw("text", number) for number in range(60)]
    assert {sample.end for sample in samples} == {True, False} or all(sample.end for sample in samples)
    assert all(len(sample.segments[0].ids) <= 128 for sample in samples)


def test_encoded_sounds_come_from_the_cache_and_follow_the_data(
    tokenizers: Tokenizers, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sounds = spoken_digits(data_root, "train").sounds[:6]
    made = sound_codes(tokenizers.audio, sounds, tmp_path)
    one_by_one = [tokenizers.audio.encode(sound, 8000) for sound in sounds]
    assert all(np.array_equal(a, b) for a, b in zip(made, one_by_one, strict=True))
    monkeypatch.setattr(type(tokenizers.audio), "encode_all", lambda *given: pytest.fail("encoded again"))
    assert all(np.array_equal(a, b) for a, b in zip(made, sound_codes(tokenizers.audio, sounds, tmp_path), strict=True))
    monkeypatch.undo()
    for path in tmp_path.iterdir():
        path.write_bytes(b"cut by a kill")
    assert all(np.array_equal(a, b) for a, b in zip(made, sound_codes(tokenizers.audio, sounds, tmp_path), strict=True))
    sound_codes(tokenizers.audio, sounds[:5], tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
