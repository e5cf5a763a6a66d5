"""What a browser tab holds: which captures are at hand, which one is open, and the shared list of jobs.

A capture at hand is a `Place` with an id that may stand in an address: made of what was recorded, never of what the user
typed, and never a path. The id survives renaming, and a link opened in another browser finds the same capture.

    sample-NAME     shipped under sample_data/captures
    mine-DIGEST     in the user's library
    folder-DIGEST   a folder elsewhere on this machine that the user opened; remembered in places.json of the home
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import streamlit as st

from workbench.capture import Capture, CaptureError, Manifest
from workbench.capture.library import Library
from workbench.capture.read import read_capture, read_manifest
from workbench.capture.schema import MANIFEST_FILE
from workbench.capture.write import write_error
from workbench.jobs import JobList

if TYPE_CHECKING:
    from workbench.live_runs import LiveRuns

Origin = Literal["sample", "library", "folder"]
SAMPLES = Path(__file__).resolve().parent.parent / "sample_data" / "captures"
DEFAULT_CAPTURE = "omni"
"""Of the shipped captures the one that stands first: all six groups of the report."""
CAPTURE_KEY = "session.capture"
MAX_FOLDERS = 50


@dataclass(frozen=True)
class Place:
    """A capture at hand, opened or not.

    Attributes:
        id: what stands in an address.
        name: what the user calls it.
        path: its folder.
        origin: where it comes from; only the library's may be renamed, annotated and deleted here.
        manifest: None if it cannot be read, and then `fault` says why.
        fault: one sentence, or None.
        stamp: changes whenever the capture's files do; part of every cache key.
    """

    id: str
    name: str
    path: Path
    origin: Origin
    manifest: Manifest | None
    fault: str | None
    stamp: str


def library() -> Library:
    """The user's captures, below $WORKBENCH_HOME."""
    return Library()


def home() -> Path:
    """The folder that holds the library and the list of opened folders."""
    return library().root.parent


# ---------------------------------------------------------------------- captures at hand
def places() -> list[Place]:
    """Every capture at hand: shipped ones, the library newest first, then folders opened elsewhere."""
    shipped = sorted(_folders(SAMPLES), key=lambda path: (path.name != DEFAULT_CAPTURE, path.name))
    found = [_place(path, "sample") for path in shipped]
    own = [_place(path, "library") for path in _folders(library().root)]
    own.sort(key=lambda place: (place.manifest is not None, place.stamp), reverse=True)
    found += own
    found += [_place(path, "folder") for path in _remembered()]
    unique: dict[str, Place] = {}
    for place in found:
        unique.setdefault(place.id, place)
    return list(unique.values())


def find(place_id: str | None) -> Place | None:
    """The capture with this id, or None."""
    return next((place for place in places() if place.id == place_id), None) if place_id else None


def find_path(path: Path) -> Place | None:
    """The capture at this folder, or None."""
    return next((place for place in places() if place.path == path), None)


def gone() -> CaptureError:
    """The sentence for a capture that was at hand a moment ago."""
    return CaptureError(
        "The capture that was open is no longer there: it was renamed, moved or deleted; open another one on Start."
    )


def remember_folder(folder: Path) -> Place:
    """Take a capture folder that lies elsewhere on this machine among those at hand; it stays where it is.

    Raises:
        CaptureError: if it is no capture, or the list cannot be written.
    """
    path = folder.expanduser().resolve()
    read_capture(path)  # says what is wrong, before anything is remembered
    known = find_path(path)
    if known is not None:
        return known
    _write_remembered([str(path), *(str(other) for other in _remembered())][:MAX_FOLDERS])
    return _place(path, "folder")


def forget_folder(place: Place) -> None:
    """Take an opened folder off the list; its files stay."""
    _write_remembered([str(path) for path in _remembered() if path != place.path])


def open_capture(place: Place) -> Capture:
    """The capture itself, kept while it is among the last eight opened and its files do not change.

    Raises:
        CaptureError: saying what is wrong with its files.
    """
    if place.fault is not None:
        raise CaptureError(place.fault)
    return _open(str(place.path), place.stamp)


@st.cache_resource(max_entries=8, show_spinner=False)
def _open(path: str, stamp: str) -> Capture:
    return read_capture(Path(path))


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _place(path: Path, origin: Origin) -> Place:
    stamp = _stamp(path)
    manifest, fault = _manifest(str(path), stamp)
    if origin == "sample":
        place_id = f"sample-{path.name}"
    elif origin == "folder":
        place_id = f"folder-{_digest(str(path))}"
    else:
        place_id = f"mine-{_identity(manifest) if manifest is not None else _digest(path.name)}"
    return Place(place_id, path.name.removesuffix(".capture"), path, origin, manifest, fault, stamp)


@st.cache_data(max_entries=512, show_spinner=False)
def _manifest(path: str, stamp: str) -> tuple[Manifest | None, str | None]:
    try:
        return read_manifest(Path(path)), None
    except CaptureError as fault:
        return None, str(fault)


def _stamp(path: Path) -> str:
    """Modification times and sizes of the files at the top of a capture."""
    parts = []
    try:
        for file in sorted(path.iterdir()):
            status = file.stat()
            parts.append(f"{status.st_mtime_ns}-{status.st_size}")
    except OSError:
        return "0"
    return f"{_modified(path)}-{_digest(' '.join(parts))}"


def _modified(path: Path) -> int:
    file = path / MANIFEST_FILE
    return file.stat().st_mtime_ns if file.is_file() else path.stat().st_mtime_ns


def _identity(manifest: Manifest) -> str:
    """Digest of what was recorded: the same after renaming, new notes, zipping and unzipping."""
    return _digest(manifest.model_copy(update={"notes": "", "licence": ""}).model_dump_json())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _places_file() -> Path:
    return home() / "places.json"


def _remembered() -> list[Path]:
    try:
        raw = json.loads(_places_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    listed = raw.get("folders", []) if isinstance(raw, dict) else []
    return [Path(path) for path in listed if isinstance(path, str)][:MAX_FOLDERS]


def _write_remembered(folders: list[str]) -> None:
    file = _places_file()
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({"folders": folders}, indent=1), encoding="utf-8")
        os.replace(part, file)
    except OSError as fault:
        part.unlink(missing_ok=True)
        raise write_error(fault, file) from fault


# ---------------------------------------------------------------------- the open capture of this tab
def state() -> MutableMapping[str, Any]:
    """This tab's own state."""
    return st.session_state  # type: ignore[return-value]


def choose(place_id: str) -> None:
    """Open a capture in this tab."""
    st.session_state[CAPTURE_KEY] = place_id


def chosen() -> Place | None:
    """The capture open in this tab: what the address names, else what was last opened, else the first one that is whole."""
    linked = st.query_params.get("capture")
    if linked and find(linked) is not None:
        choose(linked)
    place = find(st.session_state.get(CAPTURE_KEY))
    if place is None:
        place = next((other for other in places() if other.fault is None), None)
    return place


# ---------------------------------------------------------------------- work in the background
@st.cache_resource(show_spinner=False)
def jobs() -> JobList:
    """The one list of jobs of this server: it outlives a reload of the page, and every tab sees the same."""
    return JobList()


@st.cache_resource(show_spinner=False)
def live_runs() -> LiveRuns:
    """The live runs of this server; a tab finds its own by the id in its address, also after a reload."""
    from workbench.live_runs import LiveRuns

    return LiveRuns()
