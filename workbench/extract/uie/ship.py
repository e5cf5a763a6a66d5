"""From a run's model to a checkpoint to ship: read on development data, stored as int8.

python -m workbench.extract.uie.ship --model runs/mine/model --data-root data --out my-checkpoint
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from workbench.extract.engines import shipped_or
from workbench.extract.errors import EngineError
from workbench.extract.seq2seq.model import CopySeq2Seq
from workbench.extract.seq2seq.weights import save_copy_model
from workbench.extract.storage import STORAGES
from workbench.extract.uie import tune
from workbench.extract.uie.engine import UieEngine
from workbench.extract.usm.ship import SETS
from workbench.extract.usm.tune import all_with_development
from workbench.module_command import count, report


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workbench.extract.uie.ship", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--model", required=True, help="shipped or trained copying model")
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--data", nargs="*", default=list(SETS), help="sets whose development parts are used")
    parser.add_argument("--texts", type=count, default=150, help="texts of each set (default %(default)s)")
    parser.add_argument(
        "--storage", choices=STORAGES, default="int8", help="how weights are stored (default %(default)s)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    chosen = parser.parse_args(arguments)
    with report() as status:
        names = all_with_development(chosen.data)
        engine = UieEngine.load(shipped_or(chosen.model))
        if not isinstance(engine.net, CopySeq2Seq):
            raise EngineError(
                f"'{chosen.model}' is no copying model, and others are kept as transformers saves them: name a copying one, or copy its folder."
            )
        parts = tune.development_parts(
            engine,
            names,
            chosen.data_root,
            chosen.texts,
            progress=lambda name: print(f"development part of {name}", file=sys.stderr),  # noqa: T201 - a command
        )
        reading = tune.fit(parts)
        engine.net.config.engine = {**engine.net.config.engine, **reading.to_json()}
        size = save_copy_model(chosen.out, engine.net, engine.tokenizer, chosen.storage)
        said = {"bytes": size, "texts": chosen.texts, "outputs": dict(engine.counts), **tune.report(parts, reading)}
        print(json.dumps(said, indent=1))  # noqa: T201 - a command
    return status.code


if __name__ == "__main__":
    sys.exit(main())
