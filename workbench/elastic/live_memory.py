"""Peak memory of a piece of work: what the allocator says on a GPU, the sum of live tensors on a CPU.

A CPU has no counter of its own: the memory of the process also holds the full model and everything else, and never shrinks
at once. So every tensor that an operation returns is watched while it lives. What an operation uses inside itself is not seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class Peak:
    """Bytes of weights and of everything else at its largest, and how that was found."""

    weights: int
    other: int
    how: str

    @property
    def total(self) -> int:
        return self.weights + self.other


def weight_bytes(model: torch.nn.Module) -> int:
    """Bytes of parameters and buffers, shared ones once."""
    seen: dict[int, int] = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = tensor.numel() * tensor.element_size()
    return sum(seen.values())


def peak_memory(model: torch.nn.Module, work: Callable[[], Any]) -> Peak:
    """Run `work` once and see how much memory it takes beside the model's weights.

    Args:
        model: the model that `work` runs; its weights are counted once, wherever else they are used too.
        work: what is measured.
    """
    weights = weight_bytes(model)
    device = next(model.parameters()).device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        torch.cuda.synchronize(device)
        return Peak(weights, max(torch.cuda.max_memory_allocated(device) - before, 0), "allocator of the GPU")
    watch = _LiveTensors(model)
    with watch:
        work()
    return Peak(weights, watch.peak, "live tensors")


class _LiveTensors(TorchDispatchMode):
    """Adds up the storages that operations return, from their first sight to their end."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in [*model.parameters(), *model.buffers()]}

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        out = function(*arguments, **(named or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self._see(leaf.untyped_storage())
        return out

    def _see(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size
