"""From a run's model to a checkpoint to ship, stored as int8 without the word embeddings that it shares with another shipped model.

python -m workbench.extract.metaner.ship --model runs/mine/model --words-of uie-mini --out metaner-mini
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from workbench.extract.errors import EngineError, ExtractError
from workbench.extract.metaner.card import write_card
from workbench.extract.metaner.engine import MetaNerEngine
from workbench.extract.seq2seq.model import CopySeq2Seq
from workbench.extract.seq2seq.weights import save_copy_model
from workbench.extract.storage import STORAGES

LICENSE = "LICENSE"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workbench.extract.metaner.ship", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of a trained copying model")
    parser.add_argument(
        "--words-of",
        type=Path,
        help="shipped model, trained from the same base, whose word embeddings are shared; left out, the folder holds everything",
    )
    parser.add_argument(
        "--storage", choices=STORAGES, default="int8", help="how weights are stored (default %(default)s)"
    )
    parser.add_argument("--run", type=Path, help="folder of the run, for the card (default: that above the model)")
    parser.add_argument(
        "--results",
        type=Path,
        nargs="*",
        default=[],
        help="files that `workbench fewshot --json` printed, for the card",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    chosen = parser.parse_args(arguments)
    try:
        report = ship(chosen.model, chosen.out, chosen.words_of, chosen.storage, chosen.run, chosen.results)
    except ExtractError as fault:
        print(fault, file=sys.stderr)  # noqa: T201 - a command
        return 1
    print(json.dumps(report, indent=1))  # noqa: T201 - a command
    return 0


def ship(
    model: Path,
    out: Path,
    words_of: Path | None = None,
    storage: str = "int8",
    run: Path | None = None,
    results: Sequence[Path] = (),
) -> dict[str, object]:
    """Write the checkpoint and its card.

    Args:
        words_of: see `save_copy_model`. run: folder of the training's log; None: that above the model. results: see `write_card`.

    Returns:
        Bytes of the folder, and what the card says of the training.

    Raises:
        EngineError: the model is no copying model, or its word embeddings are not those of `words_of`.
    """
    engine = MetaNerEngine.load(str(model), "cpu")
    if not isinstance(engine.net, CopySeq2Seq):
        raise EngineError(f"'{model}' is no copying model, and others are kept as transformers saves them.")
    size = save_copy_model(out, engine.net, engine.tokenizer, storage, words_of)
    if words_of is not None and (words_of / LICENSE).is_file():
        theirs = (words_of / LICENSE).read_text(encoding="utf-8")  # the same terms, under this one's name
        (out / LICENSE).write_text(theirs.replace(f"{words_of.name}:", f"{out.name}:", 1), encoding="utf-8")
    MetaNerEngine.load(str(out), "cpu")  # what was written can be read where it lies
    facts = write_card(
        out, engine, model.parent if run is None else run, words_of.name if words_of else None, size, results
    )
    return {"bytes": size, **facts}


if __name__ == "__main__":
    sys.exit(main())
