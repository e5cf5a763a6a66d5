"""UIE: schema and text in, one structured string out, read as entities, relations, events and sentiment (docs/uie.md).

Importing it loads no torch; `load` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.extract.uie.engine import UieEngine


def load(model: str | None = None, **options: Any) -> UieEngine:
    """The engine with the weights in a folder or at a hub id: what `load_engine("uie", model)` calls."""
    from workbench.extract.uie.engine import UieEngine

    return UieEngine.load(model, **options)
