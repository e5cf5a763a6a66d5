"""The tokens behind a cell of the heat map: where one expert of one site was chosen, in context.

Reads the token rows of the site's own stack, and of these only the columns it needs, so that a click costs one site and
not the capture. Letters: N token rows of the stack, K chosen experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from workbench.capture import Capture, CaptureError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Order = Literal["strongest", "random"]
_COLUMNS = ("document", "position", "group", "phase", "modality")


@dataclass(frozen=True)
class Piece:
    """One token of a context.

    Attributes:
        text: what the token says, or None where that was not kept or it says nothing (a patch of a picture).
        weight: gate weight of the expert for this token, 0 where it was not chosen.
        chosen: whether the expert was among the token's chosen ones.
        modality: "text", "image", ... or None if unknown.
        group: the group that it counts in, or None (special tokens).
    """

    text: str | None
    weight: float
    chosen: bool
    modality: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Context:
    """One token for which the expert was chosen, with its neighbours in the same document.

    Attributes:
        document: id of the document.
        position: the token's own position in it.
        group: the token's group.
        phase: "prefill" or "decode".
        weight: gate weight of the expert for it.
        pieces: the window, in reading order.
        centre: index of the token in `pieces`.
        cut_before, cut_after: whether the document goes on beyond the window.
    """

    document: str
    position: int
    group: str | None
    phase: str | None
    weight: float
    pieces: tuple[Piece, ...]
    centre: int
    cut_before: bool
    cut_after: bool


@dataclass(frozen=True)
class Examples:
    """What `tokens_behind` found.

    Attributes:
        site: id of the site.
        expert: number of the expert; -1 where tokens were picked otherwise (`tokens_at`), and then a weight says nothing.
        group, phase: the filter, None for all.
        contexts: the examples shown, strongest first or in random order.
        found: kept token rows that chose the expert and pass the filter.
        rows: kept token rows that reached the site and pass the filter.
        kept, seen: token rows of the stack that were kept, of all that were seen.
        strongest: largest gate weight among the rows found, the top of the colour scale.
        has_text: whether the pieces were kept.
    """

    site: str
    expert: int
    group: str | None
    phase: str | None
    contexts: tuple[Context, ...]
    found: int
    rows: int
    kept: int
    seen: int
    strongest: float
    has_text: bool

    def frame(self) -> pd.DataFrame:
        """A row a context: document, position, group, phase, gate weight, and the text before, of and after the token."""
        import pandas as pd

        def text(pieces: tuple[Piece, ...]) -> str:
            return "".join(piece.text or "" for piece in pieces)

        rows = [
            {
                "site": self.site,
                "expert": self.expert,
                "document": context.document,
                "position": context.position,
                "group": context.group,
                "phase": context.phase,
                "gate_weight": context.weight,
                "before": text(context.pieces[: context.centre]),
                "token": text(context.pieces[context.centre : context.centre + 1]),
                "after": text(context.pieces[context.centre + 1 :]),
            }
            for context in self.contexts
        ]
        columns = [
            "site",
            "expert",
            "document",
            "position",
            "group",
            "phase",
            "gate_weight",
            "before",
            "token",
            "after",
        ]
        return pd.DataFrame(rows, columns=columns)


def tokens_behind(
    capture: Capture,
    site_id: str,
    expert: int,
    group: str | None = None,
    phase: str | None = None,
    limit: int = 50,
    window: int = 24,
    order: Order = "strongest",
    seed: int = 0,
) -> Examples:
    """The tokens for which `expert` of a site was chosen, each in its context.

    A token that already stands inside an earlier window is not shown a second time: it is coloured there.

    Args:
        capture: with token rows.
        site_id: id of the site.
        expert: number of the expert at this site.
        group: only tokens of this group; None for all.
        phase: only tokens of this phase; None for both.
        limit: most contexts to return.
        window: tokens shown before and after each.
        order: "strongest" gate weight first, or a "random" sample that does not pick the clearest cases.
        seed: of the random order.

    Raises:
        CaptureError: for a site, expert, group or phase that is not there, or a capture without token rows.
    """
    site = capture.site(site_id)
    if not 0 <= expert < site.experts:
        raise CaptureError(
            f"Site {site.id} has the experts 0 to {site.experts - 1}, and expert {expert} was asked for: choose one of them."
        )
    if group is not None:
        capture.group_index(group)
    if phase is not None and phase not in capture.phases:
        raise CaptureError(
            f"This capture has the phases {', '.join(capture.phases)}, not '{phase}': choose one of them."
        )
    table, has_text = _read(capture, site.stack, site.id)
    chosen, weight, reached = _choices(table, site.id, expert)
    groups, phases = _strings(table, "group"), _strings(table, "phase")
    wanted = np.ones(table.num_rows, dtype=bool)
    if group is not None:
        wanted &= groups == group
    if phase is not None:
        wanted &= phases == phase
    hits = np.flatnonzero(chosen & wanted)
    reading = _Reading(table, chosen, weight, groups, phases, has_text)
    ordered = hits[np.argsort(-weight[hits], kind="stable")]
    if order == "random":
        ordered = np.random.default_rng(seed).permutation(hits)
    sampling = capture.manifest.sampling.get(site.stack)
    return Examples(
        site=site.id,
        expert=expert,
        group=group,
        phase=phase,
        contexts=reading.contexts(ordered, limit, window),
        found=int(hits.size),
        rows=int((reached & wanted).sum()),
        kept=sampling.kept if sampling is not None else table.num_rows,
        seen=sampling.seen if sampling is not None else table.num_rows,
        strongest=float(weight[hits].max()) if hits.size else 0.0,
        has_text=has_text,
    )


def tokens_at(
    capture: Capture,
    stack: str,
    places: Sequence[tuple[str, int]],
    limit: int = 50,
    window: int = 24,
    seed: int = 0,
) -> Examples:
    """Tokens named by document and position, each in its context, in a random order that a seed fixes.

    Args:
        capture: with token rows. stack: of the tokens.
        places: (document, position) of each; those that the capture does not hold are passed over.
        limit: most contexts to return. window: tokens shown before and after each.

    Raises:
        CaptureError: for a capture without token rows, or a stack that is not there.
    """
    table, has_text = _read(capture, stack)
    documents, positions = _strings(table, "document"), table.column("position").to_numpy()
    wanted = set(places)
    chosen = np.array([place in wanted for place in zip(documents, positions.tolist(), strict=True)], dtype=bool)
    hits = np.flatnonzero(chosen)
    reading = _Reading(
        table, chosen, chosen.astype(np.float32), _strings(table, "group"), _strings(table, "phase"), has_text
    )
    sampling = capture.manifest.sampling.get(stack)
    return Examples(
        site="",
        expert=-1,
        group=None,
        phase=None,
        contexts=reading.contexts(np.random.default_rng(seed).permutation(hits), limit, window),
        found=int(hits.size),
        rows=table.num_rows,
        kept=sampling.kept if sampling is not None else table.num_rows,
        seen=sampling.seen if sampling is not None else table.num_rows,
        strongest=1.0 if hits.size else 0.0,
        has_text=has_text,
    )


def _read(capture: Capture, stack: str, site_id: str | None = None) -> tuple[pa.Table, bool]:
    """The columns needed, and whether the pieces are among them (a capture shared without text has none)."""
    columns = [*_COLUMNS, *([] if site_id is None else [f"experts_{site_id}", f"weights_{site_id}"])]
    try:
        return capture.read_tokens(stack, [*columns, "piece"]), True
    except (CaptureError, KeyError):
        return capture.read_tokens(stack, columns), False


def _choices(table: pa.Table, site_id: str, expert: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each row: bool [N] chosen, float32 [N] gate weight (0 if not), bool [N] whether it reached the site."""
    import pyarrow as pa
    import pyarrow.compute as pc

    experts, weights = table.column(f"experts_{site_id}"), table.column(f"weights_{site_id}")
    # null: the site did not see this token; its list counts as empty.
    lengths = pc.fill_null(pc.list_value_length(experts), 0).to_numpy()
    weight_lengths = pc.fill_null(pc.list_value_length(weights), 0).to_numpy()
    if not np.array_equal(lengths, weight_lengths):
        raise CaptureError(
            f"The token rows of site {site_id} have other numbers of experts than of gate weights: "
            "the capture is damaged, copy it again."
        )
    ids = pc.list_flatten(experts).to_numpy()
    values = pc.list_flatten(weights).cast(pa.float32()).to_numpy()
    rows = np.repeat(np.arange(table.num_rows), lengths)
    here = ids == expert
    chosen = np.zeros(table.num_rows, dtype=bool)
    weight = np.zeros(table.num_rows, dtype=np.float32)
    chosen[rows[here]] = True
    weight[rows[here]] = np.nan_to_num(values[here])
    return chosen, weight, lengths > 0


def _strings(table: pa.Table, name: str) -> np.ndarray:
    """A column as an object array of str or None."""
    import pyarrow as pa

    column = table.column(name)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return np.asarray(column.to_pylist(), dtype=object)


class _Reading:
    """Token rows in reading order, document by document, from which windows are cut."""

    def __init__(
        self,
        table: pa.Table,
        chosen: np.ndarray,
        weight: np.ndarray,
        groups: np.ndarray,
        phases: np.ndarray,
        has_text: bool,
    ) -> None:
        self._chosen, self._weight, self._groups, self._phases = chosen, weight, groups, phases
        documents = _strings(table, "document")
        self._documents = documents
        self._positions = table.column("position").to_numpy()
        self._modalities = table.column("modality")
        self._pieces = table.column("piece") if has_text else None
        _, code = np.unique(documents.astype(str), return_inverse=True)
        self._order = np.lexsort((self._positions, code))  # rows in reading order
        self._place = np.empty_like(self._order)
        self._place[self._order] = np.arange(self._order.size)
        ordered = code[self._order]
        change = np.flatnonzero(np.diff(ordered)) + 1
        self._starts = np.concatenate(([0], change)) if ordered.size else np.zeros(0, dtype=int)
        self._stops = np.concatenate((change, [ordered.size])) if ordered.size else np.zeros(0, dtype=int)

    def contexts(self, rows: np.ndarray, limit: int, window: int) -> tuple[Context, ...]:
        """Windows round the rows, in the order given, at most `limit`; a row already shown is passed over."""
        shown = np.zeros(self._order.size, dtype=bool)
        found: list[Context] = []
        for row in rows:
            if len(found) >= limit:
                break
            place = int(self._place[row])
            if shown[place]:
                continue
            document = int(np.searchsorted(self._starts, place, side="right")) - 1
            first, last = int(self._starts[document]), int(self._stops[document])
            low, high = max(first, place - window), min(last, place + window + 1)
            shown[low:high] = True
            found.append(
                Context(
                    document=str(self._documents[row]),
                    position=int(self._positions[row]),
                    group=self._groups[row],
                    phase=self._phases[row],
                    weight=float(self._weight[row]),
                    pieces=tuple(self._piece(int(other)) for other in self._order[low:high]),
                    centre=place - low,
                    cut_before=low > first,
                    cut_after=high < last,
                )
            )
        return tuple(found)

    def _piece(self, row: int) -> Piece:
        text = None if self._pieces is None else self._pieces[row].as_py()
        return Piece(
            text=text or None,
            weight=float(self._weight[row]),
            chosen=bool(self._chosen[row]),
            modality=self._modalities[row].as_py(),
            group=self._groups[row],
        )
