"""From a sample to positions: the order of tokens, their places, blocks and targets (docs/unified.md draws it).

Follows figure 2 of the ERNIE 5.0 report: the input at the cells of scale k+1 is the sum of the scales so far; the finished picture
or frame is one token, which starts the next frame. Differences are ours: read pictures, clips and sounds have no targets at
all (the report learns the end tokens), and `<sep>` follows them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from workbench.unified.config import UnifiedConfig
from workbench.unified.positions import grid_places
from workbench.unified.segments import (
    AUDIO,
    BOA,
    BOI,
    BOS,
    BOV,
    EOA,
    EOI,
    EOS,
    EOV,
    IMAGE,
    SEP,
    VIDEO,
    Clip,
    DrawnClip,
    DrawnPicture,
    Picture,
    Sample,
    Sound,
    Speech,
    Text,
    UnifiedError,
)

NONE = -100  # no target
MODE_TEXT, MODE_IMAGE, MODE_VIDEO, MODE_AUDIO = range(4)
READ, MADE = range(2)


@dataclass(frozen=True)
class Media:
    """Where pixels or codes of a segment go.

    Attributes:
        kind: "read", "drawn", "sound" (codes as inputs) or "speech" (codes as targets).
        start: first position; of a drawn frame the token that predicts its first scale.
        stride: positions from a frame to the next.
        values: pixels uint8 [F, C, H, W], or codes [T, levels].
        video: pixels are of a clip.
    """

    kind: str
    start: int
    stride: int
    values: np.ndarray
    video: bool = False


@dataclass
class Layout:
    """One sample as arrays, a row a position.

    Attributes:
        ids: int64 [T], text tokens and placeholders.
        places: float32 [T, 3].
        columns: int64 [T, 6]: block, frame, modality, role, scale, label.
        media: pixels and codes to be filled in.
        index: P, the next index.
    """

    ids: list[int] = field(default_factory=list)
    places: list[np.ndarray] = field(default_factory=list)
    columns: list[np.ndarray] = field(default_factory=list)
    media: list[Media] = field(default_factory=list)
    index: int = 0
    block: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def text(
        self, ids: list[int], labels: list[int] | None = None, modality: int = MODE_TEXT, role: int = READ
    ) -> None:
        """Add causal tokens at the running index."""
        n = len(ids)
        self.ids += ids
        running = np.arange(self.index, self.index + n, dtype=np.float32)
        self.places.append(np.repeat(running[:, None], 3, 1))
        rows = np.empty((n, 6), np.int64)
        rows[:, 0] = np.arange(self.block, self.block + n)
        rows[:, 1:5] = (-1, modality, role, -1)
        rows[:, 5] = NONE if labels is None else labels
        self.columns.append(rows)
        self.index += n
        self.block += n

    def visual(self, token: int, places: np.ndarray, rows: np.ndarray) -> None:
        """Add the tokens of a picture or clip; blocks of `rows` count from 0."""
        self.ids += [token] * len(rows)
        places = places + np.float32(self.index)
        rows = rows.copy()
        rows[:, 0] += self.block
        self.places.append(places)
        self.columns.append(rows)
        self.block = int(rows[-1, 0]) + 1

    def target(self, label: int) -> None:
        """Let the last position predict a token."""
        self.columns[-1][-1, 5] = label

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.array(self.ids, np.int64), np.concatenate(self.places), np.concatenate(self.columns)


def lay_out(sample: Sample, config: UnifiedConfig) -> Layout:
    """The positions of a sample.

    Args:
        sample: segments in order.
        config: scales, grid, levels.

    Returns:
        The layout; pixels and codes are filled in by :mod:`workbench.unified.batch`.

    Raises:
        UnifiedError: a picture, clip or sound has the wrong shape, or there is no segment.
    """
    if not sample.segments:
        raise UnifiedError("Expected a prompt of at least one part, got none: give text, a picture, a clip or a sound.")
    out = Layout()
    out.text([BOS])
    learned = False  # whether the last position is to predict what comes next
    for segment in sample.segments:
        if isinstance(segment, Text):
            if not segment.ids:
                raise UnifiedError("Expected a text of at least one token, got an empty one: write something.")
            ids = list(segment.ids)
            if segment.learn:
                out.target(ids[0])
            out.text(ids, [*ids[1:], NONE] if segment.learn else None)
            learned = segment.learn
        elif isinstance(segment, (Picture, Clip)):
            _read(out, segment, config)
            learned = False
        elif isinstance(segment, Sound):
            _check_codes(segment.codes, config)
            out.text([BOA])
            out.media.append(Media("sound", len(out), 1, segment.codes))
            out.text([AUDIO] * len(segment.codes), modality=MODE_AUDIO)
            out.text([EOA, SEP])
            learned = False
        elif isinstance(segment, (DrawnPicture, DrawnClip)):
            _drawn(out, segment, config)
            learned = True
        else:
            _speech(out, segment, config)
            learned = True
    if sample.end and learned:
        out.target(EOS)
        out.text([EOS])
    return out


def _read(out: Layout, segment: Picture | Clip, config: UnifiedConfig) -> None:
    video = isinstance(segment, Clip)
    pixels = segment.pixels if video else segment.pixels[None]
    _check_pixels(pixels, config)
    begin, end, token = (BOV, EOV, VIDEO) if video else (BOI, EOI, IMAGE)
    out.text([begin])
    out.media.append(Media("read", len(out), config.read_tokens, pixels, video))
    places, rows = read_template(len(pixels), config.feature_grid // 2, config.image_scales[-1], video)
    out.visual(token, places, rows)
    out.index += max(config.image_scales[-1], len(pixels))
    out.text([end, SEP])


def _drawn(out: Layout, segment: DrawnPicture | DrawnClip, config: UnifiedConfig) -> None:
    video = isinstance(segment, DrawnClip)
    pixels = segment.pixels if video else segment.pixels[None]
    _check_pixels(pixels, config)
    begin, end, token = (BOV, EOV, VIDEO) if video else (BOI, EOI, IMAGE)
    out.target(begin)
    out.text([begin], modality=MODE_VIDEO if video else MODE_IMAGE, role=MADE)
    out.columns[-1][-1, 4] = 0  # predicts the first scale
    if video:
        out.columns[-1][-1, 1] = 0  # belongs to the first frame
    out.media.append(Media("drawn", len(out) - 1, config.drawn_tokens, pixels, video))
    places, rows = drawn_template(len(pixels), tuple(config.image_scales), video)
    out.visual(token, places, rows)
    out.index += max(config.image_scales[-1], len(pixels) + 1)
    out.target(end)
    out.text([end])


def _speech(out: Layout, segment: Speech, config: UnifiedConfig) -> None:
    _check_codes(segment.codes, config)
    out.target(BOA)
    out.media.append(Media("speech", len(out), 1, segment.codes))
    out.text([BOA], modality=MODE_AUDIO, role=MADE)
    out.text([AUDIO] * len(segment.codes), modality=MODE_AUDIO, role=MADE)
    out.text([EOA])


@lru_cache(maxsize=64)
def read_template(frames: int, side: int, finest: int, video: bool) -> tuple[np.ndarray, np.ndarray]:
    """Places [F * side^2, 3] and columns [F * side^2, 6] of frames that are read; a block a frame."""
    places = np.concatenate([grid_places(side, finest, 0, frame) for frame in range(frames)])
    rows = np.empty((len(places), 6), np.int64)
    rows[:, 0] = np.repeat(np.arange(frames), side * side)
    rows[:, 1:] = (-1, MODE_VIDEO if video else MODE_IMAGE, READ, -1, NONE)
    return places, rows


@lru_cache(maxsize=64)
def drawn_template(frames: int, scales: tuple[int, ...], video: bool) -> tuple[np.ndarray, np.ndarray]:
    """Places and columns of frames that are made, without the token in front: a frame is its scales after the first, then
    the whole (which predicts the first scale of the next frame)."""
    finest = scales[-1]
    middle = (finest - 1) / 2
    places, rows, block = [], [], 0
    mode = MODE_VIDEO if video else MODE_IMAGE
    for frame in range(frames):
        number = frame if video else -1
        for k, n in enumerate(scales[1:], 1):
            places.append(grid_places(n, finest, 0, frame))
            rows.append(np.tile(np.array([[block, number, mode, MADE, k, NONE]]), (n * n, 1)))
            block += 1
        places.append(np.array([[frame + 1, middle, middle]], np.float32))
        starts = frame + 1 < frames
        rows.append(np.array([[block, frame + 1 if video else -1, mode, MADE, 0 if starts else -1, NONE]]))
        block += 1
    return np.concatenate(places), np.concatenate(rows)


def _check_pixels(pixels: np.ndarray, config: UnifiedConfig) -> None:
    wanted = (config.image_channels, config.image_size, config.image_size)
    if pixels.ndim != 4 or pixels.shape[1:] != wanted or len(pixels) == 0:
        raise UnifiedError(
            f"Expected pictures of {wanted[0]} x {wanted[1]} x {wanted[2]} (colours, height, width), got an array of "
            f"{' x '.join(map(str, pixels.shape[1:]))}: resize the picture first."
        )


def _check_codes(codes: np.ndarray, config: UnifiedConfig) -> None:
    if codes.ndim != 2 or codes.shape[1] != config.audio_levels or len(codes) == 0:
        raise UnifiedError(
            f"Expected a sound as steps x {config.audio_levels} codes, got an array of {' x '.join(map(str, codes.shape))}: encode it with "
            "the audio tokenizer of this checkpoint."
        )
