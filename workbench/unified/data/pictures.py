"""Pictures of 32 x 32 in colour with the name of what they show: garments, handwritten digits, emoji."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from workbench.unified.data.root import held_out, read_idx, set_folder
from workbench.unified.data.words import (
    DIGIT_WORDINGS,
    DIGITS,
    EMOJI_WORDINGS,
    GARMENT_WORDINGS,
    GARMENTS,
    Wordings,
)
from workbench.unified.segments import UnifiedError

SIDE = 32
"""Pixels on each side of every picture and frame."""
MNIST_TRAIN = 8000
"""The first so many of the 10,000 handwritten digits are for training, the rest for testing (clips too)."""
Split = Literal["train", "test"]


@dataclass(frozen=True)
class Pictures:
    """Pictures of one set.

    Attributes:
        pixels: uint8 [N, 3, 32, 32].
        labels: int64 [N]; index into ``names``.
        names: name of every class.
        wordings: how a caption of them is worded.
    """

    pixels: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    wordings: Wordings

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, most: int | None, seed: int = 0) -> Pictures:
        """At most so many pictures, drawn without order."""
        if most is None or most >= len(self):
            return self
        chosen = np.random.default_rng(seed).permutation(len(self))[:most]
        return Pictures(self.pixels[chosen], self.labels[chosen], self.names, self.wordings)


def frame_grey(grey: np.ndarray) -> np.ndarray:
    """Grey pictures of 28 x 28 on a black frame of 32 x 32, three equal channels.

    Args:
        grey: uint8 [N, 28, 28].

    Returns:
        uint8 [N, 3, 32, 32].
    """
    edge = (SIDE - grey.shape[1]) // 2
    framed = np.pad(grey, ((0, 0), (edge, edge), (edge, edge)))
    return np.repeat(framed[:, None], 3, axis=1)


def fashion(root: Path, split: Split) -> Pictures:
    """Fashion-MNIST: 60,000 pictures to train on, 10,000 to test on (its own split)."""
    folder = set_folder(root, "fashion_mnist")
    part = "train" if split == "train" else "t10k"
    grey = read_idx(folder / f"{part}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz").astype(np.int64)
    return Pictures(frame_grey(grey), labels, GARMENTS, GARMENT_WORDINGS)


def mnist_grey(root: Path, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits, uint8 [N, 28, 28], and their labels int64 [N]: the first 8,000 train, the last 2,000 test."""
    folder = set_folder(root, "mnist_t10k")
    grey = read_idx(folder / "t10k-images-idx3-ubyte.gz")
    labels = read_idx(folder / "t10k-labels-idx1-ubyte.gz").astype(np.int64)
    part = slice(None, MNIST_TRAIN) if split == "train" else slice(MNIST_TRAIN, None)
    return grey[part], labels[part]


def digits(root: Path, split: Split) -> Pictures:
    """Handwritten digits as pictures; the split of :func:`mnist_grey`."""
    grey, labels = mnist_grey(root, split)
    return Pictures(frame_grey(grey), labels, DIGITS, DIGIT_WORDINGS)


def emoji(root: Path, split: Split) -> Pictures:
    """Colour emoji on black, each its own class by its Unicode name; 5 % of the names are held out, by a hash.

    Raises:
        UnifiedError: names or pictures are missing or broken.
    """
    from PIL import Image

    folder = set_folder(root, "noto_emoji")
    try:
        listing = json.loads((folder / "names.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise UnifiedError(
            f"Expected the names of the emoji in '{folder / 'names.json'}', but it cannot be read: fetch the data set again."
        ) from fault
    pixels, labels, names = [], [], dict[str, int]()
    for file, entry in sorted(listing.items()):
        name = str(entry["name"]).lower()
        if not name.strip() or held_out(name) != (split == "test"):
            continue  # a picture without a name says nothing that could be read or asked for
        path = folder / "png72" / file
        if not path.is_file():
            continue
        with Image.open(path) as picture:
            small = picture.convert("RGBA").resize((SIDE, SIDE), Image.Resampling.BOX)
        ground = Image.new("RGBA", small.size, (0, 0, 0, 255))
        pixels.append(np.asarray(Image.alpha_composite(ground, small).convert("RGB")).transpose(2, 0, 1))
        labels.append(names.setdefault(name, len(names)))
    if not pixels:
        raise UnifiedError(f"Expected pictures in '{folder / 'png72'}', but there is none: fetch the data set again.")
    return Pictures(np.stack(pixels), np.array(labels, np.int64), tuple(names), EMOJI_WORDINGS)
