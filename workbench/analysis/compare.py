"""What differs between captures, beyond noise: the first capture against every other one, cell by cell.

table = compare_table([before, after], "load")
table.difference, table.low, table.high   # after minus before, with its interval over blocks of documents
table.significant                         # more than noise, corrected over all cells
print(table.summary(0))

Choices (ours): intervals resample blocks of documents; captures that read the same documents are resampled together, so that the
documents' own differences drop out. p comes from letting the captures change places block by block (`analysis.exchange`). Models
trained apart cannot change places, since one's expert is none of the other's: there p is that of a t-test of the difference over its
bootstrap error, with the effective blocks less one as degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

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
from workbench.analysis.exchange import exchange, exchange_pvalues
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
    ties: np.random.Generator | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> ComparisonTable:
    """Every capture after the first against the first.

    Args:
        measure: one of `COMPARED`; "load" compares expert by expert and needs one lineage of weights.
        sites, groups: those to compare, default all that the captures have in common.
        names, lineage, common: as in `align`.
        resamples: of the blocks for the intervals, and exchanges for p. ties: as in `exchange_pvalues`.

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
    first, second = pairs_of(len(chosen_groups)) if kind == "pair" else (np.zeros(0, np.int64), np.zeros(0, np.int64))
    blocks = np.stack([np.minimum(counts[0].effective_blocks, other.effective_blocks) for other in counts[1:]])
    for number, other in enumerate(counts[1:]):
        work = _Work(counts[0], other, kind, compute, lined.paired[number], level, resamples, seed)
        telling = _part(progress, number, len(counts) - 1)
        found = work.difference(telling, cancelled)
        if lined.lineage == "same":
            p = work.exchanged(first, second, ties, telling, cancelled)
        else:
            freedom = by_cell(blocks[number], kind, found[1].shape, first, second, np.minimum) - 1
            p = error_pvalues(found[1], found[4], freedom)
        parts.append((*found[:4], p))
    others, difference, low, high, p = (np.stack(column) for column in zip(*parts, strict=True))
    few = np.stack([base.few | other.chosen.few for other in counts[1:]])
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


@dataclass(frozen=True)
class _Work:
    """Two captures, block by block, and the number that they are compared in."""

    one: BlockCounts
    two: BlockCounts
    kind: Kind
    compute: Callable[[np.ndarray, np.ndarray], np.ndarray]
    paired: bool
    level: float
    resamples: int
    seed: int

    @property
    def widest(self) -> int:
        return max(self.one.count.shape[3], self.two.count.shape[3])

    def filled(self) -> tuple[np.ndarray, np.ndarray]:
        """bool [Bk] for each capture: the blocks that hold tokens; of captures of the same documents the same ones."""
        first, second = ((of.tokens > 0).sum(axis=(1, 2)) > 0 for of in (self.one, self.two))
        if self.paired:
            first = second = first | second
        if min(int(first.sum()), int(second.sum())) < 2:
            raise CaptureError(
                "Noise is told from documents in at least two blocks, but a capture has fewer: record more documents."
            )
        return first, second

    def chunks(self, telling: Progress | None, cancelled: Cancelled | None, half: int) -> Iterator[slice]:
        """Slices of sites, told as the first (0) or second (1) half of the work."""
        sites, groups = self.one.count.shape[1:3]
        for chunk in site_chunks(sites, 2 * self.resamples * groups * self.widest):
            report(half * sites + chunk.start, 2 * sites, telling, cancelled)
            yield chunk
        report((half + 1) * sites, 2 * sites, telling, cancelled)

    def difference(self, telling: Progress | None, cancelled: Cancelled | None) -> tuple[np.ndarray, ...]:
        """Value of the second, difference, interval and bootstrap error, each in the measure's shape."""
        filled = self.filled()
        weights = [
            resample_weights(int(blocks.sum()), self.resamples, self.seed + (0 if self.paired else at))
            for at, blocks in enumerate(filled)
        ]
        parts = []
        for chunk in self.chunks(telling, cancelled, 0):
            values, draws = [], []
            for of, blocks, drawn in zip((self.one, self.two), filled, weights, strict=True):
                count = of.count[blocks][:, chunk].astype(np.float64)
                mask = of.chosen.real[chunk][:, None, :]
                values.append(_wide(self.compute(count.sum(axis=0), mask), self.kind, self.widest))
                draws.append(_wide(self.compute(np.tensordot(drawn, count, axes=1), mask), self.kind, self.widest))
            gap = draws[1] - draws[0]
            empty = np.isnan(gap).all(axis=0) | np.isnan(values[0]) | np.isnan(values[1])
            safe = np.where(empty, 0.0, gap)
            gap_now = values[1] - values[0]
            ends = interval_ends(gap_now, safe, None, self.level)
            spread = (np.nanstd if np.isnan(safe).any() else np.std)(safe, axis=0, ddof=1)
            cells = (gap_now, ends[0], ends[1], spread)
            parts.append((values[1], *(np.where(empty, np.nan, cell) for cell in cells)))
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    def exchanged(
        self,
        first: np.ndarray,
        second: np.ndarray,
        ties: np.random.Generator | None,
        telling: Progress | None,
        cancelled: Cancelled | None,
    ) -> np.ndarray:
        """p of every cell by letting the captures change places; both have the same experts."""
        mine, theirs = self.filled()
        places = exchange(self.one.count[mine], self.two.count[theirs], self.paired, self.resamples, self.seed)
        parts = []
        for chunk in self.chunks(telling, cancelled, 1):
            mask = self.one.chosen.real[chunk][:, None, :]
            here, there = places.sums(chunk)
            gap = self.compute(there, mask) - self.compute(here, mask)
            floor = by_cell(places.floor[chunk], self.kind, gap.shape[1:], first, second, np.maximum)
            parts.append(exchange_pvalues(gap[0], gap[1:], floor, ties=ties))
        return np.concatenate(parts)


def _part(progress: Progress | None, number: int, of: int) -> Progress | None:
    """Progress of one of several equal pieces of work, told as progress of all."""
    if progress is None:
        return None
    return lambda done, total: progress(number * total + done, of * total)


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
    tested = "by blocks that change captures" if lined.lineage == "same" else "by Student's t"
    same = "the same documents, resampled together" if all(lined.paired) else "other documents, resampled apart"
    how = "taken to mean the same in all" if lined.lineage == "same" else "not compared"
    numbers = f"expert numbers are {how}, because {lined.reason}"
    notes = "".join(f"; {note}" for note in lined.notes)
    return (
        f"Difference in {measure} ({unit}) of {names} from {lined.names[0]} {sites_phrase(base.sites)}; {lined.names[0]}: "
        f"{groups_phrase(base.names, base.tokens)}{phase_phrase(phase)}; {same}; pale: within the noise of documents (corrected p above "
        f"{SIGNIFICANT:g}, {tested}; {level:.0%} intervals); {numbers}{notes}; a difference does not say which of them is better."
    )
