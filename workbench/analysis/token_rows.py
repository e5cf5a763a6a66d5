"""Token rows as arrays: what the measures that need single tokens read, one site at a time.

Letters: N token rows of a stack, K choices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from workbench.capture import Capture, CaptureError, Site
from workbench.capture.blocks import block_of

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Rows:
    """Labels of the kept token rows of one stack, in reading order (by document, then position).

    Attributes:
        order: int64 [N], place of each in the stored table.
        document: int64 [N], number of its document; names: document ids by that number.
        position: int64 [N].
        group: int64 [N], index in the capture's groups, -1 for none.
        phase: int64 [N], index in the capture's phases, -1 for none.
    """

    stack: str
    order: np.ndarray
    document: np.ndarray
    names: tuple[str, ...]
    position: np.ndarray
    group: np.ndarray
    phase: np.ndarray


def read_rows(capture: Capture, stack: str) -> Rows:
    """Labels of a stack's token rows; raises CaptureError if the capture has no token rows or no such stack."""
    table = capture.read_tokens(stack, ["document", "position", "group", "phase"])
    documents = [name if name is not None else "" for name in _plain(table, "document").to_pylist()]
    names, document = np.unique(np.asarray(documents, dtype=object).astype(str), return_inverse=True)
    position = np.asarray(table.column("position").fill_null(-1).to_numpy(), dtype=np.int64)
    order = np.lexsort((position, document))
    return Rows(
        stack=stack,
        order=order,
        document=document[order],
        names=tuple(str(name) for name in names),
        position=position[order],
        group=_codes(_plain(table, "group").to_pylist(), capture.groups)[order],
        phase=_codes(_plain(table, "phase").to_pylist(), capture.phases)[order],
    )


def read_column(capture: Capture, rows: Rows, name: str) -> np.ndarray:
    """An integer column such as "token_id" or "predicted_id" in the order of `rows`, -1 where it is null.

    Raises:
        CaptureError: in one sentence if the capture was recorded or shared without it.
    """
    try:
        column = capture.read_tokens(rows.stack, [name]).column(name)
    except (CaptureError, KeyError) as fault:
        raise CaptureError(
            f"The token rows of '{rows.stack}' have no {name.replace('_', ' ')}s: record the capture again with them (a capture shared "
            "with --no-text has none)."
        ) from fault
    return np.asarray(column.fill_null(-1).to_numpy(), dtype=np.int64)[rows.order]


def read_choices(
    capture: Capture, rows: Rows, site: Site, *, weights: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
    """Experts int64 [N, K] of a site, strongest first, -1 where there is none, and gate weights float32 [N, K] if asked for."""
    names = [f"experts_{site.id}"] + ([f"weights_{site.id}"] if weights else [])
    table = capture.read_tokens(rows.stack, names)
    ids = _padded(table.column(names[0]), site.top_k, -1, np.int64)[rows.order]
    if not weights:
        return ids, None
    gate = _padded(table.column(names[1]), site.top_k, 0.0, np.float32)[rows.order]
    return ids, np.where(ids >= 0, np.nan_to_num(gate), 0.0)


def document_blocks(capture: Capture, rows: Rows) -> np.ndarray:
    """int64 [N]: the block of each row's document, as the counts were divided."""
    blocks = np.array([block_of(name, capture.manifest.blocks) for name in rows.names], dtype=np.int64)
    return blocks[rows.document] if len(blocks) else np.zeros(0, dtype=np.int64)


def read_scores(capture: Capture, rows: Rows, site: Site) -> np.ndarray:
    """The router's score of every expert, float32 [N, E], NaN where the site did not see the token.

    Raises:
        CaptureError: in one sentence if the capture was recorded without scores.
    """
    try:
        column = capture.read_tokens(rows.stack, [f"scores_{site.id}"]).column(0)
    except (CaptureError, KeyError) as fault:
        raise CaptureError(
            f"The token rows have no router scores at {site.id}: record the capture again with scores (`--streams scores`)."
        ) from fault
    return _padded(column, site.experts, np.nan, np.float32)[rows.order]


def read_words(capture: Capture, rows: Rows, name: str = "piece") -> np.ndarray:
    """A column of words ("piece", "modality", "role") in the order of `rows`: str or None; all None where it was not kept."""
    try:
        table = capture.read_tokens(rows.stack, [name])
        words = _plain(table, name).to_pylist()
    except (CaptureError, KeyError):
        return np.full(len(rows.order), None, dtype=object)
    return np.asarray(words, dtype=object)[rows.order]


def need_rows(capture: Capture, what: str) -> None:
    """Raises CaptureError saying that `what` needs token rows, if there are none."""
    if not capture.has("tokens"):
        raise CaptureError(
            f"{what} is counted over single tokens, but this capture has no token rows: record it again with tokens=True."
        )


def chosen_sites(capture: Capture, sites: str | Sequence[str] | None) -> tuple[Site, ...]:
    """The named sites, or all; raises CaptureError for an unknown one or an empty choice."""
    from workbench.analysis.select import all_sites

    names = all_sites(capture) if sites is None else (sites,) if isinstance(sites, str) else tuple(dict.fromkeys(sites))
    if not names:
        raise CaptureError(
            "At least one site was expected, but none was chosen: choose one, or leave the choice out for all."
        )
    return tuple(capture.site(name) for name in names)


def _padded(column: pa.ChunkedArray, width: int, fill: float, kind: type) -> np.ndarray:
    """A list column as [N, width], short and null lists filled up."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0).to_numpy(), dtype=np.int64)
    flat = pc.list_flatten(column)
    if pa.types.is_float16(flat.type):
        flat = flat.cast(pa.float32())
    values = flat.to_numpy()
    width = max(width, int(lengths.max(initial=0)))
    out: np.ndarray = np.full((len(lengths), width), fill, dtype=kind)
    place = np.arange(len(values)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    out[np.repeat(np.arange(len(lengths)), lengths), place] = values
    return out


def _plain(table: pa.Table, name: str) -> pa.ChunkedArray:
    import pyarrow as pa

    column = table.column(name)
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _codes(values: list[str | None], names: Sequence[str]) -> np.ndarray:
    known = {name: index for index, name in enumerate(names)}
    return np.array([known.get(value, -1) if value is not None else -1 for value in values], dtype=np.int64)
