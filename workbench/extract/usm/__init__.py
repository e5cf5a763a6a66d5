"""USM: schema and text encoded together once, everything read off as links between tokens and labels (docs/extract.md).

Importing it loads no torch; `load` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.extract.usm.engine import UsmEngine


def load(model: str | None = None, **options: Any) -> UsmEngine:
    """The engine with the weights in a folder or at a hub id: what `load_engine("usm", model)` calls."""
    from workbench.extract.usm.engine import UsmEngine

    return UsmEngine.load(model, **options)
