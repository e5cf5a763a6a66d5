"""Files to prompts and results to files: pictures, clips and sounds, as the command line gives and takes them."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.unified.segments import Clip, Picture, Segment, Sound, UnifiedError

if TYPE_CHECKING:
    from workbench.unified.tokenizers.bundle import Tokenizers

ENLARGED = 8  # pixels that a pixel of a written picture takes
FRAME_MILLISECONDS = 250


def prompt_of_file(path: Path, tokenizers: Tokenizers) -> Segment:
    """A picture, clip or sound as a segment to be read, brought to the size and rate of the model.

    Raises:
        UnifiedError: the suffix is of no picture, clip or sound, or the sound is empty or too long.
        workbench.inputs.documents.InputError: the file is missing or broken.
    """
    from workbench.inputs.files import kind_of
    from workbench.inputs.media import check_media, open_sound
    from workbench.unified.data import folders

    kind = kind_of(path)
    if kind not in ("image", "audio", "video"):
        raise UnifiedError(f"Expected a picture, clip or sound, got '{path}': name a png, gif, mp4, wav or the like.")
    check_media(kind, path)
    if kind == "image" and not folders.moves(path):
        return Picture(folders.picture(path))
    if kind == "audio":
        rate = tokenizers.audio.sample_rate
        return Sound(tokenizers.audio.encode(open_sound(path, rate), rate))
    return Clip(folders.clip(path))


def write_picture(pixels: np.ndarray, path: Path) -> None:
    """Write uint8 [C, H, W] as png, enlarged so that it can be seen."""
    _image(pixels).save(path)


def write_clip(pixels: np.ndarray, path: Path) -> None:
    """Write uint8 [F, C, H, W] as an animated gif that repeats."""
    first, *rest = [_image(frame) for frame in pixels]
    first.save(path, save_all=True, append_images=rest, duration=FRAME_MILLISECONDS, loop=0)


def write_sound(sound: np.ndarray, rate: int, path: Path) -> None:
    """Write float32 [samples] from -1 to 1 as a wav of 16 bits."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())


def numbered(out: Path, count: int) -> Sequence[Path]:
    """One path, or several with numbers before the suffix."""
    if count == 1:
        return [out]
    return [out.with_name(f"{out.stem}-{number + 1}{out.suffix}") for number in range(count)]


def _image(pixels: np.ndarray) -> Any:
    """A PIL picture of uint8 [C, H, W]."""
    from PIL import Image

    values = pixels[0] if pixels.shape[0] == 1 else pixels.transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(values))
    return picture.resize((picture.width * ENLARGED, picture.height * ENLARGED), Image.Resampling.NEAREST)
