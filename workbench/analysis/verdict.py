"""What a number supports and what it does not, in one sentence for a person."""

from __future__ import annotations

import numpy as np

SIGNIFICANT = 0.05

NULL_WORDS = {
    "fixed load": "every group drew its choices from the site's own load",
    "labels": "the groups' labels were exchanged",
    "untrained": "the weights were untrained",
}


MORE_WORDS = {"untrained": "training changed it, as far as these initial weights go"}
SUPPORTS = {
    "labels": "groups differ in what they use there",
    "fixed load": "groups do not draw from one load, by more than their documents differ",
    "untrained": "training changed it, as far as these initial weights go",
}
UNITS = {"group": "numbers of a group", "pair": "pairs of groups", "expert": "cells"}


def verdict(
    what: str,
    value: float,
    interval: tuple[float, float],
    n: int,
    *,
    level: float = 0.95,
    null: tuple[str, float, float, float] | None = None,
    observed: float | None = None,
    p: float | None = None,
    chance: float | None = None,
    few: bool = False,
    few_blocks: bool = False,
) -> str:
    """One sentence: what a number supports and what it does not.

    Args:
        what: for example "IoU of Text and Audio at layer 3".
        interval: its ends, of `level`. n: tokens (the smaller group's, of a pair).
        null: (name, mean, low, high) of the null's draws; observed: the number compared with them, if another than value;
            p: two-sided, corrected.
        chance: the level of two random sets, or None or NaN.
    """
    if np.isnan(value):
        return f"{what} has no number, because no token of the group reached the site."
    if few:
        return f"{what} is {value:.2f}, but n = {n:,} tokens are too few to read anything from it."
    says = f"{what} is {value:.2f} ({level:.0%} interval {interval[0]:.2f} to {interval[1]:.2f}, n = {n:,} tokens)"
    if null is not None and p is not None and not np.isnan(p):
        name, mean, low, high = null
        compared = value if observed is None else observed
        thinned = "" if abs(compared - value) < 0.005 else f", compared at {compared:.2f} on equal or kept tokens,"
        words = NULL_WORDS.get(name, name)
        if p <= SIGNIFICANT:
            side = "below" if compared < mean else "above"
            says += (
                f"{thinned} and lies {side} the {low:.2f} to {high:.2f} that it would have if {words} (p = {_p(p)}): "
            )
            says += MORE_WORDS.get(name, "more than chance")
        else:
            says += f"{thinned} and cannot be told from the {low:.2f} to {high:.2f} that it would have if {words} (p = {_p(p)})"
    if chance is not None and not np.isnan(chance):
        if interval[0] > chance:
            says += f"; it lies above the {chance:.2f} of two random sets"
        elif interval[1] < chance:
            says += f"; it lies below the {chance:.2f} of two random sets, so the groups avoid each other's experts"
        else:
            says += f"; its interval holds the {chance:.2f} of two random sets"
    if few_blocks:
        says += "; the documents lie in few blocks, so the interval is too narrow"
    return says + "; whether the experts are needed is not shown by this."


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "below .001"


def summary(name: str, kind: str, null: str | None, tested: int, found: int) -> str:
    """One sentence on a whole figure.

    Args:
        name: of the statistic. kind: "group", "pair" or "expert". null: name of the null, or None.
        tested: cells with enough tokens. found: those of them beyond the null.
    """
    if null is None or null not in SUPPORTS:
        return f"No null is drawn, so the picture of {name} alone does not say what is more than chance."
    if not tested:
        return f"No {name} has enough tokens to be compared with the null, so nothing can be said."
    words = NULL_WORDS[null]
    if not found:
        return (
            f"None of {tested:,} {UNITS[kind]} lies beyond what {name} would be if {words}, so the picture shows no more than "
            "chance; with more documents it might."
        )
    return (
        f"{found:,} of {tested:,} {UNITS[kind]} lie beyond what {name} would be if {words} (at most {SIGNIFICANT:.0%} of these by "
        f"chance): {SUPPORTS[null]}; whether the experts are needed is not shown by this."
    )
