"""Losses by document and group under a change of the model, and under none: of texts, and of every modality for the unified model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.capture.errors import WorkbenchError
from workbench.causal.errors import CausalError
from workbench.causal.interventions import Intervention
from workbench.elastic.samples import read_any
from workbench.elastic.texts import Scores, Texts

if TYPE_CHECKING:
    from workbench.inputs import Document
    from workbench.models import LoadedModel

Cancelled = Callable[[], bool]


class Stopped(WorkbenchError):
    """The work was cancelled between two batches."""


@dataclass(frozen=True)
class Half:
    """Documents that are measured with the same choice of experts.

    Attributes:
        texts: their batches. first: number of their first cell among the cells of all halves.
    """

    texts: Texts
    first: int

    @property
    def rows(self) -> int:
        """Rows that one run reads: texts, or windows of long ones."""
        return sum(len(batch.ids) for batch in self.texts.batches)


def halves_of(
    loaded: LoadedModel,
    documents: Sequence[Sequence[Document]],
    *,
    group_by: str,
    batch_size: int,
    max_length: int | None,
) -> list[Half]:
    """Documents as batches, a half at a time; halves without a document are left out.

    Raises:
        CausalError: if the model is no causal language model of text.
        InputError, SweepError: if a document cannot be tokenized.
    """
    if loaded.is_encoder_decoder or not getattr(loaded.model, "can_generate", bool)():
        raise CausalError(
            f"The loss of the next token is measured, and '{loaded.info.id}' foretells none: use a causal language model."
        )
    halves: list[Half] = []
    first = 0
    for part in documents:
        if part:
            texts = read_any(loaded, part, group_by=group_by, batch_size=batch_size, max_length=max_length)
            halves.append(Half(texts, first))
            first += len(texts.cells)
    return halves


def measure(
    loaded: LoadedModel,
    halves: Sequence[Half],
    changes: Sequence[Intervention | None],
    *,
    on_batch: Callable[[int], None] | None = None,
    cancelled: Cancelled | None = None,
) -> np.ndarray:
    """Summed loss of every cell, float64 [C] in nats.

    Args:
        changes: what to change for each half; None for nothing.
        on_batch: told the number of rows of each batch that was run.

    Raises:
        Stopped: if cancelled.
        CausalError, SubModelError: if the change cannot be made.
    """
    import torch

    model: Any = loaded.model
    found = np.zeros(sum(len(half.texts.cells) for half in halves))
    for half, change in zip(halves, changes, strict=True):
        block: AbstractContextManager[Any] = nullcontext() if change is None or change.empty else change.applied(model)
        scores = Scores(len(half.texts.cells))
        with block, torch.inference_mode():
            for batch in half.texts.batches:
                if cancelled is not None and cancelled():
                    raise Stopped("The work was stopped on request, and nothing was kept: start it again when wanted.")
                out = model(**batch.arguments(model.device), use_cache=False)
                scores.add(batch, batch.answer(out))
                if on_batch is not None:
                    on_batch(len(batch.ids))
        found[half.first : half.first + len(scores.loss)] = scores.loss
    return found


def cells_of(halves: Sequence[Half]) -> tuple[tuple[tuple[str, str], ...], np.ndarray]:
    """(document, group) of every cell, and its predicted tokens int64 [C]."""
    cells = tuple(cell for half in halves for cell in half.texts.cells)
    return cells, np.concatenate([half.texts.tokens for half in halves])
