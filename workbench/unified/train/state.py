"""Training state on disk: safetensors and JSON, written whole or not at all, no pickle.

`state/` holds the weights in fp32 with the balancing biases, both moments of AdamW, and `state.json`. There is no random state to keep:
samples, noise and elastic draws follow from seed and step, and the model has no dropout.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from workbench.unified.losses import TaskBalance
from workbench.unified.segments import UnifiedError
from workbench.unified.train.recipe import Recipe

STATE = "state"
_RESCUE = "state.old"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class Progress:
    """Where a run stands."""

    recipe: Recipe
    step: int  # steps done
    steps: int  # steps planned
    tokens: int  # trained on so far, all processes
    seconds: float  # spent in steps so far
    fingerprint: str  # of data and tokenizers


def save_state(
    out: Path, progress: Progress, model: nn.Module, optimizer: torch.optim.Optimizer, balance: TaskBalance
) -> None:
    """Write the state beside the old one and swap them, so that a kill at any moment leaves one whole state."""
    fresh, old, target = out / "state.new", out / _RESCUE, out / STATE
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(parents=True)
    save_file(
        {name: value.detach().contiguous() for name, value in model.state_dict().items()}, fresh / "weights.safetensors"
    )
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    moments = {
        f"{names[parameter]}|{moment}": state[moment].detach().clone().contiguous()
        for parameter, state in optimizer.state.items()
        for moment in MOMENTS
    }
    save_file(moments, fresh / "moments.safetensors")
    values: dict[str, Any] = {
        "recipe": progress.recipe.to_json(),
        "step": progress.step,
        "steps": progress.steps,
        "tokens": progress.tokens,
        "seconds": progress.seconds,
        "fingerprint": progress.fingerprint,
        "averages": [float(value) for value in balance.average],
    }
    (fresh / "state.json").write_text(json.dumps(values, indent=1), encoding="utf-8")
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def read_progress(out: Path) -> Progress | None:
    """The progress of the run in `out`, None if there is no state.

    Raises:
        UnifiedError: the state can't be read.
    """
    if not (out / STATE).exists() and (out / _RESCUE).exists():
        (out / _RESCUE).rename(out / STATE)  # killed between the two renames
    path = out / STATE / "state.json"
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Progress(
            Recipe.from_json(values["recipe"]),
            values["step"],
            values["steps"],
            values["tokens"],
            values["seconds"],
            values["fingerprint"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UnifiedError(
            f"Expected the state of a run, but '{path}' can't be read ({error}): remove the folder and start anew."
        ) from None


def load_state(out: Path, model: nn.Module, optimizer: torch.optim.Optimizer, balance: TaskBalance) -> None:
    """Put the saved state into a model, its fresh AdamW, and the moving averages of the losses.

    Raises:
        UnifiedError: the files don't hold this model's tensors.
    """
    try:
        weights = load_file(out / STATE / "weights.safetensors")
        moments = load_file(out / STATE / "moments.safetensors")
        model.load_state_dict(weights)
        for name, parameter in model.named_parameters():
            if f"{name}|step" in moments:
                device = parameter.device
                optimizer.state[parameter] = {
                    moment: moments[f"{name}|{moment}"].to(device if moment != "step" else "cpu") for moment in MOMENTS
                }
        averages = json.loads((out / STATE / "state.json").read_text(encoding="utf-8"))["averages"]
        balance.average = torch.tensor(averages)
    except (OSError, KeyError, RuntimeError, SafetensorError, ValueError) as error:
        raise UnifiedError(
            f"Expected the state of this model in '{out / STATE}', but it does not fit ({str(error).splitlines()[0]}): remove the folder "
            "and start anew."
        ) from None
