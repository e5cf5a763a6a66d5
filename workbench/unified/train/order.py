"""Which samples a step has, and what chance decides in it: pure functions of seed, step and process.

Nothing is carried from step to step, so a resumed run draws what an uninterrupted one would have drawn.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np
import torch

from workbench.unified.segments import BLANK, TASKS, DrawnClip, DrawnPicture, Sample, Speech, Text
from workbench.unified.train.recipe import Phase, Recipe

MADE_SEGMENTS = (DrawnPicture, DrawnClip, Speech)
PROMPTS, NOISE, ELASTIC = range(3)  # what a random stream is for


class TrainingData(Protocol):
    """Where samples come from (workbench.unified.data.mixture)."""

    tasks: tuple[str, ...]

    def draw(self, task: str, number: int) -> Sample:
        """The number-th training sample of a task, a pure function of its arguments and the data's seed."""

    def fingerprint(self) -> str:
        """Changes when the samples change."""


def samples_of_step(
    data: TrainingData, recipe: Recipe, phase: Phase, step: int, rank: int = 0, world: int = 1
) -> list[Sample]:
    """The samples of one process in one step.

    Args:
        data: draws a sample by number.
        recipe: share of blank prompts, seed.
        phase: of the step; says how many samples of each task.
        step: from 0.
        rank, world: number of this process and how many there are.
    """
    rng = np.random.default_rng([recipe.seed, PROMPTS, step, rank])
    samples = []
    for task in TASKS:
        count = phase.samples.get(task, 0)
        for number in range(count):
            sample = data.draw(task, (step * world + rank) * count + number)
            samples.append(without_prompt(sample) if rng.random() < recipe.drop_prompt else sample)
    return samples


def without_prompt(sample: Sample) -> Sample:
    """A sample that makes something, with a blank in place of its words; others stay as they are."""
    if not any(isinstance(segment, MADE_SEGMENTS) for segment in sample.segments):
        return sample
    blank = tuple(
        Text((BLANK,)) if isinstance(segment, Text) and not segment.learn else segment for segment in sample.segments
    )
    return replace(sample, segments=blank)


def generator(recipe: Recipe, step: int, rank: int = 0) -> torch.Generator:
    """Chance of a step's bit flips and hidden frames."""
    seed = int(np.random.SeedSequence([recipe.seed, NOISE, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator().manual_seed(seed)
