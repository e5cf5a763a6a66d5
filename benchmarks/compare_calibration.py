"""Are the p-values of Compare uniform when two captures differ by noise alone, and is a planted difference found?

    python benchmarks/compare_calibration.py [--draws 1000]

Two captures of one router (2 groups, 16 experts, top-2, 64 documents of 32 tokens) are drawn at random: of the same documents,
whose own preferences both share, or of other documents: nearly as many, or a third of them. For each measure one cell is tested without
correction (Kolmogorov-Smirnov against uniform, ties of IoU broken at random), all cells for small p (at most .001), and for all cells
together the share of draws that name any difference after the correction. A difference is planted by moving the log odds of two
experts in one group of the second capture. Prints tables, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from scipy.stats import kstest

from workbench.analysis.compare import compare_table
from workbench.capture import Capture, Group, Manifest, Site

EXPERTS, TOP_K, BLOCKS, DOCUMENT, DOCUMENTS = 16, 2, 32, 32, 64
MEASURES = ("load", "sorted load", "normalised entropy", "MaxVio", "IoU", "Jensen-Shannon")
EFFECTS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.2)
LEVEL, SMALL = 0.05, 0.001
# Documents of the second capture; two fewer are enough to be told apart.
SECOND = {"the same": DOCUMENTS, "others": DOCUMENTS - 2, "a third": 22}


def make(random: np.random.Generator, own: np.ndarray, effect: float) -> Capture:
    """A capture of as many documents as `own` has rows ([documents, experts], log odds of each); groups take turns."""
    documents = len(own)
    document = np.repeat(np.arange(documents), DOCUMENT)
    group = document % 2
    logits = np.log(np.linspace(0.5, 1.5, EXPERTS))[None, :] + own[document]
    logits[:, :2] += effect * (group == 0)[:, None]
    ids = (logits + random.gumbel(size=logits.shape)).argsort(axis=1)[:, ::-1][:, :TOP_K]
    count = np.zeros((BLOCKS, 1, 1, 2, EXPERTS), dtype=np.int64)
    tokens = np.zeros((BLOCKS, 1, 1, 2), dtype=np.int64)
    block = document // 2 % BLOCKS
    np.add.at(tokens, (block, 0, 0, group), 1)
    for rank in range(TOP_K):
        np.add.at(count, (block, 0, 0, group, ids[:, rank]), 1)
    zero = np.zeros_like(tokens)
    manifest = Manifest(
        created="2026-01-01T00:00:00+00:00",
        sites=(Site(id="text_0_mlp", stack="text", layer=0, experts=EXPERTS, top_k=TOP_K),),
        groups=(Group(name="a"), Group(name="b")),
        phases=("prefill",),
        documents=documents,
        streams=("load",),
    )
    tables = {"count": count, "mass": count.astype(float), "tokens": tokens, "dropped": zero, "skipped": zero}
    return Capture(manifest, tables)


def pair(random: np.random.Generator, documents: str, differ: float, effect: float) -> list[Capture]:
    """Two captures of the documents named (a key of `SECOND`)."""
    first = random.normal(size=(DOCUMENTS, EXPERTS)) * differ
    second = first if documents == "the same" else random.normal(size=(SECOND[documents], EXPERTS)) * differ
    return [make(random, first, 0.0), make(random, second, effect)]


def test(
    random: np.random.Generator, measure: str, documents: str, differ: float, effect: float
) -> tuple[np.ndarray, bool]:
    """(p of all cells of the first group, whether any differs after the correction)."""
    kinds = ("a", "b") if measure in ("IoU", "Jensen-Shannon") else ("a",)
    seed = int(random.integers(2**31))
    table = compare_table(
        pair(random, documents, differ, effect),
        measure,
        groups=kinds,
        names=("one", "two"),
        lineage="same",
        seed=seed,
        ties=random,
    )
    assert table.paired == (documents == "the same",)
    return table.p.ravel(), bool(table.significant.any())


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--measure", nargs="*", default=MEASURES, choices=MEASURES)
    given, begun = parser.parse_args(), time.perf_counter()
    draws = given.draws
    result: dict[str, object] = {"draws": draws}
    print(
        f"{'documents':12} {'measure':20} {'they are':8} {'KS p':>7} {'p<=.05':>7} {'all, p<=.001':>13} {'any, corrected':>15}"
    )
    for documents in SECOND:
        for measure in given.measure:
            for differ in (0.0, 0.5):
                random = np.random.default_rng(1)
                found = [test(random, measure, documents, differ, 0.0) for _ in range(draws)]
                p, some = np.array([one[0] for one in found]), float(np.mean([one[1] for one in found]))
                fit, size, small = (
                    float(kstest(p[:, 0], "uniform").pvalue), float((p[:, 0] <= LEVEL).mean()), float((p <= SMALL).mean())
                )  # fmt: skip
                words = (documents, measure, "differ" if differ else "alike")
                result[" | ".join(words)] = {"ks": fit, "size": size, "small": small, "any": some}
                print(
                    f"{words[0]:12} {words[1]:20} {words[2]:8} {fit:7.3f} {size:7.3f} {small:13.5f} {some:15.3f}",
                    flush=True,
                )
    print(
        f"power: share of {draws // 5} draws with a difference at corrected p <= .05, by log odds {EFFECTS}; documents differ"
    )
    for documents in SECOND:
        for measure in given.measure:
            random = np.random.default_rng(2)
            power = [
                float(np.mean([test(random, measure, documents, 0.5, effect)[1] for _ in range(draws // 5)]))
                for effect in EFFECTS
            ]
            result[f"power | {documents} | {measure}"] = power
            print(f"{documents:12} {measure:20} {' '.join(f'{one:6.3f}' for one in power)}", flush=True)
    result["seconds"] = time.perf_counter() - begun
    print(json.dumps(result))


if __name__ == "__main__":
    main()
