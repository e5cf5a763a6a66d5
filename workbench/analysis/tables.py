"""The tables that figures draw and files hold: arrays with labels, n, a flag for few tokens, and one sentence of caption.

Dimension letters: S sites, G groups, E experts of the largest chosen site (shorter sites are padded with NaN, see `exists`).
NaN means "no number": a group without tokens, an expert that the site does not have, the diagonal of an overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workbench.capture import Group, Site


@dataclass(frozen=True)
class HeatmapTable:
    """One number for every expert of every site, of one group.

    Attributes:
        measure: "utilisation", "share", "mass", "specialisation" or "difference" (of two captures).
        unit: what the numbers are in, for an axis or a colour bar.
        centre: the level of "nothing special" (utilisation and mass 1, specialisation 0), or None where it differs by site.
        sites: S sites.
        group: the group's name; several names joined by " + " where groups are pooled.
        phase: "prefill", "decode" or None for all.
        values: float64 [S, E].
        count: int64 [S, E], choices of each expert by the group.
        share: float64 [S, E], part of the group's tokens that have the expert among their chosen ones, 0 to 1.
        n: int64 [S], tokens of the group that reached the site.
        few: bool [S], True where n is too small for a number to be read.
        exists: bool [S, E], False where the axis is only padded.
        identity: bool [S, E], True for experts that return their input and hold no weights.
        caption: one sentence for under the figure.
    """

    measure: str
    unit: str
    centre: float | None
    sites: tuple[Site, ...]
    group: str
    phase: str | None
    values: np.ndarray
    count: np.ndarray
    share: np.ndarray
    n: np.ndarray
    few: np.ndarray
    exists: np.ndarray
    identity: np.ndarray
    caption: str

    def frame(self) -> pd.DataFrame:
        """A row for every expert that exists, in site order."""
        site, expert = np.nonzero(self.exists)
        return pd.DataFrame(
            {
                **_site_columns(self.sites, site),
                "expert": expert,
                "group": self.group,
                "phase": self.phase or "all",
                "measure": self.measure,
                "value": self.values[site, expert],
                "count": self.count[site, expert],
                "share_of_tokens": self.share[site, expert],
                "n_tokens": self.n[site],
                "few_tokens": self.few[site],
                "identity_expert": self.identity[site, expert],
            }
        )


@dataclass(frozen=True)
class UtilisationTable:
    """How often each group's tokens choose each expert (Figure 8 of the ERNIE 5.0 report).

    Attributes:
        groups: the chosen groups, G of them. all_groups: every group of the capture, which fixes the colours.
        share: float64 [S, G, E], part of the group's tokens with the expert among their chosen ones, 0 to 1; a site's
            shares add up to top-k when nothing was dropped.
        count: int64 [S, G, E].
        chance: float64 [S], k / E: the share that every expert has when experts are chosen evenly.
        n: int64 [S, G] tokens. few: bool [S, G]. exists, identity: bool [S, E].
    """

    sites: tuple[Site, ...]
    groups: tuple[Group, ...]
    phase: str | None
    share: np.ndarray
    count: np.ndarray
    chance: np.ndarray
    n: np.ndarray
    few: np.ndarray
    exists: np.ndarray
    identity: np.ndarray
    all_groups: tuple[Group, ...]
    caption: str

    def frame(self) -> pd.DataFrame:
        """A row for every expert of every site and group."""
        site, group, expert = np.nonzero(np.broadcast_to(self.exists[:, None, :], self.count.shape))
        return pd.DataFrame(
            {
                **_site_columns(self.sites, site),
                "group": _take([group.name for group in self.groups], group),
                "expert": expert,
                "phase": self.phase or "all",
                "share_of_tokens": self.share[site, group, expert],
                "chance": self.chance[site],
                "count": self.count[site, group, expert],
                "n_tokens": self.n[site, group],
                "few_tokens": self.few[site, group],
                "identity_expert": self.identity[site, expert],
            }
        )


@dataclass(frozen=True)
class BalanceTable:
    """How evenly each group uses the experts of each site, in one number (Figure 10 of the ERNIE 5.0 report).

    Attributes:
        measure: "normalised entropy", "effective experts", "dead experts", "CV" or "MaxVio".
        even: float64 [S], the value of a perfectly even load.
        values: float64 [S, G]. n: int64 [S, G] tokens. few: bool [S, G].
        experts: int64 [S], experts that the measure runs over (identity experts left out).
        strand: int64 [S], number of the strand (stack and part) that a site belongs to; lines are not drawn across.
    """

    measure: str
    unit: str
    even: np.ndarray
    sites: tuple[Site, ...]
    groups: tuple[Group, ...]
    phase: str | None
    values: np.ndarray
    n: np.ndarray
    few: np.ndarray
    experts: np.ndarray
    strand: np.ndarray
    all_groups: tuple[Group, ...]
    caption: str

    def frame(self) -> pd.DataFrame:
        """A row for every site and group."""
        site, group = (index.ravel() for index in np.indices(self.values.shape))
        return pd.DataFrame(
            {
                **_site_columns(self.sites, site),
                "group": _take([group.name for group in self.groups], group),
                "phase": self.phase or "all",
                "measure": self.measure,
                "value": self.values[site, group],
                "value_if_even": self.even[site],
                "experts": self.experts[site],
                "n_tokens": self.n[site, group],
                "few_tokens": self.few[site, group],
            }
        )


@dataclass(frozen=True)
class OverlapTable:
    """Whether two groups use the same experts most (Figure 9 of the ERNIE 5.0 report).

    Attributes:
        q: the part of the experts that makes a top set.
        wanted: int64 [S], q times the experts of the site, rounded half up, at least 1.
        size: int64 [S, G], experts in the top set: `wanted`, or fewer where fewer experts were used at all.
        iou: float64 [S, G, G], intersection over union of two top sets; NaN on the diagonal and where a set is empty.
        chance: float64 [S, G, G], expected IoU of two random sets of the same sizes; NaN where `iou` is.
        even_chance: float64 [S], expected IoU of two random sets of `wanted` experts.
        top: bool [S, G, E], the top sets themselves.
        n: int64 [S, G] tokens. few: bool [S, G].
    """

    q: float
    sites: tuple[Site, ...]
    groups: tuple[Group, ...]
    phase: str | None
    wanted: np.ndarray
    size: np.ndarray
    iou: np.ndarray
    chance: np.ndarray
    even_chance: np.ndarray
    top: np.ndarray
    n: np.ndarray
    few: np.ndarray
    all_groups: tuple[Group, ...]
    caption: str

    def frame(self) -> pd.DataFrame:
        """A row for every site and pair of groups, each pair once."""
        first, second = np.triu_indices(len(self.groups), k=1)
        site = np.repeat(np.arange(len(self.sites)), len(first))
        first, second = np.tile(first, len(self.sites)), np.tile(second, len(self.sites))
        names = [group.name for group in self.groups]
        return pd.DataFrame(
            {
                **_site_columns(self.sites, site),
                "group_a": _take(names, first),
                "group_b": _take(names, second),
                "phase": self.phase or "all",
                "q": self.q,
                "iou": self.iou[site, first, second],
                "chance": self.chance[site, first, second],
                "experts_a": self.size[site, first],
                "experts_b": self.size[site, second],
                "n_tokens_a": self.n[site, first],
                "n_tokens_b": self.n[site, second],
                "few_tokens": self.few[site, first] | self.few[site, second],
            }
        )


@dataclass(frozen=True)
class CoactivationTable:
    """How often two experts of one site are chosen for the same token, over all pairs.

    Attributes:
        normalise: "count", "conditional" (part of the tokens of the row's expert that chose the column's too) or "lift".
        centre: level of "nothing special" for lift (see analysis.coactivation.chance_lift), else None.
        values: float64 [E, E]; the diagonal (an expert with itself) is NaN.
        pairs: int64 [E, E], tokens that chose both; the diagonal holds the tokens that chose the expert at all.
        n: tokens that reached the site, all groups and phases together. few: bool [E, E].
        identity: bool [E].
    """

    normalise: str
    unit: str
    centre: float | None
    site: Site
    values: np.ndarray
    pairs: np.ndarray
    n: int
    few: np.ndarray
    identity: np.ndarray
    caption: str

    def frame(self) -> pd.DataFrame:
        """A row for every ordered pair of different experts."""
        first, second = np.nonzero(~np.eye(len(self.pairs), dtype=bool))
        return pd.DataFrame(
            {
                **_site_columns((self.site,), np.zeros(len(first), dtype=np.int64)),
                "expert_a": first,
                "expert_b": second,
                "measure": self.normalise,
                "value": self.values[first, second],
                "tokens_with_both": self.pairs[first, second],
                "tokens_with_a": self.pairs[first, first],
                "tokens_with_b": self.pairs[second, second],
                "n_tokens": self.n,
                "few_tokens": self.few[first, second],
            }
        )


def site_group_frame(
    sites: tuple[Site, ...],
    groups: tuple[Group, ...],
    columns: dict[str, np.ndarray],
    leading: dict[str, Any] | None = None,
) -> pd.DataFrame:
    """A row for every site and group of arrays [S, G]; `leading` columns of one value stand first."""
    site, group = (index.ravel() for index in np.indices((len(sites), len(groups))))
    return pd.DataFrame(
        {
            **(leading or {}),
            **_site_columns(sites, site),
            "group": _take([one.name for one in groups], group),
            **{name: values.ravel() for name, values in columns.items()},
        }
    )


def _site_columns(sites: tuple[Site, ...], index: np.ndarray) -> dict[str, Any]:
    return {
        "site": _take([site.id for site in sites], index),
        "stack": _take([site.stack for site in sites], index),
        "layer": np.array([site.layer for site in sites], dtype=np.int64)[index],
        "part": _take([site.part for site in sites], index),
    }


def _take(names: list[str], index: np.ndarray) -> pd.Categorical:
    """Names by number, as a categorical: repeated text costs nothing in memory and in parquet."""
    known = list(dict.fromkeys(names))
    codes = np.array([known.index(name) for name in names], dtype=np.int64)
    return pd.Categorical.from_codes(codes[index], categories=known)
