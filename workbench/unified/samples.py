"""``python -m workbench.unified.samples``: sample inputs of every modality that may be passed on, each with where it is from.

Texts are ours; sounds are synthesised here; clips move scikit-learn's handwritten digits; pictures are those digits and twenty test pictures
of Fashion-MNIST (MIT, its notice beside them). Nothing of it was trained on.
"""

from __future__ import annotations

import argparse
import json
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np

from workbench.inputs.files import CAPTIONS
from workbench.module_command import report
from workbench.unified.data.clips import ClipMaker
from workbench.unified.data.pictures import SIDE, fashion, frame_grey
from workbench.unified.data.speech import RATE, write_wav
from workbench.unified.data.words import DIGITS, DIRECTIONS
from workbench.unified.segments import UnifiedError

PICTURES_A_CLASS = 2
CLIPS = 8
CLIP_SEED = 4776
"""A draw in which eight different digits go every way twice."""
FRAMES_A_SECOND = 4
TEXTS = {
    "kite": "once upon a time, there was a girl named mia. mia had a red kite. one windy day she ran up the hill and let it fly. "
    "the kite went up and up. mia was happy and waved to it.",
    "duck": 'one day, a little duck sat by the pond. a frog came and said, "do you want to swim with me?" the duck said yes. '
    "they swam to the other side and found a big green leaf.",
    "cake": "tom and his grandma made a cake. tom put in the flour and grandma put in the eggs. it smelled very good. "
    "when the cake was ready they gave a piece to the neighbour.",
    "snow": "it snowed all night. in the morning ben looked out of the window and smiled. he put on his warm coat and his boots and built a "
    "big snowman with a long orange nose.",
}
"""Short stories of our own, in the simple words that the model is trained on."""
VOWELS = {
    "a": ((730, 1090, 2440), (730, 1090, 2440)),
    "i": ((270, 2290, 3010), (270, 2290, 3010)),
    "u": ((300, 870, 2240), (300, 870, 2240)),
    "a-to-i": ((730, 1090, 2440), (270, 2290, 3010)),
    "u-to-a": ((300, 870, 2240), (730, 1090, 2440)),
}
"""First three formants in Hz at begin and end (Peterson and Barney 1952, table II, men)."""


def vowel(begin: tuple[int, ...], end: tuple[int, ...], seconds: float = 0.5, pitch: float = 120.0) -> np.ndarray:
    """A sung vowel by additive synthesis: harmonics of the pitch, louder near the formants.

    Args:
        begin, end: formants in Hz, which move evenly from the one to the other.
        seconds: length.
        pitch: Hz.

    Returns:
        float32 [samples] at 8 kHz, peak 0.8.
    """
    time = np.arange(int(seconds * RATE)) / RATE
    share = (time / seconds)[:, None]
    formants = np.array(begin) * (1 - share) + np.array(end) * share
    sound = np.zeros(len(time))
    for harmonic in range(1, int(RATE / 2 / pitch)):
        hertz = pitch * harmonic
        loudness = sum(np.exp(-(((hertz - formants[:, n]) / (60 + 40 * n)) ** 2)) / (n + 1) for n in range(3))
        sound += (loudness + 0.02 / harmonic) * np.sin(2 * np.pi * hertz * time)
    edge = np.minimum(np.minimum(time, seconds - time) / 0.04, 1)
    sound *= edge
    return (0.8 * sound / np.abs(sound).max()).astype(np.float32)


def small_digits() -> tuple[np.ndarray, np.ndarray]:
    """Scikit-learn's handwritten digits of 8 x 8 as uint8 [N, 28, 28], in the middle 20 x 20, and their labels."""
    from PIL import Image
    from sklearn.datasets import load_digits

    found = load_digits()
    grown = [
        np.asarray(Image.fromarray((one * 15.9).astype(np.uint8)).resize((20, 20), Image.Resampling.BICUBIC))
        for one in found.images[:200]
    ]
    return np.pad(np.stack(grown), ((0, 0), (4, 4), (4, 4))), found.target[:200].astype(np.int64)


def write_samples(data_root: Path, out: Path) -> int:
    """Write ``texts/``, ``pictures/``, ``sounds/`` and ``clips/``, and the captions of what is seen; returns the number of files.

    Args:
        data_root: for the garments (Fashion-MNIST's test pictures).
        out: folder; must not hold samples yet.

    Raises:
        UnifiedError: the folder is in use, or Fashion-MNIST is missing.
    """
    from PIL import Image

    if out.exists() and any(out.iterdir()):
        raise UnifiedError(f"Expected a new folder for the samples, but '{out}' is not empty: name another one.")
    for name in ("texts", "pictures", "sounds", "clips"):
        (out / name).mkdir(parents=True)
    for name, text in TEXTS.items():
        (out / "texts" / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
    grey, labels = small_digits()
    framed = frame_grey(grey)
    for digit, name in enumerate(DIGITS):
        Image.fromarray(framed[int(np.argmax(labels == digit))][0]).save(out / "pictures" / f"digit-{name}.png")
    garments = fashion(data_root, "test")
    for label, name in enumerate(garments.names):
        for number, place in enumerate(np.flatnonzero(garments.labels == label)[:PICTURES_A_CLASS], start=1):
            Image.fromarray(garments.pixels[place, 0]).save(out / "pictures" / f"garment-{name}-{number}.png")
    for name, (begin, end) in VOWELS.items():
        write_wav(out / "sounds" / f"vowel-{name}.wav", vowel(begin, end))
    maker = ClipMaker(grey, labels, CLIPS, CLIP_SEED)
    for number in range(CLIPS):
        said = f"{DIGITS[maker.digits[number]]}-{DIRECTIONS[maker.directions[number]]}"
        write_clip(out / "clips" / f"{number + 1}-{said}.mp4", maker.clip(number))
    write_captions(out)
    return sum(1 for path in out.rglob("*") if path.is_file())


def write_captions(out: Path) -> None:
    """Write what every picture and clip shows, as its name says it, in the words of the model's plain answers; vowels are no words."""
    rows = []
    for path in sorted([*(out / "pictures").glob("*.png"), *(out / "clips").glob("*.mp4")]):
        words = [part for part in path.stem.split("-") if part not in ("digit", "garment") and not part.isdigit()]
        rows.append(json.dumps({"file": path.relative_to(out).as_posix(), "caption": " ".join(words)}))
    (out / CAPTIONS).write_text("\n".join(rows) + "\n", encoding="utf-8")


def write_clip(path: Path, pixels: np.ndarray) -> None:
    """Write uint8 [F, 3, 32, 32] as an H.264 clip of four frames a second.

    Raises:
        UnifiedError: the package av is not installed.
    """
    try:
        import av
    except ImportError as fault:
        raise UnifiedError(
            "Writing a clip needs the package av, which is not installed: install it with `pip install 'unified-workbench[media]'`."
        ) from fault
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FRAMES_A_SECOND))
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        stream.options = {"crf": "12"}
        for frame in pixels:
            for packet in stream.encode(
                av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.transpose(1, 2, 0)), "rgb24")
            ):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    made = argparse.ArgumentParser(prog="python -m workbench.unified.samples", description=__doc__)
    made.add_argument("--data-root", type=Path, required=True, help="folder with fashion_mnist")
    made.add_argument("--out", type=Path, required=True, help="new folder of the samples")
    chosen = made.parse_args(arguments)
    with report() as status:
        print(f"{write_samples(chosen.data_root, chosen.out)} files in {chosen.out}")  # noqa: T201 - what the command says
    return status.code


if __name__ == "__main__":
    sys.exit(main())
