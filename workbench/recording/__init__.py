"""Run documents through a model under a routing probe: what the page's job and `workbench capture` both call.

loaded = load_model("omni-mini")
capture = record(loaded, read_documents(["texts/"], InputOptions(group_by="folder")), RecordOptions(group_by="folder"))

`options` says what is run and kept, `runner` makes batches and runs them, `progress` counts, `run` is the whole.
"""

from __future__ import annotations

from workbench.recording.options import (
    DEFAULT_MAX_LENGTH,
    MIN_LENGTH,
    STREAMS,
    RecordingError,
    RecordOptions,
    pad_id,
    row_length,
    wanted_streams,
)
from workbench.recording.progress import Progress
from workbench.recording.run import record, with_model
from workbench.recording.runner import media_maker

__all__ = [
    "DEFAULT_MAX_LENGTH",
    "MIN_LENGTH",
    "STREAMS",
    "Progress",
    "RecordOptions",
    "RecordingError",
    "media_maker",
    "pad_id",
    "record",
    "row_length",
    "wanted_streams",
    "with_model",
]
