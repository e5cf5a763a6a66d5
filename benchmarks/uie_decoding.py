"""Constrained decoding of UIE: the machine on tensors, transformers' `prefix_allowed_tokens_fn` with the same rules, and no constraint.

    python -m benchmarks.uie_decoding [--model uie-mini | --t5 256 4] [--batch 1 16] [--sentences 32] [--rounds 8] [--threads 1] [--json]

The same weights, sentences (those of sample_data/schemas) and schema, greedy, at most so many tokens. The outputs of the first two are checked to be
the same. "free" is our own loop without the constraint, made to write as many tokens as the constrained one did in each batch, so that the ratio
is the price of the constraint alone; "generate, free" is transformers' loop likewise. `--t5 WIDTH LAYERS` takes a T5 of that size with random
weights and a vocabulary of 32,128, in place of a trained model.

Method. In every round each side writes about all sentences once, in an order drawn anew; ratios are taken within the round, of the CPU time
of the process. The figure is the median ratio with a 95 % bootstrap interval over rounds. Reading, tokenising and the encoder, which is the same
for all, are left out; the last row gives the encoder's time, and each side has a ratio with it added to both.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import time
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from transformers import T5Config, T5ForConditionalGeneration

from benchmarks.plain_constraint import PlainConstraint
from benchmarks.usm_speed import sentences
from workbench.extract import Schema, load_engine
from workbench.extract.seq2seq.decode import Decoder
from workbench.extract.seq2seq.tokens import SelTokens
from workbench.extract.uie.constraint import Machine, make_sources, ties_of
from workbench.extract.uie.engine import UieEngine
from workbench.extract.uie.passes import Job, Passes
from workbench.extract.uie.ssi import roles_of_spots

SCHEMA = {
    "entities": ["person", "location", "organization", "product", "disease", "chemical", "event", "software"],
    "relations": {"works for": {"head": ["person"], "tail": ["organization"]}, "located in": {"head": ["organization", "location"], "tail": ["location"]}},
    "events": {"attack": ["attacker", "victim", "time", "place"]},
}  # fmt: skip
RESAMPLES = 2000


class Batch:
    """Jobs of one batch, as each side needs them."""

    def __init__(self, passes: Passes, jobs: list[Job]) -> None:
        t = passes.tokens
        longest = max(len(job.source) for job in jobs)
        self.passes, self.jobs = passes, jobs
        self.ids = torch.tensor([[*job.source, *[t.pad] * (longest - len(job.source))] for job in jobs])
        self.mask = torch.tensor([[1] * len(job.source) + [0] * (longest - len(job.source)) for job in jobs])
        prompt = passes.prompts[0]
        ties = ties_of(prompt, roles_of_spots(passes.schema, passes.plan[0]))
        self.plain = [
            PlainConstraint(prompt, ties, j.pieces.ids.tolist(), j.pieces.words.tolist(), t, j.pieces.parts.tolist())
            for j in jobs
        ]
        self.steps = 0  # tokens of the longest output
        self.decoder = Decoder(passes.model, passes.tokens)
        self.encoded = self.encode()

    def encode(self) -> Any:
        return self.decoder.encode(self.ids, self.mask, None)

    def ours(self, constrained: bool = True, most: int = 64) -> list[list[int]]:
        machine = None
        if constrained:
            assert self.passes.grammar is not None
            words = [j.pieces.words.tolist() for j in self.jobs]
            machine = Machine(
                self.passes.grammar, make_sources(self.ids, [j.begin for j in self.jobs], words, [0] * len(words))
            )
        steps = iter(range(10**9))
        written = self.decoder.write(
            self.ids, self.mask, None, 10**6, machine, 1, lambda: next(steps) >= most, self.encoded
        )
        return [each.ids for each in written]

    def free(self) -> None:
        """Our loop without the constraint, for as many steps."""
        tokens = replace(self.passes.tokens, eos=-1)  # nothing ends it but the number of steps
        Decoder(self.passes.model, tokens).write(self.ids, self.mask, None, self.steps, encoded=self.encoded)

    def theirs(self, constrained: bool, most: int) -> list[list[int]]:
        t = self.passes.tokens
        rules: dict[str, Any] = {"max_new_tokens": most}
        if constrained:
            rules["prefix_allowed_tokens_fn"] = lambda n, prefix: list(self.plain[n](prefix.tolist()[1:]))
        else:
            rules["min_new_tokens"] = most
        out = self.passes.model.generate(
            encoder_outputs=copy(self.encoded), attention_mask=self.mask, do_sample=False, decoder_start_token_id=t.start, eos_token_id=t.eos,
            pad_token_id=t.pad, **rules,
        )  # fmt: skip
        found: list[list[int]] = out[:, 1:].tolist()
        return found


def measure(batches: list[Batch], most: int, rounds: int) -> dict[str, Any]:
    """CPU seconds of each side, and ratios to ours with intervals."""
    for batch in batches:
        mine, other = batch.ours(most=most), batch.theirs(True, most)
        batch.steps = min(most, max(map(len, mine)))
        for a, b in zip(mine, other, strict=True):
            if a[:most] != b[: len(a)]:
                raise SystemExit("The two sides wrote different structures: the comparison would not be fair.")
    sides: dict[str, Callable[[Batch], Any]] = {
        "ours": lambda batch: batch.ours(most=most),
        "generate with prefix_allowed_tokens_fn": lambda batch: batch.theirs(True, most),
        "free": lambda batch: batch.free(),
        "generate, free": lambda batch: batch.theirs(False, batch.steps),
        "encoder": lambda batch: batch.encode(),
    }
    spent: dict[str, list[float]] = {name: [] for name in sides}
    order = random.Random(0)
    for _ in range(rounds):
        for name in order.sample(list(sides), len(sides)):
            begun = time.process_time()
            for batch in batches:
                sides[name](batch)
            spent[name].append(time.process_time() - begun)
    chance = np.random.default_rng(0)
    ours = np.array(spent["ours"])
    encoder = np.array(spent["encoder"])
    rows = {}
    for name, times in spent.items():
        seconds = np.array(times)
        over = name.endswith("free")
        ratios = ours / seconds if over else seconds / ours
        with_encoder = (ours + encoder) / (seconds + encoder) if over else (seconds + encoder) / (ours + encoder)
        drawn = np.median(ratios[chance.integers(0, rounds, (RESAMPLES, rounds))], axis=1)
        rows[name] = {
            "cpu_seconds": round(float(np.median(seconds)), 3),
            "ratio": round(float(np.median(ratios)), 3),
            "interval": [round(float(q), 3) for q in np.quantile(drawn, (0.025, 0.975))],
        } | ({} if name == "encoder" else {"ratio_with_encoder": round(float(np.median(with_encoder)), 3)})
    return rows


def random_t5(width: int, layers: int, tokens: SelTokens) -> Any:
    """A T5 v1.1 with the vocabulary of the released checkpoints; loud, so that it writes structures of some length."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=32128, d_model=width, d_kv=64, d_ff=4 * width, num_layers=layers, num_heads=max(1, width // 64), feed_forward_proj="gated-gelu",
        tie_word_embeddings=False, decoder_start_token_id=tokens.start, pad_token_id=tokens.pad, eos_token_id=tokens.eos,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config).eval()
    torch.nn.init.normal_(model.lm_head.weight)
    return model


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or hub id of a UIE model; uie-mini if not given")
    parser.add_argument("--t5", type=int, nargs=2, metavar=("WIDTH", "LAYERS"), help="a T5 with random weights instead")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--sentences", type=int, default=32)
    parser.add_argument("--most", type=int, default=64, help="tokens of an output at most")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="only the last line")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    engine = load_engine("uie", given.model, device="cpu")
    assert isinstance(engine, UieEngine)
    if given.t5:
        engine = UieEngine(random_t5(*given.t5, engine.tokens), engine.tokenizer, f"T5 {given.t5[0]} x {given.t5[1]}")
    passes = engine.passes(Schema.read(SCHEMA).expanded())
    jobs = sorted(passes.jobs(sentences(given.sentences)), key=lambda job: len(job.source))
    result: dict[str, Any] = {
        "model": engine.model, "class": type(engine.net).__name__, "sentences": given.sentences, "rounds": given.rounds,
        "threads": given.threads, "processor": platform.machine(), "torch": torch.__version__, "batch": {},
    }  # fmt: skip
    for size in given.batch:
        batches = [Batch(passes, jobs[at : at + size]) for at in range(0, len(jobs), size)]
        result["batch"][size] = measure(batches, given.most, given.rounds)
    if not given.json:
        for size, rows in result["batch"].items():
            print(f"batch {size}: CPU seconds for {given.sentences} sentences")
            for name, row in rows.items():
                how = "ours over it" if name.endswith("free") else "over ours"
                low, high = row["interval"]
                what = "" if name in ("ours", "encoder") else (
                    f"   {how} {row['ratio']:.2f} ({low:.2f} to {high:.2f}); with the encoder {row['ratio_with_encoder']:.2f}"
                )  # fmt: skip
                print(f"  {name:<42}{row['cpu_seconds']:>9.2f}{what}")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
