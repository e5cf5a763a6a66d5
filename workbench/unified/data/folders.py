"""The user's own captioned pictures, sounds and clips: a folder with captions, WebDataset shards, or a saved Hugging Face data set.

A folder holds files and, for each, its caption: ``captions.jsonl`` (lines ``{"file": ..., "caption": ...}``), or a text file of the same name
beside it (``cat.png``, ``cat.txt``). WebDataset shards are ``.tar`` files in which the members of one sample share a name. A folder that
``datasets.save_to_disk`` wrote is read by that package, which is an optional one.
"""

from __future__ import annotations

import json
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from workbench.inputs.files import CAPTIONS, LIMITS, MB, kind_of
from workbench.inputs.media import open_clip, open_image, open_sound
from workbench.unified.data.clips import FRAMES
from workbench.unified.data.pictures import SIDE
from workbench.unified.segments import UnifiedError
from workbench.unified.tokenizers.bundle import Tokenizers
from workbench.unified.tokenizers.sound import RATE

MEDIA = ("image", "audio", "video")
LONGEST_CAPTION = 400
"""Characters; the rest of a longer caption is cut."""


@dataclass(frozen=True)
class Captioned:
    """One captioned file.

    Attributes:
        kind: ``image``, ``audio`` or ``video``.
        values: uint8 [3, 32, 32], int16 codes [T, A], or uint8 [F, 3, 32, 32].
        caption: its text, in lower case as the stories are.
    """

    kind: str
    values: np.ndarray
    caption: str


def read_captioned(folder: Path, tokenizers: Tokenizers) -> list[Captioned]:
    """Every captioned file of a folder, brought to the size and rate of the model.

    Args:
        folder: captioned files, WebDataset shards or a saved data set.
        tokenizers: sounds are encoded by them.

    Raises:
        UnifiedError: nothing with a caption, or a broken listing.
        workbench.inputs.InputError: a file that cannot be decoded; the sentence names it.
    """
    if not folder.is_dir():
        raise UnifiedError(f"Expected a folder of captioned files, but there is no folder '{folder}': check the path.")
    if (folder / "dataset_info.json").is_file() or (folder / "dataset_dict.json").is_file():
        found = list(_saved_dataset(folder, tokenizers))
    elif shards := sorted(folder.glob("*.tar")):
        found = [item for shard in shards for item in _shard(shard, tokenizers)]
    else:
        found = [_item(path, caption, tokenizers) for path, caption in _pairs(folder)]
    if not found:
        raise UnifiedError(
            f"Expected captioned pictures, sounds or clips in '{folder}', but none has a caption: add {CAPTIONS}, or a .txt file of the same "
            "name beside each."
        )
    return found


def picture(path: Path) -> np.ndarray:
    """Any picture as uint8 [3, 32, 32], cut to its middle square."""
    return fit(np.asarray(open_image(path)))


def clip(path: Path, frames: int = FRAMES) -> np.ndarray:
    """Any clip as uint8 [F, 3, 32, 32]: frames spread over its length, the last one repeated where it has fewer."""
    seen = open_clip(path, frames)
    made = np.stack([fit(frame) for frame in seen])
    return np.concatenate([made, np.repeat(made[-1:], frames - len(made), 0)]) if len(made) < frames else made


def tidy_caption(text: str) -> str:
    """A caption in lower case, as the stories are, and no longer than it may be."""
    return text.strip().lower()[:LONGEST_CAPTION]


def moves(path: Path) -> bool:
    """Whether a picture file has several frames, as an animated gif has."""
    from PIL import Image

    with Image.open(path) as picture:
        return int(getattr(picture, "n_frames", 1)) > 1


def fit(pixels: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] as uint8 [3, 32, 32], its middle square scaled by area."""
    from PIL import Image

    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    how = Image.Resampling.BOX if side > SIDE else Image.Resampling.BICUBIC
    return np.asarray(square.resize((SIDE, SIDE), how)).transpose(2, 0, 1)


def listed_captions(folder: Path) -> dict[Path, str]:
    """The captions that a folder's listing gives to files, by path; empty without a listing.

    Raises:
        UnifiedError: a broken line, or one that leads out of the folder.
    """
    listing = folder / CAPTIONS
    found: dict[Path, str] = {}
    if not listing.is_file():
        return found
    for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            name, caption = str(row["file"]), str(row["caption"])
        except (ValueError, KeyError, TypeError) as fault:
            raise UnifiedError(
                f"Expected an object with 'file' and 'caption' in line {number} of '{listing}', but another came: mend that line."
            ) from fault
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise UnifiedError(
                f"Expected a file below the folder in line {number} of '{listing}', but '{name}' leads out of it."
            )
        found[folder / name] = caption
    return found


def _pairs(folder: Path) -> Iterator[tuple[Path, str]]:
    if (folder / CAPTIONS).is_file():
        yield from listed_captions(folder).items()
        return
    for path in sorted(folder.rglob("*")):
        beside = path.with_suffix(".txt")
        if path.is_file() and kind_of(path) in MEDIA and beside.is_file():
            yield path, beside.read_text(encoding="utf-8", errors="replace")


def _item(path: Path, caption: str, tokenizers: Tokenizers) -> Captioned:
    kind = kind_of(path)
    if kind not in MEDIA:
        raise UnifiedError(
            f"Expected a picture, sound or clip, but '{path.name}' is none by its suffix: leave it out of the captions."
        )
    if not path.is_file():
        raise UnifiedError(f"Expected the captioned file '{path}', but it is missing: check {CAPTIONS}.")
    said = tidy_caption(caption)
    if not said:
        raise UnifiedError(f"Expected a caption of '{path.name}', but it is empty: write one, or take the file out.")
    if kind == "image":
        values = picture(path)  # a broken one is told by name here
        if moves(path):
            kind, values = "video", clip(path)
    elif kind == "video":
        values = clip(path)
    else:
        values = tokenizers.audio.encode(open_sound(path, RATE), RATE)
    return Captioned(kind, values, said)


def _from_bytes(content: bytes, name: str, folder: Path, caption: str, tokenizers: Tokenizers) -> Captioned:
    """A captioned file that lies inside another one, copied out so that every decoder sees a path; removed again."""
    path = folder / name.replace("/", "-").replace("\\", "-")[-100:]
    path.write_bytes(content)
    try:
        return _item(path, caption, tokenizers)
    finally:
        path.unlink()


def _shard(shard: Path, tokenizers: Tokenizers) -> Iterator[Captioned]:
    """Samples of a WebDataset shard: members that share a folder and a name up to its first dot."""
    samples: dict[str, dict[str, bytes]] = {}
    try:
        with tarfile.open(shard) as archive:
            for member in archive:
                kind = kind_of(Path(member.name))
                if not member.isfile() or (kind not in MEDIA and not member.name.endswith((".txt", ".json"))):
                    continue
                if member.size > LIMITS[kind if kind in MEDIA else "text"]:
                    raise UnifiedError(
                        f"'{member.name}' in '{shard.name}' has {member.size / MB:,.0f} MB, which is too much: make it smaller."
                    )
                file = archive.extractfile(member)
                if file is not None:
                    place, slash, name = member.name.rpartition("/")  # a folder may have dots: "./0001.png"
                    stem, _, suffix = name.partition(".")
                    samples.setdefault(place + slash + stem, {})[suffix.lower()] = file.read()
    except (tarfile.TarError, OSError, EOFError) as fault:
        raise UnifiedError(
            f"Expected a WebDataset shard, but '{shard}' is no whole tar file: copy it again."
        ) from fault
    with tempfile.TemporaryDirectory() as folder:
        for stem, parts in samples.items():
            caption = _caption(parts)
            media = next((suffix for suffix in parts if kind_of(Path(f"x.{suffix}")) in MEDIA), None)
            if caption is not None and media is not None:
                yield _from_bytes(parts[media], f"{stem}.{media}", Path(folder), caption, tokenizers)


def _caption(parts: dict[str, bytes]) -> str | None:
    if "txt" in parts:
        return parts["txt"].decode("utf-8", "replace")
    try:
        found = json.loads(parts.get("json", b"{}"))
        return str(found["caption"]) if "caption" in found else None
    except (ValueError, TypeError):
        return None


def _saved_dataset(folder: Path, tokenizers: Tokenizers) -> Iterator[Captioned]:
    """Rows of a saved data set with a column ``image``, ``audio`` or ``video`` and one ``caption`` or ``text``."""
    try:
        import datasets
    except ImportError as fault:
        raise UnifiedError(
            f"Reading '{folder}' needs the package datasets, which is not installed: install it with `pip install 'unified-workbench[datasets]'`, or "
            f"write the files with a {CAPTIONS}."
        ) from fault
    try:
        loaded: Any = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as fault:
        raise UnifiedError(
            f"Expected a data set that `save_to_disk` wrote, but '{folder}' is no whole one: save it again."
        ) from fault
    columns = {"image": (datasets.Image, "png"), "audio": (datasets.Audio, "wav"), "video": (datasets.Video, "mp4")}
    with tempfile.TemporaryDirectory() as place:
        for part in loaded.values() if isinstance(loaded, dict) else [loaded]:
            media = [one for one, (feature, _) in columns.items() if isinstance(part.features.get(one), feature)]
            for name in media:  # the bytes as they are: decoding needs nothing beyond the workbench then
                part = part.cast_column(name, columns[name][0](decode=False))
            for number, row in enumerate(part):
                caption = row.get("caption", row.get("text"))
                filled = [one for one in media if row[one] is not None]
                if caption is None or not filled:
                    continue
                name = filled[0]
                suffix = Path(str(row[name].get("path") or "")).suffix.removeprefix(".")
                if kind_of(Path(f"x.{suffix}")) != name:
                    suffix = columns[name][1]
                content = row[name].get("bytes") or _beside(row[name].get("path"), folder)
                yield _from_bytes(content, f"row-{number}.{suffix}", Path(place), str(caption), tokenizers)


def _beside(path: str | None, folder: Path) -> bytes:
    """The bytes of a file that a data set names in place of holding it."""
    try:
        return Path(str(path)).read_bytes()
    except OSError as fault:
        raise UnifiedError(
            f"Expected the file '{path}' that the data set in '{folder}' names, but it is missing: save the data set with its files."
        ) from fault
