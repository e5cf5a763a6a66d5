"""Further voices for the spoken digits, made by the program espeak-ng: for training alone, never for a test or a held-out measure.

The program (eSpeak NG, GPL-3.0) is called as a program and only its output is used. A voice is one of its English accents with one of its
variants; it says every digit several times, at its own pitch and speed or a little beside them. Which variants, accents, pitches and
speeds these are follows from the seed alone, and the first voices of a seed are the same however many are asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from workbench.unified.data.speech import Utterances
from workbench.unified.data.words import DIGITS
from workbench.unified.segments import UnifiedError
from workbench.unified.tokenizers.sound import LONGEST, prepare

PROGRAM = "espeak-ng"
PROGRAM_RATE = 22050
"""Samples a second of every wav that the program writes."""
ACCENTS = ("en", "en-us", "en-029", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd")
"""Its English ones. ``en`` is that of Great Britain: under its other name ``en-gb``, version 1.51 passes over every variant."""
VARIANTS = (
    "Alex", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Jacky", "Mario", "Michael",
    "Mike", "Nguyen", "adam", "anika", "antonio", "belinda", "benjamin", "boris", "david", "ed", "edward", "gustave",
    "iven", "john", "linda", "marcelo", "max", "michel", "miguel", "pablo", "paul", "pedro", "quincy", "rob",
    "robert", "sandro", "steph", "victor",
)  # fmt: skip
"""Its variants that bear a person's name and speak as people do; the name in lower case is the speaker's. Left out are whispers (caleb too),
robots, echoes, and formants that no throat has: a first one halved (travis), one lost (Lee), vowels moved by 25 to 45 % (norbert, shelby, zac).
"""
TAKES = 8
"""Times that a voice says each digit; a recorded speaker has 45 in the training part."""
SPEEDS, PITCHES = (125, 200), (25, 75)
"""Words a minute and the program's pitch (0 to 99), from which every voice draws its own."""
SPEED_AROUND, PITCH_AROUND = 25, 8
"""How far a take may lie beside those of its voice."""
SECONDS = (0.1, 2.5)
"""A word that is shorter or longer is broken: the recordings last 0.14 to 2.3 s."""
QUIET = 0.005
"""Share of the peak under which the ends of a word are cut off, as the recordings are cut."""
TIMEOUT = 20.0
"""Seconds that the program may take for one word; it takes a few hundredths of one."""
WORKERS = 4


@dataclass(frozen=True)
class Take:
    """One word that is to be said.

    Attributes:
        speaker: name in captions.
        voice: what ``espeak-ng -v`` takes, accent and variant.
        digit: 0 to 9.
        speed: words a minute.
        pitch: 0 to 99.
    """

    speaker: str
    voice: str
    digit: int
    speed: int
    pitch: int


def planned(count: int, seed: int, taken: Collection[str] = ()) -> list[Take]:
    """What is to be said, voice by voice, digit by digit.

    Args:
        count: number of voices.
        seed: decides variants, accents, speeds and pitches.
        taken: names of the recorded speakers; a variant of such a name is left out.

    Raises:
        UnifiedError: fewer than none, or more voices than there are.
    """
    free = [variant for variant in VARIANTS if variant.lower() not in taken]
    if not 0 <= count <= len(free):
        raise UnifiedError(
            f"Expected 0 to {len(free)} further voices, because espeak-ng has no more of a name of their own, got {count}: "
            "give --voices such a number."
        )
    order = np.random.default_rng((seed, 11)).permutation(len(VARIANTS)).tolist()
    takes = []
    for place in [place for place in order if VARIANTS[place] in free][:count]:
        # A voice has its own draws: another one that comes or goes does not change it.
        variant, rng = VARIANTS[place], np.random.default_rng((seed, 12, place))
        voice = f"{ACCENTS[int(rng.integers(len(ACCENTS)))]}+{variant}"
        speed, pitch = int(rng.integers(*SPEEDS, endpoint=True)), int(rng.integers(*PITCHES, endpoint=True))
        for digit in range(len(DIGITS)):
            for _ in range(TAKES):
                faster = int(rng.integers(-SPEED_AROUND, SPEED_AROUND, endpoint=True))
                higher = int(rng.integers(-PITCH_AROUND, PITCH_AROUND, endpoint=True))
                takes.append(Take(variant.lower(), voice, digit, speed + faster, pitch + higher))
    return takes


def further_voices(count: int, seed: int, taken: Collection[str], cache: Path | None) -> Utterances:
    """Spoken digits in further voices, at 8 kHz, with the silence around them cut off.

    Args:
        count: number of voices; each says every digit ``TAKES`` times.
        seed: of the voices.
        taken: names of the recorded speakers, which no further voice bears.
        cache: folder in which they are kept, so that they are made once; None makes them each time.

    Returns:
        float32 sounds with a peak of 1, their digits and the names of their voices.

    Raises:
        UnifiedError: the number is out of range, the program is missing, lacks a variant, or writes no such sound.
    """
    takes = planned(count, seed, taken)
    key = hashlib.sha256(json.dumps([astuple(take) for take in takes]).encode()).hexdigest()[:16]
    path = cache / f"voices-{key}.safetensors" if cache is not None else None
    sounds = _kept(path, len(takes)) if path is not None else None
    if sounds is None:
        sounds = _say_all(takes)
        if path is not None and sounds:
            _keep(path, sounds)
    digits = np.array([take.digit for take in takes], np.int64)
    return Utterances(
        tuple(sound.astype(np.float32) / 32767 for sound in sounds), digits, tuple(take.speaker for take in takes)
    )


def _say_all(takes: Sequence[Take]) -> list[np.ndarray]:
    """int16 [samples] of every take, several at once and in their order."""
    from tqdm import tqdm

    if not takes:
        return []
    program = shutil.which(PROGRAM)
    if program is None:
        raise UnifiedError(
            "Expected the program espeak-ng to make further voices, but none is on the PATH: install it (Debian and Ubuntu: `apt install "
            "espeak-ng`; macOS: `brew install espeak-ng`; Windows: the installer of its releases on GitHub), or leave --voices out."
        )
    first = {take.voice: take for take in reversed(takes)}
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1)) as pool,
        tqdm(total=len(takes), desc="voices", unit="word", leave=False, disable=None) as bar,
    ):

        def say(number: int) -> np.ndarray:
            file = Path(folder) / f"{number}.wav"
            made = _say(program, takes[number], file)
            file.unlink()
            bar.update(1)
            return made

        try:
            list(pool.map(lambda take: _check_variant(program, take, Path(folder)), first.values()))
            return list(pool.map(say, range(len(takes))))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # a program that hangs would be waited for at every word
            raise


def _check_variant(program: str, take: Take, folder: Path) -> None:
    """A variant that the program lacks is passed over by it without a word: then the sound is that of the accent alone."""
    accent, _, variant = take.voice.partition("+")
    with_it = _say(program, take, folder / f"{variant}-with.wav")
    alone = _say(program, replace(take, voice=accent), folder / f"{variant}-alone.wav")
    if np.array_equal(with_it, alone):
        raise UnifiedError(
            f"Expected the variant '{variant}' in the voices of espeak-ng, but '{program}' speaks without it: install version 1.51 or later "
            "with all its voices, or ask for fewer --voices."
        )


def _say(program: str, take: Take, file: Path) -> np.ndarray:
    """Run the program once.

    Returns:
        int16 [samples] at 8 kHz.
    """
    word = DIGITS[take.digit]
    command = [program, "-v", take.voice, "-s", str(take.speed), "-p", str(take.pitch), "-w", str(file), word]

    def refused(what: str) -> UnifiedError:
        return UnifiedError(
            f"Expected espeak-ng to say '{word}' as a wav of one channel of 16 bits at {PROGRAM_RATE} samples a second, but {what}: see what "
            f"`espeak-ng -v {take.voice} -w test.wav {word}` does, and install '{program}' anew."
        )

    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        raise refused(f"it did not end within {TIMEOUT:g} s") from None
    except OSError as fault:
        raise refused(f"it does not run ({fault.strerror})") from None
    if done.returncode:
        said = "".join(c for c in done.stderr.decode("utf-8", "replace")[:200].partition("\n")[0] if c.isprintable())
        ended = f"was killed by signal {-done.returncode}" if done.returncode < 0 else f"ended with {done.returncode}"
        raise refused(f"it {ended} ({said or 'without a word'})")
    try:
        with wave.open(str(file)) as sound:
            form = (sound.getnchannels(), sound.getsampwidth(), sound.getframerate())
            frames = min(sound.getnframes(), LONGEST * PROGRAM_RATE)
            raw = sound.readframes(frames)
    except FileNotFoundError:
        raise refused("it wrote no file") from None
    except (wave.Error, EOFError, OSError):
        raise refused("what it wrote is no whole wav") from None
    if form != (1, 2, PROGRAM_RATE):
        raise refused(f"{form[0]} channels of {8 * form[1]} bits at {form[2]} came")
    if len(raw) != 2 * frames:
        raise refused("what it wrote is cut short")
    values = np.frombuffer(raw, "<i2").astype(np.float32) / 32768
    if not len(values) or np.abs(values).max() < 0.01:
        raise refused("a silent one came")
    cut = _cut(values)
    seconds = len(cut) / PROGRAM_RATE
    if not SECONDS[0] <= seconds <= SECONDS[1]:
        raise refused(f"one of {seconds:.2f} s came, where a word takes {SECONDS[0]:g} to {SECONDS[1]:g} s")
    return np.round(prepare(cut, PROGRAM_RATE) * 32767).astype(np.int16)


def _cut(values: np.ndarray) -> np.ndarray:
    """The part from the first to the last sample that is not quiet."""
    loud = np.flatnonzero(np.abs(values) > QUIET * np.abs(values).max())
    return values[loud[0] : loud[-1] + 1]


def _kept(path: Path, count: int) -> list[np.ndarray] | None:
    """The sounds of a cache file; None if there is none, or another one."""
    if not path.is_file():
        return None
    try:
        found = load_file(path)
        samples, lengths = found["samples"], found["lengths"]
    except (SafetensorError, KeyError, OSError):
        return None  # cut by a kill: made again
    if len(lengths) != count or int(lengths.sum()) != len(samples):
        return None
    return np.split(samples, np.cumsum(lengths)[:-1])


def _keep(path: Path, sounds: Sequence[np.ndarray]) -> None:
    """Write a cache file whole or not at all; each process of a run has a half file of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(f".{os.getpid()}.half")
    save_file({"samples": np.concatenate(sounds), "lengths": np.array([len(one) for one in sounds], np.int64)}, half)
    half.replace(path)


def digest(spoken: Utterances) -> str:
    """Changes when a sound, a digit or a name changes; empty without any."""
    if not len(spoken):
        return ""
    found = hashlib.sha256(json.dumps([spoken.digits.tolist(), spoken.speakers]).encode())
    for sound in spoken.sounds:
        found.update(len(sound).to_bytes(8, "little"))
        found.update(np.ascontiguousarray(sound).tobytes())
    return found.hexdigest()[:16]
