"""Which experts are chosen together, over all pairs of the k choices of a token.

OLMoE (2409.02060, section 5.2, equation 6) defines expert co-activation as N_ij / N_i; its published script counts only
neighbours in rank (reference: `pairwise` over the k ids), here every pair counts. A capture holds one square a site, summed
over groups and phases, so this table takes neither.
"""

from __future__ import annotations

import numpy as np

from workbench.analysis.select import MIN_EXPECTED
from workbench.analysis.tables import CoactivationTable
from workbench.analysis.words import site_title
from workbench.capture import Capture, CaptureError

NORMALISATIONS = ("count", "conditional", "lift")


def conditional(pairs: np.ndarray) -> np.ndarray:
    """Part of the row's tokens that chose the column's expert too: N_ij / N_i. [E, E] -> [E, E], NaN where N_i is 0."""
    chosen = np.diagonal(pairs).astype(np.float64)
    return np.where(chosen[:, None] > 0, pairs / np.where(chosen > 0, chosen, 1.0)[:, None], np.nan)


def lift(pairs: np.ndarray, n: int) -> np.ndarray:
    """Tokens with both experts over those expected if each were chosen independently: N_ij n / (N_i N_j).

    Brin 1997 ("interest"). [E, E] -> [E, E]; NaN where either expert was never chosen.
    """
    expected = expected_pairs(pairs, n)
    return np.where(expected > 0, pairs / np.where(expected > 0, expected, 1.0), np.nan)


def expected_pairs(pairs: np.ndarray, n: int) -> np.ndarray:
    """Tokens with both experts if each were chosen independently of the other: N_i N_j / n."""
    chosen = np.diagonal(pairs).astype(np.float64)
    return np.outer(chosen, chosen) / n if n else np.zeros(pairs.shape)


def chance_lift(pairs: np.ndarray, n: int) -> float:
    """The lift of all pairs together, sum N_ij / sum N_i N_j / n over i != j: the level to read a single lift against.

    A token's k choices are distinct, so even random routing stays below 1: (k - 1) E / (k (E - 1)) for an even load
    (.53 at k = 2 of 16). Ours.
    """
    off = ~np.eye(len(pairs), dtype=bool)
    expected = expected_pairs(pairs, n)[off].sum()
    return float(pairs[off].sum() / expected) if expected > 0 else float("nan")


def coactivation_table(
    capture: Capture, site: str, normalise: str = "lift", *, min_expected: float = MIN_EXPECTED
) -> CoactivationTable:
    """How often each pair of experts of a site is chosen for the same token.

    Args:
        normalise: "count", "conditional" (N_ij / N_i) or "lift" (N_ij n / N_i N_j).
        min_expected: pairs with fewer expected tokens under independence are flagged `few`.

    Raises:
        CaptureError: if the capture holds no co-activation, for an unknown site or normalisation, or if a token of this
            site chooses a single expert.
    """
    if normalise not in NORMALISATIONS:
        raise CaptureError(
            f"Co-activation is shown as {', '.join(NORMALISATIONS)}, not '{normalise}': choose one of them."
        )
    index = capture.site_index(site)
    where = capture.sites[index]
    square = capture.coactivation
    if square is None:
        raise CaptureError("This capture holds no co-activation: record it again with coactivation=True.")
    if where.top_k < 2:
        raise CaptureError(
            f"A token chooses one expert at site {site}, so no two are chosen together: choose a site with top-k above 1."
        )
    pairs = square[index, : where.experts, : where.experts]
    n = int(capture.token_count[index].sum())
    centre = None
    says, unit = "Tokens that choose both experts", "tokens"
    values = pairs.astype(np.float64)
    if normalise == "conditional":
        values, unit = conditional(pairs), "share of the row's tokens"
        says = "Share of the tokens of the row's expert that choose the column's expert too"
    elif normalise == "lift":
        values, centre, unit = lift(pairs, n), chance_lift(pairs, n), "times independence"
        says = "How many times more often two experts are chosen together than if chosen independently"
        says += f" (all pairs together: {centre:.2f}, because a token's choices are distinct)"
    values = np.where(np.eye(len(pairs), dtype=bool), np.nan, values)
    few = expected_pairs(pairs, n) < min_expected
    np.fill_diagonal(few, False)
    grey = (
        f"; grey: fewer than {min_expected:g} such tokens to be expected" if few.any() and normalise != "count" else ""
    )
    return CoactivationTable(
        normalise=normalise,
        unit=unit,
        centre=centre,
        site=where,
        values=values,
        pairs=pairs,
        n=n,
        few=few if normalise != "count" else np.zeros_like(few),
        identity=np.arange(where.experts) >= where.experts - where.identity_experts,
        caption=(
            f"{says}, at {site_title(where)}, n = {n:,} tokens of all groups{grey}; pairs that go together in the input also go together "
            "here, so this does not prove that the experts work together."
        ),
    )
