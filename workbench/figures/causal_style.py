"""What the page and the paper draw alike of a causal table: colours, words in the cells, the sentence under it."""

from __future__ import annotations

import numpy as np

from workbench.analysis.causal import CausalTable, Estimate
from workbench.figures.style import Scale

MOST_NUMBERS = 14  # groups up to which every cell has its number written in
LEFT, MIDDLE, RIGHT = "the group's favourites muted", "random experts of equal load muted", "favourites minus random"


def causal_scale(table: CausalTable, values: np.ndarray) -> Scale:
    """One scale for both squares, even about 0: orange raises the loss, purple lowers it."""
    both = np.concatenate([table.change.value.ravel(), table.random.value.ravel()])
    finite = np.abs(both[np.isfinite(both)])
    half = float(finite.max(initial=0.0)) or 1.0
    ticks = tuple(float(value) for value in np.linspace(-half, half, 5))
    return Scale(
        values,
        -half,
        half,
        0.0,
        ticks,
        tuple(f"{tick:+.2f}" if tick else "0" for tick in ticks),
        "change of loss, nats a token",
    )


def panels(table: CausalTable) -> list[tuple[str, Estimate]]:
    """The squares that there are: without random draws only the first."""
    found = [(LEFT, table.change)]
    return [*found, (MIDDLE, table.random)] if table.draws else found


def own_rows(table: CausalTable) -> list[int]:
    """Rows that belong to a group, whose difference is drawn with its interval."""
    return [row for row in range(len(table.rows)) if table.own[row] >= 0] if table.draws else []


def causal_caption(table: CausalTable) -> str:
    """One sentence for under the figure; what follows from it is `verdict` or `what_if_sentence`."""
    who = f"n = {int(table.tokens.sum()):,} tokens of {int(table.documents.sum()):,} documents"
    what = (
        "the experts that a group favours are muted (rows)"
        if (table.own >= 0).any()
        else "the experts that were named are muted or forced, or fewer are chosen"
    )
    random = (
        f", beside the mean of {table.draws} random sets of as many experts with the same load" if table.draws else ""
    )
    differences = (
        f", and the difference for the row's own group with its {table.level:.0%} interval" if own_rows(table) else ""
    )
    return (
        f"Change of the loss of each group (columns, nats a token, {who}) when {what}{random}{differences}; it shows what the "
        "model does without these experts, not what they hold."
    )
