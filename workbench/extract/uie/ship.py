"""From a run's model to a checkpoint to ship: read on development data, stored as int8.

python -m workbench.extract.uie.ship --model runs/mine/model --data-root data --out my-checkpoint
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from workbench.extract.errors import EngineError
from workbench.extract.seq2seq.model import CopySeq2Seq
from workbench.extract.seq2seq.weights import save_copy_model
from workbench.extract.storage import STORAGES
from workbench.extract.uie.engine import UieEngine
from workbench.extract.uie.tune import development_parts, fit, report
from workbench.extract.usm.ship import SETS
from workbench.extract.usm.tune import with_development


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workbench.extract.uie.ship", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of a trained copying model")
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--data", nargs="*", default=list(SETS), help="sets whose development parts are used")
    parser.add_argument("--texts", type=int, default=150, help="texts of each set (default %(default)s)")
    parser.add_argument(
        "--storage", choices=STORAGES, default="int8", help="how weights are stored (default %(default)s)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    chosen = parser.parse_args(arguments)
    engine = UieEngine.load(str(chosen.model))
    if not isinstance(engine.net, CopySeq2Seq):
        raise EngineError(f"'{chosen.model}' is no copying model, and others are kept as transformers saves them.")
    parts = development_parts(
        engine,
        with_development(chosen.data),
        chosen.data_root,
        chosen.texts,
        progress=lambda name: print(f"development part of {name}", file=sys.stderr),  # noqa: T201 - a command
    )
    reading = fit(parts)
    engine.net.config.engine = {**engine.net.config.engine, **reading.to_json()}
    size = save_copy_model(chosen.out, engine.net, engine.tokenizer, chosen.storage)
    said = {"bytes": size, "texts": chosen.texts, "outputs": dict(engine.counts), **report(parts, reading)}
    print(json.dumps(said, indent=1))  # noqa: T201 - a command
    return 0


if __name__ == "__main__":
    sys.exit(main())
