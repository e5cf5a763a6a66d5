"""How the load spreads over experts: shares, utilisation, entropy, dead experts, CV, MaxVio, and their tables.

The array functions work over the last axis; `mask` says which experts take part (padding and identity experts do not).
A row without any choice gives NaN, never 0: no tokens is not the same as no balance. Formulas and sources: docs/measures.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.analysis.select import MIN_EXPECTED, Selection, key_sites, select, strand_numbers
from workbench.analysis.tables import BalanceTable, HeatmapTable, UtilisationTable
from workbench.analysis.words import few_phrase, groups_phrase, phase_phrase, sites_phrase, tokens_phrase
from workbench.capture import Capture, CaptureError

HEATMAP_MEASURES = ("utilisation", "share", "mass", "specialisation")


# ---------------------------------------------------------------------------------------------- arrays
def load_share(count: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Part of the choices that went to each expert: p_i = c_i / sum_j c_j.

    The choices, not the tokens, are divided by: with top-k > 1 the "fraction of tokens routed to expert i" of the ERNIE 5.0
    report (section 6.4.1) adds up to k, and has to add up to 1 for its entropy to lie in [0, 1].

    Args:
        count: [..., E] choices or gate weight.
        mask: bool, broadcastable to `count`; False leaves an expert out.

    Returns:
        float64 [..., E], 0 to 1, summing to 1; NaN outside the mask and where there is no choice at all.
    """
    count, inside = _masked(count, mask)
    total = count.sum(axis=-1, keepdims=True)
    return np.where(inside & (total > 0), count / np.where(total > 0, total, 1.0), np.nan)


def utilisation(count: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Load of each expert over its ideal, an even part: u_i = p_i E, so that 1 is even, 2 twice as much.

    "Relative expert load" of DeepSeek-V3 (2412.19437, section 4.5.3, Figure 9). Arguments and NaN as `load_share`.
    """
    return load_share(count, mask) * _experts(count, mask)[..., None]


def entropy(count: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Shannon entropy of the load shares in nats, H = -sum_i p_i ln p_i; NaN without a choice. [..., E] -> [...]."""
    share = load_share(count, mask)
    safe = np.where(share > 0, share, 1.0)  # 0 ln 0 = 0
    total = -(safe * np.log(safe)).sum(axis=-1)
    return np.where(np.isnan(share).all(axis=-1), np.nan, np.maximum(total, 0.0))


def normalised_entropy(count: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """H / ln E, 1 for an even load and 0 when one expert takes all (ERNIE 5.0 report, section 6.4.1).

    NaN without a choice, and for a single expert, where the measure has no meaning.
    """
    experts = _experts(count, mask)
    return np.where(experts > 1, entropy(count, mask) / np.log(np.maximum(experts, 2)), np.nan)


def corrected_entropy(count: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Normalised entropy corrected for small counts by Grassberger (2003), at most 1; NaN as `normalised_entropy`."""
    from workbench.analysis.entropy_correction import grassberger, normalised

    return normalised(grassberger(count, mask), _experts(count, mask))


def effective_experts(count: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """exp(H): how many evenly used experts would have this entropy (the Hill number of order 1; Hill 1973). 1 to E."""
    return np.exp(entropy(count, mask))


def dead_experts(count: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Number of experts that were never chosen; read it only together with n. float64, NaN without a choice."""
    count, inside = _masked(count, mask)
    dead = ((count == 0) & inside).sum(axis=-1).astype(np.float64)
    return np.where(count.sum(axis=-1) > 0, dead, np.nan)


def cv(count: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Coefficient of variation of the load: population standard deviation over mean; 0 is even (Shazeer 2017, 1701.06538, section 4)."""
    load = utilisation(count, mask)  # mean 1
    inside = ~np.isnan(load)
    experts = inside.sum(axis=-1)
    square = np.where(inside, (np.where(inside, load, 1.0) - 1.0) ** 2, 0.0).sum(axis=-1)
    return np.where(experts > 0, np.sqrt(square / np.maximum(experts, 1)), np.nan)


def max_vio(count: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Maximal violation of balance: max_i load_i / mean load - 1; 0 is even (Wang 2024, 2408.15664, section 4.1)."""
    load = utilisation(count, mask)
    known = ~np.isnan(load).all(axis=-1)
    highest = np.where(np.isnan(load), -np.inf, load).max(axis=-1, initial=-np.inf)
    return np.where(known, highest - 1.0, np.nan)


def _masked(count: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    count = np.asarray(count, dtype=np.float64)
    inside = np.ones(count.shape, dtype=bool) if mask is None else np.broadcast_to(mask, count.shape)
    return np.where(inside, count, 0.0), inside


def _experts(count: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Experts that take part, [...]."""
    shape = np.shape(count)
    if mask is None:
        return np.full(shape[:-1], shape[-1])
    return np.broadcast_to(mask, shape).sum(axis=-1)


# ---------------------------------------------------------------------------------------------- tables
def heatmap_table(
    capture: Capture,
    group: str | Sequence[str] | None = None,
    sites: str | Sequence[str] | None = None,
    phase: str | None = None,
    measure: str = "utilisation",
    *,
    min_expected: float = MIN_EXPECTED,
) -> HeatmapTable:
    """One number for every expert of every site, of one group (or several pooled; None: all that have tokens).

    Args:
        measure: "utilisation" (load over its even part), "share" (part of the group's tokens that choose the expert),
            "mass" (gate weight over its even part) or "specialisation" (see analysis.specialisation).
        min_expected: sites where even routing would give an expert fewer choices are flagged `few`.

    For a site with identity experts the even part is that of the experts with weights; an identity expert's number is
    measured against the same even part.

    Raises:
        CaptureError: for an unknown group, site, phase or measure.
    """
    if measure not in HEATMAP_MEASURES:
        raise CaptureError(f"A heat map shows {', '.join(HEATMAP_MEASURES)}, not '{measure}': choose one of them.")
    if measure == "specialisation":
        from workbench.analysis.specialisation import specialisation_table

        return specialisation_table(capture, group, sites, phase=phase, min_expected=min_expected)
    return heatmap_of(select(capture, sites, group, phase, min_expected), measure)


def heatmap_of(chosen: Selection, measure: str = "utilisation") -> HeatmapTable:
    """`heatmap_table` of counts that are chosen already: "utilisation", "share" or "mass"."""
    count, n = chosen.count.sum(axis=1), chosen.tokens.sum(axis=1)
    share = token_share(count, n, chosen.exists)
    values: np.ndarray
    if measure == "share":
        values, unit, centre = share, "share of tokens", None
        says = "Share of tokens that choose each expert"
    else:
        source = count if measure == "utilisation" else chosen.mass.sum(axis=1)
        values = _against_even(source, chosen)
        unit, centre = ("load / even load" if measure == "utilisation" else "gate weight / even gate weight"), 1.0
        says = (
            "Load of each expert over an even load"
            if measure == "utilisation"
            else "Gate weight of each expert over an even part"
        )
        says += " (1 = even)"
    names = chosen.names
    pooled = _pooled_few(chosen)
    return HeatmapTable(
        measure=measure,
        unit=unit,
        centre=centre,
        sites=chosen.sites,
        group=" + ".join(names),
        phase=chosen.phase,
        values=values,
        count=count,
        share=share,
        n=n,
        few=pooled,
        exists=chosen.exists,
        identity=chosen.exists & ~chosen.real,
        caption=(
            f"{says} {sites_phrase(chosen.sites)}, {_group_phrase(names)}, {tokens_phrase(n)}{phase_phrase(chosen.phase)}"
            f"{few_phrase(pooled, chosen.min_expected)}; how often an expert is chosen does not prove what it computes or whether it is needed."
        ),
    )


def _group_phrase(names: Sequence[str]) -> str:
    return f"group {names[0]}" if len(names) == 1 else f"groups {', '.join(names)} together"


def _against_even(load: np.ndarray, chosen: Selection) -> np.ndarray:
    """Load over the even part of the experts with weights, for every expert that exists; [S, E] -> [S, E]."""
    even = np.where(chosen.real, load, 0).sum(axis=-1) / np.maximum(chosen.real.sum(axis=-1), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(chosen.exists & (even > 0)[:, None], load / even[:, None], np.nan)


def _pooled_few(chosen: Selection) -> np.ndarray:
    return chosen.real_count.sum(axis=(1, 2)) < chosen.min_expected * chosen.real.sum(axis=-1)


def token_share(count: np.ndarray, n: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """Part of the tokens that have the expert among their chosen ones, N_i / N (OLMoE, 2409.02060, equation 7).

    Args:
        count: [..., E] choices (a token chooses an expert at most once). n: [...] tokens. exists: bool, broadcastable.

    Returns:
        float64 [..., E], 0 to 1; NaN where n is 0 or the expert does not exist.
    """
    tokens = np.asarray(n, dtype=np.float64)[..., None]
    return np.where(exists & (tokens > 0), count / np.where(tokens > 0, tokens, 1.0), np.nan)


def utilisation_table(
    capture: Capture,
    sites: str | Sequence[str] | None = None,
    groups: str | Sequence[str] | None = None,
    phase: str | None = None,
    *,
    min_expected: float = MIN_EXPECTED,
) -> UtilisationTable:
    """Share of each group's tokens that choose each expert; without `sites` at the first, middle and last site.

    Figure 8 of the ERNIE 5.0 report, whose y axis is the frequency of expert activation (section 6.4.1). The chance level
    k / E is that of OLMoE's Figure 22 (2409.02060, section 5.3).

    Raises:
        CaptureError: for an unknown site, group or phase.
    """
    chosen = select(capture, key_sites(capture) if sites is None else sites, groups, phase, min_expected)
    return UtilisationTable(
        sites=chosen.sites,
        groups=chosen.groups,
        phase=phase,
        share=token_share(chosen.count, chosen.tokens, chosen.exists[:, None, :]),
        count=chosen.count,
        chance=np.array([site.top_k / site.experts for site in chosen.sites]),
        n=chosen.tokens,
        few=chosen.few,
        all_groups=chosen.all_groups,
        exists=chosen.exists,
        identity=chosen.exists & ~chosen.real,
        caption=(
            f"Share of each group's tokens that choose each expert {sites_phrase(chosen.sites)}; "
            f"{groups_phrase(chosen.names, chosen.tokens)}{phase_phrase(phase)}; "
            f"dashed: k / E, the share of each when chosen evenly{few_phrase(chosen.few, min_expected)}; "
            "a preference for an expert does not prove that the expert matters to the group."
        ),
    )


@dataclass(frozen=True)
class Measure:
    """A balance measure: how it is computed, its unit, and its value when the load is even over E experts."""

    compute: Callable[[np.ndarray, np.ndarray | None], np.ndarray]
    unit: str
    even: Callable[[np.ndarray], np.ndarray]
    says: str
    lower: float | None = 0.0  # natural ends of the axis, None where there is none
    upper: float | None = None


BALANCE_MEASURES: dict[str, Measure] = {
    "normalised entropy": Measure(
        normalised_entropy, "entropy / ln E, 0 to 1", np.ones_like, "1 is an even load, 0 a single expert", 0.0, 1.0
    ),
    "corrected entropy": Measure(
        corrected_entropy,
        "entropy / ln E, corrected for few tokens",
        np.ones_like,
        "entropy over ln E by Grassberger's estimator, 1 is an even load",
        0.0,
        1.0,
    ),
    "effective experts": Measure(
        effective_experts, "experts", lambda experts: experts, "E is an even load, 1 a single expert"
    ),
    "dead experts": Measure(
        dead_experts, "experts never chosen", np.zeros_like, "0 means that every expert was chosen at least once"
    ),
    "CV": Measure(cv, "standard deviation / mean load", np.zeros_like, "0 is an even load"),
    "MaxVio": Measure(max_vio, "max load / mean load - 1", np.zeros_like, "0 is an even load"),
}


def balance_table(
    capture: Capture,
    sites: str | Sequence[str] | None = None,
    groups: str | Sequence[str] | None = None,
    measure: str = "normalised entropy",
    phase: str | None = None,
    *,
    min_expected: float = MIN_EXPECTED,
) -> BalanceTable:
    """How evenly each group uses the experts of each site (Figure 10 of the ERNIE 5.0 report, section 6.4.1).

    Args:
        measure: "normalised entropy", "corrected entropy", "effective experts", "dead experts", "CV" or "MaxVio".

    Raises:
        CaptureError: for an unknown site, group, phase or measure.
    """
    if measure not in BALANCE_MEASURES:
        raise CaptureError(
            f"Balance is measured by {', '.join(BALANCE_MEASURES)}, not '{measure}': choose one of them."
        )
    how = BALANCE_MEASURES[measure]
    chosen = select(capture, sites, groups, phase, min_expected)
    experts = chosen.real.sum(axis=-1)
    title = measure if measure in ("CV", "MaxVio") else measure.capitalize()
    bias = "" if measure == "corrected entropy" else ", and few tokens look less even than they are"
    return BalanceTable(
        measure=measure,
        unit=how.unit,
        even=how.even(experts).astype(np.float64),
        sites=chosen.sites,
        groups=chosen.groups,
        phase=phase,
        values=how.compute(chosen.count, chosen.real[:, None, :]),
        n=chosen.tokens,
        few=chosen.few,
        all_groups=chosen.all_groups,
        experts=experts,
        strand=strand_numbers(chosen.sites),
        caption=(
            f"{title} of the load over experts ({how.says}) {sites_phrase(chosen.sites)}; "
            f"{groups_phrase(chosen.names, chosen.tokens)}{phase_phrase(phase)}{few_phrase(chosen.few, min_expected)}; "
            f"it does not say which experts are used{bias}."
        ),
    )
