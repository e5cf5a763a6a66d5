"""What must hold in every capture, checked before it is written and on request after it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workbench.capture.errors import CaptureError
from workbench.capture.schema import LOAD_DIMS, LOAD_DTYPES

if TYPE_CHECKING:
    from workbench.capture.capture import Capture


def validate(capture: Capture) -> None:
    """Check shapes, types, signs and sums; raises CaptureError naming table and site of the first fault.

    The sums: routed + dropped + skipped choices = tokens seen x top-k at every site; the diagonal of the co-activation
    equals the count.
    """
    for name in LOAD_DIMS:
        values = capture.table(name).values
        if values.dtype != LOAD_DTYPES[name]:
            raise CaptureError(f"The table {name} must be {LOAD_DTYPES[name]}, but is {values.dtype}: record it again.")
        if name != "mass" and (values < 0).any():
            raise CaptureError(f"The table {name} holds a negative number, which no count can be: record it again.")
    _check_padding(capture)
    _check_sums(capture)
    _check_coactivation(capture)
    _check_tokens(capture)


def _fail(capture: Capture, index: int, what: str) -> CaptureError:
    return CaptureError(f"Site {capture.sites[index].id} {what}: the capture is not consistent, record it again.")


def _check_padding(capture: Capture) -> None:
    if not np.isfinite(capture.mass).all():
        raise CaptureError(
            "A gate weight is not a finite number: the model gave NaN or infinity, check its dtype and input."
        )
    outside = ~capture.expert_mask
    for name, values in (("count", capture.count), ("mass", capture.mass)):
        if outside.any() and values.transpose(0, 2, 1)[outside].any():
            index = int(np.argwhere((values.any(axis=1)) & outside)[0][0])
            raise _fail(capture, index, f"has a {name} for an expert that it does not have")


def _check_sums(capture: Capture) -> None:
    routed = capture.count.sum(axis=(1, 2))
    lost = (capture.dropped + capture.skipped).sum(axis=1)
    due = capture.token_count.sum(axis=1) * np.array([site.top_k for site in capture.sites], dtype=np.int64)
    wrong = np.flatnonzero(routed + lost != due)
    if wrong.size:
        index = int(wrong[0])
        raise _fail(
            capture,
            index,
            f"has {routed[index]} routed and {lost[index]} dropped or skipped choices where tokens x top-k is {due[index]}",
        )


def _check_coactivation(capture: Capture) -> None:
    square = capture.coactivation
    if square is None:
        return
    if (square < 0).any() or not np.array_equal(square, square.transpose(0, 2, 1)):
        raise CaptureError("The co-activation is negative or not symmetric: the capture is damaged, record it again.")
    diagonal = np.diagonal(square, axis1=1, axis2=2)
    wrong = np.flatnonzero((diagonal != capture.count.sum(axis=1)).any(axis=1))
    if wrong.size:
        raise _fail(capture, int(wrong[0]), "has a co-activation whose diagonal differs from its counts")


def _check_tokens(capture: Capture) -> None:
    tokens = capture.tokens
    if tokens is None:
        return
    for stack, table in tokens.items():
        sampling = capture.manifest.sampling.get(stack)
        if sampling is None or sampling.kept != table.num_rows:
            kept = "nothing" if sampling is None else sampling.kept
            raise CaptureError(
                f"The manifest says that {kept} token rows of '{stack}' were kept, but {table.num_rows} are there: "
                "record the capture again."
            )
        for site in capture.sites:
            if site.stack == stack and f"experts_{site.id}" not in table.column_names:
                raise CaptureError(f"The token rows of '{stack}' lack the column experts_{site.id}: record it again.")
