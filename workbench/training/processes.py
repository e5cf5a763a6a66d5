"""Which of several processes this is: training under ``torchrun``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Which of several processes this is."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        return self.rank == 0


@contextlib.contextmanager
def process_group(device: str) -> Iterator[Place]:
    """The place of this process; under ``torchrun`` the group is opened and closed.

    Args:
        device: auto, cpu or cuda; with several processes each gets a GPU of its own.
    """
    import torch

    world = int(os.environ.get("WORLD_SIZE", "1"))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if world == 1:
        yield Place(device=device)
        return
    local = int(os.environ["LOCAL_RANK"])
    if device == "cuda":
        torch.cuda.set_device(local)
        device = f"cuda:{local}"
    torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Place(torch.distributed.get_rank(), world, device)
    finally:
        torch.distributed.destroy_process_group()
