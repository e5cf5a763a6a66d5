"""Pictures, sounds and clips: checked when they are listed, decoded when they are run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.capture.errors import reason
from workbench.inputs.documents import InputError
from workbench.inputs.files import LIMITS, MB

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

MAX_PIXELS = 100_000_000
MAX_SECONDS = 600
CLIP_FRAMES = 16
_NAMES = {"image": "picture", "audio": "sound", "video": "clip"}


def check_media(kind: str, path: Path) -> None:
    """Raise InputError if a file is missing, too large, or visibly not of its kind."""
    if not path.is_file():
        raise InputError(
            f"There is no {_NAMES[kind]} '{path}': check the path, which is taken from the folder of the file that names it."
        )
    size = path.stat().st_size
    if size > LIMITS[kind]:
        raise InputError(
            f"'{path}' has {size / MB:,.0f} MB, and a {_NAMES[kind]} may have {LIMITS[kind] // MB:,} MB: make it smaller."
        )
    if kind == "image":
        open_image(path)


def open_image(path: Path) -> Image:
    """A picture as RGB, turned as its camera held it.

    Raises:
        InputError: if it is broken, none, or of more than 100 million pixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise InputError(
                    f"'{path}' has {picture.width} x {picture.height} pixels, and 100 million are the most: scale it down."
                )
            return ImageOps.exif_transpose(picture).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
        raise InputError(
            f"'{path}' is no picture that can be read ({reason(fault).split(' (')[0]}): open and save it again, or leave it out."
        ) from fault


def open_sound(path: Path, rate: int) -> np.ndarray:
    """A sound as float32 [samples], one channel at `rate` samples a second, at most ten minutes of it.

    Raises:
        InputError: if it cannot be decoded, or the decoder is not installed.
    """
    import numpy as np

    av = _decoder(path)
    chunks: list[Any] = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise InputError(f"'{path}' holds no sound: name a file that does.")
            resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
            samples = 0
            for frame in container.decode(audio=0):
                for part in resampler.resample(frame):
                    chunks.append(part.to_ndarray().reshape(-1))
                    samples += len(chunks[-1])
                if samples > MAX_SECONDS * rate:
                    raise InputError(f"'{path}' is longer than {MAX_SECONDS // 60} minutes: cut it.")
            for part in resampler.resample(None):
                chunks.append(part.to_ndarray().reshape(-1))
    except (av.FFmpegError, OSError, ValueError) as fault:
        raise InputError(
            f"'{path}' is no sound that can be read ({_why(fault)}): save it again as wav or flac."
        ) from fault
    sound = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    if not sound.size:
        raise InputError(f"'{path}' holds no sample of sound: leave it out.")
    return sound.astype(np.float32)


def _why(fault: Exception) -> str:
    """What a decoder says, without the number of the error and the path, which stands in the sentence round it."""
    return getattr(fault, "strerror", None) or reason(fault)


def open_clip(path: Path, frames: int = CLIP_FRAMES) -> np.ndarray:
    """Frames of a clip as uint8 [frames, height, width, 3], spread evenly over its length.

    Raises:
        InputError: if it cannot be decoded, or the decoder is not installed.
    """
    import numpy as np

    av = _decoder(path)
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"'{path}' holds no moving picture: name a file that does.")
            total = sum(1 for _ in container.decode(video=0))
            wanted = set(np.linspace(0, max(total - 1, 0), min(frames, total)).round().astype(int).tolist())
            container.seek(0)
            kept = [
                frame.to_ndarray(format="rgb24")
                for number, frame in enumerate(container.decode(video=0))
                if number in wanted
            ]
    except (av.FFmpegError, OSError, ValueError) as fault:
        raise InputError(f"'{path}' is no clip that can be read ({_why(fault)}): save it again as mp4.") from fault
    if not kept:
        raise InputError(f"'{path}' holds no frame: leave it out.")
    return np.stack(kept)


def _decoder(path: Path) -> Any:
    try:
        import av
    except ImportError as fault:
        raise InputError(
            f"Reading '{path.name}' needs the package av, which is not installed: install it with `pip install 'unified-workbench[media]'`."
        ) from fault
    return av
