"""Are p-values uniform when groups do not matter, do intervals cover, and is planted specialisation found?

    python benchmarks/null_calibration.py [--draws 1000] [--power]

Routing is drawn at random with the same load for both groups (2 groups, 16 experts, top-2), or with a part of one group's tokens
moved to two experts. Ties of IoU are broken at random for the test of uniformity. Prints a table, and one JSON line last.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from workbench.analysis.block_counts import BlockCounts
from workbench.analysis.intervals import bootstrap
from workbench.analysis.nulls import fixed_load_null, label_null
from workbench.analysis.select import Selection
from workbench.analysis.statistics import statistic
from workbench.capture import Capture, Group, Manifest, Sampling, Site

EXPERTS, BLOCKS, DOCUMENT, DOCUMENTS = 16, 32, 32, 64
EFFECTS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.2)  # log odds of two experts in one group


def make(
    random: np.random.Generator, shared: bool, effect: float, rows: bool, documents_differ: float = 0.0
) -> tuple[Capture, BlockCounts]:
    """64 documents of 32 tokens; shared: runs of 8 tokens alternate between the groups inside a document."""
    import pyarrow as pa

    document = np.repeat(np.arange(DOCUMENTS), DOCUMENT)
    position = np.tile(np.arange(DOCUMENT), DOCUMENTS)
    group = (position // 8) % 2 if shared else document % 2
    load = np.linspace(0.5, 1.5, EXPERTS)
    own = random.normal(size=(DOCUMENTS, EXPERTS)) * documents_differ
    logits = np.log(load)[None, :] + own[document]
    logits[:, :2] += effect * (group == 0)[:, None]
    ids = (logits + random.gumbel(size=logits.shape)).argsort(axis=1)[:, ::-1][:, :2]
    site = Site(id="text_0_mlp", stack="text", layer=0, experts=EXPERTS, top_k=2)
    groups = (Group(name="a"), Group(name="b"))
    count = np.zeros((BLOCKS, 1, 1, 2, EXPERTS), dtype=np.int64)
    tokens = np.zeros((BLOCKS, 1, 1, 2), dtype=np.int64)
    block = document // 2 % BLOCKS
    np.add.at(tokens, (block, 0, 0, group), 1)
    for rank in range(2):
        np.add.at(count, (block, 0, 0, group, ids[:, rank]), 1)
    zero = np.zeros_like(tokens)
    tables = {"count": count, "mass": count.astype(float), "tokens": tokens, "dropped": zero, "skipped": zero}
    table = None
    if rows:
        names = {
            "document": pa.array([f"d{d:03d}" for d in document]),
            "position": pa.array(position, pa.int32()),
            "group": pa.array([groups[g].name for g in group]),
            "phase": pa.array(["prefill"] * len(group)),
            "experts_text_0_mlp": pa.array(list(ids.astype(np.int16)), pa.list_(pa.int16())),
        }
        table = {"text": pa.table(names)}
    manifest = Manifest(
        created="2026-01-01T00:00:00+00:00",
        sites=(site,),
        groups=groups,
        phases=("prefill",),
        documents=DOCUMENTS,
        streams=("load", "tokens") if rows else ("load",),
        sampling={"text": Sampling(kept=len(group), seen=len(group))} if rows else {},
    )
    real = np.ones((1, EXPERTS), dtype=bool)
    total, n = count.sum(axis=(0, 2)), tokens.sum(axis=(0, 2))
    chosen = Selection((site,), groups, None, total, total.astype(float), n, real, real, 5.0, groups)
    return Capture(manifest, tables, tokens=table), BlockCounts(chosen, count[:, :, 0], tokens[:, :, 0])


def one_p(random: np.random.Generator, null: str, name: str, effect: float, differ: float = 0.0) -> float:
    """One draw of routing and the p of its null."""
    rows = null.startswith("labels, rows")
    capture, counts = make(random, null.endswith("shared"), effect, rows, differ)
    seed, how = int(random.integers(2**31)), statistic(name)
    if null.startswith("fixed"):
        band = fixed_load_null(counts, how, draws=199, seed=seed, ties=random)
    else:
        band = label_null(capture, counts, how, draws=199, seed=seed, rows=rows, ties=random)
    return float((band.p_high if name == "Jensen-Shannon" else band.p_low).ravel()[0])


def kolmogorov(p: np.ndarray) -> float:
    """p of the Kolmogorov-Smirnov test against uniform, by its limit (Kolmogorov 1933)."""
    ordered, n = np.sort(p), len(p)
    distance = max((np.arange(1, n + 1) / n - ordered).max(), (ordered - np.arange(n) / n).max())
    k = np.arange(1, 101)
    return float(np.clip(2 * ((-1.0) ** (k - 1) * np.exp(-2 * (k * distance) ** 2 * n)).sum(), 0, 1))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--power", action="store_true", help="only the power by size of a planted effect")
    given = parser.parse_args()
    draws = given.draws
    result: dict[str, object] = {"draws": draws}
    nulls = (
        "fixed load",
        "fixed load, shared",
        "labels, blocks",
        "labels, blocks, shared",
        "labels, rows",
        "labels, rows, shared",
    )
    if not given.power:
        uniform(nulls, draws, result)
    print(f"power, Jensen-Shannon, p <= .05, by effect (log odds of two experts) {EFFECTS}")
    power(nulls, draws, result)
    if not given.power:
        coverage(draws, result)
    print(json.dumps(result))


def uniform(nulls: tuple[str, ...], draws: int, result: dict[str, object]) -> None:
    """Whether p is uniform where groups do not matter."""
    print(f"{'null':24} {'statistic':15} {'documents':10} {'KS p':>7} {'p<=.05':>7}")
    for null in nulls:
        for name in ("Jensen-Shannon", "IoU", "normalised entropy"):
            for differ in (0.0, 0.5):
                random = np.random.default_rng(1)
                p = np.array([one_p(random, null, name, 0.0, differ) for _ in range(draws)])
                result[f"{null} | {name} | {differ}"] = [kolmogorov(p), float((p <= 0.05).mean())]
                print(
                    f"{null:24} {name:15.15} {'differ' if differ else 'alike':10} {kolmogorov(p):7.3f} {(p <= 0.05).mean():7.3f}"
                )


def power(nulls: tuple[str, ...], draws: int, result: dict[str, object]) -> None:
    """How often a planted effect is found."""
    for null in nulls:
        found = []
        for effect in EFFECTS:
            random = np.random.default_rng(2)
            found.append(
                float(np.mean([one_p(random, null, "Jensen-Shannon", effect) <= 0.05 for _ in range(draws // 5)]))
            )
        result[f"power | {null}"] = found
        print(f"{null:24} {found}")


def coverage(draws: int, result: dict[str, object]) -> None:
    """How often a 95 % interval holds the truth."""
    for differ in (0.0, 0.5):
        random = np.random.default_rng(3)
        hits = {"bca": 0, "percentile": 0}
        truth = float(np.mean([_ratio(make(random, False, 0.0, False, differ)[1]) for _ in range(max(200, draws))]))
        for _ in range(draws // 2):
            counts = make(random, False, 0.0, False, differ)[1]
            how = statistic("utilisation")
            for method in hits:
                got = bootstrap(counts, how, resamples=200, method=method)  # type: ignore[arg-type]
                hits[method] += int(got.low[0, 0, 0] <= truth <= got.high[0, 0, 0])
        covered = {method: hit / (draws // 2) for method, hit in hits.items()}
        result[f"coverage | {differ}"] = covered
        print(f"coverage of 95 % intervals of a utilisation, documents {'differ' if differ else 'alike'}: {covered}")


def _ratio(counts: BlockCounts) -> float:
    """Utilisation of expert 0 in group a."""
    return float(
        statistic("utilisation").compute(counts.chosen.count.astype(float), counts.chosen.real[:, None, :])[0, 0, 0]
    )


if __name__ == "__main__":
    main()
