"""Samples of the unified model in a sweep: text, pictures, clips and sounds, read and made, scored by the six groups of the report.

What a position foresees decides its unit: a token of text (nats a token), the bits of a cell of a picture (nats a bit, every
cell alike), the codes of a step of sound (nats a code). Words about something that was read belong to the group of what was
read; sounds pool what is said about them and what is made of them, as the report's group Audio does.

Letters: B rows, T positions, n positions with a target.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.capture import DEFAULT_GROUPS
from workbench.elastic.errors import SweepError
from workbench.elastic.texts import Batch, Texts, read_texts

if TYPE_CHECKING:
    import torch

    from workbench.inputs import Document
    from workbench.models import LoadedModel
    from workbench.unified.config import UnifiedConfig
    from workbench.unified.segments import Sample
    from workbench.unified.tokenizers.bundle import Tokenizers

OWN_FAMILY = "unified_omni"
TEXT, IMAGE_READ, VIDEO_READ, IMAGE_MADE, VIDEO_MADE, AUDIO = (group.name for group in DEFAULT_GROUPS)


@dataclass(frozen=True)
class Item:
    """A sample with the names that its losses go under; without a group, each position goes to one of the six."""

    document: str
    sample: Sample
    group: str | None = None


@dataclass(frozen=True)
class SampleBatch(Batch):
    """Samples that run at once, a row each; `cell` is of the position that foresees, not of what it foresees.

    Attributes:
        inputs: arguments of the model's forward call, targets included.
    """

    inputs: Mapping[str, torch.Tensor]

    def arguments(self, device: Any) -> dict[str, Any]:
        return {name: value.to(device) for name, value in self.inputs.items()}

    def answer(self, output: Any) -> torch.Tensor:
        """float32 [B, T, 2]: loss of each position, and the share of its predictions that are right."""
        import torch

        return torch.stack([output.losses.token.float(), output.losses.right], dim=-1)

    def part(self, rows: int, length: int) -> Batch:
        """The whole batch: pictures and codes are laid out for all of its rows."""
        return self

    def words(self) -> torch.Tensor:
        from workbench.unified.layout import MODE_TEXT
        from workbench.unified.segments import SPECIALS

        return self.ids[(self.inputs["modality"] == MODE_TEXT) & (self.ids >= len(SPECIALS)) & self.mask.bool()]

    def scored(self, answer: torch.Tensor) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        found = answer.double().cpu().numpy()
        kept = self.cell >= 0
        yield self.cell[kept], found[..., 0][kept], found[..., 1][kept]

    def pieces(self) -> Iterator[bytes]:
        yield from super().pieces()
        for _, value in sorted(self.inputs.items()):
            yield value.contiguous().numpy().tobytes()


def takes_samples(loaded: LoadedModel) -> bool:
    """Whether the model is the unified one, which is scored on samples of every modality."""
    return loaded.info.family == OWN_FAMILY


def read_any(
    loaded: LoadedModel, documents: Sequence[Document], *, group_by: str, batch_size: int, max_length: int | None
) -> Texts:
    """The documents as batches that this model can be scored on: texts, and for the unified model samples of every modality.

    Raises:
        WorkbenchError: as for `read_texts` and `read_samples`.
    """
    read = read_samples if takes_samples(loaded) else read_texts
    return read(loaded, documents, group_by=group_by, batch_size=batch_size, max_length=max_length)


def read_samples(
    loaded: LoadedModel, documents: Sequence[Document], *, group_by: str, batch_size: int, max_length: int | None
) -> Texts:
    """Documents of any modality as batches; see `workbench.unified.documents` for what is foreseen of each.

    Raises:
        SweepError: if they cannot be grouped that way, or nothing is left to foresee.
        UnifiedError, InputError: if a document is of no use to the model.
    """
    from workbench.unified.checkpoint import tokenizers_beside
    from workbench.unified.documents import LENGTH, Reader

    if group_by in ("role", "phase"):
        raise SweepError(
            f"Samples of the unified model have no {group_by}, so --group-by {group_by} has nothing to go by: use another one, for example modality."
        )
    reader = Reader(tokenizers_beside(loaded.model, loaded.info.id), max_length or LENGTH)
    own = group_by != "modality"
    items = [
        Item(document.id, sample, (document.group or TEXT) if own else None)
        for document in documents
        for sample in reader.samples(document)
    ]
    config: Any = loaded.model.config
    return pack_samples(items, config, reader.tokenizers, batch_size)


def pack_samples(items: Sequence[Item], config: UnifiedConfig, tokenizers: Tokenizers, batch_size: int) -> Texts:
    """Samples as batches with a row each, long ones first.

    Raises:
        SweepError: if no position has a target.
    """
    from workbench.unified.batch import make_batch
    from workbench.unified.layout import lay_out

    order = sorted(range(len(items)), key=lambda number: -len(lay_out(items[number].sample, config)))
    cells: dict[tuple[str, str], int] = {}
    counts: list[int] = []
    batches: list[Batch] = []
    for start in range(0, len(order), batch_size):
        part = [items[number] for number in order[start : start + batch_size]]
        inputs = make_batch([item.sample for item in part], config, tokenizers)
        cell = np.full(tuple(inputs["input_ids"].shape), -1, dtype=np.int64)
        for row, item in enumerate(part):
            _mark(item, row, inputs, cell[row], cells, counts)
        mask = inputs["attention_mask"]
        batches.append(SampleBatch(inputs["input_ids"], mask, cell, int(mask.sum()), inputs))
    if not sum(counts):
        raise SweepError(
            "The inputs hold nothing that the model foresees, so there is no loss to measure: give texts, pictures, clips or sounds."
        )
    return Texts.of(batches, list(cells), counts)


def _mark(
    item: Item,
    row: int,
    inputs: Mapping[str, torch.Tensor],
    cell: np.ndarray,
    cells: dict[tuple[str, str], int],
    counts: list[int],
) -> None:
    """Fill in which cell each position of a row with a target belongs to, and count it."""
    for group, places in _groups(item.sample, row, inputs):
        if not len(places):
            continue
        number = cells.setdefault((item.document, item.group or group), len(cells))
        if number == len(counts):
            counts.append(0)
        cell[places] = number
        counts[number] += len(places)


def _groups(sample: Sample, row: int, inputs: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, np.ndarray]]:
    """(group, positions) of everything that a sample foresees; tokens that open and close a picture, clip or sound are certain and left out."""
    from workbench.unified.layout import MODE_VIDEO
    from workbench.unified.segments import BOA, BOI, BOV, EOA, EOI, EOS, EOV, Clip, Picture, Sound, Text

    labels = inputs["labels"][row].numpy()
    frame = [BOI, EOI, BOV, EOV, BOA, EOA]
    last = sample.segments[-1]
    if not (isinstance(last, Text) and last.learn):
        frame.append(EOS)
    kinds = {type(segment) for segment in sample.segments}
    said = next(
        (name for kind, name in ((Clip, VIDEO_READ), (Picture, IMAGE_READ), (Sound, AUDIO)) if kind in kinds), TEXT
    )
    yield said, np.flatnonzero((labels >= 0) & ~np.isin(labels, frame))
    if "bit_labels" in inputs:
        bits = inputs["bit_labels"][row, :, 0].numpy() >= 0
        video = inputs["modality"][row].numpy() == MODE_VIDEO
        yield IMAGE_MADE, np.flatnonzero(bits & ~video)
        yield VIDEO_MADE, np.flatnonzero(bits & video)
    if "audio_labels" in inputs:
        yield AUDIO, np.flatnonzero(inputs["audio_labels"][row, :, 0].numpy() >= 0)
