"""A data root of its own for the tests: drawn shapes, tones and sentences in the files of the real sets. Nothing is downloaded."""

from __future__ import annotations

import gzip
import json
import struct
import wave
from pathlib import Path

import numpy as np

from workbench.unified.data.speech import RATE

SPEAKERS = ("ann", "ben", "theo")
"""The last one is the held-out speaker's name."""


def shape(label: int, rng: np.random.Generator) -> np.ndarray:
    """A picture of 28 x 28 whose bright bar stands at a place of its class."""
    grey = rng.integers(0, 20, (28, 28))
    grey[4:24, 4 + 2 * label : 6 + 2 * label] = rng.integers(180, 255)
    return grey.astype(np.uint8)


def tone(digit: int, speaker: int, rng: np.random.Generator) -> np.ndarray:
    """A third of a second whose pitch is the digit's, and whose second tone is the speaker's."""
    time = np.arange(RATE // 3) / RATE
    sound = np.sin(2 * np.pi * (300 + 250 * digit) * time) + 0.2 * np.sin(2 * np.pi * (150 + 40 * speaker) * time)
    return (0.4 * sound * np.hanning(len(time)) + 0.003 * rng.standard_normal(len(time))).astype(np.float32)


def write_idx(path: Path, values: np.ndarray) -> None:
    header = b"\0\0\x08" + bytes([values.ndim]) + struct.pack(f">{values.ndim}i", *values.shape)
    with gzip.open(path, "wb") as file:
        file.write(header + values.astype(np.uint8).tobytes())


def make_data_root(root: Path, pictures: int = 120, recordings: int = 7) -> Path:
    """Write every set below ``root``: garments, digits (8,060, as the split is at 8,000), emoji, spoken digits, stories."""
    from PIL import Image

    rng = np.random.default_rng(0)
    (root / "fashion_mnist").mkdir(parents=True)
    for part, count in (("train", pictures), ("t10k", pictures // 3)):
        labels = np.arange(count) % 10
        images = np.stack([shape(int(label), rng) for label in labels])
        write_idx(root / "fashion_mnist" / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(root / "fashion_mnist" / f"{part}-labels-idx1-ubyte.gz", labels)
    (root / "mnist_t10k").mkdir()
    labels = np.arange(8060) % 10
    few = [shape(label, rng) for label in range(10)]
    write_idx(root / "mnist_t10k" / "t10k-images-idx3-ubyte.gz", np.stack([few[label] for label in labels]))
    write_idx(root / "mnist_t10k" / "t10k-labels-idx1-ubyte.gz", labels)
    (root / "noto_emoji" / "png72").mkdir(parents=True)
    names = {}
    for number in range(60):
        file = f"emoji_{number}.png"
        names[file] = {"emoji": "x", "name": f"Sign {'abcdefghij'[number % 10]}{number}", "n_codepoints": 1}
        colour = tuple(int(v) for v in rng.integers(0, 255, 3))
        Image.new("RGBA", (72, 72), (*colour, 255)).save(root / "noto_emoji" / "png72" / file)
    (root / "noto_emoji" / "names.json").write_text(json.dumps(names))
    (root / "fsdd" / "recordings").mkdir(parents=True)
    for place, speaker in enumerate(SPEAKERS):
        for digit in range(10):
            for index in range(recordings):
                path = root / "fsdd" / "recordings" / f"{digit}_{speaker}_{index}.wav"
                with wave.open(str(path), "wb") as file:
                    file.setnchannels(1)
                    file.setsampwidth(2)
                    file.setframerate(RATE)
                    file.writeframes((tone(digit, place, rng) * 32767).astype("<i2").tobytes())
    (root / "text").mkdir()
    animals = ("cat", "dog", "fox", "bear", "hen")
    stories = [
        f"once upon a time there was a {animals[n % 5]} number {n}. it liked to run and play in the sun all day long.\n\n"
        f"one day the {animals[n % 5]} found {n} red apples and was happy."
        for n in range(120)
    ]
    (root / "text" / "tinystories_4MB_lowercase.txt").write_text("\n".join(stories))
    return root
