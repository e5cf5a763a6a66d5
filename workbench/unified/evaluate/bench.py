"""The judges' bench: the test data as judges take it, the trained judges, and where they are kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from workbench.capture.library import HOME_VARIABLE
from workbench.unified.data.clips import ClipMaker, moving_digits
from workbench.unified.data.pictures import Pictures, digits, fashion, mnist_grey
from workbench.unified.data.speech import Utterances, at_speed, spoken_digits
from workbench.unified.evaluate.judges import (
    ClipJudge,
    Judge,
    JudgePlan,
    PictureJudge,
    SoundJudge,
    blur_pictures,
    blur_sounds,
    fixed_length,
    train_judge,
)
from workbench.unified.tokenizers.sound import RATE, log_mel, prepare

JUDGES = "judges"
TRAIN_CLIPS = 6000
TEST_CLIPS = 1000
TEST_CLIP_SEED = 77
SPEEDS = (0.85, 1.0, 1.15)


@dataclass(frozen=True)
class TestData:
    """Everything that the evaluation reads; nothing here was trained on.

    Attributes:
        pictures: by set, ``fashion`` and ``digits``.
        sounds: by part, ``known_speakers`` and ``held_out_speaker``.
        clips: uint8 pixels [N, F, 3, 32, 32], digits, directions.
    """

    __test__ = False  # pytest: this is no test

    pictures: dict[str, Pictures]
    sounds: dict[str, Utterances]
    clips: tuple[np.ndarray, np.ndarray, np.ndarray]


def test_data(data_root: Path, limit: int | None, frames: int) -> TestData:
    """The test parts of every set.

    Args:
        data_root: folder with one folder a data set.
        limit: at most so many items of each.
        frames: of a clip.
    """
    clips = moving_digits(data_root, "test", min(limit or TEST_CLIPS, TEST_CLIPS), TEST_CLIP_SEED, frames)
    return TestData(
        {name: made(data_root, "test").take(limit) for name, made in (("fashion", fashion), ("digits", digits))},
        {
            name: spoken_digits(data_root, part).take(limit)
            for name, part in (("known_speakers", "test"), ("held_out_speaker", "held_out_speaker"))
        },
        (clips.pixels, clips.digits, clips.directions),
    )


test_data.__test__ = False  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Judges:
    """Trained judges.

    Attributes:
        by_name: ``fashion``, ``digits``, ``sound`` and ``clip``.
    """

    by_name: dict[str, Judge]

    def save(self, folder: Path) -> None:
        """Write one safetensors file a judge, in half precision."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, judge in self.by_name.items():
            tensors = {
                n: (v.half() if v.is_floating_point() else v).contiguous() for n, v in judge.state_dict().items()
            }
            save_file(tensors, folder / f"{name}.safetensors")

    @classmethod
    def load(cls, folder: Path, frames: int) -> Judges | None:
        """Read judges; None if one is missing, broken or made for other clips."""
        made = _fresh(frames)
        for name, judge in made.items():
            path = folder / f"{name}.safetensors"
            try:
                tensors = load_file(path)
                judge.load_state_dict({n: v.float() if v.is_floating_point() else v for n, v in tensors.items()})
            except (OSError, SafetensorError, RuntimeError):
                return None
            judge.eval().requires_grad_(False)
        return cls(made)

    def fingerprint(self) -> str:
        """Changes when a judge changes."""
        digest = hashlib.sha256()
        for judge in self.by_name.values():
            for value in judge.state_dict().values():
                digest.update(value.half().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def default_folder() -> Path:
    """Where judges are kept between evaluations: ``$WORKBENCH_HOME/judges``."""
    home = os.environ.get(HOME_VARIABLE)
    return (Path(home) if home else Path.home() / ".unified-workbench") / JUDGES


def provide_judges(
    data_root: Path, folder: Path, frames: int, say: Callable[[str], None] | None = None, plan: JudgePlan | None = None
) -> Judges:
    """Judges from a folder, or trained on real training data and kept there.

    Args:
        data_root: folder with one folder a data set.
        folder: where they are kept.
        frames: of a clip.
        say: told what is trained.
        plan: length and seed of each.
    """
    found = Judges.load(folder, frames)
    if found is None:
        found = train_judges(data_root, frames, say, plan)
        found.save(folder)
        found = Judges.load(folder, frames) or found
    return found


def train_judges(
    data_root: Path, frames: int, say: Callable[[str], None] | None = None, plan: JudgePlan | None = None
) -> Judges:
    """Train all four judges on the training parts of the real data."""
    chosen = plan or JudgePlan()
    torch.manual_seed(chosen.seed)
    made = _fresh(frames)
    for name, judge in made.items():
        steps = chosen.garment_steps if name == "fashion" else chosen.steps
        if say is not None:
            say(f"Training the judge of {NAMES[name]} on real training data ({steps} steps)")
        items, labels = _training_data(name, data_root, frames, chosen.seed)
        train_judge(judge, items, labels, blur_sounds if name == "sound" else blur_pictures, chosen, steps)
    return Judges(made)


NAMES = {"fashion": "garments", "digits": "digits", "sound": "spoken digits", "clip": "clips"}


def sounds_for_judge(sounds: tuple[np.ndarray, ...] | list[np.ndarray]) -> Tensor:
    """Sounds float32 [samples] at 8 kHz as the sound judge takes them, float32 [N, frames, BANDS]."""
    return torch.stack([fixed_length(log_mel(torch.from_numpy(prepare(sound, RATE)))) for sound in sounds])


def _fresh(frames: int) -> dict[str, Judge]:
    return {"fashion": PictureJudge(), "digits": PictureJudge(), "sound": SoundJudge(), "clip": ClipJudge(frames)}


def _training_data(name: str, root: Path, frames: int, seed: int) -> tuple[Tensor, Tensor]:
    if name == "clip":
        clips = ClipMaker(*mnist_grey(root, "train"), TRAIN_CLIPS, (seed, 3), frames).every()
        return torch.from_numpy(clips.pixels), torch.from_numpy(np.stack([clips.digits, clips.directions], 1))
    if name == "sound":
        spoken = spoken_digits(root, "train")
        sounds = [at_speed(sound, speed) for speed in SPEEDS for sound in spoken.sounds]
        return sounds_for_judge(sounds), torch.from_numpy(np.tile(spoken.digits, len(SPEEDS)))[:, None]
    pictures = (fashion if name == "fashion" else digits)(root, "train")
    return torch.from_numpy(pictures.pixels), torch.from_numpy(pictures.labels)[:, None]
