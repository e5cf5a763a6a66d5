"""UMAP (McInnes 2018, 1802.03426) in a process of its own: it reports its epochs, and stopping it really stops it.

In the page's own process numba would hold the interpreter while it compiles, and a thread cannot be ended from outside.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from workbench.analysis.projection import NEIGHBOURS
from workbench.capture import CaptureError

MIN_POINTS = 10  # for UMAP: with fewer, every point is the neighbour of every other
MIN_DIST = 0.1
ROOT = Path(__file__).resolve().parents[2]

Progress = Callable[[int, int | None, str], None]  # epochs done, epochs in all, what it does


def run_umap(
    matrix: np.ndarray,
    *,
    seed: int = 0,
    neighbours: int = NEIGHBOURS,
    min_dist: float = MIN_DIST,
    progress: Progress | None = None,
    check: Callable[[], None] | None = None,
) -> np.ndarray:
    """Lay out points by UMAP; the same seed gives the same layout on the same machine.

    Args:
        matrix: float64 [N, F].
        seed: of the layout. neighbours: of every point, at most N - 1. min_dist: how close points may lie.
        progress: called in this thread with epochs done and in all, and words.
        check: called a few times a second; what it raises ends the process and is passed on.

    Returns:
        float64 [N, 2].

    Raises:
        CaptureError: for fewer than ten points, or if the process fails.
    """
    if len(matrix) < MIN_POINTS:
        raise CaptureError(
            f"UMAP lays out neighbourhoods and needs {MIN_POINTS} points or more, but {len(matrix)} came: PCA shows them."
        )
    if not np.isfinite(matrix).all():
        raise CaptureError("A point of the map has a number that is not finite: record the capture again.")
    options = {"seed": int(seed), "neighbours": int(min(neighbours, len(matrix) - 1)), "min_dist": float(min_dist)}
    with tempfile.TemporaryDirectory(prefix="workbench-umap-") as folder:
        work = Path(folder)
        np.save(work / "matrix.npy", np.asarray(matrix, dtype=np.float64), allow_pickle=False)
        (work / "options.json").write_text(json.dumps(options), encoding="utf-8")
        with (work / "errors.txt").open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "workbench.analysis.umap_worker", folder],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
            try:
                _follow(process, progress, check)
            finally:
                process.kill()  # without effect on one that has ended
                process.wait()
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        pipe.close()
        if not (work / "xy.npy").is_file():
            lines = (work / "errors.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise CaptureError(
                f"UMAP stopped before its end ({lines[-1][:200] if lines else f'status {process.returncode}'}): PCA shows the same points."
            )
        return np.load(work / "xy.npy", allow_pickle=False)


def _follow(process: subprocess.Popen[bytes], progress: Progress | None, check: Callable[[], None] | None) -> None:
    """Pass on what the process says until it ends; `check` is asked meanwhile."""
    said: queue.Queue[bytes | None] = queue.Queue()
    threading.Thread(target=_read, args=(process.stdout, said), daemon=True).start()
    done, total, step = 0, None, "Starting"
    while True:
        if check is not None:
            check()
        try:
            line = said.get(timeout=0.2)
        except queue.Empty:
            continue
        if line is None:
            process.wait()
            return
        try:
            message = json.loads(line)
        except ValueError:
            continue  # a warning of a library
        if "total" in message:
            done, total = int(message["done"]), int(message["total"])
            step = "Laying out"
        step = str(message.get("step", step))
        if progress is not None:
            progress(done, total, step)


def _read(stream: IO[bytes] | None, said: queue.Queue[bytes | None]) -> None:
    if stream is not None:
        for line in iter(stream.readline, b""):
            said.put(line)
    said.put(None)
