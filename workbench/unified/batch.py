"""From layouts to the tensors of a forward call: packing into rows, encoding of pictures, bit flips, hidden frames.

Letters: B rows, T positions of a row, Z bits of a cell, A audio levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from workbench.unified.config import UnifiedConfig
from workbench.unified.layout import NONE, Media, lay_out
from workbench.unified.pyramid import cells_of_scales, pyramid
from workbench.unified.segments import PAD, TASKS, Sample, UnifiedError

if TYPE_CHECKING:
    from workbench.unified.tokenizers.bundle import Tokenizers

FIELDS = ("block", "frame", "modality", "role", "scale", "labels")  # the columns of a layout


@dataclass(frozen=True)
class Noise:
    """What training does to the inputs; nothing by default."""

    flip: float = 0.0  # a picture's bits are flipped with a probability drawn from U(0, flip)
    hide_frame: float = 0.0  # probability that a frame that was made is hidden from later ones
    generator: torch.Generator | None = None


def pack(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Rows of samples that fit into `width` positions, longest first, each into the first row with room.

    Raises:
        UnifiedError: a sample is longer than a row.
    """
    if lengths and max(lengths) > width:
        raise UnifiedError(
            f"Expected samples of at most {width} tokens, got one of {max(lengths)}: shorten it, or widen the rows."
        )
    rows: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = next((row for row, left in enumerate(room) if left >= lengths[number]), None)
        if place is None:
            rows.append([number])
            room.append(width - lengths[number])
        else:
            rows[place].append(number)
            room[place] -= lengths[number]
    return rows


def make_batch(
    samples: Sequence[Sample],
    config: UnifiedConfig,
    tokenizers: Tokenizers,
    *,
    width: int | None = None,
    noise: Noise | None = None,
) -> dict[str, Tensor]:
    """The keyword arguments of the model's forward call.

    Args:
        samples: to be laid out.
        config: of the model.
        tokenizers: encode the pictures.
        width: positions of a row, into which samples are packed; all rows are wider where a sample is longer (a user's long sound or
            caption). None gives every sample a row of its own.
        noise: flips and hidden frames of training.

    Returns:
        input_ids, attention_mask, positions, document, block, frame, hidden, modality, role, scale, task, labels and, where the
        samples have them, visual, before, bit_labels, whole, whole_index, features, pixels, patch_index, audio_codes, audio_labels.
    """
    layouts = [lay_out(sample, config) for sample in samples]
    lengths = [len(layout) for layout in layouts]
    rows = [[number] for number in range(len(layouts))] if width is None else pack(lengths, max(width, *lengths))
    columns = max(sum(lengths[number] for number in row) for row in rows)
    shape = (len(rows), columns)
    ids = np.full(shape, PAD, np.int64)
    places = np.zeros((*shape, 3), np.float32)
    fields = np.zeros((*shape, len(FIELDS)), np.int64)
    fields[..., 1], fields[..., 4], fields[..., 5] = -1, -1, NONE
    document = np.full(shape, -1, np.int64)
    task = np.full(shape, -1, np.int64)
    media: list[tuple[int, Media]] = []  # flat offset of the sample, and its media
    for number_row, row in enumerate(rows):
        at = 0
        for order, number in enumerate(row):
            here = (number_row, slice(at, at + lengths[number]))
            ids[here], places[here], fields[here] = layouts[number].arrays()
            document[here] = order
            task[here] = TASKS.index(samples[number].task) if samples[number].task in TASKS else len(TASKS)
            media += [(number_row * columns + at, item) for item in layouts[number].media]
            at += lengths[number]
    out: dict[str, Tensor] = {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy((document >= 0).astype(np.int64)),
        "positions": torch.from_numpy(places),
        "document": torch.from_numpy(document),
        "task": torch.from_numpy(task),
        **{name: torch.from_numpy(fields[..., number].copy()) for number, name in enumerate(FIELDS)},
        "hidden": torch.zeros(shape, dtype=torch.bool),
    }
    noise = noise or Noise()
    _fill_read(out, media, config, tokenizers)
    _fill_drawn(out, media, config, tokenizers, noise)
    _fill_audio(out, media, config)
    return out


def to_pixels(values: np.ndarray) -> Tensor:
    """uint8 pixels as float32 from 0 to 1."""
    return torch.from_numpy(np.ascontiguousarray(values)).float() / 255


def encode(media: Sequence[Media], tokenizers: Tokenizers, part: str) -> Tensor:
    """Latent or features of every frame of these media, in order.

    Args:
        media: pictures and clips; clips go through the causal video encoder.
        tokenizers: hold the image tokenizer.
        part: "latent" or "features".

    Returns:
        float [frames, channels, side, side].
    """
    groups: dict[tuple[bool, int], list[int]] = {}
    for number, item in enumerate(media):
        groups.setdefault((item.video, len(item.values)), []).append(number)
    found: dict[int, Tensor] = {}
    with torch.no_grad():
        for (video, _), numbers in groups.items():
            pixels = to_pixels(np.stack([media[number].values for number in numbers]))
            encoded = tokenizers.image.encode_video(pixels) if video else tokenizers.image.encode(pixels[:, 0])
            values = getattr(encoded, part)
            for row, number in enumerate(numbers):
                found[number] = values[row] if video else values[row][None]
    return torch.cat([found[number] for number in range(len(media))])


def frame_starts(media: Sequence[tuple[int, Media]]) -> Tensor:
    """Flat position at which each frame begins, int64 [frames]."""
    return torch.tensor(
        [base + item.start + frame * item.stride for base, item in media for frame in range(len(item.values))]
    )


def _fill_read(
    out: dict[str, Tensor], media: list[tuple[int, Media]], config: UnifiedConfig, tokenizers: Tokenizers
) -> None:
    found = [(base, item) for base, item in media if item.kind == "read"]
    if not found:
        return
    out["pixels"] = torch.cat([to_pixels(item.values) for _, item in found])
    out["features"] = encode([item for _, item in found], tokenizers, "features")
    out["patch_index"] = (frame_starts(found)[:, None] + torch.arange(config.read_tokens)).flatten()


def _fill_drawn(
    out: dict[str, Tensor],
    media: list[tuple[int, Media]],
    config: UnifiedConfig,
    tokenizers: Tokenizers,
    noise: Noise,
) -> None:
    found = [(base, item) for base, item in media if item.kind == "drawn"]
    if not found:
        return
    latent = encode([item for _, item in found], tokenizers, "latent")
    starts = frame_starts(found)
    frames, cells, bits = len(latent), config.drawn_tokens, config.image_bits
    flips = None
    if noise.flip > 0:
        rate = torch.rand(frames, 1, 1, generator=noise.generator) * noise.flip
        flips = [torch.rand(frames, n * n, bits, generator=noise.generator) < rate for n in config.image_scales]
    split = pyramid(latent, config.image_scales, tokenizers.image.amplitudes, flips)
    rows = out["input_ids"].numel()
    visual = torch.zeros(rows, bits)
    labels = torch.full((rows, bits), -1, dtype=torch.int8)
    labels[(starts[:, None] + torch.arange(cells)).flatten()] = torch.cat(split.bits, 1).flatten(0, 1).to(torch.int8)
    after = (starts[:, None] + torch.arange(1, cells)).flatten()
    visual[after] = torch.cat(split.inputs, 1).flatten(0, 1).float()
    shape = (*out["input_ids"].shape, bits)
    out["visual"], out["bit_labels"] = visual.view(shape), labels.view(shape)
    out["whole"], out["whole_index"] = split.total.flatten(1).float(), starts + cells
    hide = torch.zeros(frames, dtype=torch.bool)
    if noise.hide_frame > 0:
        hide = torch.rand(frames, generator=noise.generator) < noise.hide_frame
        hide &= torch.tensor([item.video for _, item in found for _ in item.values])
        flat = out["hidden"].view(-1)
        flat[(starts[hide][:, None] + torch.arange(1, cells)).flatten()] = True
    if config.previous_frame:
        follows = torch.tensor([number > 0 for _, item in found for number in range(len(item.values))])
        later = (follows & ~hide.roll(1)).nonzero().squeeze(1)  # nor does a hidden frame show here
        before = torch.zeros(rows, bits)
        at = (starts[later, None] + torch.arange(1, cells)).flatten()
        before[at] = cells_of_scales(split.total[later - 1], config.image_scales[1:]).flatten(0, 1).float()
        out["before"] = before.view(shape)


def _fill_audio(out: dict[str, Tensor], media: list[tuple[int, Media]], config: UnifiedConfig) -> None:
    found = [(base, item) for base, item in media if item.kind in ("sound", "speech")]
    if not found:
        return
    rows, levels, end = out["input_ids"].numel(), config.audio_levels, config.audio_codebook
    codes = np.full((rows, levels), -1, np.int64)
    labels = np.full((rows, levels), NONE, np.int64)
    for base, item in found:
        at, steps = base + item.start, len(item.values)
        if item.kind == "sound":
            codes[at : at + steps] = item.values
        else:
            labels[at : at + steps] = item.values
            labels[at + steps] = end
            codes[at + 1 : at + 1 + steps] = item.values
    shape = (*out["input_ids"].shape, levels)
    out["audio_codes"], out["audio_labels"] = torch.from_numpy(codes).view(shape), torch.from_numpy(labels).view(shape)


def to_device(batch: dict[str, Tensor], device: torch.device | str) -> dict[str, Any]:
    """The batch on a device."""
    return {name: value.to(device, non_blocking=True) for name, value in batch.items()}
