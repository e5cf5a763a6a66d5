"""Errors that a user reads: one sentence that says what was expected, what came and what to do."""

from __future__ import annotations


class WorkbenchError(Exception):
    """Base of every error that is meant for a user; its text is one complete sentence, shown without a traceback."""


class CaptureError(WorkbenchError):
    """A capture could not be written, read, merged or validated."""
