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
class Late:
    """What changes in the last part of a run: tasks that learn slowly get more samples and pull harder (ours)."""

    start: float = 0.5  # share of the steps after which it begins
    samples: dict[str, int] = field(
        default_factory=lambda: {
            "text": 2,
            "image_to_word": 22,
            "speech_to_word": 4,
            "clip_to_caption": 8,
            "word_to_image": 14,
            "word_to_speech": 8,
            "caption_to_clip": 4,
        }
    )
    shares: dict[str, float] = field(
        default_factory=lambda: {
            "image_to_word": 3.0,
            "clip_to_caption": 2.0,
            "word_to_image": 1.5,
            "caption_to_clip": 1.5,
        }
    )


@dataclass(frozen=True)
class Recipe:
    """A run.

    Attributes are commented below; `model` overrides fields of UnifiedConfig, `samples` is a task's samples a step and process.
    """

    seed: int = 0
    model: dict[str, Any] = field(default_factory=dict)
    samples: dict[str, int] = field(
        default_factory=lambda: {
            "text": 3,
            "image_to_word": 24,
            "speech_to_word": 8,
            "clip_to_caption": 8,
            "word_to_image": 14,
            "word_to_speech": 12,
            "caption_to_clip": 4,
        }
    )
    shares: dict[str, float] = field(default_factory=dict)  # how much a task pulls, 1 where not named
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
    late: Late | None = None  # other samples and shares in the last part

    def __post_init__(self) -> None:
        late = () if self.late is None else (*self.late.samples, *self.late.shares)
        unknown = [name for name in (*self.samples, *self.shares, *late) if name not in TASKS]
        if unknown:
            raise UnifiedError(f"Expected tasks among {', '.join(TASKS)}, got {', '.join(unknown)}: rename them.")
        if not any(self.samples.values()):
            raise UnifiedError("Expected at least one sample a step, got none: give a task a number of samples.")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> Recipe:
        elastic, late = values.get("elastic"), values.get("late")
        parts = {
            "elastic": None if elastic is None else Elastic(**elastic),
            "late": None if late is None else Late(**late),
        }
        return Recipe(**{**values, **parts})

    def at(self, step: int, steps: int) -> Recipe:
        """The recipe as it stands in a step: with the late samples and shares once these have begun."""
        if self.late is None or step < round(self.late.start * steps):
            return self
        return replace(self, samples=self.late.samples, shares=self.late.shares)

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
