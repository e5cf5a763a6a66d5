"""Small models for live runs, loaded once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_model import save_model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Mixtral as a folder; its end token is never chosen, so that runs have the length that was asked for."""
    import json

    folder = save_model(tmp_path_factory.mktemp("live") / "tiny")
    for name in ("generation_config.json", "config.json"):
        raw = json.loads((folder / name).read_text())
        raw["eos_token_id"] = None
        (folder / name).write_text(json.dumps(raw))
    return folder


@pytest.fixture(scope="session")
def load(tiny_folder: Path) -> Callable[[], Any]:
    """Loads the random Mixtral anew."""
    import torch

    from workbench.models import LoadOptions, load_model

    torch.set_num_threads(1)
    return lambda: load_model(str(tiny_folder), LoadOptions(device="cpu", dtype="float32"))


@pytest.fixture(scope="session")
def loaded(load: Callable[[], Any]) -> Any:
    return load()
