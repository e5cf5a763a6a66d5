"""The capture: the folder on disk that stands between a watched model and every view of it.

from workbench.capture import Capture
capture = Capture.load("my.capture")
capture.count            # int64 [site, group, expert]
"""

from workbench.capture.axes import NamedTable
from workbench.capture.capture import Capture
from workbench.capture.errors import CaptureError, WorkbenchError
from workbench.capture.merge import merge
from workbench.capture.schema import DEFAULT_GROUPS, Check, Flag, Group, Manifest, ModelInfo, Sampling, Site

__all__ = [
    "DEFAULT_GROUPS",
    "Capture",
    "CaptureError",
    "Check",
    "Flag",
    "Group",
    "Manifest",
    "ModelInfo",
    "NamedTable",
    "Sampling",
    "Site",
    "WorkbenchError",
    "merge",
]
