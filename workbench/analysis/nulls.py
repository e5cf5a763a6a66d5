"""What a number would be if groups did not matter: draws of counts under a null.

fixed load   each choice of a site gets a group's label at random, in proportion to the groups' choices: every group draws from
             the site's own load. Needs no rows. Choices of a document are alike, so the draws spread by as much more as the blocks of
             the group differ beyond independent choices. Where groups share documents that is too much, and p errs to the safe side.
labels       one group against another (or against all others): their labels are exchanged among units that belong together.
             - with token rows, in documents that hold both: labels are rotated along the document by a random amount, so that
               contiguous segments stay contiguous and every group keeps its number of tokens; documents that hold one of the two
               exchange their labels as wholes
             - without rows: the two cells of a block, thinned to the same number of choices, change places by a coin's throw
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.analysis.block_counts import BlockCounts, Cancelled, Progress, report, site_chunks
from workbench.analysis.pvalues import draw_pvalues
from workbench.analysis.statistics import Statistic, pairs_of
from workbench.analysis.token_rows import Rows, read_choices, read_rows
from workbench.capture import Capture, CaptureError

_FFT_NUMBERS = 4_000_000  # float64 numbers of one transform: 32 MB


@dataclass(frozen=True)
class NullBand:
    """The draws of a null in short; all arrays in the shape of the statistic.

    Attributes:
        name: of the null. units: what was exchanged, in words.
        observed: the number that was compared with the draws (of the kept rows or thinned cells, if those were used).
        mean, low, high: of the draws: their mean, 2.5 % and 97.5 %.
        p_low, p_high: one-sided p that the number is as low (high) by chance; p: two-sided.
        draws: number of draws. seed: of them.
    """

    name: str
    units: str
    observed: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_low: np.ndarray
    p_high: np.ndarray
    p: np.ndarray
    draws: int
    seed: int


def band(name: str, units: str, arrays: Sequence[np.ndarray], draws: int, seed: int) -> NullBand:
    """A NullBand of observed, mean, low, high, p_low, p_high and p, in this order."""
    observed, mean, low, high, p_low, p_high, p = arrays
    return NullBand(name, units, observed, mean, low, high, p_low, p_high, p, draws, seed)


def summarise(
    observed: np.ndarray, draws: np.ndarray, ties: np.random.Generator | None = None
) -> tuple[np.ndarray, ...]:
    """mean, low, high, p_low, p_high, p of draws [R, ...] beside the observed number [...]."""
    empty = np.isnan(draws).all(axis=0)
    filled = np.where(empty, 0.0, draws)
    mean = np.where(empty, np.nan, np.nanmean(filled, axis=0))
    ends = (
        np.nanquantile(filled, (0.025, 0.975), axis=0)
        if np.isnan(filled).any()
        else np.quantile(filled, (0.025, 0.975), axis=0)
    )
    return (mean, *(np.where(empty, np.nan, end) for end in ends), *draw_pvalues(observed, draws, ties=ties))


def fixed_load_null(
    counts: BlockCounts,
    statistic: Statistic,
    *,
    draws: int = 500,
    seed: int = 0,
    ties: np.random.Generator | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> NullBand:
    """The statistic when every choice of a site has a random group, with the groups' shares of the choices kept on average."""
    random = np.random.default_rng(seed)
    count, real = counts.chosen.real_count, counts.chosen.real[:, None, :]
    sites, groups, experts = count.shape
    parts = []
    for chunk in site_chunks(sites, draws * groups * experts):
        report(chunk.start, sites, progress, cancelled)
        drawn = np.zeros((draws, chunk.stop - chunk.start, groups, experts))
        for place, site in enumerate(range(chunk.start, chunk.stop)):
            pool, size = count[site].sum(axis=0), count[site].sum(axis=1)
            if pool.sum():
                labelled = random.multinomial(pool, size / pool.sum(), size=(draws, experts)).transpose(0, 2, 1)
                tokens = int(counts.tokens[:, site].sum())
                wider = dispersion(counts.count[:, site], counts.tokens[:, site])
                drawn[:, place] = _as_documents_spread(labelled, pool, size / pool.sum(), tokens, wider)
        observed = statistic.compute(count[chunk].astype(np.float64), real[chunk])
        parts.append((observed, *summarise(observed, statistic.compute(drawn, real[chunk]), ties)))
    report(sites, sites, progress, cancelled)
    return band("fixed load", "single choices", _joined(parts), draws, seed)


def _as_documents_spread(
    drawn: np.ndarray, pool: np.ndarray, share: np.ndarray, tokens: int, wider: np.ndarray
) -> np.ndarray:
    """Draws [R, G, E] with the spread that whole tokens of whole documents give.

    A token takes an expert at most once, so that a count varies by 1 - c_i / N of N tokens, not by 1 - c_i / C of C choices
    (hypergeometric variances; ours, calibrated in benchmarks), and documents differ, by the groups' `dispersion` [G]."""
    part, single = pool / max(tokens, 1), pool / max(int(pool.sum()), 1)
    factor = np.sqrt(np.clip((1 - part) / np.maximum(1 - single, 1e-9), 0.0, 1.0))
    mean = share[:, None] * pool[None, :]
    return np.maximum(np.rint(mean + np.sqrt(wider)[:, None] * factor * (drawn - mean)), 0.0)


def dispersion(count: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """How much more a group's counts vary from block to block than if tokens were independent (quasi-likelihood; McCullagh and
    Nelder 1989, section 4.5). 1 where the blocks show no more than chance would at 5 %. count [Bk, G, E], tokens [Bk, G] -> [G].

    Squares and variances are added up before they are divided: ratios of single cells are wild where an expert is rare.
    """
    n = tokens.astype(np.float64)
    some = np.maximum(n.sum(axis=0), 1.0)  # [G]
    rate = count.sum(axis=0) / some[:, None]  # of a token to choose the expert
    square = ((count - n[..., None] * rate) ** 2).sum(axis=(0, 2))
    size = n * (1.0 - n / some)  # a block is part of the mean that it is held against
    spread = rate * np.maximum(1.0 - rate, 0.0)
    expected = size.sum(axis=0) * spread.sum(axis=-1)
    # Degrees of freedom by Satterthwaite (1946); two experts of a token's k shut one another out by about r_i r_j / k.
    square_rate = (rate**2).sum(axis=-1)
    apart = (square_rate**2 - (rate**4).sum(axis=-1)) / np.maximum(rate.sum(axis=-1), 1e-12) ** 2
    freedom = expected**2 / np.maximum((size**2).sum(axis=0) * ((spread**2).sum(axis=-1) + apart), 1e-12)
    ratio = np.where(expected > 0, square / np.where(expected > 0, expected, 1.0), 1.0)
    return np.where(ratio > 1.0 + 1.645 * np.sqrt(2.0 / np.maximum(freedom, 1.0)), ratio, 1.0)


def label_null(
    capture: Capture,
    counts: BlockCounts,
    statistic: Statistic,
    *,
    draws: int = 200,
    seed: int = 0,
    rows: bool | None = None,
    ties: np.random.Generator | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> NullBand:
    """The statistic when group labels are exchanged: a group with all others, or the two groups of a pair with each other.

    Args:
        counts: of this capture; says sites, groups and phase.
        rows: use token rows (True), blocks (False), or rows where there are some (None).

    Raises:
        CaptureError: for fewer than two groups, or rows=True without token rows.
    """
    groups = len(counts.chosen.groups)
    if groups < 2:
        raise CaptureError(
            "Labels of groups are exchanged, but only one group has tokens or was chosen: choose a second group."
        )
    use_rows = capture.has("tokens") if rows is None else rows
    if use_rows and not capture.has("tokens"):
        raise CaptureError(
            "Exchanging labels within documents needs token rows, but this capture has none: use rows=False."
        )
    first, second = pairs_of(groups)
    contrasts = (
        [(int(a), (int(b),)) for a, b in zip(first, second, strict=True)]
        if statistic.kind == "pair"
        else [(a, tuple(b for b in range(groups) if b != a)) for a in range(groups)]
    )
    random = np.random.default_rng(seed)
    sites = len(counts.chosen.sites)
    labels = {site.stack: read_rows(capture, site.stack) for site in counts.chosen.sites} if use_rows else {}
    units: set[str] = set()
    results: list[list[tuple[np.ndarray, ...]]] = []
    for site in range(sites):
        line = []
        choices = None
        if use_rows:
            choices = read_choices(capture, labels[counts.chosen.sites[site].stack], counts.chosen.sites[site])[0]
        for number, (a, others) in enumerate(contrasts):
            report(site * len(contrasts) + number, sites * len(contrasts), progress, cancelled)
            if choices is not None:
                two, drawn, unit = _exchange_rows(
                    capture, counts, labels[counts.chosen.sites[site].stack], choices, site, a, others, draws, random
                )
            else:
                two, drawn, unit = _exchange_cells(counts, site, a, others, draws, random)
            units.add(unit)
            mask = counts.chosen.real[site][None, None, :]
            compute = _one(statistic, mask)
            observed = compute(two[None])[0]
            line.append((observed, *summarise(observed, compute(drawn), ties)))
        results.append(line)
    report(sites * len(contrasts), sites * len(contrasts), progress, cancelled)
    arrays = [np.stack([np.stack([cell[index] for cell in line]) for line in results]) for index in range(7)]
    return band("labels", " and ".join(sorted(units)), arrays, draws, seed)


def _one(statistic: Statistic, mask: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The number of the first of two groups (or of the pair): counts [R, 2, E] -> [R] or [R, E]."""

    def compute(count: np.ndarray) -> np.ndarray:
        return statistic.compute(count[:, None], mask)[:, 0, 0]

    return compute


def _exchange_cells(
    counts: BlockCounts, site: int, a: int, others: tuple[int, ...], draws: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, str]:
    """Two groups [2, E] of equal size in every block, and draws [R, 2, E] with cells exchanged within blocks."""
    cells = np.stack([counts.count[:, site, a], counts.count[:, site, list(others)].sum(axis=1)], axis=1)  # [Bk, 2, E]
    size = cells.sum(axis=-1)
    common = size.min(axis=1)
    thinned = cells.astype(np.float64)
    for block in np.flatnonzero(common < size.max(axis=1)):
        side = int(size[block].argmax())
        thinned[block, side] = random.multivariate_hypergeometric(
            cells[block, side], int(common[block]), method="marginals"
        )
    kept = thinned[common > 0]
    swap = random.integers(0, 2, size=(draws, len(kept))).astype(np.float64)
    gap = kept[:, 1] - kept[:, 0]
    two = kept.sum(axis=0)
    moved = swap @ gap
    return two, np.stack([two[0] + moved, two[1] - moved], axis=1), "cells of blocks"


def _exchange_rows(
    capture: Capture,
    counts: BlockCounts,
    rows: Rows,
    choices: np.ndarray,
    site: int,
    a: int,
    others: tuple[int, ...],
    draws: int,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, str]:
    """Two groups [2, E] of the token rows, and draws [R, 2, E] with labels rotated in documents or exchanged between them."""
    chosen = counts.chosen
    index = [capture.group_index(name) for name in chosen.names]
    mine = rows.group == index[a]
    inside = (mine | np.isin(rows.group, [index[b] for b in others])) & (choices >= 0).any(axis=1)
    if chosen.phase is not None:
        inside &= rows.phase == capture.phases.index(chosen.phase)
    label = mine[inside]
    ids = choices[inside]
    named = rows.document[inside]  # rows are in reading order
    document = np.cumsum(np.diff(named, prepend=named[:1]) != 0)
    length = np.bincount(document)
    own = np.bincount(document, weights=label)
    start = np.cumsum(length) - length
    mixed = (own > 0) & (own < length)
    keep = _equal_lengths(label, document, length, mixed, own, random)
    real = np.append(chosen.real[site], False)  # the last place takes -1
    experts = len(real) - 1
    ids = np.where(keep[:, None], ids, -1)
    ids = np.where(real[ids], ids, experts)
    total = _expert_counts(ids, experts)
    observed = _expert_counts(ids[label], experts)
    drawn = np.zeros((draws, experts))
    for at in np.flatnonzero(mixed):
        part = slice(start[at], start[at] + length[at])
        shift = random.integers(0, length[at], size=draws)
        drawn += rotated_counts(ids[part], label[part], experts)[shift]
    constant = np.flatnonzero(~mixed)
    if constant.size:
        whole = np.bincount(
            (document[:, None] * (experts + 1) + ids).ravel(), minlength=len(length) * (experts + 1)
        ).reshape(len(length), experts + 1)[constant, :experts]
        swapped = random.permuted(np.tile((own > 0)[constant], (draws, 1)), axis=1)
        drawn += swapped.astype(np.float64) @ whole.astype(np.float64)
    words = ["segments within documents"] if mixed.any() else []
    words += ["whole documents"] if constant.size else []
    two = np.stack([observed, total - observed])
    return two, np.stack([drawn, total - drawn], axis=1), " and ".join(words) or "nothing (no tokens)"


def _expert_counts(ids: np.ndarray, experts: int) -> np.ndarray:
    """float64 [E]: how often each expert stands in ids [N, K]; the number `experts` stands for none."""
    return np.bincount(ids.ravel(), minlength=experts + 1)[:experts].astype(np.float64)


def rotated_counts(ids: np.ndarray, label: np.ndarray, experts: int) -> np.ndarray:
    """Choices of the labelled tokens of one document when its labels are rotated by 0, 1, ..., n - 1 tokens.

    A circular correlation of labels and choices, by FFT over some experts at a time.

    Args:
        ids: int64 [N, K], `experts` for none. label: bool [N].

    Returns:
        float64 [N, E] of whole numbers: row r is sum_t label[(t + r) mod N] choices[t].
    """
    tokens = len(ids)
    turned = np.fft.rfft(label.astype(np.float64))[:, None]
    out = np.empty((tokens, experts))
    step = max(1, _FFT_NUMBERS // max(tokens, 1))
    for first in range(0, experts, step):
        last = min(experts, first + step)
        chosen = np.zeros((tokens, last - first))
        token, rank = np.nonzero((ids >= first) & (ids < last))
        np.add.at(chosen, (token, ids[token, rank] - first), 1.0)
        part = np.fft.irfft(np.conj(np.fft.rfft(chosen, axis=0)) * turned, n=tokens, axis=0)
        out[:, first:last] = np.rint(part)
    return out


def _equal_lengths(
    label: np.ndarray,
    document: np.ndarray,
    length: np.ndarray,
    mixed: np.ndarray,
    own: np.ndarray,
    random: np.random.Generator,
) -> np.ndarray:
    """bool [N], tokens to keep: documents exchanged as wholes are thinned to the same mean length in both groups, else a group
    of short documents would be compared with longer ones, and few tokens look less even than many."""
    keep = np.ones(len(label), dtype=bool)
    sides = [~mixed & (own > 0), ~mixed & (own == 0)]
    if not (sides[0].any() and sides[1].any()):
        return keep
    means = [length[side].mean() for side in sides]
    for side, mean in zip(sides, means, strict=True):
        part = min(means) / mean
        if part < 1:
            keep &= ~side[document] | (random.random(len(label)) < part)
    return keep


def _joined(parts: list[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
