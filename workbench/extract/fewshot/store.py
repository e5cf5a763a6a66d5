"""What an evaluation has done so far: a JSON line for every episode, found again by what decides its result."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

FILE = "episodes.jsonl"


class Store:
    """Results by their keys; in memory only without a folder.

    Args:
        folder: holds `episodes.jsonl`; made when first written to.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self._path = None if folder is None else Path(folder) / FILE
        self._found: dict[str, dict[str, Any]] = {}
        if self._path is not None and self._path.is_file():
            for line in self._path.read_text(encoding="utf-8").split("\n"):
                try:
                    row = json.loads(line)
                    self._found[_name(row["key"])] = row["value"]
                except (ValueError, KeyError, TypeError):
                    continue  # the line at which a run was killed: its episode is done again

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The result that was kept under a key."""
        return self._found.get(_name(key))

    def put(self, key: Mapping[str, Any], value: dict[str, Any]) -> None:
        """Keep a result; it is on the disk when this returns."""
        self._found[_name(key)] = value
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        torn = self._path.is_file() and self._path.stat().st_size and not self._path.read_bytes().endswith(b"\n")
        with self._path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(("\n" if torn else "") + json.dumps({"key": key, "value": value}, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _name(key: Mapping[str, Any]) -> str:
    return json.dumps(key, sort_keys=True, ensure_ascii=False)


def weights_mark(model: str | None) -> str:
    """Tells weights apart that lie in the same folder at different times; "" for a hub id or none.

    A digest of names, sizes and times of a folder's files: copying weights only costs a new evaluation, never a stale result.
    """
    folder = Path(model) if model else None
    if folder is None or not folder.is_dir():
        return ""
    digest = blake2b(digest_size=8)
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        stat = path.stat()
        digest.update(f"{path.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()
