"""What a sweep has found so far: a folder whose journal only grows, so that nothing found is ever lost.

    OUT/sweep.json       what is swept: model, inputs, options; a resumed sweep must be the same
    OUT/journal.jsonl    a line for each (sub-model, batch) of losses, each visit of the clock, each task; appended at once
    OUT/captures/NAME    where it was asked for: the routing of a sub-model, a capture of its own
    OUT/curve.parquet    a row a sub-model, written anew in one step whenever the sweep ends or stops
    OUT/documents.parquet    a row for each (sub-model, document, group): what intervals and budgets draw from

A line that was cut off when the program was killed is passed over, and its work done again.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from workbench.capture.errors import CaptureError
from workbench.capture.write import whole_file, write_error
from workbench.elastic.errors import SweepError

SWEEP_FILE, JOURNAL_FILE = "sweep.json", "journal.jsonl"


@dataclass
class Found:
    """The journal, read.

    Attributes:
        losses: sub-model -> batch -> (cells, loss sums, right sums).
        timings: sub-model -> round -> (prefill, decode) in ms.
        memory: sub-model -> {"weights", "other", "how"}.
        masked: sub-model -> why it was not gathered.
        tasks: sub-model -> task -> list of measures.
        captures: sub-model -> name of its capture.
    """

    losses: dict[str, dict[int, tuple[list[int], list[float], list[float]]]] = field(default_factory=dict)
    timings: dict[str, dict[int, tuple[float, list[float]]]] = field(default_factory=dict)
    memory: dict[str, dict[str, Any]] = field(default_factory=dict)
    masked: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    captures: dict[str, str] = field(default_factory=dict)

    def take(self, line: Mapping[str, Any]) -> None:
        """Add one line of the journal."""
        key, kind = str(line["sub_model"]), line["kind"]
        if kind == "loss":
            self.losses.setdefault(key, {})[line["batch"]] = (line["cells"], line["loss"], line["right"])
        elif kind == "time":
            self.timings.setdefault(key, {})[line["round"]] = (line["prefill"], line["decode"])
        elif kind == "memory":
            self.memory[key] = {name: line[name] for name in ("weights", "other", "how")}
        elif kind == "masked":
            self.masked[key] = line["reason"]
        elif kind == "task":
            self.tasks.setdefault(key, {})[line["task"]] = line["measures"]
        elif kind == "capture":
            self.captures[key] = line["name"]


class Journal:
    """The journal of one sweep, open for appending.

    Args:
        folder: made if it is not there.
        identity: what must be the same when a sweep is resumed.
        resume: go on with a journal that is there.

    Raises:
        SweepError: if the folder holds another sweep, or one and `resume` is False.
        CaptureError: if it cannot be written.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, resume: bool) -> None:
        self.folder = folder
        self.found = Found()
        file = folder / SWEEP_FILE
        try:
            if folder.exists() and not folder.is_dir():
                raise SweepError(f"'{folder}' is a file, and a sweep writes a folder: choose another --out.")
            if file.is_file():
                self._check(file, identity, resume)
                for line in read_lines(folder / JOURNAL_FILE):
                    self.found.take(line)
            elif folder.is_dir() and any(folder.iterdir()):
                raise SweepError(f"'{folder}' holds other files, so nothing is written there: choose another --out.")
            else:
                folder.mkdir(parents=True, exist_ok=True)
                write_json(file, identity)
            cut_off = _ends_within_a_line(folder / JOURNAL_FILE)
            self._handle: IO[str] = (folder / JOURNAL_FILE).open("a", encoding="utf-8")
            if cut_off:
                self._handle.write("\n")
        except OSError as fault:
            raise write_error(fault, folder) from fault

    def _check(self, file: Path, identity: Mapping[str, Any], resume: bool) -> None:
        if not resume:
            raise SweepError(
                f"'{self.folder}' holds a sweep already: go on with it by --resume, or choose another --out."
            )
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as fault:
            raise SweepError(
                f"'{file}' cannot be read, so the sweep cannot be resumed: choose another --out."
            ) from fault
        now = json.loads(json.dumps(identity))
        other = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        if other:
            raise SweepError(
                f"The sweep in '{self.folder}' was begun with another {', '.join(other)}: give the same options to resume it, or choose "
                "another --out."
            )

    def add(self, kind: str, sub_model: str, **values: Any) -> None:
        """Append one finding; it is on its way to the disk when this returns.

        Raises:
            CaptureError: if the disk is full; what was found before is kept.
        """
        line = {"kind": kind, "sub_model": sub_model, **values}
        try:
            self._handle.write(json.dumps(line) + "\n")
            self._handle.flush()
        except OSError as fault:
            raise kept_error(fault, self.folder) from fault
        self.found.take(line)

    def close(self) -> None:
        # Every finding was flushed already; after a full disk closing would only fail once more, and hide the first fault.
        with suppress(OSError):
            self._handle.close()


def kept_error(fault: OSError, folder: Path) -> CaptureError:
    """The sentence for a finding or a curve that could not be written: the ones before it are kept."""
    if fault.errno == errno.ENOSPC:
        return CaptureError(
            f"The disk that holds '{folder}' is full, so the sweep stopped; what was found is kept: free some space, then go on with --resume."
        )
    return CaptureError(
        f"The findings in '{folder}' cannot be written ({fault.strerror or fault}), so the sweep stopped; what was found is kept: check the "
        "folder and the disk, then go on with --resume."
    )


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a journal; one that was cut off is passed over."""
    if not file.is_file():
        return
    with file.open(encoding="utf-8") as handle:
        for text in handle:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and "kind" in line and "sub_model" in line:
                yield line


def _ends_within_a_line(file: Path) -> bool:
    if not file.is_file() or not file.stat().st_size:
        return False
    with file.open("rb") as handle:
        handle.seek(-1, os.SEEK_END)
        return handle.read(1) != b"\n"


def write_json(file: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file in one step."""
    with whole_file(file) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
