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


def site_title(site: Site) -> str:
    """A site as people say it: "layer 12", "vision layer 3, attention"."""
    stack = "" if site.stack == "text" else f"{site.stack} "
    part = "" if site.part == "mlp" else f", {site.part}"
    return f"{stack}layer {site.layer}{part}"


def sites_phrase(sites: Sequence[Site]) -> str:
    """ "at layer 3", "at layers 0 and 2", "at 60 layers (0 to 59)"; "sites" where stacks or parts differ, each said in full."""
    if len(sites) == 1:
        return f"at {site_title(sites[0])}"
    alike = all((site.stack, site.part) == ("text", "mlp") for site in sites)
    names = [str(site.layer) if alike else site_title(site) for site in sites]
    what = "layers" if alike else "sites"
    if len(sites) <= 3:
        return f"at {'layers ' if alike else ''}{', '.join(names[:-1])} and {names[-1]}"
    return f"at {len(sites)} {what} ({names[0]} to {names[-1]})"


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
