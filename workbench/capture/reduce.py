"""Smaller captures of the same routing: fewer blocks, and no phase that nothing was recorded in.

A run that keeps a capture every hundred steps would otherwise fill the disk: the tables of 60 sites of 256 experts and six
groups take 94 MB with 32 blocks and both phases, and 12 MB with 8 blocks and one.
"""

from __future__ import annotations

import numpy as np

from workbench.capture.capture import Capture
from workbench.capture.errors import CaptureError
from workbench.capture.schema import LOAD_DIMS


def reduce(capture: Capture, blocks: int) -> Capture:
    """The same counts in fewer blocks, without empty phases.

    The block of a document is a hash modulo the number of blocks, so that blocks can be joined exactly where the new number
    divides the old one.

    Args:
        capture: in memory or read. blocks: a divisor of its number of blocks.

    Raises:
        CaptureError: if `blocks` does not divide them.
    """
    manifest = capture.manifest
    if blocks < 1 or manifest.blocks % blocks:
        raise CaptureError(
            f"A capture of {manifest.blocks} blocks can be joined into a number that divides it, not into {blocks}: choose one."
        )
    seen = capture.table("tokens").sum("block", "site", "group").values
    kept = [index for index in range(len(manifest.phases)) if seen[index]] or [0]
    load: dict[str, np.ndarray] = {}
    for name in LOAD_DIMS:
        values = capture.table(name).values[:, :, kept]
        load[name] = values.reshape(manifest.blocks // blocks, blocks, *values.shape[1:]).sum(axis=0)
    changed = manifest.model_copy(update={"blocks": blocks, "phases": tuple(manifest.phases[index] for index in kept)})
    return Capture(changed, load, coactivation=capture.coactivation, tokens=capture.tokens, curve=capture.curve)
