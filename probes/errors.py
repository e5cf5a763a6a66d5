"""What a probe says when it cannot watch a model: one sentence each, headings of docs/probe.md."""

from __future__ import annotations

from workbench.capture.errors import WorkbenchError


class ProbeError(WorkbenchError):
    """A probe could not record, or its record failed a check."""


class NoExpertsError(ProbeError):
    """The model has no set of experts to choose from."""


class CompiledModelError(ProbeError):
    """The model, or a part of it, is compiled, so hooks would be skipped in silence."""


class UnknownRouterError(ProbeError):
    """A module looks like a router or a set of experts, and no adapter knows it."""


class BusyError(ProbeError):
    """The model is being watched already."""


class LabelError(ProbeError):
    """Documents, groups or offsets do not fit the call that they were given for."""


class NothingRecordedError(ProbeError):
    """A capture was asked for before any forward pass was recorded."""


class SubModelError(ProbeError):
    """A sub-model that cannot be: its words are unclear, or the model cannot run so."""
