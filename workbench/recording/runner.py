"""One model with its options: documents into batches of rows, and batches through the model."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from workbench.inputs import Document, InputError
from workbench.inputs.media_rows import MediaMaker, MediaRow
from workbench.inputs.rows import Row, RowMaker
from workbench.recording.options import RecordingError, RecordOptions, pad_id, row_length
from workbench.recording.progress import Tally

if TYPE_CHECKING:
    import torch

    from probes import RoutingProbe
    from workbench.models import LoadedModel
    from workbench.unified.recording import SampleMaker

# Documents that are tokenized at a time, in batches: enough to sort rows by length, little enough to start at once.
_BUFFERED_BATCHES = 32
_BY_PROBE = ("modality", "phase")  # groups that the probe tells by itself


class Runner:
    """One model with its options: makes batches, and runs them."""

    def __init__(self, loaded: LoadedModel, options: RecordOptions) -> None:
        self.loaded, self.options = loaded, options
        self.model: Any = loaded.model
        self.device = loaded.model.device
        self.max_length = row_length(loaded, options)
        by_role = options.group_by == "role"
        generating = options.generate > 0
        self.texts = (
            RowMaker(loaded.tokenizer, self.max_length, by_role=by_role, generating=generating)
            if loaded.tokenizer is not None
            else None
        )
        self.media = media_maker(loaded, by_role=by_role, generating=generating)
        self.parameters = inspect.signature(type(loaded.model).forward).parameters
        self.pad = pad_id(loaded)
        if generating and not (hasattr(loaded.model, "can_generate") and loaded.model.can_generate()):
            raise RecordingError(
                f"The model '{loaded.info.id}' ({type(loaded.model).__name__}) cannot generate: leave --generate out."
            )

    def check(self, documents: Sequence[Document]) -> None:
        """Refuse documents that this model cannot take before anything is run."""
        for document in documents:
            if document.media:
                self.media.check(document)
            elif self.texts is None:
                kinds = " and ".join(sorted(self.loaded.modalities)) or "nothing that is read here"
                raise InputError(
                    f"'{document.id}' is a text, and the model '{self.loaded.info.id}' has no tokenizer (it takes {kinds})."
                )

    def batches(self, documents: Sequence[Document], tally: Tally) -> Iterator[list[Row] | list[MediaRow]]:
        """Batches of rows of nearly the same length and the same prompt; a document with media is one by itself."""
        step = self.options.batch_size * _BUFFERED_BATCHES
        for start in range(0, len(documents), step):
            rows: list[Row] = []
            for document in documents[start : start + step]:
                if document.media or self.texts is None:
                    tally.plan(document.id, 1)
                    yield [self.media.row(document)]
                    continue
                made = self.texts.rows(document)
                tally.plan(document.id, len(made))
                rows += made
            # The longest first: too large a batch fails at once. A document's last window follows its others.
            rows.sort(key=lambda row: (row.prefix, self._writes(row), -len(row.ids)))
            yield from self._alike(rows)

    def _writes(self, row: Row) -> bool:
        """Whether the model writes on after this row: what it wrote inside a document would stand before the next window."""
        return self.options.generate > 0 and row.last

    def _alike(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Rows in batches of one prompt, all of them written on or none."""
        size = self.options.batch_size
        for _, group in itertools.groupby(rows, key=lambda row: (row.prefix, self._writes(row))):
            same = list(group)
            yield from (same[start : start + size] for start in range(0, len(same), size))

    def run(self, probe: RoutingProbe, batch: Sequence[Row] | Sequence[MediaRow]) -> None:
        first = batch[0]
        if isinstance(first, MediaRow):
            self._run_media(probe, first)
        else:
            self._run_rows(probe, [row for row in batch if isinstance(row, Row)])

    def _run_rows(self, probe: RoutingProbe, rows: Sequence[Row]) -> None:
        import numpy as np
        import torch

        width = max(len(row.ids) for row in rows)
        ids = torch.full((len(rows), width), self.pad, dtype=torch.int64)
        mask = torch.zeros((len(rows), width), dtype=torch.int64)
        offsets = np.zeros((len(rows), width, 2), dtype=np.int64)
        groups = np.full((len(rows), width), None, dtype=object)
        # generate() continues the last column, so padding stands before the text there.
        writes = self._writes(rows[0])
        left = writes and not self.loaded.is_encoder_decoder
        for number, row in enumerate(rows):
            place = slice(width - len(row.ids), width) if left else slice(0, len(row.ids))
            ids[number, place] = torch.tensor(row.ids)
            mask[number, place] = 1
            if row.offsets is not None:
                offsets[number, place] = row.offsets
            groups[number, place] = row.groups if row.groups is not None else row.group
        probe.label(
            documents=[row.document for row in rows],
            groups=self._groups(rows, groups),
            offsets=offsets if all(row.offsets is not None for row in rows) else None,
            prefix_ids=rows[0].prefix,
        )
        self._forward({"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}, writes)

    def _groups(self, rows: Sequence[Row], grid: Any) -> Any:
        if self.options.group_by in _BY_PROBE:
            return None
        return grid if any(row.groups is not None for row in rows) else [row.group for row in rows]

    def _run_media(self, probe: RoutingProbe, row: MediaRow) -> None:
        import numpy as np

        groups: Any = None
        if self.options.group_by not in _BY_PROBE:
            groups = [row.group] * row.rows
            if row.groups is not None:
                groups = np.array([row.groups], dtype=object)
        probe.label(documents=[row.document] * row.rows, groups=groups)
        inputs = {name: self._placed(value, row.exact) for name, value in row.inputs.items()}
        self._forward(inputs, self.options.generate > 0)

    def _placed(self, value: Any, exact: bool) -> Any:
        """A tensor on the model's device, floats in its number format unless they are to stay exact."""
        if not hasattr(value, "to"):
            return value
        if exact or not value.is_floating_point():
            return value.to(self.device)
        return value.to(self.device, self.model.dtype)

    def _forward(self, inputs: dict[str, Any], writes: bool) -> None:
        if writes:
            self.model.generate(
                **inputs, max_new_tokens=self.options.generate, do_sample=False, num_beams=1, pad_token_id=self.pad
            )
            return
        if "use_cache" in self.parameters:
            inputs["use_cache"] = False
        if "logits_to_keep" in self.parameters:
            inputs["logits_to_keep"] = 1  # routing needs no vocabulary
        if self.loaded.is_encoder_decoder and "decoder_input_ids" in self.parameters:
            inputs["decoder_input_ids"] = self._decoder_start(inputs["input_ids"])
        self.model(**inputs)

    def _decoder_start(self, ids: torch.Tensor) -> torch.Tensor:
        """A decoder is given its start token alone: what it would write is only known by --generate."""
        config = self.model.config
        start = getattr(config, "decoder_start_token_id", None)
        return ids.new_full((len(ids), 1), self.pad if start is None else int(start))


def media_maker(loaded: LoadedModel, *, by_role: bool = False, generating: bool = False) -> MediaMaker | SampleMaker:
    """What makes inputs of files and chats for this model: its processor, or the own way of the unified model."""
    if loaded.is_unified:
        from workbench.unified.recording import SampleMaker

        return SampleMaker(loaded, by_role=by_role, generating=generating)
    return MediaMaker(loaded.processor, loaded.modalities, loaded.info.id, by_role=by_role, generating=generating)


def length_of(row: Row | MediaRow) -> int:
    """Tokens of a row, padding left out; 1 for a row of media without text."""
    if isinstance(row, Row):
        return len(row.ids)
    ids = row.inputs.get("input_ids")
    return int(ids.numel()) if ids is not None else 1
