"""``python -m workbench.analysis.umap_worker FOLDER``: UMAP in a process of its own, which can be stopped at any moment.

Reads `matrix.npy` and `options.json` of the folder and writes `xy.npy`. Says what it does on standard output, a JSON object
a line: {"step": words} or {"done": epochs, "total": epochs}. Leaves when its standard input is closed, so that it does not
outlive a dashboard that was killed.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

import numpy as np

_EPOCH = re.compile(r"(\d+)/(\d+)")
# What umap-learn prints -> what a person reads.
_STEPS = {
    "Construct fuzzy": "Compiling the search for neighbours",
    "Finding Nearest": "Searching the neighbours of every point",
    "Finished Nearest": "Weighing the neighbours",
    "Construct embedding": "Laying out: the first round is compiled",
}


class Said:
    """Stands in for a terminal: passes on what umap-learn prints as progress."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> int:
        epoch = _EPOCH.search(text)
        if epoch:
            self.say({"done": int(epoch[1]), "total": int(epoch[2])})
        else:
            step = next((words for sign, words in _STEPS.items() if sign in text), None)
            if step:
                self.say({"step": step})
        return len(text)

    def say(self, message: dict[str, Any]) -> None:
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()

    def flush(self) -> None:
        self._out.flush()

    def isatty(self) -> bool:
        return False


def main(folder: Path) -> None:
    """Read, project, write."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    said = Said(sys.stdout)
    said.say({"step": "Starting UMAP, which compiles itself: half a minute to a minute"})
    options = json.loads((folder / "options.json").read_text(encoding="utf-8"))
    matrix = np.load(folder / "matrix.npy", allow_pickle=False)
    import umap

    sys.stdout = said
    model = umap.UMAP(
        n_neighbors=options["neighbours"],
        min_dist=options["min_dist"],
        random_state=options["seed"],
        # The spectral start needs more points than it finds eigenvectors.
        init="random" if len(matrix) < 20 else "spectral",
        n_jobs=1,
        verbose=True,
        tqdm_kwds={"file": said, "bar_format": "{n_fmt}/{total_fmt}", "mininterval": 0.2},
    )
    xy = model.fit_transform(matrix)
    part = folder / "part.npy"
    np.save(part, np.asarray(xy, dtype=np.float64), allow_pickle=False)
    os.replace(part, folder / "xy.npy")


def _leave_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(3)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
