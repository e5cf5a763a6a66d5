"""Moving digits: a handwritten digit that walks left, right, up or down over a black ground, made on the spot.

A training clip is drawn from training digits only, a test clip from test digits only; the number of a clip decides digit,
start, direction and speed, so that clip ``n`` of a seed is always the same one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.unified.data.pictures import SIDE, Split, mnist_grey
from workbench.unified.data.words import DIRECTIONS

FRAMES = 4
SPEEDS = (2, 3, 4)
"""Pixels a frame."""
DIGIT_SIDE = 20
_STEP = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}


@dataclass(frozen=True)
class Clips:
    """Clips of one digit each.

    Attributes:
        pixels: uint8 [N, F, 3, 32, 32].
        digits: int64 [N].
        directions: int64 [N]; index into ``DIRECTIONS``.
    """

    pixels: np.ndarray
    digits: np.ndarray
    directions: np.ndarray

    def __len__(self) -> int:
        return len(self.digits)


class ClipMaker:
    """Draws clips one at a time: digit, start, direction and speed of each are fixed when it is made.

    Args:
        grey: uint8 [M, 28, 28], the digits to choose from.
        labels: int64 [M].
        count: number of clips.
        seed: of the draw.
        frames: frames F a clip.
    """

    def __init__(
        self, grey: np.ndarray, labels: np.ndarray, count: int, seed: int | tuple[int, ...], frames: int = FRAMES
    ) -> None:
        rng = np.random.default_rng(seed)
        self.frames = frames
        self.small = shrink(grey)
        self.which = rng.integers(len(labels), size=count)
        self.digits = labels[self.which].astype(np.int64)
        self.directions = rng.integers(len(DIRECTIONS), size=count)
        room = SIDE - DIGIT_SIDE
        self.speeds = np.minimum(rng.choice(SPEEDS, size=count), room // max(frames - 1, 1))
        way = self.speeds * (frames - 1)
        self.across = rng.integers(0, room + 1, size=count)
        backwards = np.isin(self.directions, [n for n, name in enumerate(DIRECTIONS) if sum(_STEP[name]) < 0])
        self.along = rng.integers(0, room - way + 1) + way * backwards

    def __len__(self) -> int:
        return len(self.which)

    def clip(self, number: int) -> np.ndarray:
        """Clip ``number``, uint8 [F, 3, 32, 32]."""
        down, right = _STEP[DIRECTIONS[self.directions[number]]]
        speed, along, across = int(self.speeds[number]), int(self.along[number]), int(self.across[number])
        top, side = (along, across) if down else (across, along)
        made = np.zeros((self.frames, 1, SIDE, SIDE), np.uint8)
        for frame in range(self.frames):
            y, x = top + down * speed * frame, side + right * speed * frame
            made[frame, 0, y : y + DIGIT_SIDE, x : x + DIGIT_SIDE] = self.small[self.which[number]]
        return np.repeat(made, 3, 1)

    def every(self) -> Clips:
        """All clips at once."""
        return Clips(np.stack([self.clip(n) for n in range(len(self))]), self.digits, self.directions)


def moving_digits(root: Path, split: Split, count: int, seed: int = 0, frames: int = FRAMES) -> Clips:
    """Clips from the handwritten digits below a data root.

    Args:
        root: data root.
        split: whose digits are shown.
        count: number of clips.
        seed: of the draw; train and test never share it.
        frames: frames a clip.
    """
    grey, labels = mnist_grey(root, split)
    return ClipMaker(grey, labels, count, (seed, 0 if split == "train" else 1), frames).every()


def shrink(grey: np.ndarray) -> np.ndarray:
    """Digits of 28 x 28 cut to their middle 24 and shrunk to 20 x 20 by area, uint8.

    The data set centres every digit in a box of 20 by its centre of mass, so the rim of two pixels is nearly always empty.
    """
    from PIL import Image

    cut = grey[:, 2:26, 2:26]
    size = (DIGIT_SIDE, DIGIT_SIDE)
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BOX)) for one in cut])
