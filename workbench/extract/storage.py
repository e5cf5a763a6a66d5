"""Weights on disk as safetensors: float32, float16, or matrices as int8 with a scale a row.

Nothing is unpickled. int8 is storage only: weights are float again once loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from workbench.extract.errors import EngineError

SCALE = ".scale"
STORAGES = ("float32", "float16", "int8")
SMALLEST = 4096  # numbers of a matrix, below which it is not worth a scale


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix as int8 with a scale a row: weight ≈ int8 x scale.

    Args:
        weight: [R, C].

    Returns:
        int8 [R, C]; float16 [R].
    """
    scale = (weight.float().abs().amax(1) / 127).clamp_min(1e-7).to(torch.float16)
    return (weight.float() / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8), scale


def dequantise(weight: Tensor, scale: Tensor) -> Tensor:
    """What `quantise` stored, as float32."""
    return weight.float() * scale.float()[:, None]


def write_tensors(path: Path, tensors: Mapping[str, Tensor], storage: str = "float32") -> None:
    """Write a model's floating tensors; others, such as position numbers, are made anew on loading.

    Args:
        storage: of `STORAGES`; vectors stay float32 with int8.

    Raises:
        EngineError: no such storage.
    """
    if storage not in STORAGES:
        raise EngineError(f"Weights are stored as {', '.join(STORAGES)}, not as '{storage}': choose one of them.")
    kept: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if not value.is_floating_point():
            continue
        value = value.detach().cpu()
        if storage == "int8" and value.ndim == 2 and value.numel() > SMALLEST:
            kept[name], kept[name + SCALE] = quantise(value)
        else:
            kept[name] = value.to(torch.float16 if storage == "float16" else torch.float32).contiguous().clone()
    save_file(kept, path, metadata={"format": "pt", "storage": storage})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a file that `write_tensors` wrote, as float32."""
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        tensors = {}
        for name in names:
            if name.endswith(SCALE) and name.removesuffix(SCALE) in names:
                continue
            value = file.get_tensor(name)
            tensors[name] = dequantise(value, file.get_tensor(name + SCALE)) if name + SCALE in names else value.float()
    return tensors
