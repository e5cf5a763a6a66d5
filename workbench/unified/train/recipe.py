"""What decides the result of a run: sizes, shares of the tasks, optimisation. Two runs with equal recipe, data and seed are equal."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from workbench.unified.segments import TASKS, UnifiedError


@dataclass(frozen=True)
class Elastic:
    """How often a step runs a smaller model, and how small (ERNIE 5.0 report, section 3.3: 25, 20 and 20 %).

    The three axes are drawn independently, once a step; the report leaves both open.
    """

    depth: float = 0.25  # share of steps with fewer layers; the first layer and those with audio heads stay
    width: float = 0.20  # share of steps in which every layer has a random half of its experts
    width_part: float = 0.5  # the half
    sparsity: float = 0.20  # share of steps with fewer experts a token, uniform below the full number


@dataclass(frozen=True)
class Phase:
    """A part of a run with samples and shares of its own.

    Attributes:
        until: share of the run's steps at which it ends.
        samples: a task's samples a step and process.
        shares: how much a task pulls, 1 where not named.
    """

    until: float
    samples: dict[str, int]
    shares: dict[str, float] = field(default_factory=dict)


PHASES = (
    # What is made hangs on one word of its prompt, which is worth at most 2.3 nats of the hundreds that a picture or a sound costs:
    # beside tasks that read, whose gradients are several times as long, that word was not learned in 1,800 steps. Alone, spoken digits took 150.
    Phase(0.25, {"word_to_image": 20, "word_to_speech": 14, "caption_to_clip": 8}),
    Phase(
        1.0,
        {
            "text": 2,
            "image_to_word": 12,
            "speech_to_word": 4,
            "clip_to_caption": 5,
            "word_to_image": 14,
            "word_to_speech": 8,
            "caption_to_clip": 5,
        },
        {"word_to_image": 4.0, "word_to_speech": 4.0, "caption_to_clip": 4.0, "image_to_word": 2.0},
    ),
)
"""How the tasks of a run from random weights follow each other (ours)."""

FURTHER = (
    # Clips hung on their word least (docs/unified.md), garments and moving digits were read from a part of one epoch.
    Phase(0.3, {"word_to_image": 8, "word_to_speech": 8, "caption_to_clip": 20}),
    Phase(
        1.0,
        {
            "text": 2,
            "image_to_word": 26,
            "speech_to_word": 3,
            "clip_to_caption": 9,
            "word_to_image": 8,
            "word_to_speech": 8,
            "caption_to_clip": 10,
        },
        {"word_to_image": 2.0, "word_to_speech": 4.0, "caption_to_clip": 4.0, "image_to_word": 2.0},
    ),
)
"""The tasks of a run that goes on from trained weights (ours): more of what the first run learned least."""
FURTHER_FRAMES = (1, 1, 2, 4)
"""Its clips to be made: a one-frame clip hangs on the word as a picture does, for a quarter of the tokens."""


@dataclass(frozen=True)
class Recipe:
    """A run.

    Attributes are commented below; `model` overrides fields of UnifiedConfig.
    """

    seed: int = 0
    start: str = ""  # digest of the weights that the run began with, empty for random ones
    voices: int = 0  # further voices that espeak-ng makes of the spoken digits
    model: dict[str, Any] = field(default_factory=dict)
    phases: tuple[Phase, ...] = PHASES  # which tasks are trained when; the last ends with the run
    clip_frames: tuple[int, ...] = ()  # first frames of clips that are made, drawn evenly; empty for all of them
    width: int = 160  # positions of a packed row
    learning_rate: float = 2e-3
    warmup: int = 60  # steps
    decay: float = 0.5  # last part of the run in which the rate falls linearly to a hundredth
    weight_decay: float = 0.05
    clip: float = 1.0  # norm of the gradient
    bias_speed: float = 0.02  # u of the balancing bias
    ahead_weight: float = 0.3  # of multi-token prediction, 0.1 in the second half (report: 0.3, then 0.1)
    flip: float = 0.2  # bits of a picture are flipped with a probability from U(0, flip)
    hide_frame: float = 0.1
    drop_prompt: float = 0.1  # prompts made blank, for guidance
    loss_decay: float = 0.98  # of the moving averages that balance the tasks
    bf16: bool = False  # autocast
    elastic: Elastic | None = field(default_factory=Elastic)  # None trains the full model alone (the twin)

    def __post_init__(self) -> None:
        unknown = {name for phase in self.phases for name in (*phase.samples, *phase.shares) if name not in TASKS}
        if unknown:
            raise UnifiedError(
                f"Expected tasks among {', '.join(TASKS)}, got {', '.join(sorted(unknown))}: rename them."
            )
        if not self.phases or not all(any(phase.samples.values()) for phase in self.phases):
            raise UnifiedError(
                "Expected at least one sample a step in every phase of a run, got none: give a task a number of samples."
            )
        ends = [phase.until for phase in self.phases]
        if ends != sorted(ends) or ends[-1] != 1.0:
            raise UnifiedError(
                f"Expected phases that end one after the other and the last with the run, got ends at {ends}: put them in order, the last at 1."
            )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> Recipe:
        elastic = values.get("elastic")
        parts = {
            "elastic": None if elastic is None else Elastic(**elastic),
            "phases": tuple(Phase(**phase) for phase in values["phases"]),
            "clip_frames": tuple(values.get("clip_frames", ())),
        }
        return Recipe(**{**values, **parts})

    def phase(self, step: int, steps: int) -> Phase:
        """The phase that a step (from 0) of a run of so many steps belongs to."""
        return next(phase for phase in self.phases if step < round(phase.until * steps) or phase is self.phases[-1])

    def with_batch(self, factor: float) -> Recipe:
        """The recipe with so many times the samples of every task, at least one where there were some."""
        scaled = tuple(
            replace(
                phase,
                samples={task: max(1, round(count * factor)) if count else 0 for task, count in phase.samples.items()},
            )
            for phase in self.phases
        )
        return replace(self, phases=scaled)

    def differences(self, other: Recipe) -> list[str]:
        """Names of the fields in which two recipes differ."""
        return [item.name for item in fields(self) if getattr(self, item.name) != getattr(other, item.name)]


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Rate of a step: warm-up, constant, linear decay to a hundredth.

    Args:
        recipe: rate, warm-up and decay.
        step: from 0.
        steps: of the whole run.
    """
    warm = min(1.0, (step + 1) / max(1, recipe.warmup))
    start = steps * (1 - recipe.decay)
    fall = 1.0 if step < start else 1 - 0.99 * (step - start) / max(1.0, steps - start)
    return recipe.learning_rate * warm * fall
