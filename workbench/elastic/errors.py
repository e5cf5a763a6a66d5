"""Errors of the elastic lab."""

from __future__ import annotations

from workbench.capture.errors import WorkbenchError


class ElasticError(WorkbenchError):
    """A sub-model cannot be carved, swept or chosen."""


class CarveError(ElasticError):
    """A checkpoint cannot be carved, or was not written."""


class SweepError(ElasticError):
    """A sweep cannot be run, resumed or read."""


class BudgetError(ElasticError):
    """No sub-model can be chosen for a budget."""
