"""What differs between captures, beyond noise: the first capture against every other one, cell by cell.

table = compare_table([before, after], "load")
table.difference, table.low, table.high   # after minus before, with its interval over blocks of documents
table.significant                         # more than noise, corrected over all cells
print(table.summary(0))

Choices (ours): blocks of documents are resampled; captures that read the same documents are resampled together, so that the
documents' own differences drop out. p is that of a t-test of the difference over its bootstrap error with the effective blocks
less one as degrees of freedom: draws alone give no p small enough for thousands of cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from workbench.analysis.align import Alignment, Lineage, align
from workbench.analysis.block_counts import (
    MIN_BLOCKS,
    BlockCounts,
    Cancelled,
    Progress,
    block_counts,
    report,
    site_chunks,
)
from workbench.analysis.comparison import ComparisonTable, by_cell
from workbench.analysis.intervals import interval_ends, resample_weights
from workbench.analysis.load import BALANCE_MEASURES, utilisation
from workbench.analysis.pvalues import benjamini_hochberg, error_pvalues
from workbench.analysis.select import MIN_EXPECTED, strand_numbers
from workbench.analysis.statistics import Kind, pairs_of, statistic
from workbench.analysis.verdict import SIGNIFICANT
from workbench.analysis.words import groups_phrase, phase_phrase, sites_phrase
from workbench.capture import Capture, CaptureError

PSEUDO = 0.5  # choices an expert (Jeffreys), so that a load of 0 has a logarithm, as in analysis.specialisation
BY_EXPERT = ("load",)  # measures that need expert numbers to mean the same
COMPARED = ("load", "sorted load", *BALANCE_MEASURES, "IoU", "Jensen-Shannon")


def level_of(measure: str, q: float = 0.25) -> tuple[Kind, str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """Kind, unit and function (count [..., S, G, E], mask [S, 1, E]) of the number that two captures are compared in.

    Raises:
        CaptureError: for a measure that is not compared.
    """
    if measure not in COMPARED:
        raise CaptureError(f"Captures are compared in {', '.join(COMPARED)}, not in '{measure}': choose one of them.")
    if measure in ("load", "sorted load"):
        return "expert", "log2 of load / even load", log_load if measure == "load" else sorted_load
    how = statistic(measure, q)
    return how.kind, how.unit, how.compute


def log_load(count: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """log2 of load over even load with half a choice an expert added; NaN outside the mask and without a choice."""
    some = count.sum(axis=-1, keepdims=True) > 0
    return np.log2(utilisation(np.where(some, count + PSEUDO, 0.0), mask))


def sorted_load(count: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`log_load` of the experts in order of their load, the busiest first; NaN at the end."""
    return -np.sort(-log_load(count, mask), axis=-1)  # NaN sorts last


def compare_table(
    captures: Sequence[Capture],
    measure: str = "load",
    sites: str | Sequence[str] | None = None,
    groups: str | Sequence[str] | None = None,
    phase: str | None = None,
    *,
    names: Sequence[str] | None = None,
    lineage: Lineage | None = None,
    common: bool = False,
    q: float = 0.25,
    level: float = 0.95,
    resamples: int = 500,
    seed: int = 0,
    min_expected: float = MIN_EXPECTED,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> ComparisonTable:
    """Every capture after the first against the first.

    Args:
        measure: one of `COMPARED`; "load" compares expert by expert and needs one lineage of weights.
        sites, groups: those to compare, default all that the captures have in common.
        names, lineage, common: as in `align`.

    Raises:
        CaptureError: in one sentence if the captures do not line up, or for an unknown choice.
        Stopped: if cancelled.
    """
    kind, unit, compute = level_of(measure, q)
    lined = align(captures, names, lineage=lineage, common=common)
    if measure in BY_EXPERT and lined.lineage != "same":
        raise CaptureError(
            f"Expert numbers mean the same only in one lineage of weights, and here they do not, because {lined.reason}: compare sorted load, "
            "entropy or overlap, or say that the captures are of one model or its checkpoints."
        )
    chosen_sites = chosen_names("site", sites, lined.sites)
    chosen_groups = chosen_names("group", groups, lined.groups)
    if kind == "pair" and len(chosen_groups) < 2:
        raise CaptureError(
            f"{measure} compares groups, but only one was chosen or is in common: choose a second group."
        )
    counts = [block_counts(capture, chosen_sites, chosen_groups, phase, min_expected) for capture in lined.captures]
    base = counts[0].chosen
    parts: list[tuple[np.ndarray, ...]] = []
    for number, other in enumerate(counts[1:]):
        parts.append(
            _difference(
                counts[0], other, kind, compute, lined.paired[number], level, resamples, seed, progress, cancelled,
                (number, len(counts) - 1),
            )
        )  # fmt: skip
    others, difference, low, high, error = (np.stack(column) for column in zip(*parts, strict=True))
    blocks = np.stack([np.minimum(counts[0].effective_blocks, other.effective_blocks) for other in counts[1:]])
    first, second = pairs_of(len(chosen_groups)) if kind == "pair" else (np.zeros(0, np.int64), np.zeros(0, np.int64))
    few = np.stack([base.few | other.chosen.few for other in counts[1:]])
    p = error_pvalues(difference, error, by_cell(blocks, kind, difference.shape, first, second, np.minimum) - 1)
    unread = by_cell(few, kind, p.shape, first, second, np.logical_or)
    adjusted = np.stack([benjamini_hochberg(np.where(hide, np.nan, one)) for one, hide in zip(p, unread, strict=True)])
    widest = max(of.chosen.exists.shape[1] for of in counts)
    return ComparisonTable(
        measure=measure,
        kind=kind,
        unit=unit,
        base=lined.names[0],
        names=lined.names[1:],
        lineage=lined.lineage,
        paired=lined.paired,
        sites=base.sites,
        groups=base.groups,
        phase=phase,
        first=first,
        second=second,
        value=_wide(compute(base.real_count.astype(np.float64), base.real[:, None, :]), kind, widest),
        others=others,
        difference=difference,
        low=low,
        high=high,
        p=np.where(unread, np.nan, p),
        p_adjusted=adjusted,
        count=np.stack([_counted(of, measure, widest) for of in counts]),
        n=np.stack([of.chosen.tokens for of in counts]),
        few=few,
        few_blocks=blocks < MIN_BLOCKS,
        exists=np.isfinite(difference).any(axis=(0, 2)) if kind == "expert" else base.exists,
        strand=strand_numbers(base.sites),
        all_groups=base.all_groups,
        level=level,
        resamples=resamples,
        seed=seed,
        caption=_caption(measure, unit, lined, counts, phase, level),
    )


def chosen_names(what: str, given: str | Sequence[str] | None, have: tuple[str, ...]) -> tuple[str, ...]:
    """The given names, or all that the captures have in common; raises CaptureError for another one."""
    wanted = have if given is None else (given,) if isinstance(given, str) else tuple(dict.fromkeys(given))
    unknown = [name for name in wanted if name not in have]
    if unknown or not wanted:
        raise CaptureError(
            f"The captures have no {what} '{unknown[0] if unknown else ''}' in common: they have {', '.join(have[:12])}; choose one of them."
        )
    return wanted


def _difference(
    one: BlockCounts,
    two: BlockCounts,
    kind: Kind,
    compute: Callable[[np.ndarray, np.ndarray], np.ndarray],
    paired: bool,
    level: float,
    resamples: int,
    seed: int,
    progress: Progress | None,
    cancelled: Cancelled | None,
    turn: tuple[int, int],
) -> tuple[np.ndarray, ...]:
    """Value of the second, difference, interval and bootstrap error, each in the measure's shape."""
    filled = [of.tokens.any(axis=(1, 2)) for of in (one, two)]
    if paired:
        filled = [filled[0] | filled[1]] * 2
    if min(int(blocks.sum()) for blocks in filled) < 2:
        raise CaptureError(
            "Noise is told from documents in at least two blocks, but a capture has fewer: record more documents."
        )
    weights = [
        resample_weights(int(blocks.sum()), resamples, seed + (0 if paired else at)) for at, blocks in enumerate(filled)
    ]
    sites, groups = one.count.shape[1:3]
    widest = max(one.count.shape[3], two.count.shape[3])
    parts = []
    for chunk in site_chunks(sites, 2 * resamples * groups * widest):
        report(turn[0] * sites + chunk.start, turn[1] * sites, progress, cancelled)
        values, draws = [], []
        for of, blocks, drawn in zip((one, two), filled, weights, strict=True):
            count = of.count[blocks][:, chunk].astype(np.float64)
            mask = of.chosen.real[chunk][:, None, :]
            values.append(_wide(compute(count.sum(axis=0), mask), kind, widest))
            draws.append(_wide(compute(np.tensordot(drawn, count, axes=1), mask), kind, widest))
        gap = draws[1] - draws[0]
        empty = np.isnan(gap).all(axis=0) | np.isnan(values[0]) | np.isnan(values[1])
        safe = np.where(empty, 0.0, gap)
        gap_now = values[1] - values[0]
        ends = interval_ends(gap_now, safe, None, level)
        spread = (np.nanstd if np.isnan(safe).any() else np.std)(safe, axis=0, ddof=1)
        cells = (gap_now, ends[0], ends[1], spread)
        parts.append((values[1], *(np.where(empty, np.nan, cell) for cell in cells)))
    report((turn[0] + 1) * sites, turn[1] * sites, progress, cancelled)
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _counted(of: BlockCounts, measure: str, widest: int) -> np.ndarray:
    """int64 [S, G, E], padded with 0; sorted as the measure is."""
    count = of.chosen.real_count
    count = -np.sort(-count, axis=-1) if measure == "sorted load" else count
    return np.pad(count, [(0, 0), (0, 0), (0, widest - count.shape[-1])])


def _wide(values: np.ndarray, kind: Kind, widest: int) -> np.ndarray:
    """Numbers of single experts padded with NaN to the larger of two expert axes; others as they are."""
    if kind != "expert" or values.shape[-1] == widest:
        return values
    pad = [(0, 0)] * (values.ndim - 1) + [(0, widest - values.shape[-1])]
    return np.pad(values, pad, constant_values=np.nan)


def _caption(
    measure: str, unit: str, lined: Alignment, counts: list[BlockCounts], phase: str | None, level: float
) -> str:
    base = counts[0].chosen
    names = ", ".join(lined.names[1:])
    same = "the same documents, resampled together" if all(lined.paired) else "other documents, resampled apart"
    how = "taken to mean the same in all" if lined.lineage == "same" else "not compared"
    numbers = f"expert numbers are {how}, because {lined.reason}"
    notes = "".join(f"; {note}" for note in lined.notes)
    return (
        f"Difference in {measure} ({unit}) of {names} from {lined.names[0]} {sites_phrase(base.sites)}; {lined.names[0]}: "
        f"{groups_phrase(base.names, base.tokens)}{phase_phrase(phase)}; {same}; pale: within the noise of documents (corrected p above "
        f"{SIGNIFICANT:g}, {level:.0%} intervals); {numbers}{notes}; a difference does not say which of them is better."
    )
