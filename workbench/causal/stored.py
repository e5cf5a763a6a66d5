"""A finished check as one JSON file: what was measured, so that the table and its intervals can be made again without a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.analysis.causal import CausalTable, Losses, causal_table
from workbench.causal.errors import CausalError

VERSION = 1
FILE = "losses.json"
SHIPPED = Path(__file__).resolve().parents[2] / "sample_data" / "causal" / "omni-mini" / FILE


@dataclass(frozen=True)
class StoredCheck:
    """One finished check.

    Attributes:
        losses: what was measured.
        settings: model, device, group_by, share, by, used, known, seed, resamples, level, separate, as plain JSON.
        experts: what was muted: group -> a dictionary of site id -> ids for each half; or mute, force and top_k.
    """

    losses: Losses
    settings: Mapping[str, Any]
    experts: Mapping[str, Any]

    def table(self) -> CausalTable:
        """The causal table, the same as when it was measured."""
        return causal_table(
            self.losses,
            level=self.settings["level"],
            resamples=self.settings["resamples"],
            seed=self.settings["seed"],
            separate=self.settings["separate"],
        )

    def to_bytes(self) -> bytes:
        found = {
            "version": VERSION,
            "settings": dict(self.settings),
            "experts": dict(self.experts),
            "losses": self.losses.to_dict(),
        }
        return (json.dumps(found, ensure_ascii=False, indent=None) + "\n").encode()


def read_check(path: Path) -> StoredCheck:
    """A check from its file.

    Raises:
        CausalError: if the file is not there, or holds something else.
        CaptureError: if its losses are not whole.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["version"] != VERSION:
            raise ValueError
        stored = StoredCheck(Losses.from_dict(found["losses"]), found["settings"], found["experts"])
        stored.table()
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise CausalError(
            f"'{path.name}' is no result of a causal check that can be read here: make it again with `workbench causal`."
        ) from fault
    return stored
