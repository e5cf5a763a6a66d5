"""A model folder that the tests of this place share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_model import save_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "tiny")
