"""What every shipped checkpoint of extraction is held to."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open


def check_size_and_storage(folder: Path, most: int) -> None:
    """The folder takes so many bytes at most, its weights as int8."""
    assert sum(file.stat().st_size for file in folder.iterdir()) <= most
    with safe_open(folder / "model.safetensors", framework="np") as file:
        assert file.metadata()["storage"] == "int8"
