"""The causal check: mute the experts that each group favours, and random experts of equal load, and compare what it costs.

Experts are chosen on one half of the documents and the loss is measured on the other, and the other way round, so that a
document never chooses the experts that it is judged by. Where a group has too few documents for that, the same documents do
both, and the result says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench.analysis.causal import (
    CausalTable,
    Losses,
    causal_table,
    favourites,
    pooled_load,
    sets_of_equal_load,
    verdict,
)
from workbench.analysis.overlap import set_size
from workbench.capture import Capture, Site
from workbench.capture.blocks import block_of, priority_of
from workbench.causal.errors import CausalError
from workbench.causal.interventions import Experts, Intervention
from workbench.causal.measure import Cancelled, Stopped, cells_of, halves_of, measure

if TYPE_CHECKING:
    from workbench.inputs import Document
    from workbench.models import LoadedModel
    from workbench.recording import Progress as Recorded

OnProgress = Callable[[int, int, str], None]  # rows of text read, rows in all runs, what is going on


@dataclass(frozen=True)
class CausalOptions:
    """How the check is made.

    Attributes:
        group_by: as in `InputOptions`.
        share: part of the experts of each site that is muted for a group (Figure 9 of the ERNIE 5.0 report looks at a quarter).
        by: a group's favourites are the experts it uses most ("used") or prefers most over the other groups ("preferred").
        sites: site ids to mute at, None for all.
        draws: random sets of equal load a group.
        documents: most documents of a group, a sample by `seed`; None for all.
        batch_size, max_length: rows at once and tokens of a row, as in `RecordOptions`.
        resamples, level: of the bootstrap over documents.
        seed: of the sample, the random sets and the bootstrap.
    """

    group_by: str = "group"
    share: float = 0.25
    by: str = "used"
    sites: tuple[str, ...] | None = None
    draws: int = 8
    documents: int | None = None
    batch_size: int = 8
    max_length: int | None = None
    resamples: int = 2000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, least in (("--draws", self.draws, 0), ("--batch-size", self.batch_size, 1)):
            if value < least:
                raise CausalError(f"{name} must be at least {least}, but is {value}.")
        if self.documents is not None and self.documents < 1:
            raise CausalError(f"--documents must be at least 1, but is {self.documents}.")
        if not 0 < self.share < 1:
            raise CausalError(f"--share is a part of the experts between 0 and 1, but is {self.share:g}: choose 0.25.")
        if self.by not in ("used", "preferred"):
            raise CausalError(f"--by must be used or preferred, but is '{self.by}'.")


@dataclass(frozen=True)
class CausalResult:
    """What the check found.

    Attributes:
        table: losses with intervals. sentence: what it says and does not prove.
        losses: what the table was made of.
        muted: group -> site id -> ids, one entry a half of the documents. capture: routing of the full model on the same documents.
        used, known: documents used, and given.
    """

    table: CausalTable
    sentence: str
    losses: Losses
    muted: dict[str, list[dict[str, list[int]]]]
    capture: Capture
    used: int
    known: int


def causal(
    loaded: LoadedModel,
    documents: Sequence[Document],
    options: CausalOptions | None = None,
    *,
    on_progress: OnProgress | None = None,
    cancelled: Cancelled | None = None,
) -> CausalResult:
    """Make the causal table of a model's groups.

    Raises:
        CausalError: if there are fewer than two groups, or a change cannot be made.
        SubModelError: if this family cannot mute experts.
        Stopped: if cancelled.
    """
    options = options or CausalOptions()
    chosen = sample(documents, options.documents, options.seed)
    told = Teller(on_progress)
    capture = routing_of(loaded, chosen, options, told, cancelled)
    sides, separate = split(chosen)
    halves = halves_of(
        loaded,
        [[document for document in chosen if sides[document.id] == side] for side in (0, 1)],
        group_by=options.group_by,
        batch_size=options.batch_size,
        max_length=options.max_length,
    )
    cells, tokens = cells_of(halves)
    groups = [group for group in capture.groups if group in {own for _, own in cells}]
    if len(groups) < 2:
        raise CausalError(
            f"The check compares groups of tokens, but all of them are in '{groups[0]}': give inputs of several groups, for instance --group-by "
            "folder."
        )
    sites = _sites(capture, options)
    separate = separate and len(halves) == 2
    counts = [counts_of(capture, sites, groups, sides if separate else None, 1 - side) for side in range(len(halves))]
    rows = [_row(group, number, sites, counts, options) for number, group in enumerate(groups)]
    for row in rows:
        for change in row.own:
            change.check(capture.sites)
    told.plan((1 + len(rows) * (1 + options.draws)) * sum(half.rows for half in halves))
    told.say("The full model")
    full = measure(loaded, halves, [None] * len(halves), on_batch=told.more, cancelled=cancelled)
    changed, random = np.zeros((len(rows), len(cells))), np.zeros((len(rows), options.draws, len(cells)))
    for r, row in enumerate(rows):
        told.say(f"Without what {row.name} favours")
        changed[r] = measure(loaded, halves, row.own, on_batch=told.more, cancelled=cancelled)
        for k in range(options.draws):
            told.say(f"Without random experts of the same load as {row.name}'s, {k + 1} of {options.draws}")
            random[r, k] = measure(loaded, halves, row.draws[k], on_batch=told.more, cancelled=cancelled)
    told.say("Intervals")
    losses = Losses(
        tuple(row.name for row in rows), cells, tokens, full, changed, random,
        np.array([row.load for row in rows]), np.array([row.random_load for row in rows]).reshape(len(rows), options.draws),
    )  # fmt: skip
    table = causal_table(losses, level=options.level, resamples=options.resamples, seed=options.seed, separate=separate)
    muted = {row.name: [{site: list(ids) for site, ids in change.mute.items()} for change in row.own] for row in rows}
    return CausalResult(table, verdict(table), losses, muted, capture, len(chosen), len(documents))


def routing_of(
    loaded: LoadedModel,
    documents: Sequence[Document],
    options: CausalOptions,
    told: Teller,
    cancelled: Cancelled | None,
) -> Capture:
    """Which experts the full model uses for each group, before anything is changed."""
    from workbench.recording import RecordOptions, record

    def recorded(now: Recorded) -> None:
        told.at(now.documents, now.total, "Routing of the full model")

    told.at(0, len(documents), "Routing of the full model")
    capture = record(
        loaded,
        documents,
        RecordOptions(
            group_by=options.group_by,
            batch_size=options.batch_size,
            max_length=options.max_length,
            tokens=False,
            seed=options.seed,
        ),
        on_progress=recorded,
        cancelled=cancelled,
    )
    if cancelled is not None and cancelled():
        raise Stopped("The work was stopped on request, and nothing was kept: start it again when wanted.")
    return capture


class Teller:
    """Passes on how far the work is, so that a bar moves with every batch and not only with every run."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self._on_progress = on_progress
        self._done, self._total, self._what = 0, 0, ""

    def plan(self, total: int) -> None:
        """The runs begin: so many rows of text are read in all of them together."""
        self._done, self._total = 0, total

    def say(self, what: str) -> None:
        """What is going on now."""
        self._what = what
        self._tell()

    def more(self, rows: int) -> None:
        """So many rows more were read."""
        self._done += rows
        self._tell()

    def at(self, done: int, total: int, what: str) -> None:
        """Where the work stands, counted elsewhere."""
        self._done, self._total, self._what = done, total, what
        self._tell()

    def _tell(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self._done, self._total, self._what)


# ---------------------------------------------------------------------- documents
def sample(documents: Sequence[Document], most: int | None, seed: int) -> list[Document]:
    """At most so many documents of each group, in their order: those of the smallest seeded hash."""
    if most is None:
        return list(documents)
    by_group: dict[str, list[Document]] = {}
    for document in documents:
        by_group.setdefault(str(document.group), []).append(document)
    kept = {
        document.id
        for group in by_group.values()
        for document in sorted(group, key=lambda one: priority_of(one.id, seed))[:most]
    }
    return [document for document in documents if document.id in kept]


def split(documents: Sequence[Document]) -> tuple[dict[str, int], bool]:
    """Half of each document, 0 or 1, and whether every group has documents in both.

    The halves go by blocks (hashes of document ids), as the counts of a capture do; the blocks with most documents are dealt
    first, each to the side that leaves the groups most even.
    """
    groups = list(dict.fromkeys(str(document.group) for document in documents))
    blocks: dict[int, np.ndarray] = {}
    for document in documents:
        block = blocks.setdefault(block_of(document.id), np.zeros(len(groups), dtype=np.int64))
        block[groups.index(str(document.group))] += 1
    sides = np.zeros((2, len(groups)), dtype=np.int64)
    of_block: dict[int, int] = {}
    for number, count in sorted(blocks.items(), key=lambda item: (-int(item[1].sum()), item[0])):
        uneven = [float(((sides[side] + count - sides[1 - side]) ** 2).sum()) for side in (0, 1)]
        of_block[number] = int(np.argmin(uneven))
        sides[of_block[number]] += count
    return {document.id: of_block[block_of(document.id)] for document in documents}, bool((sides > 0).all())


# ---------------------------------------------------------------------- experts
@dataclass(frozen=True)
class _Row:
    """One group's favourites and its random sets: a change for each half."""

    name: str
    own: list[Intervention]
    draws: list[list[Intervention]]
    load: float
    random_load: list[float]


def _sites(capture: Capture, options: CausalOptions) -> list[Site]:
    """Sites to mute at: those asked for, or all that saw a token."""
    if options.sites is not None:
        return [capture.site(name) for name in options.sites]
    seen = capture.token_count.sum(axis=1) > 0
    return [site for site, there in zip(capture.sites, seen, strict=True) if there]


def counts_of(
    capture: Capture, sites: Sequence[Site], groups: Sequence[str], sides: dict[str, int] | None, side: int
) -> dict[str, np.ndarray]:
    """Site id -> int64 [G, E], choices of each group on the documents of one side, or on all."""
    table = capture.table("count").values  # [block, site, phase, group, expert]
    if sides is not None:
        of_block = {block_of(document): number for document, number in sides.items()}
        inside = [block for block, number in of_block.items() if number == side]
        table = table[sorted(inside)]
    by_group = table.sum(axis=(0, 2))  # [site, group, expert]
    at = [capture.group_index(group) for group in groups]
    return {site.id: by_group[capture.site_index(site.id)][at][:, : site.experts] for site in sites}


def _row(
    group: str, number: int, sites: Sequence[Site], counts: Sequence[dict[str, np.ndarray]], options: CausalOptions
) -> _Row:
    own: list[Intervention] = []
    drawn: list[list[dict[str, tuple[int, ...]]]] = [[] for _ in range(options.draws)]
    loads: list[float] = []
    random_loads = np.zeros((options.draws, 0))
    for half, count in enumerate(counts):
        mute: dict[str, tuple[int, ...]] = {}
        for site in sites:
            real = real_experts(site)
            most = min(set_size(int(real.sum()), options.share), site.experts - site.top_k)
            chosen = favourites(count[site.id], most / int(real.sum()), options.by, real)[number]
            mute[site.id] = tuple(int(expert) for expert in np.flatnonzero(chosen))
        random = np.random.default_rng([options.seed, number, half])
        draws, load, random_load = sets_like(mute, sites, count, options.draws, random)
        loads.append(load)
        random_loads = np.column_stack([random_loads, random_load])
        own.append(Intervention(group, mute))
        for k, one in enumerate(draws):
            drawn[k].append(one)
    name = f"random, load of {group}"
    changes = [[Intervention(name, mute) for mute in halves] for halves in drawn]
    return _Row(group, own, changes, float(np.mean(loads)), random_loads.mean(axis=1).tolist())


def real_experts(site: Site) -> np.ndarray:
    """bool [E], experts that hold weights."""
    found: np.ndarray = np.arange(site.experts) < site.experts - site.identity_experts
    return found


def sets_like(
    experts: Experts, sites: Sequence[Site], count: Mapping[str, np.ndarray], draws: int, random: np.random.Generator
) -> tuple[list[dict[str, tuple[int, ...]]], float, np.ndarray]:
    """Random sets with as many experts and the same load at every site as these.

    Args:
        experts: site id -> ids. count: site id -> int64 [G, E], choices.

    Returns:
        The sets, one a draw; the load of `experts`, mean over its sites; the load of each draw, float64 [draws].
    """
    found: list[dict[str, tuple[int, ...]]] = [{} for _ in range(draws)]
    loads: list[float] = []
    drawn = np.zeros((draws, 0))
    for site in sites:
        ids = list(experts.get(site.id, ()))
        if not ids:
            continue
        load = pooled_load(count[site.id])
        loads.append(float(load[ids].sum()))
        # A named expert may be one that holds no weights: then any may be drawn.
        able = real_experts(site) if real_experts(site)[ids].all() else np.ones(site.experts, dtype=bool)
        sets = sets_of_equal_load(load, len(ids), loads[-1], draws, random, able)
        for one, inside in zip(found, sets, strict=True):
            one[site.id] = tuple(int(expert) for expert in np.flatnonzero(inside))
        drawn = np.column_stack([drawn, sets @ load])
    return found, float(np.mean(loads)) if loads else 0.0, drawn.mean(axis=1) if loads else np.zeros(draws)
