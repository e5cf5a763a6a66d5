"""Sentences a second: USM beside GLiNER's own code, encoders of the same size, the same texts.

    python -m benchmarks.usm_speed [--labels 4 16 64] [--sentences 64] [--rounds 8] [--threads 1] [--batch 8] [--json]

Both read the sentences of the ready texts (sample_data/schemas) with an encoder of the shape of MiniLM: 6 layers, width 384, and one
tokenizer. USM is a checkpoint (usm-mini, --model), and finds what it finds, down to its floor. GLiNER is `UniEncoderSpanGLiNER` with its
own defaults on a random encoder of that shape, asked at a threshold that random scores do not reach: its decoding is then at its
cheapest, which favours it. Labels are two words each, the first ones of a fixed list.

Method. In every round each side reads all sentences once, in an order drawn anew; the ratio is taken within the round, of the CPU time of
the process, so that neighbours on the machine disturb it less. The figure is the median ratio with a 95 % bootstrap interval over rounds.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workbench.extract import Schema, load_engine, read_documents
from workbench.extract.usm.engine import UsmEngine

TEXTS = Path(__file__).resolve().parents[1] / "sample_data" / "schemas"
FIRST = ["person", "place", "company", "product", "disease", "chemical", "event", "law", "software", "device"]
SECOND = ["name", "type", "group", "code", "report", "source", "part"]
HIGH = 0.999  # above every score of the random GLiNER
RESAMPLES = 2000
AIM = (16, 2.0)  # labels, sentences a second of USM over GLiNER's


def sentences(count: int) -> list[str]:
    """Sentences of the ready texts, from the start again where there are too few."""
    found = [
        sentence.strip()
        for path in sorted(TEXTS.glob("*.texts.jsonl"))
        for document in read_documents(path)
        for sentence in re.split(r"(?<=[.!?])\s+", document.text)
        if len(sentence.split()) > 3
    ]
    return [found[n % len(found)] for n in range(count)]


def label_names(count: int) -> list[str]:
    """Names of types, each two words, no two alike."""
    return [f"{first} {second}" for second in SECOND for first in FIRST][:count]


def random_gliner(usm: UsmEngine) -> Any:
    """GLiNER with its defaults on a random encoder of the shape of USM's, with USM's tokenizer."""
    from gliner import GLiNER

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        usm.tokenizer.save_pretrained(folder)
        config = {
            "model_name": folder, "name": "random", "span_mode": "markerV0", "max_width": 12, "max_len": 384, "hidden_size": 512, "dropout": 0.0,
            "words_splitter_type": "whitespace", "subtoken_pooling": "first", "max_types": 100, "encoder_config": usm.usm.config.encoder_config().to_dict(),
        }  # fmt: skip
        torch.manual_seed(0)
        return GLiNER.from_config(config, backbone_from_pretrained=False).eval()


def parameters(module: Any) -> float:
    """Millions of parameters."""
    return round(sum(parameter.numel() for parameter in module.parameters()) / 1e6, 1)


def compare(sides: dict[str, Callable[[], Any]], count: int, rounds: int, order: random.Random) -> dict[str, Any]:
    """Sentences a CPU second of both sides, and the ratio of the first over the second with its interval."""
    for run in sides.values():
        run()  # once, so that nothing is made in the first round
    spent: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name in order.sample(list(sides), len(sides)):
            begun = time.process_time()
            sides[name]()
            spent[name].append(time.process_time() - begun)
    first, second = (np.array(spent[name]) for name in sides)
    ratios = second / first
    chance = np.random.default_rng(0)
    drawn = np.median(ratios[chance.integers(0, rounds, (RESAMPLES, rounds))], axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {
        "sentences_per_cpu_second": {name: round(count / float(np.median(each)), 2) for name, each in spent.items()},
        "ratio": round(float(np.median(ratios)), 3),
        "interval": [round(float(low), 3), round(float(high), 3)],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder of a USM model; usm-mini if not given")
    parser.add_argument("--labels", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--sentences", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--json", action="store_true", help="only the last line")
    given = parser.parse_args()
    if not 1 <= min(given.labels) <= max(given.labels) <= len(FIRST) * len(SECOND):
        parser.error(f"--labels takes 1 to {len(FIRST) * len(SECOND)}")
    torch.set_num_threads(given.threads)
    usm = load_engine("usm", given.model, device="cpu")
    assert isinstance(usm, UsmEngine)
    gliner = random_gliner(usm)
    texts = sentences(given.sentences)
    order = random.Random(0)
    rows = {}
    for count in given.labels:
        names = label_names(count)
        schema = Schema.read({"entities": names})

        def ours(schema: Schema = schema) -> Any:
            return usm.extract(texts, schema, batch_size=given.batch)

        def theirs(names: list[str] = names) -> Any:
            return gliner.inference(texts, names, flat_ner=True, threshold=HIGH, batch_size=given.batch)

        assert not any(theirs()), "the random GLiNER is to find nothing"
        rows[count] = compare({"usm": ours, "gliner": theirs}, len(texts), given.rounds, order)
    words = sum(len(text.split()) for text in texts) / len(texts)
    result = {
        "usm": usm.model, "sentences": len(texts), "words_a_sentence": round(words, 1), "rounds": given.rounds, "threads": given.threads,
        "batch": given.batch, "processor": platform.machine(), "torch": torch.__version__,
        "parameters_m": {"usm": parameters(usm.usm), "gliner": parameters(gliner.model)}, "labels": rows,
        "aim": None if AIM[0] not in rows else rows[AIM[0]]["ratio"] >= AIM[1],
    }  # fmt: skip
    if not given.json:
        print(
            f"{len(texts)} sentences of {words:.0f} words, batches of {given.batch}, {given.threads} thread, {given.rounds} rounds; "
            f"USM {result['parameters_m']['usm']} M, GLiNER {result['parameters_m']['gliner']} M parameters"
        )
        print(f"{'labels':>7}{'USM':>10}{'GLiNER':>10}   sentences a CPU second;  ratio, 95 % interval")
        for count, row in rows.items():
            speed = row["sentences_per_cpu_second"]
            print(
                f"{count:>7}{speed['usm']:>10.1f}{speed['gliner']:>10.1f}   {row['ratio']:.2f} ({row['interval'][0]:.2f} to {row['interval'][1]:.2f})"
            )
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
