"""What the first picture costs: work on the server from a stored capture to the figure that is sent to the browser.

    python -m benchmarks.first_page [--layers 60] [--experts 256] [--groups 6] [--tokens 500] [--rounds 5] [--json]

A synthetic capture of that size is written to disk (32 blocks, two phases, co-activation and token rows, top 8). Each round
starts a fresh Python process, as a server does, and takes the CPU time of every step: opening the capture, the table of one
group, the Plotly figure, its JSON, the tokens behind the busiest cell. Loading the libraries is listed apart: a server does it
once. The files were just written, so they come from the page cache and not from a disk. The whole pages (Start with its
cards, and Routing) are run in Streamlit's own test harness, in which they do all the work but sending.

"torch" says whether torch was loaded in that process: no page of a stored capture may do so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 1.0  # seconds of work for the first picture of a stored capture
PICTURE = ("open", "table", "figure", "json")
STEPS = {
    "import": "load the libraries (once a server)",
    "open": "open the capture: manifest, headers of its files",
    "table": "read its counts, make the table of one group",
    "figure": "build the Plotly figure",
    "json": "write the figure as JSON",
    "tokens": "find the tokens behind the busiest cell",
    "start": "whole Start page, first run",
    "routing": "whole Routing page, first run",
    "again": "whole Routing page, next run",
}


def child(path: Path) -> dict[str, Any]:
    """One round in this process: CPU seconds a step, whether torch was loaded, megabytes of JSON."""
    seconds: dict[str, float] = {}
    before = time.process_time()

    def lap(step: str) -> None:
        nonlocal before
        now = time.process_time()
        seconds[step], before = now - before, now

    import plotly.graph_objects  # noqa: F401

    from pages.parts.answers import busiest
    from workbench.analysis.examples import tokens_behind
    from workbench.analysis.load import heatmap_table
    from workbench.capture import Capture
    from workbench.figures import interactive

    lap("import")
    capture = Capture.load(path)
    lap("open")
    table = heatmap_table(capture, capture.groups[0])
    lap("table")
    cell = busiest(table) or (0, 0)
    figure = interactive.heatmap(table, selected=(table.sites[cell[0]].id, cell[1]))
    lap("figure")
    size = len(figure.to_json())
    lap("json")
    tokens_behind(capture, table.sites[cell[0]].id, cell[1], capture.groups[0])
    lap("tokens")

    from streamlit.testing.v1 import AppTest

    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    before = time.process_time()
    app.run()
    lap("start")
    app.switch_page("pages/routing.py").run()
    lap("routing")
    app.run()
    lap("again")
    if app.exception:
        raise SystemExit(f"The page shows an exception: {app.exception[0].value}")
    return {"seconds": seconds, "torch": "torch" in sys.modules, "json_mb": size / 1e6}


def measure(layers: int, experts: int, groups: int, tokens: int, rounds: int) -> dict[str, Any]:
    """Write the capture and run the rounds."""
    from tests.capture_factory import make_capture

    with tempfile.TemporaryDirectory(prefix="first-page-") as folder:
        path = Path(folder) / "captures" / "large"
        make_capture(layers, experts, groups, tokens, top_k=8).save(path)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        environment = os.environ | {"WORKBENCH_HOME": folder, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "benchmarks.first_page", "--child", str(path)]
        found = []
        for _ in range(rounds):
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(done.stderr[-2000:])
            found.append(json.loads(done.stdout.splitlines()[-1]))
    seconds = {step: statistics.median(one["seconds"][step] for one in found) for step in STEPS}
    picture = [sum(one["seconds"][step] for step in PICTURE) for one in found]
    return {
        "benchmark": "first_page",
        "layers": layers,
        "experts": experts,
        "groups": groups,
        "tokens": tokens * groups,
        "capture_mb": round(size / 1e6, 1),
        "json_mb": round(found[0]["json_mb"], 2),
        "rounds": rounds,
        "seconds": {step: round(value, 4) for step, value in seconds.items()},
        "picture_seconds": {"median": round(statistics.median(picture), 4), "max": round(max(picture), 4)},
        "limit_seconds": LIMIT,
        "torch_loaded": any(one["torch"] for one in found),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def main() -> int:
    """Print the table and the JSON line; exit with 1 if the picture took longer than the limit or torch was loaded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, value in (("layers", 60), ("experts", 256), ("groups", 6), ("tokens", 500), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(json.dumps(child(options.child)))
        return 0
    result = measure(options.layers, options.experts, options.groups, options.tokens, options.rounds)
    if not options.json:
        print(
            f"{result['layers']} layers x {result['experts']} experts x {result['groups']} groups, {result['capture_mb']} MB on disk"
        )
        for step, words in STEPS.items():
            print(f"  {words:<52}{result['seconds'][step] * 1000:9.0f} ms")
        picture = result["picture_seconds"]
        print(
            f"  {'from the disk to the figure, together':<52}{picture['median'] * 1000:9.0f} ms, at most {picture['max'] * 1000:.0f} ms"
        )
        print(
            f"  torch loaded: {'yes' if result['torch_loaded'] else 'no'}; median CPU time of {result['rounds']} fresh processes"
        )
    print(json.dumps(result))
    return int(result["picture_seconds"]["max"] > LIMIT or result["torch_loaded"])


if __name__ == "__main__":
    sys.exit(main())
