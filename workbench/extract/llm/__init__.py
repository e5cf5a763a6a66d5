"""The engine `llm`: a text model of the user's, shown the demonstrations in a chat, as one more extractor (docs/fewshot.md)."""

from __future__ import annotations

from typing import Any


def load(model: str | None = None, **options: Any) -> Any:
    """The engine for `workbench.extract.load_engine`."""
    from workbench.extract.llm.engine import LlmEngine

    return LlmEngine.load(model, **options)
