"""Training state on disk: safetensors and JSON, written whole or not at all, no pickle.

``state/`` holds the weights in fp32, both moments of AdamW, and ``state.json`` (recipe, step, plan, fingerprint of the data). There is no
random state to keep: rows follow from seed and step, and the model has no dropout.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.embedded.corpus import EmbeddedError
from workbench.embedded.recipe import Recipe

if TYPE_CHECKING:
    import torch

STATE = "state"
_RESCUE = "state.old"


@dataclass(frozen=True)
class Progress:
    """Where a run stands."""

    recipe: Recipe
    step: int  # steps done
    steps: int  # steps planned
    seconds: float  # spent in steps so far
    fingerprint: str  # of the corpus


def save_state(out: Path, progress: Progress, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write the state beside the old one and swap them, so that a kill at any moment leaves one whole state.

    Args:
        out: folder of the run.
        progress: step, plan and what it belongs to.
        model: its parameters are saved under their names (tied weights once).
        optimizer: AdamW over ``model.named_parameters()``.
    """
    from safetensors.torch import save_file

    fresh, old, target = out / "state.new", out / _RESCUE, out / STATE
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(parents=True)
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    save_file({name: p.detach().contiguous() for p, name in names.items()}, fresh / "weights.safetensors")
    moments = {}
    for parameter, state in optimizer.state.items():
        moments[f"{names[parameter]}|exp_avg"] = state["exp_avg"].contiguous()
        moments[f"{names[parameter]}|exp_avg_sq"] = state["exp_avg_sq"].contiguous()
    save_file(moments, fresh / "moments.safetensors")
    values: dict[str, Any] = {
        "recipe": progress.recipe.to_json(),
        "step": progress.step,
        "steps": progress.steps,
        "seconds": progress.seconds,
        "fingerprint": progress.fingerprint,
    }
    (fresh / "state.json").write_text(json.dumps(values, indent=1), encoding="utf-8")
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def read_progress(out: Path) -> Progress | None:
    """The progress of the run in ``out``, or None if there is no state.

    Raises:
        EmbeddedError: the state can't be read.
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
            values["seconds"],
            values["fingerprint"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise EmbeddedError(
            f"Expected the state of a run, but {path} can't be read ({error}): remove {out} and start anew."
        ) from None


def load_state(out: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Put weights and moments of the saved state into a model and its fresh AdamW.

    Args:
        out: folder of the run.
        model: of the recipe of the state.
        optimizer: AdamW over ``model.named_parameters()``.
        step: steps done, as AdamW counts them.

    Raises:
        EmbeddedError: the files don't hold this model's tensors.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(out / STATE / "weights.safetensors")
        moments = load_file(out / STATE / "moments.safetensors")
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(weights[name])
                if f"{name}|exp_avg" in moments:
                    optimizer.state[parameter] = {
                        "step": torch.tensor(float(step)),
                        "exp_avg": moments[f"{name}|exp_avg"],
                        "exp_avg_sq": moments[f"{name}|exp_avg_sq"],
                    }
    except (SafetensorError, KeyError, RuntimeError, FileNotFoundError) as error:
        raise EmbeddedError(
            f"Expected whole weights in {out / STATE}, but they can't be read ({error}): remove {out} and start anew."
        ) from None
