"""Extraction: entities, relations, events and sentiment by a schema; engines are plug-ins (docs/extract.md).

Importing it is cheap: an engine, and torch with it, loads in `load_engine`.
"""

from __future__ import annotations

from workbench.extract.engines import Engine, EngineSpec, engines, load_engine
from workbench.extract.errors import EngineError, ExtractError, RecordError, SchemaError
from workbench.extract.extraction import Evidence, Extraction
from workbench.extract.records import (
    Argument,
    Document,
    Event,
    Relation,
    Span,
    read_documents,
    write_documents,
)
from workbench.extract.schema import Label, Schema

__all__ = [
    "Argument", "Document", "Engine", "EngineError", "EngineSpec", "Event", "Evidence", "ExtractError", "Extraction", "Label",
    "RecordError", "Relation", "Schema", "SchemaError", "Span", "engines", "load_engine", "read_documents", "write_documents",
]  # fmt: skip
