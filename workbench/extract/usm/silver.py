"""Silver annotation: sentences of other sets, read by a larger model under the schema of one set, for a smaller model to learn from.

    python -m workbench.extract.usm.silver --model runs/large/conll04/model --set conll04 --data-root data --out conll04-silver.jsonl
    python -m workbench.extract.usm.finetune --model usm-mini --data conll04 --silver conll04-silver.jsonl --data-root data --out runs/tuned --steps 1600

Only parts that may be learnt from are read, and no text of a development or test part that is measured. As many sentences in which no relation was
found are kept as sentences with one.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from workbench.extract.batch import annotated, extract_all
from workbench.extract.engines import shipped_or
from workbench.extract.errors import ExtractError
from workbench.extract.evaluate.published import PUBLISHED
from workbench.extract.formats.sets import load_data
from workbench.extract.records import Document, write_documents
from workbench.extract.usm.engine import UsmEngine
from workbench.extract.usm.train.sources import PLANS, readable_documents
from workbench.extract.usm.tune import measured_schema
from workbench.models.device import use_threads
from workbench.module_command import count, report, seed

TEXTS = ("wikigold", "uner_en_ewt", "re_docred", "fewrel", "wikievents", "rams", "re3d")
"""Sets of news and encyclopedia, whose sentences are read."""
WORDS = (6, 60)  # of a sentence that is read, at least and at most
_ENDS = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'])")


def sentences(names: Sequence[str], root: Path, most: int, seed: int) -> list[Document]:
    """Sentences of sets, as many of each as there are or the rest allows, in the order of chance, each once.

    Args:
        most: of all sets together.
    """
    pools = [list(_of(name, root, seed)) for name in names]
    found: dict[str, Document] = {}
    for pool in pools:
        random.Random(seed).shuffle(pool)
    for row in range(max(map(len, pools), default=0)):  # a sentence of each set in turn, so that no set fills the whole
        for pool in pools:
            if row < len(pool) and len(found) < most:
                found.setdefault(pool[row].text, pool[row])
    return list(found.values())


def _of(name: str, root: Path, seed: int) -> Iterator[Document]:
    for document in readable_documents(name, root, 10**9, seed):
        for number, text in enumerate(_ENDS.split(document.text)):
            if WORDS[0] <= len(text.split()) <= WORDS[1]:
                yield Document(id=f"{name}/{document.id}/{number}", text=text.strip())


def balanced(documents: Sequence[Document]) -> list[Document]:
    """Those with relations, and as many without, in their order."""
    empty = len([document for document in documents if document.relations])
    kept = []
    for document in documents:
        if not document.relations:
            if not empty:
                continue
            empty -= 1
        kept.append(document)
    return kept


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workbench.extract.usm.silver", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )  # fmt: skip
    parser.add_argument("--model", required=True, help="USM model that reads: fine-tuned on --set")
    parser.add_argument("--set", required=True, choices=list(PUBLISHED), help="set whose schema is asked", dest="name")
    parser.add_argument("--data-root", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="JSONL file of annotated sentences")
    parser.add_argument("--texts", nargs="+", choices=list(PLANS), default=list(TEXTS), metavar="SET", help=f"sets whose sentences are read (default: {', '.join(TEXTS)})")  # fmt: skip
    parser.add_argument("--limit", type=count, default=8000, help="sentences read at most (default %(default)s)")
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--threads", type=count, help="CPU threads")
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args(arguments)
    use_threads(chosen.threads)
    with report() as status:
        engine = UsmEngine.load(shipped_or(chosen.model), chosen.device)
        schema = measured_schema(chosen.name, load_data(chosen.name, chosen.data_root, "train"))
        texts = sentences(chosen.texts, chosen.data_root, chosen.limit, chosen.seed)
        texts.sort(key=lambda document: len(document.text))  # alike lengths together waste no padding
        with tqdm(total=len(texts), unit=" sentences", disable=None) as bar:
            made = []
            for document, found in extract_all(engine, texts, schema, batch_size=16):
                made.append(annotated(document, found))
                bar.update()
        random.Random(chosen.seed).shuffle(made)
        kept = balanced(made)
        if not kept:
            raise ExtractError(
                f"No relation was found in {len(texts):,} sentences, so there is nothing to learn from: name other --texts, or a --model that was trained on '{chosen.name}'."
            )
        write_documents(chosen.out, kept)
        relations = sum(len(document.relations or ()) for document in kept)
        print(f"{len(texts):,} sentences read, {len(kept):,} kept with {relations:,} relations: {chosen.out}")  # noqa: T201
    return status.code


if __name__ == "__main__":
    sys.exit(main())
