"""Further voices: planned by the seed, made once, cut and resampled as the recordings are, trained on and nothing else; a broken program ends in one sentence.

``espeak-ng`` is a stand-in here that writes real wav files: a tone, whose height and length the tests know, with silence around it. The last
tests run the real program where it is installed.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.unified.conftest import SMALL_PLAN
from tests.unified.toy import sizes
from workbench.cli import run
from workbench.unified.data import voices
from workbench.unified.data.mixture import Mixture
from workbench.unified.data.speech import HELD_OUT_SPEAKER, speaker_names, spoken_digits
from workbench.unified.data.voices import VARIANTS, digest, further_voices, planned
from workbench.unified.data.words import DIGITS, DIRECTIONS, GARMENTS, SOMEONE, find_name
from workbench.unified.evaluate.bench import test_data as data_of_tests
from workbench.unified.segments import TASKS, UnifiedError
from workbench.unified.tokenizers.bundle import Tokenizers
from workbench.unified.tokenizers.train import corpus, train_tokenizers
from workbench.unified.train.loop import Plan, train
from workbench.unified.train.recipe import Phase, Recipe

SPEAKERS = {"george", "jackson", "lucas", "nicolas", "yweweler", "theo"}
"""Of the Free Spoken Digit Dataset, as its README lists them."""
REAL = shutil.which("espeak-ng")
PROGRAM = """\
import os, signal, sys, time, wave
import array, math
folder = os.path.dirname(os.path.abspath(__file__))
options = dict(zip(sys.argv[1:-1:2], sys.argv[2:-1:2]))
word, mode = sys.argv[-1], open(os.path.join(folder, "mode")).read()
with open(os.path.join(folder, "calls"), "a") as file:
    file.write(options["-v"] + " " + word + "\\n")
if mode == "hang":
    time.sleep(60)
if mode == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if mode == "fails":
    sys.exit("no such \\x1b[31mvoice\\nand more")
if mode == "nothing":
    sys.exit(0)
if mode == "text":
    open(options["-w"], "w").write("seven")
    sys.exit(0)
words = "zero one two three four five six seven eight nine".split()
accent, _, variant = options["-v"].partition("+")
hertz = 300 + 100 * words.index(word) + (5 + sum(variant.encode()) % 40) * (mode != "plain" and variant != "") + (mode == "other") * 50
rate = 44100 if mode == "rate" else 22050
length = int(rate * (9 if mode == "long" else 60 / int(options["-s"])))
tone = [int((mode != "silent") * 9000 * math.sin(2 * math.pi * hertz * n / rate)) for n in range(length)]
values = array.array("h", [0] * (rate // 5) + tone + [0] * (rate // 3))
with wave.open(options["-w"], "wb") as file:
    file.setnchannels(1); file.setsampwidth(2); file.setframerate(rate)
    file.writeframes(values.tobytes())
if mode == "cut":
    os.truncate(options["-w"], os.path.getsize(options["-w"]) // 2)
"""


@dataclass(frozen=True)
class StandIn:
    """The stand-in for the program: what it does can be set, and every call is counted."""

    folder: Path

    def does(self, mode: str) -> None:
        (self.folder / "mode").write_text(mode)

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    folder = tmp_path / "bin"
    folder.mkdir()
    file = folder / "espeak-ng"
    file.write_text(f"#!{sys.executable} -IS\n{PROGRAM}")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(voices, "TAKES", 1)
    made = StandIn(folder)
    made.does("speak")
    return made


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(UnifiedError) as fault:
        call()
    text = str(fault.value)
    assert text.startswith("Expected ") and "\n" not in text and text.isprintable()
    return text


def test_the_plan_follows_from_the_seed_and_grows_at_its_end() -> None:
    whole = planned(20, 3)
    assert whole == planned(20, 3) and planned(7, 3) == whole[: 7 * 80] and planned(20, 4) != whole
    assert len(whole) == 20 * 10 * 8 and set(Counter((t.speaker, t.digit) for t in whole).values()) == {8}
    by_name = {name: [take for take in whole if take.speaker == name] for name in {take.speaker for take in whole}}
    assert len(by_name) == 20 and len({take.voice for take in whole}) == 20
    assert len({take.voice.partition("+")[0] for take in whole}) > 3
    for takes in by_name.values():
        assert len({take.speed for take in takes}) > 5 and len({take.pitch for take in takes}) > 5
        assert np.ptp([take.pitch for take in takes]) <= 16
    assert np.ptp([np.mean([take.pitch for take in takes]) for takes in by_name.values()]) > 20
    assert all(100 <= take.speed <= 225 and 17 <= take.pitch <= 83 for take in planned(len(VARIANTS), 0))


def test_no_voice_bears_a_name_that_means_another() -> None:
    names = {take.speaker for take in planned(len(VARIANTS), 0)}
    assert len(names) == len(VARIANTS)
    assert not names & {*SPEAKERS, HELD_OUT_SPEAKER, SOMEONE, *DIGITS, *GARMENTS, *DIRECTIONS}
    assert all(name.isalpha() and name.islower() for name in names)
    left = planned(len(VARIANTS) - 2, 0, {"linda", "max"})
    assert {take.speaker for take in left} == names - {"linda", "max"}
    assert [take for take in planned(len(VARIANTS), 0) if take.speaker not in ("linda", "max")] == left
    assert f"0 to {len(VARIANTS) - 1}" in refused(lambda: planned(len(VARIANTS), 0, {"linda"}))
    refused(lambda: planned(-1, 0))


def test_sounds_are_cut_and_resampled(program: StandIn) -> None:
    """Against the tone that the stand-in was told to make: its height in Hz and its length in seconds survive, the silence does not."""
    takes, made = planned(3, 1), further_voices(3, 1, (), None)
    assert made.speakers == tuple(take.speaker for take in takes) and made.digits.tolist() == [*range(10)] * 3
    for take, sound in zip(takes, made.sounds, strict=True):
        hertz = 305 + 100 * take.digit + sum(take.voice.partition("+")[2].encode()) % 40
        padded = np.fft.rfft(sound * np.hanning(len(sound)), 80_000)  # a tenth of a hertz apart
        assert np.abs(padded).argmax() / 10 == pytest.approx(hertz, abs=1)
        assert len(sound) / 8000 == pytest.approx(60 / take.speed, abs=0.005)
        assert sound.dtype == np.float32 and np.abs(sound).max() == pytest.approx(1, abs=1e-3)
        assert np.abs(sound[:40]).max() > 0.3 and np.abs(sound[-40:]).max() > 0.3


def test_made_once_and_made_again_alike(program: StandIn, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = further_voices(2, 1, (), cache)
    # Every word once, and two more for each voice, to see that its variant is heard.
    assert len(program.calls()) == 2 * 10 + 2 * 2 and {call.split()[1] for call in program.calls()} == set(DIGITS)
    program.does("nothing")
    assert digest(further_voices(2, 1, (), cache)) == digest(first) and len(program.calls()) == 24
    (program.folder / "espeak-ng").unlink()
    assert digest(further_voices(2, 1, (), cache)) == digest(first)
    assert "apt install espeak-ng" in refused(lambda: further_voices(3, 1, (), cache))
    assert "brew install espeak-ng" in refused(lambda: further_voices(2, 2, (), cache))
    assert len(further_voices(0, 1, (), cache)) == 0 and digest(further_voices(0, 1, (), cache)) == ""


def test_a_cache_that_was_cut_is_made_again(program: StandIn, tmp_path: Path) -> None:
    first = further_voices(2, 1, (), tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(kept.read_bytes()[:-100])
    again = further_voices(2, 1, (), tmp_path / "cache")
    assert digest(again) == digest(first) and len(program.calls()) == 48
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [kept.name]
    program.does("other")
    assert digest(further_voices(2, 1, (), None)) != digest(first)


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("hang", "did not end within 0.5 s"),
        ("killed", "was killed by signal 9"),
        ("fails", "ended with 1 (no such [31mvoice)"),
        ("nothing", "wrote no file"),
        ("text", "no whole wav"),
        ("cut", "cut short"),
        ("rate", "1 channels of 16 bits at 44100 came"),
        ("silent", "a silent one came"),
        ("long", "one of 9.00 s came"),
        ("plain", "speaks without it"),
    ],
)
def test_a_broken_program_is_one_sentence(
    program: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, said: str
) -> None:
    if mode == "hang":
        monkeypatch.setattr(voices, "TIMEOUT", 0.5)
    program.does(mode)
    assert said in refused(lambda: further_voices(5, 1, (), tmp_path / "cache"))
    assert len(program.calls()) < 20 and not (tmp_path / "cache").exists()  # it is not asked for every word


def test_what_is_no_program_is_one_sentence(program: StandIn) -> None:
    (program.folder / "espeak-ng").write_bytes(b"\x7fELF of another machine")
    assert "does not run" in refused(lambda: further_voices(1, 1, (), None))


def test_voices_are_trained_on_and_nothing_else(program: StandIn, tokenizers: Tokenizers, data_root: Path) -> None:
    plain, mixture = Mixture(tokenizers, data_root, 3), Mixture(tokenizers, data_root, 3, voices=4)
    assert mixture.fingerprint() != plain.fingerprint()
    made = further_voices(4, 3, speaker_names(data_root), None)
    names = set(made.speakers)
    assert len(names) == 4
    for task in ("speech_to_word", "word_to_speech"):
        few, more = plain._train[task].pools[0], mixture._train[task].pools[0]
        assert len(more) == len(few) + 40
        for place, (sound, digit, name) in enumerate(zip(made.sounds, made.digits, made.speakers, strict=True)):
            said, word = more.make(len(few) + place, 16), DIGITS[digit]  # a variant that is a caption in both tasks
            spoken, text = said.segments if task == "speech_to_word" else said.segments[::-1]
            assert np.array_equal(spoken.codes, tokenizers.audio.encode(sound, 8000))
            caption = tokenizers.text.decode(text.ids)
            assert name in caption.replace(",", " ").replace(":", " ").split()
            assert find_name(caption, DIGITS) == DIGITS.index(word)
        kept = [plain._held[task].pools[0], mixture._held[task].pools[0]]
        assert len(kept[0]) == len(kept[1])
        for item in range(len(kept[0])):  # what is kept back is what was kept back without voices
            one, two = (pool.make(item, 16) for pool in kept)
            assert [tokenizers.text.decode(s.ids) for s in one.segments if hasattr(s, "ids")] == [
                tokenizers.text.decode(s.ids) for s in two.segments if hasattr(s, "ids")
            ]
            assert all(
                np.array_equal(a.codes, b.codes)
                for a, b in zip(one.segments, two.segments, strict=True)
                if hasattr(a, "codes")
            )
    assert set(TASKS) == set(mixture._train)
    for utterances in data_of_tests(data_root, None, 4).sounds.values():
        assert len(utterances) and not names & set(utterances.speakers)
    for part in ("train", "test", "held_out_speaker"):
        assert not names & set(spoken_digits(data_root, part).speakers)


def test_a_recorded_speaker_keeps_the_name(data_root: Path, tmp_path: Path) -> None:
    """Someone added recordings of an Adam, as the data set invites to: no further voice is called so."""
    recordings = tmp_path / "fsdd" / "recordings"
    recordings.mkdir(parents=True)
    for path in (data_root / "fsdd" / "recordings").glob("*_ann_*.wav"):
        shutil.copy(path, recordings / path.name.replace("ann", "Adam"))
    assert speaker_names(tmp_path) == {"adam", HELD_OUT_SPEAKER}
    names = {take.speaker for take in planned(len(VARIANTS) - 1, 0, speaker_names(tmp_path))}
    assert "adam" not in names and len(names) == len(VARIANTS) - 1


def test_a_resumed_run_equals_an_uninterrupted_one(
    program: StandIn, tokenizers: Tokenizers, data_root: Path, tmp_path: Path
) -> None:
    """The program is gone when the run goes on: its voices come from the cache."""
    speech = {"speech_to_word": 4, "word_to_speech": 4}
    small = {k: v for k, v in sizes().items() if k in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    recipe = Recipe(seed=2, voices=3, model=small, phases=(Phase(1.0, speech),), warmup=2)
    plan = Plan(steps=4, save_every=100, device="cpu")

    def data(out: Path) -> Mixture:
        return Mixture(tokenizers, data_root, 2, out / "cache", voices=3)

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(data(whole), tokenizers, whole, recipe, plan)
    train(data(cut), tokenizers, cut, recipe, replace(plan, stop_after=2))
    (program.folder / "espeak-ng").rename(program.folder / "gone")
    train(data(cut), tokenizers, cut, recipe, replace(plan, resume=True))
    one, two = (load_file(out / "state" / "weights.safetensors") for out in (whole, cut))
    assert all(torch.equal(one[name], two[name]) for name in one)
    (program.folder / "gone").rename(program.folder / "espeak-ng")
    program.does("other")  # another version of the program, and a cache that was emptied
    shutil.rmtree(cut / "cache")
    again = replace(plan, resume=True)
    assert "they have changed" in refused(lambda: train(data(cut), tokenizers, cut, recipe, again))


def test_the_command_keeps_the_number(
    program: StandIn,
    trained: tuple[Path, dict],
    data_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    small = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 2, "num_experts": 16}
    small |= {"num_experts_per_tok": 2, "moe_intermediate_size": 8, "shared_intermediate_size": 16}

    def command(*more: str, steps: int = 2) -> int:
        return run(
            ["unified", "train", "--tokenizers", str(trained[0]), "--data-root", str(data_root), "--out",
             str(tmp_path / "run"), "--steps", str(steps), "--batch", "0.1", "--model-config", json.dumps(small),
             "--device", "cpu", "--json", *more]
        )  # fmt: skip

    assert command("--voices", "2") == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["training"]["recipe"]["voices"] == 2
    calls = len(program.calls())
    for others in ((), ("--voices", "3")):
        capsys.readouterr()
        assert command("--resume", *others, steps=3) == 1
        assert "these differ: voices" in capsys.readouterr().err
    before = len(program.calls())
    assert before > calls  # three voices were made before the run was looked at; two are not made again
    assert command("--resume", "--voices", "2", steps=3) == 0 and len(program.calls()) == before
    capsys.readouterr()
    assert command("--resume", "--voices", "99", steps=3) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_tokenizers_learn_from_them_and_are_measured_without(
    program: StandIn, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, measured = [], []
    import workbench.unified.tokenizers.train as module

    learn, measure = module.train_audio, module.measure_audio
    monkeypatch.setattr(module, "train_audio", lambda spoken, *rest: (heard.append(spoken), learn(spoken, *rest))[1])
    monkeypatch.setattr(module, "measure_audio", lambda a, spoken: (measured.append(spoken), measure(a, spoken))[1])
    plan = replace(
        SMALL_PLAN,
        image=replace(SMALL_PLAN.image, steps=2, clip_steps=2),
        audio=replace(SMALL_PLAN.audio, steps=4),
    )
    report = train_tokenizers(data_root, tmp_path / "bundle", 5, plan=plan, voices=2)
    names = {take.speaker for take in planned(2, 5)}
    assert report["voices"] == 2 and set(heard[0].speakers) == {"ann", "ben", *names} and len(heard[0]) == 40 + 20
    assert [len(spoken) for spoken in measured] == [100, 70]
    assert not names & {name for spoken in measured for name in spoken.speakers}
    assert {f"{name} says seven" for name in names} <= set(corpus(data_root, heard[0].speakers))
    assert Tokenizers.load(tmp_path / "bundle").fingerprint() == report["fingerprint"]


@pytest.mark.skipif(REAL is None, reason="espeak-ng is not installed")
def test_the_real_program_has_every_voice(monkeypatch: pytest.MonkeyPatch) -> None:
    """All variants are heard (a missing one would be refused), twice alike, and no two voices are one."""
    monkeypatch.setattr(voices, "TAKES", 1)
    made = further_voices(len(VARIANTS), 0, (), None)
    assert len({sound.tobytes() for sound in made.sounds}) == len(made) == 10 * len(VARIANTS)
    again = further_voices(4, 0, (), None)
    assert all(np.array_equal(one, two) for one, two in zip(again.sounds, made.sounds, strict=False))
    seconds = np.array([len(sound) for sound in made.sounds]) / 8000
    assert 0.3 < np.median(seconds) < 0.55 and seconds.max() < 1  # recordings: a median of 0.35 to 0.54 s by speaker


@pytest.mark.skipif(REAL is None, reason="espeak-ng is not installed")
def test_the_real_program_follows_speed_and_pitch() -> None:
    """Speed against the length of the sound, pitch against the autocorrelation of its vowel."""
    (take,) = [t for t in planned(len(VARIANTS), 0) if t.speaker == "max" and t.digit == 9][:1]
    slow, fast, low, high = (
        replace(take, **{"speed": 150, "pitch": 50, **change})
        for change in ({"speed": 110}, {"speed": 210}, {"pitch": 25}, {"pitch": 75})
    )
    slow, fast, low, high = voices._say_all([slow, fast, low, high])
    assert len(fast) < 0.8 * len(slow)

    def period(sound: np.ndarray) -> int:
        middle = sound[len(sound) // 3 : len(sound) // 3 + 800].astype(float)
        alike = np.correlate(middle, middle, "full")[len(middle) - 1 :]
        return 20 + int(alike[20:160].argmax())  # 50 to 400 Hz

    assert period(high) < 0.85 * period(low)


@pytest.mark.skipif(REAL is None, reason="espeak-ng is not installed")
def test_the_shipped_model_reads_the_real_voices(monkeypatch: pytest.MonkeyPatch) -> None:
    """It never heard them: what it reads is what they were told to say, far more often than the chance of one in ten."""
    from workbench.unified.checkpoint import load_checkpoint
    from workbench.unified.generate import Generator
    from workbench.unified.segments import Sound

    monkeypatch.setattr(voices, "TAKES", 1)
    made = further_voices(8, 0, (), None)
    shipped = Path(__file__).parents[3] / "sample_data" / "checkpoints" / "omni-mini"
    generator = Generator(*load_checkpoint(shipped))
    codes = generator.tokenizers.audio.encode_all(made.sounds, 8000)
    answers = generator.answer([(Sound(one),) for one in codes], max_tokens=24)
    right = [find_name(answer, DIGITS) == digit for answer, digit in zip(answers, made.digits, strict=True)]
    assert np.mean(right) > 0.5
