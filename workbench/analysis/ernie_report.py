"""What the ERNIE 5.0 report prints about its own routing, beside the same numbers of a capture.

Values of the report (arXiv 2602.04705v1, section 6.4.1): Figure 9 is copied from its cells; Figure 10 and the tallest bars of
Figure 8 are measured off the picture, within .005 and about half a percent. The report states neither the number of experts
nor the number of tokens, gives no interval and no chance level, and plots three layers ("first, middle, last") of an unnamed count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workbench.analysis.load import balance_table, utilisation_table
from workbench.analysis.overlap import overlap_table
from workbench.analysis.select import groups_with_tokens, key_sites, strand
from workbench.analysis.tables import BalanceTable, OverlapTable, UtilisationTable
from workbench.capture import DEFAULT_GROUPS, Capture, CaptureError, Group

SOURCE = "ERNIE 5.0 report, arXiv 2602.04705, section 6.4.1"
PLACES = ("first", "middle", "last")
GROUPS = tuple(group.name for group in DEFAULT_GROUPS)
TOP_SHARE = 0.25  # Figure 9: the 25 % of the experts that a group uses most
CHANCE = TOP_SHARE / (2 - TOP_SHARE)  # of two independent sets; not in the report

# Figure 9, as printed: row and column are groups in the order of GROUPS; first, middle, last.
_OVERLAP = {
    (0, 1): (0.03, 0.21, 0.29), (0, 2): (0.03, 0.28, 0.38), (0, 3): (0.06, 0.03, 0.09), (0, 4): (0.06, 0.03, 0.08),
    (0, 5): (0.12, 0.32, 0.40), (1, 2): (0.98, 0.52, 0.64), (1, 3): (0.22, 0.22, 0.25), (1, 4): (0.22, 0.21, 0.24),
    (1, 5): (0.31, 0.25, 0.63), (2, 3): (0.22, 0.18, 0.22), (2, 4): (0.23, 0.19, 0.20), (2, 5): (0.32, 0.27, 0.55),
    (3, 4): (0.64, 0.83, 0.78), (3, 5): (0.31, 0.11, 0.25), (4, 5): (0.27, 0.10, 0.23),
}  # fmt: skip
# Figure 10, measured off the picture: normalised entropy at 21 ticks of depth.
_BALANCE = (
    ".962 .967 .963 .973 .972 .971 .967 .966 .965 .961 .961 .960 .967 .964 .962 .965 .969 .970 .962 .961 .939",
    ".813 .915 .923 .932 .939 .940 .929 .941 .930 .923 .929 .935 .941 .927 .925 .917 .938 .936 .921 .911 .816",
    ".802 .909 .917 .928 .922 .918 .921 .922 .918 .894 .910 .900 .903 .894 .904 .904 .911 .912 .895 .889 .835",
    ".771 .719 .695 .708 .698 .729 .718 .724 .738 .747 .768 .768 .774 .746 .723 .687 .738 .774 .725 .692 .685",
    ".732 .686 .675 .647 .679 .614 .596 .650 .695 .723 .716 .741 .753 .705 .704 .671 .714 .762 .708 .656 .654",
    ".731 .683 .700 .748 .792 .863 .890 .914 .900 .850 .840 .847 .846 .879 .899 .889 .894 .870 .871 .885 .828",
)
# Figure 8, measured off the picture: share of a group's tokens that choose its most used expert, first, middle, last.
_TALLEST = ((0.050, 0.059, 0.138), (0.183, 0.191, 0.42), (0.264, 0.089, 0.27), (0.206, 0.25, 0.32), (0.234, 0.40, 0.40), (0.29, 0.67, 0.31))  # fmt: skip


def printed_overlap() -> np.ndarray:
    """float64 [3, 6, 6], Figure 9: first, middle, last layer; NaN on the diagonal, which the report leaves blank."""
    found = np.full((3, len(GROUPS), len(GROUPS)), np.nan)
    for (a, b), values in _OVERLAP.items():
        found[:, a, b] = found[:, b, a] = values
    return found


def printed_balance() -> np.ndarray:
    """float64 [6, 21], Figure 10: normalised entropy of each group by depth."""
    return np.array([[float(value) for value in line.split()] for line in _BALANCE])


def printed_tallest() -> np.ndarray:
    """float64 [6, 3], Figure 8: share of tokens of the most used expert of each group, 0 to 1."""
    return np.array(_TALLEST)


@dataclass(frozen=True)
class BesideReport:
    """Figures 8, 9 and 10 of a capture and of the report.

    Attributes:
        places: which of `PLACES` the capture's panels are (a model of one site has only a first).
        groups: names of the capture's groups with tokens; shared: those that the report has too.
        rank_correlation, pairs: Spearman's rho of the IoU of all pairs that both have, and how many; NaN below 4 pairs.
    """

    utilisation: UtilisationTable
    overlap: OverlapTable | None
    balance: BalanceTable
    places: tuple[str, ...]
    groups: tuple[Group, ...]
    shared: tuple[str, ...]
    rank_correlation: float
    pairs: int

    def tallest(self) -> np.ndarray:
        """float64 [S, G], share of each group's tokens that choose its most used expert."""
        share = np.where(np.isnan(self.utilisation.share), 0.0, self.utilisation.share)
        found: np.ndarray = np.where(self.utilisation.n > 0, share.max(axis=2), np.nan)
        return found

    def utilisation_frame(self) -> pd.DataFrame:
        """A row an expert of the capture, and a row a tallest bar of either source."""
        own = self.utilisation.frame().assign(source="capture", what="share of tokens")
        rows = [
            {"source": SOURCE, "what": "tallest bar", "place": place, "group": group, "value": value}
            for group, line in zip(GROUPS, printed_tallest(), strict=True)
            for place, value in zip(PLACES, line, strict=True)
        ]
        for s, (site, place) in enumerate(zip(self.utilisation.sites, self.places, strict=True)):
            rows += [
                {"source": "capture", "what": "tallest bar", "place": place, "site": site.id, "group": group.name, "value": value}
                for group, value in zip(self.utilisation.groups, self.tallest()[s], strict=True)
            ]  # fmt: skip
        return pd.concat([pd.DataFrame(rows), own], ignore_index=True)

    def overlap_frame(self) -> pd.DataFrame:
        """A row a pair and layer of either source."""
        printed = printed_overlap()
        rows = [
            {"source": SOURCE, "place": place, "group_a": GROUPS[a], "group_b": GROUPS[b], "iou": printed[p, a, b], "chance": CHANCE}
            for p, place in enumerate(PLACES)
            for a, b in _OVERLAP
        ]  # fmt: skip
        report = pd.DataFrame(rows)
        if self.overlap is None:
            return report
        own = self.overlap.frame()
        place = dict(zip([site.id for site in self.overlap.sites], self.places, strict=True))
        return pd.concat([report, own.assign(source="capture", place=own["site"].map(place))], ignore_index=True)

    def balance_frame(self) -> pd.DataFrame:
        """A row a group and layer of either source."""
        printed = printed_balance()
        rows = [
            {"source": SOURCE, "tick": tick, "group": group, "measure": "normalised entropy", "value": value}
            for group, line in zip(GROUPS, printed, strict=True)
            for tick, value in enumerate(line)
        ]
        return pd.concat([pd.DataFrame(rows), self.balance.frame().assign(source="capture")], ignore_index=True)


def beside_report(capture: Capture) -> BesideReport:
    """The numbers of Figures 8 to 10 of a capture: first, middle and last site of its main strand, and all of it by depth.

    Raises:
        CaptureError: if no group has tokens.
    """
    names = groups_with_tokens(capture)
    if not names:
        raise CaptureError(
            "The report's figures need a group with tokens, and this capture has none: record some text first."
        )
    sites = key_sites(capture)
    places = {1: PLACES[:1], 2: (PLACES[0], PLACES[2]), 3: PLACES}[len(sites)]
    line = [site.id for site in capture.sites if strand(site) == strand(capture.site(sites[0]))]
    overlap = overlap_table(capture, sites, names, q=TOP_SHARE) if len(names) > 1 else None
    shared = tuple(name for name in GROUPS if name in names)
    pairs, rho = _agreement(overlap, places, shared)
    return BesideReport(
        utilisation_table(capture, sites, names),
        overlap,
        balance_table(capture, line, names, "normalised entropy"),
        places,
        tuple(group for group in capture.manifest.groups if group.name in names),
        shared,
        rho,
        pairs,
    )


def _agreement(overlap: OverlapTable | None, places: Sequence[str], shared: Sequence[str]) -> tuple[int, float]:
    """Pairs that capture and report both have, over all layers, and the rank correlation of their IoU."""
    if overlap is None:
        return 0, float("nan")
    printed, names = printed_overlap(), [group.name for group in overlap.groups]
    theirs, ours = [], []
    for s, place in enumerate(places):
        for a in range(len(shared)):
            for b in range(a + 1, len(shared)):
                own = overlap.iou[s, names.index(shared[a]), names.index(shared[b])]
                if np.isfinite(own):
                    ours.append(own)
                    theirs.append(printed[PLACES.index(place), GROUPS.index(shared[a]), GROUPS.index(shared[b])])
    if len(ours) < 4 or len(set(ours)) < 2:
        return len(ours), float("nan")
    from scipy.stats import spearmanr

    return len(ours), float(spearmanr(ours, theirs).statistic)
