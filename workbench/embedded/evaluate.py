"""``python -m workbench.embedded.evaluate``: the embedded model on held-out documents, beside count models and its untrained self."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.embedded import KINDS
from workbench.embedded.baselines import CountModel
from workbench.embedded.cli import report
from workbench.embedded.corpus import Corpus, EmbeddedError, read_corpus
from workbench.embedded.measure import Measured, max_violation, measure, overlap, pooled_load

SHARE = 0.25
CHANCE = SHARE / (2 - SHARE)
PROMPT_TOKENS = 32
NEW_TOKENS = 64


def evaluate(folder: Path, corpus: Corpus, most: int, seed: int) -> dict[str, Any]:
    """All numbers of the model card.

    Args:
        folder: a model as transformers saves it, with its tokenizer.
        corpus: held-out documents are measured on; training ones only feed the count models.
        most: documents of a kind at most, in the order of their hash.
        seed: of the untrained model and of the sampled texts.

    Returns:
        JSON values: ``loss`` by kind, ``routing`` by model, ``texts`` by kind, ``parameters``.

    Raises:
        EmbeddedError: a kind has no held-out document, or the folder holds no model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    if not (folder / "config.json").is_file():
        raise EmbeddedError(
            f"Expected a model folder with a config.json, but {folder} has none: name the folder 'model' of a run."
        )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    trained = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(seed)
    untrained = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    held_out = {}
    for kind in corpus.kinds:
        held_out[kind] = sorted(corpus.held_out(kind), key=lambda d: d.digest)[:most]
        if not held_out[kind]:
            raise EmbeddedError(
                f"Expected held-out documents of the kind '{kind}', but the split by hash kept none back: add documents."
            )
    results = {
        "trained": {kind: measure(trained, tokenizer, documents) for kind, documents in held_out.items()},
        "untrained": {kind: measure(untrained, tokenizer, documents) for kind, documents in held_out.items()},
    }

    def ids(texts: list[str]) -> list[np.ndarray]:
        return [
            np.array(tokenizer(t, add_special_tokens=False, verbose=False)["input_ids"], dtype=np.int64) for t in texts
        ]

    boundary = int(tokenizer.bos_token_id)
    counts = CountModel(len(tokenizer), [ids([d.text for d in corpus.train(kind)]) for kind in corpus.kinds], boundary)
    loss = {}
    for kind, documents in held_out.items():
        mine, before = results["trained"][kind], results["untrained"][kind]
        own = ids([d.text for d in documents])
        loss[kind] = {
            "documents": mine.documents,
            "tokens": mine.tokens,
            "bytes": mine.bytes,
            "trained": mine.nats_a_token,
            "bits_a_byte": mine.bits_a_byte,
            "bigram": sum(map(counts.bigram_nats, own)) / mine.tokens,
            "unigram": sum(map(counts.unigram_nats, own)) / mine.tokens,
            "untrained": before.nats_a_token,
        }
    return {
        "parameters": sum(p.numel() for p in trained.parameters()),
        "seed": seed,
        "loss": loss,
        "routing": {name: _routing(corpus.kinds, measured) for name, measured in results.items()},
        "texts": {kind: _continue(trained, tokenizer, held_out[kind][0].text, seed) for kind in corpus.kinds},
    }


def _routing(kinds: tuple[str, ...], measured: dict[str, Measured]) -> dict[str, Any]:
    whole = {kind: m.count.sum(0) for kind, m in measured.items()}
    load = pooled_load(list(whole.values()))
    pairs = {f"{a} / {b}": overlap(whole[a], whole[b], SHARE) for a, b in itertools.combinations(kinds, 2)}
    halves = {kind: overlap(m.count[0], m.count[1], SHARE) for kind, m in measured.items()}
    return {
        "max_violation": max_violation(load).round(4).tolist(),
        "dead": (load == 0).sum(-1).tolist(),
        "rare": (load < 0.1 / load.shape[-1]).sum(-1).tolist(),
        "overlap_by_layer": np.mean(list(pairs.values()), axis=0).round(4).tolist() if pairs else [],
        "overlap_by_pair": {name: round(float(values.mean()), 4) for name, values in pairs.items()},
        "split_half": {kind: round(float(values.mean()), 4) for kind, values in halves.items()},
    }


def _continue(model: Any, tokenizer: Any, text: str, seed: int) -> dict[str, str]:
    import torch

    ids = tokenizer(text, return_tensors="pt")["input_ids"][:, :PROMPT_TOKENS]
    torch.manual_seed(seed)
    made = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=True, temperature=0.8, top_p=0.95
    )
    prompt = tokenizer.decode(ids[0, 1:])
    return {"prompt": prompt, "continuation": tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)}


def tables(result: dict[str, Any]) -> str:
    """The numbers as Markdown, for the model card and the documentation."""
    trained, untrained = result["routing"]["trained"], result["routing"]["untrained"]
    losses = [
        (
            kind,
            row["documents"],
            f"{row['tokens']:,}",
            f"{row['bits_a_byte']:.2f}",
            *(f"{row[name]:.2f}" for name in ("trained", "bigram", "unigram", "untrained")),
        )
        for kind, row in result["loss"].items()
    ]
    layers = [
        (
            layer,
            f"{trained['max_violation'][layer]:.2f}",
            trained["dead"][layer],
            trained["rare"][layer],
            f"{trained['overlap_by_layer'][layer]:.3f}",
            f"{untrained['overlap_by_layer'][layer]:.3f}",
        )
        for layer in range(len(trained["dead"]))
    ]
    pairs = [
        (f"{pair}", trained["overlap_by_pair"][pair], untrained["overlap_by_pair"][pair])
        for pair in trained["overlap_by_pair"]
    ]
    pairs += [
        (f"{kind} / {kind}, other half of its documents", trained["split_half"][kind], untrained["split_half"][kind])
        for kind in trained["split_half"]
    ]
    chance = f"untrained (chance {CHANCE:.3f})"
    parts = [
        _table(
            ("kind", "held-out documents", "tokens", "bits a byte", "this model", "bigram", "unigram", "untrained"),
            losses,
        ),
        "The last four columns are the loss in nats a token; the two count models are fitted on the training documents.",
        _table(
            (
                "layer",
                "MaxVio",
                "experts never used",
                "below 10 % of an even load",
                "IoU of two kinds",
                f"IoU {chance}",
            ),
            layers,
        ),
        "Load: every kind with an equal share of the tokens. IoU: overlap of the quarter of the experts that two kinds use most,\n"
        "mean over the pairs of kinds.",
        _table(
            ("pair of kinds", "IoU, mean over the layers", f"IoU {chance}"),
            [(n, f"{a:.3f}", f"{b:.3f}") for n, a, b in pairs],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def texts(result: dict[str, Any]) -> str:
    """The sampled continuations as Markdown."""
    parts = []
    for kind, sample in result["texts"].items():
        end = " ".join(sample["prompt"].split())[-80:].replace("`", "")
        parts.append(f"**{kind}**, after `{end}`\n\n~~~\n{sample['continuation'].strip()}\n~~~\n")
    return "\n".join(parts)


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (heads, ["---"] * len(heads), *rows)]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    made = argparse.ArgumentParser(prog="python -m workbench.embedded.evaluate", description=__doc__)
    made.add_argument("--model", type=Path, required=True, help="model folder")
    made.add_argument("--data-root", type=Path, required=True, help="folder with one folder of texts a kind")
    made.add_argument("--kinds", default=",".join(KINDS), help="folders to use (default %(default)s)")
    made.add_argument("--most", type=int, default=30, help="held-out documents of a kind at most (default %(default)s)")
    made.add_argument(
        "--seed", type=int, default=0, help="of the untrained model and the sampled texts (default %(default)s)"
    )
    made.add_argument("--out", type=Path, help="also write all numbers to this JSON file")
    made.add_argument("--threads", type=int, default=1, help="CPU threads (default %(default)s)")
    chosen = made.parse_args(arguments)
    with report() as status:
        import torch

        torch.set_num_threads(chosen.threads)
        result = evaluate(
            chosen.model, read_corpus(chosen.data_root, chosen.kinds.split(",")), chosen.most, chosen.seed
        )
        print(tables(result))
        print(texts(result))
        if chosen.out is not None:
            chosen.out.parent.mkdir(parents=True, exist_ok=True)
            chosen.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return status.code


if __name__ == "__main__":
    sys.exit(main())
