"""State of a training run on disk: safetensors and JSON, written whole or not at all, no pickle.

`state/` holds weights, both moments of AdamW and `state.json`. Samples follow from seed and step, and dropout draws from a generator that is
seeded by the step, so nothing else is kept.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from workbench.capture.errors import reason
from workbench.extract.errors import ExtractError

STATE, _NEW, _OLD = "state", "state.new", "state.old"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def write_state(out: Path, values: Mapping[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write the state beside the old one and swap them: a kill at any moment leaves one whole state."""
    for leftover in (_NEW, _OLD):
        shutil.rmtree(out / leftover, ignore_errors=True)
    fresh = out / _NEW
    fresh.mkdir(parents=True)
    save_file(
        {name: value.detach().cpu().contiguous() for name, value in _weights(model).items()},
        fresh / "weights.safetensors",
    )
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    moments = {
        f"{names[parameter]}|{moment}": state[moment].detach().cpu().clone().contiguous()
        for parameter, state in optimizer.state.items()
        for moment in _MOMENTS
    }
    save_file(moments, fresh / "moments.safetensors")
    (fresh / "state.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    if (out / STATE).exists():
        (out / STATE).rename(out / _OLD)
    fresh.rename(out / STATE)
    shutil.rmtree(out / _OLD, ignore_errors=True)


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """A model's tensors, those that are one and the same under several names (tied embeddings) once."""
    kept: dict[int, str] = {}
    found = {}
    for name, value in model.state_dict().items():
        if kept.setdefault(value.data_ptr(), name) == name or not value.numel():
            found[name] = value
    return found


def read_state(out: Path) -> dict[str, Any] | None:
    """What `write_state` was given beside model and optimizer; None if there is no run in `out`.

    Raises:
        ExtractError: the state cannot be read.
    """
    if not (out / STATE).exists() and (out / _OLD).exists():
        (out / _OLD).rename(out / STATE)  # killed between the two renames
    path = out / STATE / "state.json"
    if not path.exists():
        return None
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return dict(values)
    except (ValueError, TypeError) as fault:
        raise unreadable(out, fault) from None


def unreadable(out: Path, fault: Exception) -> ExtractError:
    """The error of a state that is damaged."""
    return ExtractError(
        f"The state of the run in '{out}' cannot be read ({reason(fault)}): remove the folder and start anew."
    )


def load_state(out: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put the saved weights and moments into a model and its fresh AdamW.

    Raises:
        ExtractError: the files do not hold this model's tensors.
    """
    try:
        weights = load_file(out / STATE / "weights.safetensors")
        if lacking := _weights(model).keys() - weights.keys():
            raise KeyError(sorted(lacking)[0])
        model.load_state_dict(weights, strict=False)
        moments = load_file(out / STATE / "moments.safetensors")
        for name, parameter in model.named_parameters():
            if f"{name}|step" in moments:
                optimizer.state[parameter] = {
                    moment: moments[f"{name}|{moment}"].to("cpu" if moment == "step" else parameter.device)
                    for moment in _MOMENTS
                }
    except (OSError, KeyError, RuntimeError, SafetensorError) as fault:
        raise ExtractError(
            f"The state of the run in '{out}' does not fit the model ({reason(fault)}): remove the folder and start anew."
        ) from None
