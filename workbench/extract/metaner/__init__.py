"""MetaNER: extraction from an instruction and a few examples, with no training step (docs/metaner.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.extract.metaner.engine import MetaNerEngine


def load(
    model: str | None = None,
    device: str = "auto",
    anonymous: bool | None = None,
    constrained: bool = True,
    ordered: bool = False,
) -> MetaNerEngine:
    """The engine with the weights in a folder or at a hub id: what `load_engine("metaner", model)` calls."""
    from workbench.extract.metaner.engine import MetaNerEngine

    return MetaNerEngine.load(model, device, anonymous, constrained, ordered)
