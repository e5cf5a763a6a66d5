"""Where a USM run stands, on disk (`workbench.extract.state`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from workbench.extract.state import STATE, load_state, read_state, unreadable, write_state
from workbench.extract.usm.model import UsmModel
from workbench.extract.usm.train.recipe import Recipe

__all__ = ["STATE", "Progress", "load_state", "read_progress", "save_state"]


@dataclass(frozen=True)
class Progress:
    """Where a run stands: steps and seconds of training done, samples and positions seen."""

    recipe: Recipe
    encoder: str
    step: int
    seconds: float
    samples: int
    tokens: int


def save_state(out: Path, progress: Progress, model: UsmModel, optimizer: torch.optim.Optimizer) -> None:
    """Write the state of a run, whole or not at all."""
    write_state(out, {**asdict(progress), "recipe": progress.recipe.to_json()}, model, optimizer)


def read_progress(out: Path) -> Progress | None:
    """Where the run in `out` stands, None if there is none.

    Raises:
        ExtractError: the state cannot be read.
    """
    values = read_state(out)
    if values is None:
        return None
    try:
        return Progress(**{**values, "recipe": Recipe.from_json(values["recipe"])})
    except (KeyError, TypeError, AttributeError) as fault:
        raise unreadable(out, fault) from None
