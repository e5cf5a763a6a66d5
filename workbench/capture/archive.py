"""A capture as one file: the same folder in an uncompressed zip, bounded on reading."""

from __future__ import annotations

import errno
import re
import shutil
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from workbench.capture.capture import Capture
from workbench.capture.claims import claimed
from workbench.capture.errors import CaptureError, reason
from workbench.capture.read import read_capture
from workbench.capture.schema import (
    COACTIVATION_FILE,
    CURVE_FILE,
    EVIDENCE_FOLDER,
    LOAD_FILE,
    MANIFEST_FILE,
    TOKENS_FOLDER,
)
from workbench.capture.write import whole_file, whole_or_nothing, write_error, write_files

MAX_BYTES = (
    4 * 1024**3
)  # of all files together; 60 layers x 256 experts x 6 groups with 200,000 token rows is under 1 GiB
MAX_FILES = 1000
_TOP = {MANIFEST_FILE, LOAD_FILE, COACTIVATION_FILE, CURVE_FILE}
_NAME = re.compile(r"^[A-Za-z0-9_\-.]+$")


def zip_capture(capture: Capture, file: Path, *, overwrite: bool = False, text: bool = True) -> Path:
    """Write `capture` as an uncompressed zip; it appears whole or not at all."""
    if file.exists() and not overwrite:
        raise CaptureError(
            f"'{file}' exists already, and a capture is not overwritten unasked: choose another name or pass overwrite=True."
        )
    capture.validate()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as part, claimed(file, folder=True) as folder:
            try:
                write_files(capture, folder, text=text)
            except Exception as fault:
                if "No space left" in str(fault):
                    raise OSError(errno.ENOSPC, "No space left on device") from fault
                raise
            with zipfile.ZipFile(part, "w", compression=zipfile.ZIP_STORED) as archive:
                for path in sorted(folder.rglob("*")):
                    if path.is_file():
                        archive.write(path, path.relative_to(folder).as_posix())
    except OSError as fault:
        raise write_error(fault, file) from fault
    return file


def unzip_capture(file: Path, folder: Path, *, max_bytes: int = MAX_BYTES) -> Path:
    """Unpack an archive into the new folder `folder`; refuses foreign names, escapes, bombs and oversize.

    Raises:
        CaptureError: saying what was wrong with the archive; `folder` does not exist then.
    """
    if folder.exists():
        raise CaptureError(f"'{folder}' exists already: choose another name for the unpacked capture.")
    try:
        with zipfile.ZipFile(file) as archive, whole_or_nothing(folder) as temporary:
            members = _members(archive, file.name, max_bytes)
            for info, relative in members:
                target = temporary / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, target.open("wb") as sink:
                    _copy(source, sink, info.file_size, file.name)
            read_capture(temporary)  # a capture that cannot be opened is not unpacked at all
    except zipfile.BadZipFile as fault:
        raise CaptureError(
            f"'{file.name}' is not a whole zip archive ({reason(fault)}): it was cut or is another kind of file, get it again."
        ) from fault
    return folder


def open_archive(file: Path) -> Capture:
    """Open an archive for reading: unpacked into a temporary folder that lives as long as the capture does."""
    holder = tempfile.TemporaryDirectory(prefix="capture-")
    folder = Path(holder.name) / file.name.removesuffix(".zip")
    try:
        unzip_capture(file, folder)
        return read_capture(folder).keep_alive(holder)
    except BaseException:
        holder.cleanup()
        raise


def _members(archive: zipfile.ZipFile, name: str, max_bytes: int) -> list[tuple[zipfile.ZipInfo, Path]]:
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > MAX_FILES:
        raise CaptureError(
            f"'{name}' holds {len(infos)} files, and a capture has at most {MAX_FILES}: it is not a capture."
        )
    total = sum(info.file_size for info in infos)
    if total > max_bytes:
        raise CaptureError(
            f"'{name}' unpacks to {total / 1e9:.1f} GB, more than the {max_bytes / 1e9:.1f} GB allowed: "
            "unzip it yourself and open the folder."
        )
    # Some tools zip the folder rather than its content: one common folder at the top is taken off.
    parts = [PurePosixPath(info.filename).parts for info in infos]
    tops = {part[0] for part in parts if len(part) > 1}
    nested = (
        len(tops) == 1
        and all(len(part) > 1 for part in parts)
        and next(iter(tops)) not in (TOKENS_FOLDER, EVIDENCE_FOLDER)
    )
    members = []
    for info, part in zip(infos, parts, strict=True):
        relative = part[1:] if nested else part
        if not _allowed(relative):
            raise CaptureError(
                f"'{name}' holds '{info.filename[:80]}', which is no part of a capture: it is not a capture."
            )
        members.append((info, Path(*relative)))
    if (MANIFEST_FILE,) not in [path.parts for _, path in members]:
        raise CaptureError(f"'{name}' holds no {MANIFEST_FILE}: it is not a capture archive.")
    return members


def _allowed(parts: tuple[str, ...]) -> bool:
    if not all(_NAME.match(part) and part not in (".", "..") for part in parts):
        return False
    if len(parts) == 1:
        return parts[0] in _TOP
    if len(parts) == 2 and parts[0] == TOKENS_FOLDER:
        return parts[1].endswith(".parquet")
    return len(parts) == 2 and parts[0] == EVIDENCE_FOLDER and parts[1].endswith((".json", ".parquet", ".safetensors"))


def _copy(source, sink, declared: int, name: str) -> None:  # type: ignore[no-untyped-def]
    """Copy at most the declared size: a header that lies about it cannot fill the disk."""
    left = declared
    while left >= 0:
        piece = source.read(min(1 << 20, left + 1))
        if not piece:
            return
        left -= len(piece)
        if left < 0:
            raise CaptureError(
                f"'{name}' holds more data than its directory says: the archive is damaged, get it again."
            )
        sink.write(piece)


def remove_folder(folder: Path) -> None:
    """Delete a capture folder; refuses a folder that is not one."""
    if not (folder / MANIFEST_FILE).is_file():
        raise CaptureError(
            f"'{folder.name}' is not a capture, so it is not deleted: remove it by hand if it should go."
        )
    shutil.rmtree(folder)
