"""Which part of a capture a table is made of: sites, groups and phase, checked once for every table.

Choices made here, the same for all tables:
- Without `sites`, all sites, ordered by strand (same stack and part), because expert numbers and layers only line up within
  one. `key_sites` picks first, middle and last of the longest strand for figures that have a panel a site.
- Without `groups`, every group that has a token; empty groups can still be asked for and give NaN.
- Identity experts (the last `identity_experts` of a site, which return their input) are choices of the router but hold no
  weights: they are masked out of every summary (`real`), and shown where single experts are shown (`exists`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workbench.capture import Capture, CaptureError, Group, Site

# Cells with fewer expected choices an expert than this are flagged "few tokens": the usual rule for counts in a
# chi-squared test (Cochran 1954, Biometrics 10(4): expected counts of at least 5); ours to apply it here.
MIN_EXPECTED = 5.0


@dataclass(frozen=True)
class Selection:
    """The counts of the chosen sites, groups and phase.

    Attributes:
        sites, groups: what was chosen, in the order in which it is shown. S and G below are their numbers.
        phase: "prefill", "decode", or None for the sum of all.
        count: int64 [S, G, E], choices of each expert; E is the largest expert count among the chosen sites.
        mass: float64 [S, G, E], sum of gate weights.
        tokens: int64 [S, G], tokens that reached the site.
        exists: bool [S, E], True where the site has that expert.
        real: bool [S, E], True where the site has that expert and it holds weights (no identity expert).
        min_expected: cells below this number of expected choices an expert are flagged.
        all_groups: every group of the capture, so that a group keeps its colour whatever else is chosen.
    """

    sites: tuple[Site, ...]
    groups: tuple[Group, ...]
    phase: str | None
    count: np.ndarray
    mass: np.ndarray
    tokens: np.ndarray
    exists: np.ndarray
    real: np.ndarray
    min_expected: float
    all_groups: tuple[Group, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Group names."""
        return tuple(group.name for group in self.groups)

    @property
    def real_count(self) -> np.ndarray:
        """int64 [S, G, E]: the counts with identity experts set to zero."""
        return np.where(self.real[:, None, :], self.count, 0)

    @property
    def few(self) -> np.ndarray:
        """bool [S, G]: True where even routing would give an expert fewer than `min_expected` choices (n = 0 included)."""
        return few_choices(self.real_count, self.real[:, None, :], self.min_expected)


def few_choices(count: np.ndarray, mask: np.ndarray, min_expected: float = MIN_EXPECTED) -> np.ndarray:
    """Whether choices divided by experts is below `min_expected`, over the last axis of `count` and `mask`."""
    experts = np.broadcast_to(mask, count.shape).sum(axis=-1)
    return count.sum(axis=-1) < min_expected * experts


def few_tokens(n: np.ndarray, sites: Sequence[Site], min_expected: float = MIN_EXPECTED) -> np.ndarray:
    """Whether n tokens give an even load fewer than `min_expected` choices an expert: n [S, ...] -> bool [S, ...]."""
    needed = np.array([min_expected * (site.experts - site.identity_experts) / site.top_k for site in sites])
    return n < needed.reshape(-1, *[1] * (n.ndim - 1))


def select(
    capture: Capture,
    sites: str | Sequence[str] | None = None,
    groups: str | Sequence[str] | None = None,
    phase: str | None = None,
    min_expected: float = MIN_EXPECTED,
) -> Selection:
    """The counts of the chosen sites, groups and phase.

    Raises:
        CaptureError: for an unknown site, group or phase, or an empty choice; the sentence names what there is.
    """
    site_index = [capture.site_index(site) for site in _names(sites, "site", all_sites(capture))]
    group_index = [capture.group_index(group) for group in _names(groups, "group", groups_with_tokens(capture))]
    chosen = tuple(capture.sites[index] for index in site_index)
    widest = max(site.experts for site in chosen)
    number = np.arange(widest)[None, :]
    experts = np.array([site.experts for site in chosen])[:, None]
    identity = np.array([site.identity_experts for site in chosen])[:, None]
    at = np.ix_(site_index, group_index)
    return Selection(
        sites=chosen,
        groups=tuple(capture.manifest.groups[index] for index in group_index),
        phase=phase,
        count=_summed(capture, "count", phase)[at][..., :widest],
        mass=_summed(capture, "mass", phase)[at][..., :widest],
        tokens=_summed(capture, "tokens", phase)[at],
        exists=number < experts,
        real=number < experts - identity,
        min_expected=min_expected,
        all_groups=capture.manifest.groups,
    )


def all_sites(capture: Capture) -> tuple[str, ...]:
    """Every site id, strands one after the other in order of appearance, model order inside a strand."""
    if not capture.sites:
        raise CaptureError(
            "This capture has no site with experts, so there is nothing to show: record a mixture-of-experts model."
        )
    strands = dict.fromkeys(strand(site) for site in capture.sites)
    return tuple(site.id for key in strands for site in capture.sites if strand(site) == key)


def strand(site: Site) -> tuple[str, str]:
    """Stack and part: sites that agree in both form one column of layers, and only they may be joined by a line."""
    return site.stack, site.part


def strand_numbers(sites: Sequence[Site]) -> np.ndarray:
    """int64 [S]: number of the strand of each site, in order of appearance; lines are not drawn across strands."""
    known = {key: number for number, key in enumerate(dict.fromkeys(strand(site) for site in sites))}
    return np.array([known[strand(site)] for site in sites], dtype=np.int64)


def key_sites(capture: Capture) -> tuple[str, ...]:
    """First, middle and last site of the strand with most sites that saw a token (the panels of the report's Figures 8, 9)."""
    seen = capture.token_count.sum(axis=1) > 0
    ids = all_sites(capture)
    reached = [site for site in ids if seen[capture.site_index(site)]] or list(ids)
    strands: dict[tuple[str, str], list[str]] = {}
    for site in reached:
        strands.setdefault(strand(capture.site(site)), []).append(site)
    longest = max(strands.values(), key=len)
    return tuple(dict.fromkeys((longest[0], longest[len(longest) // 2], longest[-1])))


def groups_with_tokens(capture: Capture) -> tuple[str, ...]:
    """Groups that have a token at any site, in the capture's order; all groups if none has."""
    filled = capture.token_count.sum(axis=0) > 0
    return tuple(name for name, has in zip(capture.groups, filled, strict=True) if has) or capture.groups


def _names(given: str | Sequence[str] | None, what: str, default: tuple[str, ...]) -> tuple[str, ...]:
    if given is None:
        return default
    names = tuple(dict.fromkeys([given] if isinstance(given, str) else given))
    if not names:
        raise CaptureError(
            f"At least one {what} was expected, but none was chosen: choose one, or leave the choice out for the default."
        )
    return names


def _summed(capture: Capture, table: str, phase: str | None) -> np.ndarray:
    """A table summed over blocks, and over phases or of the one phase."""
    if phase is None:
        return {"count": capture.count, "mass": capture.mass, "tokens": capture.token_count}[table]
    if phase not in capture.phases:
        raise CaptureError(
            f"This capture has no phase '{phase}': it has {', '.join(capture.phases)}; choose one of them."
        )
    named = capture.table(table)
    return named.values[:, :, capture.phases.index(phase)].sum(axis=0)
