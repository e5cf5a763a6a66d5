"""The counts of a capture by block of documents, the form that intervals and nulls work on, and progress that can stop.

Letters: Bk blocks, S sites, G groups, E experts of the largest chosen site.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.analysis.select import MIN_EXPECTED, Selection, select
from workbench.capture import Capture, WorkbenchError

Progress = Callable[[int, int], None]  # (done, total)
Cancelled = Callable[[], bool]

# Groups with fewer blocks than this have intervals that are too narrow (measured: docs/significance.md); ours.
MIN_BLOCKS = 10
_CHUNK_NUMBERS = 8_000_000  # float64 numbers that one step may hold at once: 64 MB, a few of them at a time


class Stopped(WorkbenchError):
    """The user cancelled a long computation; nothing was kept."""

    def __init__(self) -> None:
        super().__init__("The computation was stopped before it was done: start it again for a result.")


@dataclass(frozen=True)
class BlockCounts:
    """What `block_counts` returns.

    Attributes:
        chosen: the selection: sites, groups, `real` experts, and the counts summed over blocks.
        count: int64 [Bk, S, G, E], choices of experts that hold weights (identity experts are 0).
        tokens: int64 [Bk, S, G].
    """

    chosen: Selection
    count: np.ndarray
    tokens: np.ndarray

    @property
    def filled(self) -> np.ndarray:
        """int64 [S, G]: blocks that hold a token of the group."""
        return (self.tokens > 0).sum(axis=0)

    @property
    def effective_blocks(self) -> np.ndarray:
        """float64 [S, G]: blocks of equal size that would be as informative, (sum n)^2 / sum n^2 (Kish 1965); 0 without tokens."""
        return effective_number(self.tokens)

    @property
    def few_blocks(self) -> np.ndarray:
        """bool [S, G]: True where `effective_blocks` is below `MIN_BLOCKS`."""
        return self.effective_blocks < MIN_BLOCKS


def effective_number(tokens: np.ndarray) -> np.ndarray:
    """(sum n)^2 / sum n^2 over the first axis of tokens by block (Kish 1965); 0 without tokens. [Bk, ...] -> float64 [...]."""
    n = np.asarray(tokens, dtype=np.float64)
    square = (n**2).sum(axis=0)
    return np.where(square > 0, n.sum(axis=0) ** 2 / np.where(square > 0, square, 1.0), 0.0)


def block_counts(
    capture: Capture,
    sites: str | Sequence[str] | None = None,
    groups: str | Sequence[str] | None = None,
    phase: str | None = None,
    min_expected: float = MIN_EXPECTED,
) -> BlockCounts:
    """Counts by block of the chosen sites, groups and phase; raises CaptureError as `select` does."""
    chosen = select(capture, sites, groups, phase, min_expected)
    at_sites = [capture.site_index(site.id) for site in chosen.sites]
    at_groups = [capture.group_index(name) for name in chosen.names]
    widest = chosen.exists.shape[1]

    def taken(table: str) -> np.ndarray:
        values = capture.table(table).values[:, at_sites][:, :, :, at_groups]
        return values.sum(axis=2) if phase is None else values[:, :, capture.phases.index(phase)]

    count = np.where(chosen.real[:, None, :], taken("count")[..., :widest], 0)
    return BlockCounts(chosen=chosen, count=count, tokens=taken("tokens"))


def site_chunks(sites: int, numbers_per_site: int) -> Iterator[slice]:
    """Slices of sites so that a step holds a bounded number of numbers; at least one site a step."""
    step = max(1, _CHUNK_NUMBERS // max(1, numbers_per_site))
    for start in range(0, sites, step):
        yield slice(start, min(sites, start + step))


def report(done: int, total: int, progress: Progress | None, cancelled: Cancelled | None) -> None:
    """Tell how far the work is; raises Stopped if it was cancelled."""
    if cancelled is not None and cancelled():
        raise Stopped
    if progress is not None:
        progress(done, total)
