"""What the check says when it cannot be made."""

from __future__ import annotations

from workbench.capture.errors import WorkbenchError


class CausalError(WorkbenchError):
    """Experts could not be muted or forced, or what that costs could not be measured."""
