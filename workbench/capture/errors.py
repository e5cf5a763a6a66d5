"""Errors that a user reads: one sentence that says what was expected, what came and what to do."""

from __future__ import annotations


class WorkbenchError(Exception):
    """Base of every error that is meant for a user; its text is one complete sentence, shown without a traceback."""


class CaptureError(WorkbenchError):
    """A capture could not be written, read, merged or validated."""


def reason(fault: BaseException) -> str:
    """The first sentence of a library's message, without its full stop, to stand in brackets inside one of ours."""
    lines = str(fault).strip().splitlines()
    return lines[0].split(". ")[0].rstrip(".")[:200] if lines else type(fault).__name__
