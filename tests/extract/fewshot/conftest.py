"""Small few-shot sets in both spellings of the keys, and the copying engine as an installed plug-in."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PLUGIN = Path(__file__).resolve().parent / "plugin"


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(PLUGIN))
    yield
    sys.modules.pop("copy_engine", None)


def row(key: str, words: str, *entities: tuple[str, str, list[int]]) -> dict[str, Any]:
    """A line of a set: (type, text, token numbers)."""
    tokens = words.split()
    found = [{"type": t, "offset": at, "text": text} for t, text, at in entities]
    return {"tokens": tokens, key: found}


PLACE_TEST = [
    ("Rome beats Oslo in Rome", ("city", "Rome", [0]), ("city", "Oslo", [2]), ("city", "Rome", [4])),
    ("Ada went home",  ("person", "Ada", [0])),
    ("Ada and Ada of Oslo", ("person", "Ada", [0]), ("person", "Ada", [2]), ("city", "Oslo", [4])),
    ("nothing here",),
    ("Bo Lee left Oslo", ("person", "Bo Lee", [0, 1]), ("city", "Oslo", [3])),
]  # fmt: skip
SHOTS = {
    1: [("Rome is old", ("city", "Rome", [0])), ("Ada sings", ("person", "Ada", [0]))],
    2: [("Oslo is cold", ("city", "Oslo", [0])), ("Bo Lee sings in Rome", ("person", "Bo Lee", [0, 1]))],
    3: [("Oslo is Ada", ("city", "Oslo", [0]), ("city", "Ada", [2])), ("Ada sings", ("person", "Ada", [0]))],
}


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """`places` with `entity_offsets` and `again`, the same with `entity`, below a folder of sets."""
    root = tmp_path / "data" / "metaner_fewshot"
    for name, key in (("places", "entity_offsets"), ("again", "entity")):
        folder = root / name
        folder.mkdir(parents=True)
        (folder / "record.schema").write_text('["person", "city"]\n[]\n{"person": [], "city": []}\n')
        (folder / "test.json").write_text("".join(json.dumps(row(key, *each)) + "\n" for each in PLACE_TEST))  # type: ignore[arg-type]
        for seed, shots in SHOTS.items():
            place = folder / f"seed{seed}" / "1shot"
            place.mkdir(parents=True)
            (place / "train.json").write_text("".join(json.dumps(row(key, *each)) + "\n" for each in shots))  # type: ignore[arg-type]
    return tmp_path / "data"
