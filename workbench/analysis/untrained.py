"""The null of untrained weights: what the same architecture shows on the same input before it has learnt anything.

Similar inputs route alike through a random router, so that much of an overlap pattern is there before training; only what
goes beyond it was learnt. Both captures are resampled with the same draws of blocks, so that documents that they share do not
add noise to their difference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.analysis.align import shape_difference
from workbench.analysis.block_counts import BlockCounts, Cancelled, Progress, block_counts, report, site_chunks
from workbench.analysis.intervals import resample_weights
from workbench.analysis.nulls import NullBand, band
from workbench.analysis.pvalues import sign_pvalues
from workbench.analysis.statistics import Statistic
from workbench.capture import Capture, CaptureError


def aligned(capture: Capture, other: Capture, counts: BlockCounts, what: str = "null") -> BlockCounts:
    """The other capture's counts at the same sites, groups and phase.

    Raises:
        CaptureError: with the first thing that differs.
    """
    known = {site.id: site for site in other.sites}
    for site in counts.chosen.sites:
        twin = known.get(site.id)
        if twin is None:
            raise CaptureError(f"The {what} capture has no site {site.id}: record it with the same model and input.")
        differs = shape_difference(
            site, twin, ("experts", "top_k", "identity_experts"), "this capture", f"the {what} capture"
        )
        if differs:
            raise CaptureError(f"{differs}: compare captures of one shape.")
    missing = [name for name in counts.chosen.names if name not in other.groups]
    if missing:
        raise CaptureError(
            f"The {what} capture has no group '{missing[0]}' (it has {', '.join(other.groups)}): record it on the same input."
        )
    if other.manifest.blocks != capture.manifest.blocks:
        raise CaptureError(
            f"The captures have {capture.manifest.blocks} and {other.manifest.blocks} blocks of documents: record both with one version."
        )
    return block_counts(other, [site.id for site in counts.chosen.sites], counts.chosen.names, counts.chosen.phase)


def untrained_null(
    capture: Capture,
    others: Capture | Sequence[Capture],
    counts: BlockCounts,
    statistic: Statistic,
    *,
    resamples: int = 500,
    seed: int = 0,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> NullBand:
    """The statistic of one or more untrained captures (several seeds show how much the initial weights matter).

    Returns:
        A band over resampled documents and all untrained captures; p says how often the resampled difference
        between this capture and an untrained one changes its sign, two-sided. One capture says nothing about other seeds.

    Raises:
        CaptureError: if a capture does not line up, with the reason, or none is given.
    """
    nulls = [others] if isinstance(others, Capture) else list(others)
    if not nulls:
        raise CaptureError(
            "The null of untrained weights needs a capture of the untrained model, but none was given: record one."
        )
    twins = [aligned(capture, null, counts, "untrained") for null in nulls]
    both = counts.tokens.any(axis=(1, 2))
    for twin in twins:
        both |= twin.tokens.any(axis=(1, 2))
    weights = resample_weights(int(both.sum()), resamples, seed)
    real = counts.chosen.real[:, None, :]
    sites, groups, experts = counts.count.shape[1:]
    parts = []
    for chunk in site_chunks(sites, resamples * groups * experts * (1 + len(twins))):
        report(chunk.start, sites, progress, cancelled)

        def resampled(of: BlockCounts, chunk: slice = chunk) -> np.ndarray:
            return statistic.compute(
                np.tensordot(weights, of.count[both][:, chunk].astype(np.float64), axes=1), real[chunk]
            )

        observed = statistic.compute(counts.count[:, chunk].sum(axis=0).astype(np.float64), real[chunk])
        mine = resampled(counts)
        theirs = [resampled(twin) for twin in twins]
        gap = np.concatenate([mine - null for null in theirs])
        pooled = np.concatenate(theirs)
        empty = np.isnan(pooled).all(axis=0)
        ends = np.nanquantile(np.where(empty, 0.0, pooled), (0.025, 0.975), axis=0)
        mean = np.mean(
            [statistic.compute(t.count[:, chunk].sum(axis=0).astype(np.float64), real[chunk]) for t in twins], axis=0
        )
        p = sign_pvalues(gap)
        number = (~np.isnan(gap)).sum(axis=0)
        with np.errstate(invalid="ignore"):
            low = ((gap >= 0).sum(axis=0) + 1) / (number + 1)
            high = ((gap <= 0).sum(axis=0) + 1) / (number + 1)
        unknown = np.isnan(observed) | empty
        cells = (mean, ends[0], ends[1], low, high, p)
        parts.append((observed, *(np.where(unknown, np.nan, cell) for cell in cells)))
    report(sites, sites, progress, cancelled)
    arrays = [np.concatenate(column) for column in zip(*parts, strict=True)]
    seeds = f"{len(nulls)} untrained {'capture' if len(nulls) == 1 else 'captures'}"
    return band("untrained", f"blocks of {seeds}", arrays, resamples, seed)
