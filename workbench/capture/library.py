"""The folder of a user's captures: list, add, rename, annotate, delete."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from workbench.capture.archive import remove_folder, unzip_capture
from workbench.capture.capture import Capture
from workbench.capture.errors import CaptureError
from workbench.capture.read import read_capture, read_manifest
from workbench.capture.schema import MANIFEST_FILE, Manifest
from workbench.capture.write import write_error, write_manifest

HOME_VARIABLE = "WORKBENCH_HOME"
MAX_NAME = 80
MAX_NOTES = 20_000
_BAD = re.compile(r"[^A-Za-z0-9_\-.]+")


def default_root() -> Path:
    """`$WORKBENCH_HOME/captures`, or `~/.unified-workbench/captures` where the variable is not set."""
    home = os.environ.get(HOME_VARIABLE)
    return (Path(home) if home else Path.home() / ".unified-workbench") / "captures"


@dataclass(frozen=True)
class Entry:
    """One capture of the library; a broken one is listed with its fault, not hidden."""

    name: str
    path: Path
    manifest: Manifest | None
    fault: str | None
    bytes: int
    modified: float  # seconds since the epoch


class Library:
    """The captures below one folder.

    Args:
        root: the folder; made when first written to.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root if root is not None else default_root()

    def entries(self) -> list[Entry]:
        """Every capture, newest first."""
        if not self.root.is_dir():
            return []
        found = []
        for path in self.root.iterdir():
            if path.name.startswith(".") or not path.is_dir():
                continue
            manifest, fault = None, None
            try:
                manifest = read_manifest(path)
            except CaptureError as error:
                fault = str(error)
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            found.append(Entry(path.name, path, manifest, fault, size, path.stat().st_mtime))
        return sorted(found, key=lambda entry: (-entry.modified, entry.name))

    def open(self, name: str) -> Capture:
        return read_capture(self._existing(name))

    def free_name(self, wish: str) -> str:
        """A valid name that is not taken, as close to `wish` as possible."""
        base = clean_name(wish)
        name, number = base, 2
        while (self.root / name).exists():
            name, number = f"{base}-{number}", number + 1
        return name

    def add(self, capture: Capture, name: str) -> Path:
        """Save a capture under a free name close to `name`."""
        return capture.save(self.root / self.free_name(name))

    def add_archive(self, file: Path, name: str | None = None) -> Path:
        """Unpack an archive into the library."""
        wish = name if name is not None else file.name.removesuffix(".zip").removesuffix(".capture")
        return unzip_capture(file, self.root / self.free_name(wish))

    def rename(self, name: str, new_name: str) -> Path:
        """Give a capture another name; raises CaptureError if that is taken or not a name."""
        path = self._existing(name)
        if clean_name(new_name) != new_name:
            raise CaptureError(
                f"A capture's name consists of letters, digits, '-', '_' and '.', and '{new_name[:MAX_NAME]}' does not: "
                f"take '{clean_name(new_name)}' instead."
            )
        target = self.root / new_name
        if target.exists():
            raise CaptureError(f"There is a capture named '{new_name}' already: choose another name.")
        try:
            path.rename(target)
        except OSError as fault:
            raise write_error(fault, target) from fault
        return target

    def set_notes(self, name: str, notes: str) -> None:
        """Replace the user's own words in the manifest."""
        if len(notes) > MAX_NOTES:
            raise CaptureError(f"Notes may have {MAX_NOTES} characters, and these have {len(notes)}: shorten them.")
        path = self._existing(name)
        manifest = read_manifest(path)
        try:
            write_manifest(manifest.model_copy(update={"notes": notes}), path)
        except OSError as fault:
            raise write_error(fault, path / MANIFEST_FILE) from fault

    def delete(self, name: str) -> None:
        """Remove a capture for good."""
        remove_folder(self._existing(name))

    def _existing(self, name: str) -> Path:
        path = self.root / name
        if not name or Path(name).name != name or name.startswith(".") or not path.is_dir():
            raise CaptureError(f"The library has no capture '{name[:MAX_NAME]}': choose one from the list.")
        return path


def clean_name(wish: str) -> str:
    """`wish` with everything but letters, digits, '-', '_' and '.' replaced, never empty, never hidden."""
    return _BAD.sub("-", wish).strip("-.")[:MAX_NAME] or "capture"
