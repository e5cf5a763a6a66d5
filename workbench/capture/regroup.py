"""Captures whose groups are the phases: what is counted apart is reading (prefill) against writing (decode)."""

from __future__ import annotations

import numpy as np

from workbench.capture.capture import Capture
from workbench.capture.schema import LOAD_DIMS, Group


def group_by_phase(capture: Capture) -> Capture:
    """The same capture with a group a phase, its groups until now summed; phases without a token are left out.

    Args:
        capture: any capture in memory.
    """
    import pyarrow as pa

    manifest = capture.manifest
    seen = capture.table("tokens").sum("block", "site", "group").values
    kept = [index for index in range(len(manifest.phases)) if seen[index]]
    load: dict[str, np.ndarray] = {}
    for name, dims in LOAD_DIMS.items():
        values = capture.table(name).values
        axis = dims.index("group")
        summed = values.sum(axis=axis)  # [Bk, S, P] or [Bk, S, P, E]
        made = np.zeros((*values.shape[:axis], len(kept), *values.shape[axis + 1 :]), dtype=values.dtype)
        for group, phase in enumerate(kept):
            made[:, :, phase, group] = summed[:, :, phase]
        load[name] = made
    names = [manifest.phases[phase] for phase in kept]
    # Sites may share the tokens of a stack in reading (text and vision experts), never in writing: the rest was read.
    counts = load["tokens"].sum(axis=(0, 2))  # [S, G]
    totals: dict[str, dict[str, int]] = {}
    for stack, groups in manifest.tokens.items():
        own = [index for index, site in enumerate(manifest.sites) if site.stack == stack]
        later = {name: int(counts[own, group].max(initial=0)) for group, name in enumerate(names) if group}
        totals[stack] = {names[0]: sum(groups.values()) - sum(later.values()), **later} if names else {}
    tokens = None
    if capture.tokens is not None:
        tokens = {}
        for stack, table in capture.tokens.items():
            place = table.column_names.index("group")
            tokens[stack] = table.set_column(
                place, "group", table.column("phase").cast(pa.dictionary(pa.int32(), pa.string()))
            )
    changed = manifest.model_copy(
        update={"groups": tuple(Group(name=name) for name in names), "grouped_by": "phase", "tokens": totals}
    )
    return Capture(changed, load, coactivation=capture.coactivation, tokens=tokens, curve=capture.curve)
