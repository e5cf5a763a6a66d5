"""One thing made or read by the unified model while a probe watches: what it looked like after every group of tokens, and the experts it used.

Each step is a group of the capture, so that every measure and figure of the workbench takes it as it takes a modality.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workbench.capture import Capture
from workbench.unified.sampling import Sampling
from workbench.unified.segments import Segment, Text, UnifiedError

if TYPE_CHECKING:
    from workbench.unified.generate import Generator, Step

MAKES = ("picture", "clip", "speech", "text", "read")
LONGEST_TEXT, LONGEST_SPEECH, LONGEST_PROMPT = 96, 48, 400
"""Tokens, steps of sound, and characters of a prompt."""
BLANK_ROW = "Without words"
"""Group of the second row that guidance runs beside the prompt's."""
WRITTEN, SPOKEN, LAST = "Written", "Spoken", "End"


@dataclass(frozen=True)
class WatchedOrder:
    """What is to be made.

    Attributes:
        make: ``picture``, ``clip``, ``speech``, ``text`` (go on from a prompt) or ``read`` (words for a file).
        prompt: words; of ``read`` a question behind the file, or nothing.
        file: of ``read``.
        settings: how it is sampled.
        frames: of a clip.
    """

    make: str
    prompt: str = ""
    file: Path | None = None
    settings: Sampling = field(default_factory=Sampling)
    frames: int = 4


@dataclass(frozen=True, eq=False)
class Look:
    """What there is after one group of tokens.

    Attributes:
        group: the group of the capture that these tokens belong to.
        frame, scale: of a picture or clip, from 0.
        cells: tokens of the group that were predicted at once.
        pixels: uint8 [C, H, W] so far, or None.
        codes: int16 [A] of a step of sound, or None.
        text: so far.
    """

    group: str
    frame: int = 0
    scale: int = 0
    cells: int = 1
    pixels: np.ndarray | None = None
    codes: np.ndarray | None = None
    text: str = ""


@dataclass(frozen=True, eq=False)
class Watched:
    """Everything that was made.

    Attributes:
        order: what was asked for.
        looks: a step each.
        capture: the routing, a group a step (speech and text: one group for all that was made).
        sound: float32 [samples] at ``rate``, of speech.
        rate: samples a second.
    """

    order: WatchedOrder
    looks: tuple[Look, ...]
    capture: Capture
    sound: np.ndarray | None = None
    rate: int = 8000

    def frames(self) -> np.ndarray | None:
        """The finished frames, uint8 [F, C, H, W], of a picture or clip."""
        last = {look.frame: look.pixels for look in self.looks if look.pixels is not None}
        return np.stack([last[frame] for frame in sorted(last)]) if last else None


def check_order(order: WatchedOrder) -> None:
    """Refuse what cannot be made.

    Raises:
        UnifiedError: an unknown kind, an empty or overlong prompt, no file to read.
    """
    if order.make not in MAKES:
        raise UnifiedError(f"Expected one of {', '.join(MAKES)}, but '{order.make}' came: choose one of them.")
    if order.make == "read" and order.file is None:
        raise UnifiedError("Expected a picture, clip or sound to read, but none came: choose or upload one.")
    if order.make != "read" and not order.prompt.strip():
        raise UnifiedError("Expected words that say what is to be made, but the prompt is empty: write some.")
    if len(order.prompt) > LONGEST_PROMPT:
        raise UnifiedError(
            f"Expected a prompt of at most {LONGEST_PROMPT} characters, but {len(order.prompt)} came: shorten it."
        )


def make_watched(
    generator: Generator,
    order: WatchedOrder,
    on_look: Callable[[Look], None] | None = None,
    check: Callable[[], None] | None = None,
    model_id: str | None = None,
) -> Watched:
    """Make one thing under a probe.

    Args:
        generator: model and tokenizers.
        order: what is to be made.
        on_look: called after every group of tokens.
        check: called between two groups; raises to stop.
        model_id: what the capture calls the model.

    Raises:
        UnifiedError: what :func:`check_order` refuses, a file that cannot be read, or speech that ended before it began.
    """
    from probes import RoutingProbe
    from workbench.capture import merge

    check_order(order)
    rows = 2 if order.settings.guidance != 1 and order.make in ("picture", "clip", "speech") else 1
    looks: list[Look] = []
    captures: list[Capture] = []
    stream, names = _stream(generator, order), _names(generator, order)
    processor = generator.tokenizers.text.for_transformers()
    group, ended = next(names), False
    while not ended:
        # A probe of its own for each group: decode steps keep the labels of what they continue, and here they change.
        labels, documents = [group, BLANK_ROW][:rows], ["prompt", "blank"][:rows]
        with RoutingProbe(generator.model, processor=processor, groups=labels, documents=documents) as probe:
            before = group
            while group == before:
                step = next(stream, None)
                if step is None:
                    ended = True
                    break
                looks.append(_look(generator, order, len(looks), step))
                if on_look is not None:
                    on_look(looks[-1])
                if check is not None:
                    check()
                group = next(names)
                if group == LAST:
                    ended = True
                    break
            captures.append(probe.capture(model_id=model_id, grouped_by="step of generation"))
    for _ in stream:  # nothing is left but to let it close what it holds
        pass
    capture = merge(captures)
    sound = None
    if order.make == "speech":
        codes = [look.codes for look in looks if look.codes is not None]
        if not codes:
            raise UnifiedError("Expected at least a step of sound, but the model said nothing: try another seed.")
        sound = generator.tokenizers.audio.decode(np.stack(codes))
    return Watched(order, tuple(looks), capture, sound, generator.tokenizers.audio.sample_rate)


def scale_group(scales: tuple[int, ...], frame: int, scale: int, frames: int) -> str:
    """Name of the group of a scale: "Scale 2: 2 x 2", with its frame in a clip."""
    side = scales[scale]
    return f"{f'Frame {frame + 1}, s' if frames > 1 else 'S'}cale {scale + 1}: {side} x {side}"


def _names(generator: Generator, order: WatchedOrder) -> Iterator[str]:
    """The group of the forward passes before each step; the prompt goes with the first and is told apart by its phase."""
    if order.make in ("picture", "clip"):
        frames = order.frames if order.make == "clip" else 1
        scales = tuple(generator.config.image_scales)
        for frame in range(frames):
            for scale in range(len(scales)):
                yield scale_group(scales, frame, scale, frames)
    while True:
        yield {"speech": SPOKEN, "read": WRITTEN, "text": WRITTEN}.get(order.make, LAST)


def _stream(generator: Generator, order: WatchedOrder) -> Iterator[Step]:
    if order.make in ("picture", "clip"):
        frames = order.frames if order.make == "clip" else None
        return generator.stream_picture([order.prompt], frames=frames, settings=order.settings)
    if order.make == "speech":
        return generator.stream_speech([order.prompt], max_steps=LONGEST_SPEECH, settings=order.settings)
    segments: list[Segment] = []
    if order.make == "read":
        from workbench.unified.files import prompt_of_file

        assert order.file is not None  # check_order
        segments.append(prompt_of_file(order.file, generator.tokenizers))
    if order.prompt.strip():
        segments.append(Text(tuple(generator.tokenizers.text.encode(order.prompt.strip()))))
    return generator.stream_text([segments], max_tokens=LONGEST_TEXT, settings=order.settings)


def _look(generator: Generator, order: WatchedOrder, number: int, step: Step) -> Look:
    if step.pixels is not None:
        scales = tuple(generator.config.image_scales)
        group = scale_group(scales, step.frame, step.scale, order.frames if order.make == "clip" else 1)
        return Look(group, step.frame, step.scale, scales[step.scale] ** 2, step.pixels[0])
    if step.codes is not None:
        return Look(SPOKEN, number, codes=step.codes[0])
    return Look(WRITTEN, number, text=step.texts[0] if step.texts else "")
