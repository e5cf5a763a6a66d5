"""Errors of extraction."""

from __future__ import annotations

from pydantic import ValidationError

from workbench.capture.errors import WorkbenchError


class ExtractError(WorkbenchError):
    """Texts cannot be extracted from, read, written or scored."""


class SchemaError(ExtractError):
    """A schema is not one; the sentence says what is wrong with it."""


class RecordError(ExtractError):
    """An annotated text is not one, or its offsets do not fit its text."""


class EngineError(ExtractError):
    """An engine or its weights are not at hand, or cannot do what was asked."""


_WORDS = {
    "extra_forbidden": "this key is not known, so remove it or correct its spelling",
    "model_type": "an object or a name was expected here",
    "missing": "it is missing",
}


def first_fault(fault: ValidationError) -> str:
    """The first thing that pydantic found, as half a sentence: where, and what."""
    first = fault.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    what = _WORDS.get(first["type"]) or first["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{where}: {what}" if where else what
