"""One change of the user's own: what it costs each group, against the same change with random experts of equal load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench.analysis.causal import CausalTable, Losses, causal_table
from workbench.capture import Capture
from workbench.causal.check import CausalOptions, OnProgress, Teller, counts_of, routing_of, sample, sets_like
from workbench.causal.errors import CausalError
from workbench.causal.interventions import Intervention
from workbench.causal.measure import Cancelled, cells_of, halves_of, measure

if TYPE_CHECKING:
    from workbench.inputs import Document
    from workbench.models import LoadedModel


@dataclass(frozen=True)
class WhatIf:
    """What a change costs.

    Attributes:
        table: one row. sentence: what it says and does not prove. losses: what the table was made of. capture: routing of the full model on the same documents.
        used, known: documents used, and given.
    """

    change: Intervention
    table: CausalTable
    sentence: str
    losses: Losses
    capture: Capture
    used: int
    known: int


def what_if(
    loaded: LoadedModel,
    documents: Sequence[Document],
    change: Intervention,
    options: CausalOptions | None = None,
    *,
    on_progress: OnProgress | None = None,
    cancelled: Cancelled | None = None,
) -> WhatIf:
    """Loss by group with a change and without it.

    Args:
        change: its experts are replaced by random ones of equal load in each of `options.draws` runs; a change of top-k alone
            has nothing to draw.

    Raises:
        CausalError, SubModelError: if the change cannot be made.
        Stopped: if cancelled.
    """
    from probes import find_sites

    options = options or CausalOptions()
    if change.empty:
        raise CausalError("Nothing is changed: mute or force at least one expert, or limit top-k.")
    change.check([found.site for found in find_sites(loaded.model)])
    chosen = sample(documents, options.documents, options.seed)
    told = Teller(on_progress)
    capture = routing_of(loaded, chosen, options, told, cancelled)
    halves = halves_of(
        loaded, [chosen], group_by=options.group_by, batch_size=options.batch_size, max_length=options.max_length
    )
    cells, tokens = cells_of(halves)
    groups = list(dict.fromkeys(group for _, group in cells))
    count = counts_of(capture, capture.sites, groups, None, 0)
    draws = options.draws if any(change.mute.values()) or any(change.force.values()) else 0
    random = np.random.default_rng([options.seed, 0])
    mute, load, random_load = sets_like(change.mute, capture.sites, count, draws, random)
    force, force_load, random_force_load = sets_like(change.force, capture.sites, count, draws, random)
    told.plan((2 + draws) * sum(half.rows for half in halves))
    told.say("The full model")
    full = measure(loaded, halves, [None], on_batch=told.more, cancelled=cancelled)
    told.say("With the change")
    changed = measure(loaded, halves, [change], on_batch=told.more, cancelled=cancelled)
    found = np.zeros((1, draws, len(cells)))
    for k in range(draws):
        told.say(f"With random experts of the same load, {k + 1} of {draws}")
        # An expert that both draws hold stays muted.
        forced = {site: tuple(set(ids) - set(mute[k].get(site, ()))) for site, ids in force[k].items()}
        drawn = Intervention(change.name, mute[k], forced, change.top_k)
        found[0, k] = measure(loaded, halves, [drawn], on_batch=told.more, cancelled=cancelled)
    told.say("Intervals")
    losses = Losses(
        (change.name,), cells, tokens, full, changed[None], found,
        np.array([load + force_load]), (random_load + random_force_load)[None],
    )  # fmt: skip
    table = causal_table(losses, level=options.level, resamples=options.resamples, seed=options.seed)
    return WhatIf(change, table, what_if_sentence(table), losses, capture, len(chosen), len(documents))


def what_if_sentence(table: CausalTable) -> str:
    """What the change costs whom, against random experts of equal load, and what that does not prove."""
    part = table.excess if table.draws else table.change
    other = (
        f"the same change with random experts of equal load ({table.draws} draws)" if table.draws else "the full model"
    )
    worse = [n for n in range(len(table.groups)) if part.low[0, n] > 0]
    better = [n for n in range(len(table.groups)) if part.high[0, n] < 0]
    unsure = [n for n in range(len(table.groups)) if n not in worse and n not in better]
    said = [
        f"{word} {other} for {', '.join(_each(table, n) for n in which)}"
        for word, which in (
            ("the loss is higher than under", worse),
            ("the loss is lower than under", better),
            ("no difference that is more than chance from", unsure),
        )
        if which
    ]
    whole = "; ".join(said)
    return (
        f"{whole[:1].upper()}{whole[1:]}; nats a token, {table.level:.0%} intervals over documents. It shows what this model does without, "
        "not what the experts hold."
    )


def _each(table: CausalTable, column: int) -> str:
    part = table.excess if table.draws else table.change
    low, high = part.low[0, column], part.high[0, column]
    interval = "no interval from one document" if np.isnan(low) else f"{low:+.3f} to {high:+.3f}"
    return f"{table.groups[column]} ({part.value[0, column]:+.3f}, {interval})"
