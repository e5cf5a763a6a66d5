"""The few phrases that captions share, so that n and phases read the same under every figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workbench.capture import Site

FEW = "few tokens"


def tokens_phrase(n: np.ndarray) -> str:
    """ "n = 1,200 tokens", "n = 300 to 1,200 tokens", from any array of token numbers."""
    if n.size == 0:
        return "n = 0 tokens"
    low, high = int(n.min()), int(n.max())
    return f"n = {low:,} tokens" if low == high else f"n = {low:,} to {high:,} tokens"


def phase_phrase(phase: str | None) -> str:
    """ "" for all phases, else ", phase decode only"."""
    return "" if phase is None else f", phase {phase} only"


def sites_phrase(sites: Sequence[Site]) -> str:
    """ "at 60 sites (text 0 to text 59)", or the names of up to three sites."""
    if len(sites) <= 3:
        return f"at {'site' if len(sites) == 1 else 'sites'} {', '.join(site.id for site in sites)}"
    return f"at {len(sites)} sites ({sites[0].id} to {sites[-1].id})"


def groups_phrase(groups: Sequence[str], n: np.ndarray) -> str:
    """Up to eight groups with their n (its largest over sites), else their number with the range of n.

    Args:
        groups: G names.
        n: [S, G] tokens.
    """
    if len(groups) > 8:
        return f"{len(groups)} groups, {tokens_phrase(n)}"
    return ", ".join(f"{name} n = {int(n[:, index].max()):,}" for index, name in enumerate(groups))


def few_phrase(few: np.ndarray, min_expected: float) -> str:
    """What grey means, only where something is grey."""
    return f"; grey: fewer than {min_expected:g} choices an expert to be expected" if few.any() else ""
