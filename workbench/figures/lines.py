"""Numbers by site as lines: what the page and the paper draw alike, made of the tables of `workbench.analysis`.

A line has a value a site and, where there are some, an interval (bars), a null (pale band), a level of chance (dotted), a ring
where it is more than chance or noise, and grey points where tokens are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench.capture import CaptureError, Group, Site
from workbench.figures.style import DASHES, MARKERS, PALETTE, GroupStyle, group_styles

if TYPE_CHECKING:
    from workbench.analysis.comparison import ComparisonTable
    from workbench.analysis.concentration import ConcentrationTable
    from workbench.analysis.frequency import FrequencyTable
    from workbench.analysis.repetition import RepetitionTable
    from workbench.analysis.saturation import SaturationTable
    from workbench.analysis.significance import SignificanceTable
    from workbench.analysis.vocabulary import VocabularyTable

DODGE = 0.5  # part of the step between two sites over which the lines' bars are spread, so that they do not hide one another


@dataclass(frozen=True)
class Line:
    """One line; arrays [S], None where there is nothing to draw.

    Attributes:
        value: NaN where there is no number. n: tokens behind it, or None where the name says it.
        low, high: ends of the interval. null_low, null_high: of the null's band. chance: level without any effect.
        few: bool, drawn grey. ring: bool, more than chance.
        says: a sentence a site, for the hover.
    """

    name: str
    style: GroupStyle
    value: np.ndarray
    few: np.ndarray
    n: np.ndarray | None = None
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    null_low: np.ndarray | None = None
    null_high: np.ndarray | None = None
    chance: np.ndarray | None = None
    ring: np.ndarray | None = None
    says: tuple[str, ...] = ()


@dataclass(frozen=True)
class SiteLines:
    """A figure of lines over sites. zero: draw a line at 0. note: what bars, bands and dots mean."""

    sites: tuple[Site, ...]
    strand: np.ndarray
    lines: tuple[Line, ...]
    title: str
    note: str
    caption: str
    zero: bool = False

    @property
    def band_opacity(self) -> float:
        """Bands of several lines lie over one another: together they stay pale."""
        return max(0.05, 0.3 / max(len(self.lines), 2))

    def offsets(self) -> list[float]:
        """Where each line's points stand beside their site."""
        number = len(self.lines)
        with_bars = any(line.low is not None for line in self.lines)
        return [(index - (number - 1) / 2) * DODGE / number if with_bars else 0.0 for index in range(number)]


def strand_runs(strand: np.ndarray) -> list[np.ndarray]:
    """Indices of each unbroken run of one strand."""
    return np.split(np.arange(len(strand)), np.flatnonzero(np.diff(strand)) + 1)


def pair_style(turn: int) -> GroupStyle:
    """Look of the turn-th pair of groups: the palette, with a new dash and marker each time it begins again."""
    again, place = divmod(turn, len(PALETTE))
    return GroupStyle(PALETTE[place], DASHES[again % len(DASHES)], "", MARKERS[again % len(MARKERS)])


def of_significance(table: SignificanceTable, cells: Sequence[int] | None = None) -> SiteLines:
    """A group's or pair's statistic by site with interval and null.

    Args:
        cells: groups or pairs to draw; default all.

    Raises:
        CaptureError: for a table of single experts.
    """
    if table.kind == "expert":
        raise CaptureError(
            "Bands are drawn for groups or pairs of groups, not for single experts: choose another measure."
        )
    null, few, sure = table.null, table.cell_few, table.significant
    chance = table.chance if table.name == "IoU" else None
    styles = group_styles(table.all_groups)
    lines = []
    for turn, cell in enumerate(range(table.value.shape[1]) if cells is None else cells):
        pair = table.kind == "pair"
        lines.append(
            Line(
                name=table.label(cell) if pair else counted(table.label(cell), table.n[:, cell]),
                style=pair_style(turn) if pair else styles[table.groups[cell].name],
                value=table.value[:, cell],
                few=few[:, cell],
                low=table.low[:, cell],
                high=table.high[:, cell],
                null_low=None if null is None else null.low[:, cell],
                null_high=None if null is None else null.high[:, cell],
                chance=None if chance is None else chance[:, cell],
                ring=None if null is None else sure[:, cell],
                says=tuple(table.sentence(site, cell) for site in range(len(table.sites))),
            )
        )
    note = f"bars: {table.level:.0%} interval" + ("" if null is None else "; pale: null; ring: more than chance")
    note += "; dotted: two random sets" if chance is not None else ""
    return SiteLines(table.sites, table.strand, tuple(lines), f"{table.name} ({table.unit})", note, table.caption)


REPETITION = {
    "first": "same first choice at the next token",
    "shared": "share of experts shared with the next token",
    "any": "at least one expert shared with the next token",
}


def of_repetition(table: RepetitionTable, which: str = "first") -> SiteLines:
    """Repetition at consecutive tokens, one of `REPETITION`, with its chance level."""
    return _of_groups(
        table.sites, table.strand, table.groups, table.all_groups, getattr(table, which), table.n, table.few,
        f"pairs of tokens: {REPETITION[which]}", "dotted: unrelated tokens of the same load", table.caption,
        getattr(table, f"{which}_chance"),
    )  # fmt: skip


def of_concentration(table: ConcentrationTable) -> SiteLines:
    """Mean share of a token's gate weight that its strongest expert has, with the quartiles over tokens."""
    even = np.array([[1 / site.top_k] for site in table.sites]) * np.ones(table.n.shape)
    quartiles = (table.quartiles[..., 0], table.quartiles[..., 2])
    return _of_groups(
        table.sites, table.strand, table.groups, table.all_groups, table.first_share, table.n, table.few,
        "gate weight of the strongest expert (share of the token's)",
        "bars: the middle half of the tokens; dotted: 1 / k, all equal", table.caption, even, *quartiles,
    )  # fmt: skip


def of_saturation(table: SaturationTable, capture: int = 0) -> SiteLines:
    """Share of experts that an earlier checkpoint has in common with the last, with interval and chance."""
    return _of_groups(
        table.sites, table.strand, table.groups, table.all_groups, table.value[capture], table.n[capture], table.few[capture],
        f"share of a token's experts equal in {table.names[capture]} and {table.last}",
        "bars: 95% interval; dotted: unrelated choices of the same loads", table.caption,
        table.chance[capture], table.low[capture], table.high[capture],
    )  # fmt: skip


def of_vocabulary(table: VocabularyTable) -> SiteLines:
    """Highest share that one expert has of a token id's occurrences, beside shuffled ids."""
    line = Line(
        name=counted("all tokens" if table.group is None else table.group, table.n),
        style=pair_style(0),
        value=table.value,
        few=table.few,
        n=table.n,
        chance=table.chance,
    )
    return SiteLines(
        table.sites, table.strand, (line,), f"share of an id's tokens, by {table.by} token", "dotted: ids shuffled over tokens", table.caption
    )  # fmt: skip


def of_frequency(table: FrequencyTable) -> SiteLines:
    """Divergence of two groups within token id, beside labels exchanged inside each id; a line a pair."""
    lines = tuple(
        Line(
            name=f"{table.groups[a]} and {table.groups[b]}",
            style=pair_style(pair),
            value=table.divergence_within[:, pair],
            few=table.few[:, pair],
            n=np.minimum(table.tokens_a, table.tokens_b)[:, pair],
            null_low=table.null_low[:, pair],
            null_high=table.null_high[:, pair],
            ring=table.significant[:, pair],
        )
        for pair, (a, b) in enumerate(zip(table.first, table.second, strict=True))
    )
    return SiteLines(
        table.sites, table.strand, lines, "Jensen-Shannon divergence within token id (bits)",
        "pale: labels exchanged inside each id; ring: more than that", table.caption,
    )  # fmt: skip


def of_comparison(table: ComparisonTable, capture: int = 0) -> SiteLines:
    """Difference of a capture from the first in a number of a group or pair, with its interval; grey: within noise.

    Raises:
        CaptureError: for a measure of single experts.
    """
    if table.kind == "expert":
        raise CaptureError("Lines are drawn for groups or pairs of groups, not for single experts: use the heat map.")
    styles = group_styles(table.all_groups)
    lines = []
    for cell in range(table.difference.shape[2]):
        pair = table.kind == "pair"
        lines.append(
            Line(
                name=table.label(cell) if pair else counted(table.label(cell), table.n[:, :, cell].min(axis=0)),
                style=pair_style(cell) if pair else styles[table.groups[cell].name],
                value=table.difference[capture, :, cell],
                few=~table.significant[capture, :, cell],
                low=table.low[capture, :, cell],
                high=table.high[capture, :, cell],
            )
        )
    return SiteLines(
        table.sites, table.strand, tuple(lines), f"{table.measure}: {table.names[capture]} minus {table.base}",
        f"bars: {table.level:.0%} interval; grey: within noise", table.caption, zero=True,
    )  # fmt: skip


def counted(name: str, n: np.ndarray) -> str:
    """ "prose (n = 1,200)": a name with its largest n over sites."""
    return f"{name} (n = {int(n.max(initial=0)):,})"


def _of_groups(
    sites: tuple[Site, ...],
    strand: np.ndarray,
    groups: Sequence[Group],
    all_groups: Sequence[Group],
    value: np.ndarray,
    n: np.ndarray,
    few: np.ndarray,
    title: str,
    note: str,
    caption: str,
    chance: np.ndarray | None = None,
    low: np.ndarray | None = None,
    high: np.ndarray | None = None,
) -> SiteLines:
    """A line a group; arrays [S, G]."""
    styles = group_styles(all_groups)

    def column(values: np.ndarray | None, index: int) -> np.ndarray | None:
        return None if values is None else values[:, index]

    lines = tuple(
        Line(
            name=counted(group.name, n[:, index]),
            style=styles[group.name],
            value=value[:, index],
            few=few[:, index],
            n=n[:, index],
            low=column(low, index),
            high=column(high, index),
            chance=column(chance, index),
        )
        for index, group in enumerate(groups)
    )
    return SiteLines(sites, strand, lines, title, note, caption)
