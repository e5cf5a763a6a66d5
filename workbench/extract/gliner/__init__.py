"""GLiNER checkpoints as an engine, run by GLiNER's own code, for comparison (docs/extract.md).

Importing it loads neither torch nor the package gliner; `load` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.extract.gliner.engine import GlinerEngine


def load(model: str | None = None, **options: Any) -> GlinerEngine:
    """The engine with the checkpoint in a folder or at a hub id: what `load_engine("gliner", model)` calls."""
    from workbench.extract.gliner.engine import GlinerEngine

    return GlinerEngine.load(model, **options)
