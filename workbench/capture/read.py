"""Read a capture folder: the manifest at once, every table when first asked for, nothing ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from workbench.capture.capture import Capture
from workbench.capture.errors import CaptureError, reason
from workbench.capture.schema import (
    COACTIVATION_FILE,
    CURVE_FILE,
    LOAD_DIMS,
    LOAD_DTYPES,
    LOAD_FILE,
    MANIFEST_FILE,
    SCHEMA_VERSION,
    TOKENS_FOLDER,
    Manifest,
)

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST_LIMIT = 64 * 1024 * 1024  # bytes; a manifest of 10,000 sites is about 2 MB


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a capture folder, checked; raises CaptureError in one sentence."""
    file = folder / MANIFEST_FILE
    if not folder.exists():
        raise CaptureError(f"A capture folder was expected at '{folder}', but nothing is there: check the path.")
    if not file.is_file():
        raise CaptureError(
            f"'{folder}' has no {MANIFEST_FILE}, so it is not a capture or was not written to the end: "
            "choose the folder that holds that file."
        )
    if file.stat().st_size > MANIFEST_LIMIT:
        raise CaptureError(
            f"The manifest of '{folder.name}' is larger than {MANIFEST_LIMIT >> 20} MiB, which no capture needs: "
            "get the capture again from its source."
        )
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as fault:
        raise CaptureError(
            f"The manifest of '{folder.name}' is not complete JSON ({reason(fault)}): the file is damaged, copy the capture again."
        ) from fault
    except OSError as fault:
        raise CaptureError(
            f"The manifest of '{folder.name}' cannot be read ({reason(fault)}): check its permissions."
        ) from fault
    return parse_manifest(raw, folder.name)


def parse_manifest(raw: object, name: str) -> Manifest:
    """Validate a manifest's JSON value; `name` is what the message calls the capture."""
    if not isinstance(raw, dict):
        raise CaptureError(
            f"The manifest of '{name}' must be a JSON object, but is a {type(raw).__name__}: copy it again."
        )
    version = str(raw.get("schema_version", ""))
    major = version.split(".")[0]
    if not major.isdigit():
        raise CaptureError(f"The manifest of '{name}' names no schema version: this is not a capture of the workbench.")
    if int(major) > int(SCHEMA_VERSION.split(".")[0]):
        raise CaptureError(
            f"'{name}' is written in capture format {version}, and this workbench reads up to {SCHEMA_VERSION}: "
            "update the workbench to open it."
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as fault:
        first = fault.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise CaptureError(
            f"The manifest of '{name}' is wrong at {where} ({first['msg']}): the file is damaged, copy the capture again."
        ) from fault


class LoadTables(Mapping[str, np.ndarray]):
    """The tensors of load.safetensors, each read when first used and then kept."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self._manifest = manifest
        self._read: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._read:
            array = read_tensor(self._folder / LOAD_FILE, name)
            sizes = {
                "block": self._manifest.blocks,
                "site": len(self._manifest.sites),
                "phase": len(self._manifest.phases),
                "group": len(self._manifest.groups),
                "expert": self._manifest.max_experts,
            }
            expected = tuple(sizes[dim] for dim in LOAD_DIMS[name])
            if array.shape != expected or array.dtype != LOAD_DTYPES[name]:
                raise CaptureError(
                    f"The table {name} of '{self._folder.name}' should be {LOAD_DTYPES[name]} {expected} by its manifest, "
                    f"but is {array.dtype} {array.shape}: the two files do not belong together, copy the capture again."
                )
            self._read[name] = array
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(LOAD_DIMS)

    def __len__(self) -> int:
        return len(LOAD_DIMS)


def read_tensor(file: Path, name: str) -> np.ndarray:
    """One tensor of a safetensors file; raises CaptureError if the file is missing, cut or lacks the tensor."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            if name not in tensors.keys():  # noqa: SIM118 (safe_open has no __contains__)
                raise CaptureError(
                    f"{file.name} of '{file.parent.name}' lacks the table '{name}': the file is damaged, copy the capture again."
                )
            return tensors.get_tensor(name)
    except FileNotFoundError as fault:
        raise CaptureError(
            f"'{file.parent.name}' lacks {file.name}: the capture is incomplete, copy it again."
        ) from fault
    except (SafetensorError, OSError, ValueError) as fault:
        raise CaptureError(
            f"{file.name} of '{file.parent.name}' cannot be read ({reason(fault)}): the file is cut or damaged, copy the capture again."
        ) from fault


def read_capture(folder: Path) -> Capture:
    """Open a capture folder: manifest now, tables lazily; the files that the manifest lists must be there and whole."""
    manifest = read_manifest(folder)
    tables = LoadTables(folder, manifest)
    _open_check(folder, manifest)
    return Capture(manifest, tables, path=folder)


def _open_check(folder: Path, manifest: Manifest) -> None:
    """Touch the header of every file that the manifest lists: a capture cut in half is found on opening, not on a click."""
    read_tensor(
        folder / LOAD_FILE, "tokens"
    )  # safetensors checks on opening that the file is as long as its header says
    if "coactivation" in manifest.streams:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(folder / COACTIVATION_FILE, framework="numpy"):
                pass
        except (SafetensorError, OSError) as fault:
            raise CaptureError(
                f"{COACTIVATION_FILE} of '{folder.name}' is missing or damaged ({reason(fault)}): copy the capture again."
            ) from fault
    if "tokens" in manifest.streams:
        for stack in manifest.sampling:
            _parquet(folder / TOKENS_FOLDER / f"{stack}.parquet").close()
    if "curve" in manifest.streams:
        _parquet(folder / CURVE_FILE).close()


def read_coactivation(folder: Path, manifest: Manifest) -> np.ndarray:
    """int64 [S, E, E] of a capture folder."""
    array = read_tensor(folder / COACTIVATION_FILE, "coactivation")
    expected = (len(manifest.sites), manifest.max_experts, manifest.max_experts)
    if array.shape != expected:
        raise CaptureError(
            f"{COACTIVATION_FILE} of '{folder.name}' should be {expected} by its manifest, but is {array.shape}: "
            "the two files do not belong together, copy the capture again."
        )
    return array


def read_token_rows(folder: Path, stack: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of `tokens/<stack>.parquet`, only the named columns."""
    import pyarrow as pa

    with _parquet(folder / TOKENS_FOLDER / f"{stack}.parquet") as file:
        known = file.schema_arrow.names
        missing = [name for name in columns or () if name not in known]
        if missing:
            raise CaptureError(
                f"The token rows of '{folder.name}' have no column {', '.join(missing)}: they have {', '.join(known[:16])}."
            )
        try:
            return file.read(columns=None if columns is None else list(columns))
        except (pa.ArrowInvalid, OSError) as fault:
            raise CaptureError(
                f"tokens/{stack}.parquet of '{folder.name}' cannot be read ({reason(fault)}): the file is damaged, copy it again."
            ) from fault


def read_curve(folder: Path) -> pa.Table:
    """The sub-model curve of a capture folder."""
    with _parquet(folder / CURVE_FILE) as file:
        return file.read()


def _parquet(path: Path):  # type: ignore[no-untyped-def]  # pyarrow.parquet carries no types
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except FileNotFoundError as fault:
        raise CaptureError(
            f"'{path.name}' of the capture is missing, though its manifest lists it: copy it again."
        ) from fault
    except (pa.ArrowInvalid, OSError) as fault:
        raise CaptureError(
            f"'{path.name}' of the capture cannot be read ({reason(fault)}): the file is cut or damaged, copy the capture again."
        ) from fault
