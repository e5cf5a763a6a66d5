"""From a run's model to a checkpoint to ship: read on development data, stored as int8.

python -m workbench.extract.usm.ship --model runs/mine/model --data-root data --out my-checkpoint
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from workbench.extract.engines import shipped_or
from workbench.extract.storage import STORAGES
from workbench.extract.usm import tune
from workbench.extract.usm.engine import UsmEngine
from workbench.extract.usm.weights import save_model
from workbench.module_command import count, report

SETS = ("wnut17", "ncbi_disease", "bc5cdr", "conll04", "scierc", "casie", "14res", "14lap")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workbench.extract.usm.ship", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--model", required=True, help="shipped or trained USM model")
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--data", nargs="*", default=list(SETS), help="sets whose development parts are used")
    parser.add_argument("--texts", type=count, default=150, help="texts of each set (default %(default)s)")
    parser.add_argument(
        "--storage", choices=STORAGES, default="int8", help="how weights are stored (default %(default)s)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    chosen = parser.parse_args(arguments)
    with report() as status:
        names = tune.all_with_development(chosen.data)
        engine = UsmEngine.load(shipped_or(chosen.model))
        parts = tune.development_parts(
            engine,
            names,
            chosen.data_root,
            chosen.texts,
            progress=lambda name: print(f"development part of {name}", file=sys.stderr),  # noqa: T201
        )
        reading = tune.fit(parts)
        engine.usm.config.decoding = reading.to_json()
        size = save_model(chosen.out, engine.usm, engine.tokenizer, chosen.storage)
        print(json.dumps({"bytes": size, **tune.report(parts, reading)}, indent=1))  # noqa: T201 - a command
    return status.code


if __name__ == "__main__":
    sys.exit(main())
